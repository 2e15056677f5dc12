"""Figures: averages beside published rows, tasks, pass@k, and what disc and gen have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from ume_r1_bench.mmeb.aggregate import averages
from ume_r1_bench.mmeb.errors import MmebError
from ume_r1_bench.mmeb.published import PublishedRow, published_rows
from ume_r1_bench.mmeb.report.markup import bar, kind_of, text
from ume_r1_bench.mmeb.suite import Suite
from ume_r1_rag.errors import ConfigError

if TYPE_CHECKING:
    from ume_r1_bench.mmeb.analysis import Finding
    from ume_r1_bench.mmeb.run import Run, TaskResult

_WIDTH: Final = 560
_HEIGHT: Final = 260
_LEFT: Final = 44
_BOTTOM: Final = 34
_BESIDE: Final = ("UME-R1-2B", "UME-R1-7B")
"""Published rows whose scores stand beside each task's."""


def beside_published(run: Run) -> str:
    """Returns our rows and the published ones of the suite, each with its protocol."""
    suite = run.options.suite
    columns = ["All", *suite.modalities, *suite.meta_tasks, *suite.splits]
    columns = list(dict.fromkeys(columns)) if len(suite.meta_tasks) > 1 else ["All", *suite.splits]
    head = "".join(f"<th>{_column(name)}</th>" for name in columns)
    rows = []
    for mode in run.options.modes:
        found = {one.name: one for one in run.averages(mode.name)}
        cells = {
            name: f"{100 * one.value:.1f}"
            + (
                f"<small>{100 * one.interval[0]:.1f}…{100 * one.interval[1]:.1f}</small>"
                if one.interval is not None
                else ""
            )
            if one.complete
            else '<span class="none" title="tasks are missing">–</span>'
            for name, one in found.items()
        }
        model = run.stamp["encoder"].get("model") or "local"
        who = f'<b>{text(model)}</b> <span class="badge {kind_of(mode.name)}-badge">{text(mode.name)}</span>'
        rows.append(_row(who, run.stamp["protocol"]["name"], cells, columns, "ours"))
    published = _published(suite)
    for one in published:
        cells = {name: f"{value:.1f}" for name, value in _points(one, suite).items()}
        mode_name = f' <span class="badge">{text(one.mode)}</span>' if one.mode else ""
        note = "; ".join([one.source, *one.notes])
        who = f'<span title="{text(note)}">{text(one.name)}</span>{mode_name}'
        rows.append(_row(who, one.protocol, cells, columns, ""))
    told = (
        "Rows of different protocols do not compare."
        if published
        else f"Nobody else has published figures of {text(suite.name)}: it is ours."
    )
    return (
        f'<p class="read">{told} An average is refused (–) while one of its tasks is missing.</p>'
        f'<div class="wide"><table class="figures"><thead><tr><th class="who">model</th>'
        f'<th class="who">protocol</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        f"{_sources(published)}"
    )


def _sources(published: Sequence[PublishedRow]) -> str:
    """Returns where each published row stands, and what to know before it is compared."""
    if not published:
        return ""
    lines = "".join(
        f"<li>{text(one.name)} {text(one.mode)}: {text('; '.join([one.source, *one.notes]))}</li>"
        for one in published
    )
    return (
        f'<details class="trouble"><summary>Sources of the published rows</summary><ul>{lines}</ul></details>'
    )


def _row(who: str, protocol: str, cells: Mapping[str, str], columns: Sequence[str], kind: str) -> str:
    numbers = "".join(f"<td>{cells.get(name, '')}</td>" for name in columns)
    return f'<tr class="{kind}"><th class="who">{who}</th><td class="who">{text(protocol)}</td>{numbers}</tr>'


def _column(name: str) -> str:
    modality, _, group = name.partition("/")
    return f"{text(modality)}<br>{text(group)}" if group else text(name)


def _published(suite: Suite) -> list[PublishedRow]:
    try:
        return published_rows(suite.name)
    except ConfigError:
        return []


def _points(row: PublishedRow, suite: Suite) -> dict[str, float]:
    """Returns a row's averages: as printed, else of its tasks, if they are all there."""
    found: dict[str, float] = {}
    for one in averages(row.scores, suite):
        try:
            found[one.name] = one.value
        except MmebError:
            continue
    return found | {name.replace(".", "/"): value for name, value in row.averages.items()}


def tasks(run: Run) -> str:
    """Returns each task with a bar for each mode."""
    published = [one for one in _published(run.options.suite) if one.scores and one.name in _BESIDE]
    shown = "".join(_task(one, published) for one in run.results)
    return f'<ol class="tasks">{shown}</ol>'


