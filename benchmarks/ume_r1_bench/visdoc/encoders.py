"""Encoders: which one a configuration needs, each loaded once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from ume_r1_bench.visdoc.configuration import CONFIGURATIONS, Configuration, configurations
from ume_r1_bench.visdoc.words import NoEncoder
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.types import Encoder, spaces_of

Load = Callable[[str | None], Encoder]
"""Loads the model that is measured, or another one by name."""


class Encoders:
    """The encoders of a run."""

    def __init__(self, load: Load) -> None:
        """Loads nothing yet."""
        self._load = load
        self._main: Encoder | None = None
        self._others: dict[str, Encoder] = {}

    @property
    def main(self) -> Encoder:
        """The model that is measured."""
        if self._main is None:
            self._main = self._load(None)
        return self._main

    def of(self, configuration: Configuration) -> Encoder:
        """Returns what writes and asks a configuration's index.

        Raises:
            ConfigError: the model has no vectors of that kind.
        """
        if configuration.which == "words":
            return NoEncoder()
        if configuration.which == "other":
            if configuration.name not in self._others:
                self._others[configuration.name] = self._load(configuration.name)
            return self._others[configuration.name]
        lacking = sorted(set(spaces_of(configuration.written)) - set(self.main.spaces))
        if lacking:
            raise ConfigError(
                f"{configuration.name} needs {lacking[0]} vectors, which this model does not have: leave it "
                "out of --configs"
            )
        if configuration.which == "main":
            return self.main
        if not hasattr(self.main, "think"):
            raise ConfigError(
                f"{configuration.name}: this model has no think budget, leave it out of --configs"
            )
        # The same weights, another default: documents are to be written without thinking, too.
        unthinking: Any = copy.copy(self.main)
        unthinking.think = "none"
        return unthinking  # type: ignore[no-any-return]

    def able(self, names: list[str]) -> list[Configuration]:
        """Returns the configurations of given names; without any, all that the model is able to."""
        if names:
            return configurations(names)
        spaces = set(self.main.spaces)
        return [
            one for one in configurations() if one.which == "words" or set(spaces_of(one.written)) <= spaces
        ]

    def close(self) -> None:
        """Frees the models that were loaded here."""
        for one in [self._main, *self._others.values()]:
            close = getattr(one, "close", None)
            if close is not None:
                close()
        self._main, self._others = None, {}


__all__ = ["CONFIGURATIONS", "Encoders", "Load"]
