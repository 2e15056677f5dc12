"""Names: an option that users of one framework call as users of the other do not."""

from __future__ import annotations

from typing import Any

from ume_r1_rag.errors import ConfigError


def by_own_name(options: dict[str, Any], own: str, other: str) -> dict[str, Any]:
    """Returns options with what came under another name under its own.

    Args:
        options: as a caller gave them.
        own: the name that the class's framework has for it.
        other: the name that is taken as well.

    Raises:
        ConfigError: both are given.
    """
    if options.get(other) is None:
        return {name: value for name, value in options.items() if name != other}
    if options.get(own) is not None:
        raise ConfigError(f"{own}= and {other}= are two names of one thing: give {own}=")
    return {**{name: value for name, value in options.items() if name != other}, own: options[other]}