def _task(one: TaskResult, published: Sequence[PublishedRow]) -> str:
    metric, scale = one.task.metric, []
    for mode, found in one.scores.items():
        if found.lost:
            scale.append(f'<dt>{text(mode)}</dt><dd class="issue">all lost</dd><dd class="value">–</dd>')
            continue
        value, (low, high) = 100 * found.mean(metric), found.interval(metric)
        scale.append(
            f"<dt>{text(mode)}</dt><dd>{bar(mode, value, 100 * low, 100 * high)}</dd>"
            f'<dd class="value">{value:.1f}</dd>'
        )
    asked = f"{one.queries} of {one.total} queries" if one.queries < one.total else f"{one.total} queries"
    lost = f' · <span class="issue">{one.lost} lost</span>' if one.lost else ""
    where = f"{text(one.task.meta_task)} · {text(metric)} · {asked}, {one.candidates} candidates{lost}"
    bars = "".join(scale)
    others = " · ".join(
        f"{row.name} {row.scores[one.task.name]:.1f} ({row.protocol})"
        for row in published
        if one.task.name in row.scores
    )
    told = f'<p class="where">{text(others)}</p>' if others else ""
    return (
        f'<li><h3><a href="#task-{text(one.task.name)}">{text(one.task.name)}</a></h3>'
        f'<p class="where">{where}</p><dl class="scores">{bars}</dl>{told}</li>'
    )


def passed(curve: Sequence[Finding]) -> str:
    """Returns the curve of pass@k with its band, as in the paper's Figure 3."""
    if len(curve) < 2:
        return ""
    low, high = min(one.low for one in curve), max(one.high for one in curve)
    floor, ceiling = 10 * int(max(0.0, low) // 10), 10 * int(-(-min(100.0, high) // 10))
    ceiling = max(ceiling, floor + 10)

    def x(at: int) -> float:
        return _LEFT + at * (_WIDTH - _LEFT - 16) / (len(curve) - 1)

    def y(value: float) -> float:
        return 12 + (ceiling - value) * (_HEIGHT - _BOTTOM - 12) / (ceiling - floor)

    step = max(5, 5 * round((ceiling - floor) / 5 / 5))
    grid = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 16}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text class="tick" x="{_LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v}</text>'
        for v in range(floor, ceiling + 1, step)
    )
    band = [f"{x(at):.1f},{y(one.high):.1f}" for at, one in enumerate(curve)]
    band += [f"{x(at):.1f},{y(one.low):.1f}" for at, one in reversed(list(enumerate(curve)))]
    outline = " ".join(band)
    line = " ".join(f"{x(at):.1f},{y(one.value):.1f}" for at, one in enumerate(curve))
    dots = "".join(
        f'<circle class="gen-fill" cx="{x(at):.1f}" cy="{y(one.value):.1f}" r="4"><title>{text(one.name)}: '
        f'{one.value:.1f}</title></circle><text class="tick" x="{x(at):.1f}" y="{_HEIGHT - 12}" '
        f'text-anchor="middle">{at + 1}</text>'
        for at, one in enumerate(curve)
    )
    first, last = curve[0], curve[-1]
    over = f"{first.tasks} tasks, {first.queries} queries; the band is the 95 % interval"
    told = (
        f"pass@k in points over k samples: {first.value:.1f} with one, {last.value:.1f} with {len(curve)} "
        f"({over}). Whoever takes the best of k sees the answer: it is what sampling could give, not what it "
        "gives."
    )
    drawn = (
        f'{grid}<polygon class="band" points="{outline}"/><polyline class="gen-line" points="{line}"/>{dots}'
    )
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return (
        f'<figure class="curve"><svg {size} role="img" aria-label="pass at k">{drawn}</svg>'
        f"<figcaption>{told}</figcaption></figure>"
    )


def compared(found: Sequence[Finding]) -> str:
    """Returns what disc and gen have in common, as a table."""
    rows = "".join(
        f'<tr><th class="who">{text(one.name)}</th><td>{one.value:+.1f}</td>'
        f"<td>{one.low:+.1f} … {one.high:+.1f}</td>"
        f'<td class="who">{text(one.about)}</td><td>{one.tasks}</td><td>{one.queries}</td></tr>'
        if " - " in one.name or "null" in one.name
        else f'<tr class="ours"><th class="who">{text(one.name)}</th><td>{one.value:.1f}</td>'
        f"<td>{one.low:.1f} … {one.high:.1f}</td>"
        f'<td class="who">{text(one.about)}</td><td>{one.tasks}</td><td>{one.queries}</td></tr>'
        for one in found
    )
    return (
        '<div class="wide"><table class="figures"><thead><tr><th class="who"></th><th>points</th>'
        '<th>95 % interval</th><th class="who">what it is</th><th>tasks</th><th>queries</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
