"""What ``kind=`` puts before an input: the instruction of its role, where it has none of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from ume_r1_rag.errors import ConfigError, UmeR1Error
from ume_r1_rag.inputs import to_inputs
from ume_r1_rag.template import INSTRUCTIONS
from ume_r1_rag.types import Inputs


def instructed(inputs: Inputs, kind: str | None, role: Literal["query", "document"]) -> Any:
    """Returns the inputs with the instructions of a kind.

    A document that has a text of its own gets none, as officially.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind is None:
        return inputs
    if kind not in INSTRUCTIONS:
        raise ConfigError(f"kind={kind!r} is unknown: use one of {', '.join(sorted(INSTRUCTIONS))}")
    items, single = to_inputs(inputs, on_error="return")
    preset = INSTRUCTIONS[kind]
    out: list[Any] = []
    for item in items:
        if isinstance(item, UmeR1Error) or item.instruction is not None:
            out.append(item)
        elif role == "query":
            out.append(replace(item, instruction=preset.query))
        else:
            out.append(item if item.text else replace(item, instruction=preset.document))
    return out[0] if single else out
