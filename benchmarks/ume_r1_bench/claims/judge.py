"""Judge: figures → holds, fails, undecided or could not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ume_r1_bench.claims.claim import Check
from ume_r1_bench.claims.results import Figure, NoResult, read_figure

Verdict = Literal["holds", "fails", "undecided", "could not run"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A check with what was found.

    Attributes:
        check: the check.
        figure: what was found; None if it could not be had.
        verdict: of it; ``"holds"`` where there is no bar.
        why: why there is no figure.
    """

    check: Check
    figure: Figure | None
    verdict: Verdict
    why: str = ""


def judge(check: Check, folder: Path) -> Judged:
    """Returns a check with what the files in a folder say of it."""
    try:
        figure = read_figure(check, folder)
    except NoResult as error:
        return Judged(check, None, "could not run", str(error))
    return Judged(check, figure, decide(check, figure))


def decide(check: Check, figure: Figure) -> Verdict:
    """Returns whether a figure is where it should be.

    One with an interval is undecided if the interval lies on both sides of a bound.
    """
    low, high = check.bounds
    # 75.2 ± 1.5 is meant as printed: 76.7 is in, whatever binary fractions make of it.
    slack = 1e-9 * max(1.0, abs(figure.value))
    inside = low - slack <= figure.value <= high + slack
    ends = [end for end in (figure.low, figure.high) if end is not None]
    if any((low - slack <= end <= high + slack) is not inside for end in ends):
        return "undecided"
    return "holds" if inside else "fails"


def together(judged: Sequence[Judged]) -> Verdict:
    """Returns the verdict on a claim: what fails decides, then what is missing, then what is undecided."""
    found = {one.verdict for one in judged}
    order: tuple[Verdict, ...] = ("fails", "could not run", "undecided")
    return next((verdict for verdict in order if verdict in found), "holds")
