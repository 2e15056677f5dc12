"""Modes: by which vectors queries and candidates meet.

A side is ``disc``, ``gen`` (thinking in full), ``gen@none``, ``gen@32`` (at most 32 tokens of thinking) or
``ext``: disc of the input together with a reasoning given from outside, the paper's "DUME+Gen" (section 4.4).
A mode is one side for both, or two with a colon, query first: ``gen:disc``. The release allows mixing
(``eval_twomode.py``, ``--qry_mode`` and ``--tgt_mode``); nothing was trained to make the two spaces meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.types import Think, check_think

Way = Literal["disc", "gen", "ext"]
_HELP: Final = (
    "use disc, gen, gen@none, gen@N or ext, and two of them with a colon for queries and candidates"
)


@dataclass(frozen=True, slots=True)
class Side:
    """How inputs become vectors.

    Attributes:
        way: ``disc``, ``gen`` or ``ext``.
        think: the budget of ``gen``.
    """

    way: Way
    think: Think = "full"

    @property
    def name(self) -> str:
        """What it is called."""
        return self.way if self.way != "gen" or self.think == "full" else f"gen@{self.think}"


@dataclass(frozen=True, slots=True)
class Mode:
    """How queries meet candidates.

    Attributes:
        query: the queries' side.
        candidate: the candidates'.
    """

    query: Side
    candidate: Side

    @property
    def name(self) -> str:
        """What it is called: one word where both sides are the same."""
        one, other = self.query.name, self.candidate.name
        return one if one == other else f"{one}:{other}"

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both sides, query first."""
        return self.query, self.candidate


DISC: Final = Mode(Side("disc"), Side("disc"))
GEN: Final = Mode(Side("gen"), Side("gen"))


def parse_mode(text: str, think: Think = "full") -> Mode:
    """Returns the mode that a text names.

    Args:
        text: e.g. ``"disc"``, ``"gen@32"`` or ``"gen:disc"``.
        think: the budget of a ``gen`` that says none.

    Raises:
        ConfigError: it names none.
    """
    sides = [_side(part.strip(), think, text) for part in text.split(":")]
    if len(sides) > 2:
        raise ConfigError(f"{text!r} is no mode: {_HELP}")
    return Mode(sides[0], sides[-1])


def parse_modes(texts: Sequence[str], think: Iterable[Think] = ("full",)) -> list[Mode]:
    """Returns the modes that texts name, each once; one with a bare ``gen`` once for every budget.

    Raises:
        ConfigError: a text names none, or there is none.
    """
    budgets = list(think) or ["full"]
    found = dict.fromkeys(parse_mode(text, budget) for text in texts for budget in budgets)
    if not found:
        raise ConfigError(f"no mode is given: {_HELP}")
    return list(found)


def _side(text: str, think: Think, whole: str) -> Side:
    way, at, budget = text.partition("@")
    if way in ("disc", "ext") and not at:
        return Side("disc" if way == "disc" else "ext")
    if way == "gen":
        if not at:
            return Side("gen", check_think(think))
        if budget in ("full", "none"):
            return Side("gen", "full" if budget == "full" else "none")
        if budget.isascii() and budget.isdigit():
            return Side("gen", check_think(int(budget)))
    raise ConfigError(f"{whole!r} is no mode: {_HELP}")
