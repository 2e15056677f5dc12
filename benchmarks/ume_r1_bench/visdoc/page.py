"""Page: a report as one self-contained HTML file. All texts from files and models are escaped."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Final

from ume_r1_bench.visdoc.report import Report
from ume_r1_rag.describe import printable

SHOWN: Final = 200
"""Questions that are shown one by one."""


def render(report: Report) -> str:
    """Returns the page."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_harmless
    )
    template = environment.from_string(
        (files("ume_r1_bench.visdoc") / "report.html").read_text(encoding="utf-8")
    )
    data = report.as_dict()

    def rows(part: str) -> list[tuple[str, object]]:
        found = [(name, one[part]) for name, one in data["configurations"].items()]
        return found + (list(data["bounds"].items()) if part == "answers" else [])

    return template.render(
        report=report,
        data=data,
        rows=rows,
        points=lambda value: f"{100 * min(1.0, max(0.0, value)):.1f}",
        number=_number,
        pair=_pair,
        unit="cost" if report.prices.given else "seconds",
        verdicts={one.name: one.verdict for one in report.decision.candidates},
        shown=min(SHOWN, len(report.corpus.questions)),
    )


def _harmless(value: object) -> object:
    """Returns plain text without what would turn its direction; markup that is escaped already is left."""
    return printable(value) if type(value) is str else value


def _number(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:.4f}" if value < 1 else f"{value:,.1f}"


def _pair(pair: Sequence[float] | None) -> str:
    return "–" if pair is None else f"{pair[0]:.3f} / {pair[1]:.3f}"
