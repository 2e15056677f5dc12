"""Table: a run as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from ume_r1_bench.mmeb.aggregate import Average
from ume_r1_bench.mmeb.analysis import Finding
from ume_r1_bench.mmeb.run import Run, TaskResult

_MOST = 10
"""Failures that are told one by one."""


def table(run: Run) -> str:
    """Returns figures by task, averages, analysis, and what could not be read."""
    modes = [mode.name for mode in run.options.modes]
    parts = []
    if run.results:
        parts = [_tasks(run, modes), _averages(run, modes), _notes(run)]
        found, passed = run.findings(), run.curve()
        if len(found) > len(modes):
            parts.append(_findings("analysis (points; mean over tasks, 95 % interval)", found))
        if passed:
            parts.append(_findings("repeated sampling", passed))
    parts += _troubles(run)
    return "\n\n".join(part for part in parts if part)


def _tasks(run: Run, modes: Sequence[str]) -> str:
    head = f"{'task':<36}{'n':>6}{'of':>6}{'cand.':>8}  " + "".join(f"{mode:>24}" for mode in modes)
    lines = [head, "-" * len(head)]
    for one in run.results:
        cells = "".join(f"{_cell(one, mode):>24}" for mode in modes)
        lost = f"  {one.lost} lost" if one.lost else ""
        counts = f"{one.queries:>6}{one.total:>6}{one.candidates:>8}"
        lines.append(f"{one.task.name[:35]:<36}{counts}  {cells}{lost}")
    return "\n".join(lines)


def _cell(one: TaskResult, mode: str) -> str:
    found = one.scores[mode]
    low, high = (100 * end for end in found.interval(one.task.metric))
    return f"{100 * found.mean(one.task.metric):.1f} [{low:.1f}, {high:.1f}]"


def _averages(run: Run, modes: Sequence[str]) -> str:
    columns = [run.averages(mode) for mode in modes]
    lines = []
    for row in zip(*columns, strict=True):
        if all(one.mean is None for one in row):
            continue
        cells = "".join(f"{_average(one):>24}" for one in row)
        lines.append(f"{row[0].name:<36}{len(row[0].tasks):>6} tasks{'':>10}{cells}")
    refused = next((one for one in columns[0] if one.name == "All" and not one.complete), None)
    if refused is not None:
        missing = ", ".join(refused.missing[:6]) + (", …" if len(refused.missing) > 6 else "")
        lines.append(
            f"All is refused: {len(refused.missing)} of {len(refused.tasks)} tasks are missing ({missing})"
        )
    return "\n".join(lines)


def _average(one: Average) -> str:
    if not one.complete:
        return "refused"
    half = "" if one.half is None else f" ± {100 * one.half:.1f}"
    return f"{100 * one.value:.1f}{half}"


def _notes(run: Run) -> str:
    stamp, (by_name, by_content) = run.stamp, run.duplication()
    model = stamp["encoder"].get("model") or "local"
    protocol = stamp["protocol"]["name"]
    duplicates = f"a candidate occurs {by_name:.1f} times by name, {by_content:.1f} times by content"
    notes = [
        f"{run.options.suite.name}, protocol {protocol}, {model}, seed {stamp['seed']}, {stamp['measures']}",
        "points: hit@1 for image and video, ndcg_linear@5 for visdoc, with 95 % intervals",
        f"{duplicates}; each was encoded once",
    ]
    if run.estimated:
        notes.append("estimates: of some tasks not all queries were asked")
    return "\n".join(notes)


def _findings(title: str, found: Sequence[Finding]) -> str:
    lines = [title]
    for one in found:
        ends = f"[{one.low:+.1f}, {one.high:+.1f}]"
        scope = f"{one.tasks} tasks, {one.queries} queries"
        lines.append(f"  {one.name:<18}{one.value:>7.1f}  {ends:<18}{one.about} ({scope})")
    return "\n".join(lines)


def _troubles(run: Run) -> list[str]:
    out = []
    if run.skipped:
        lines = [f"{len(run.skipped)} tasks could not be read:"]
        lines += [f"  {name}: {why}" for name, why in list(run.skipped.items())[:_MOST]]
        rest = len(run.skipped) - _MOST
        out.append("\n".join([*lines, *([f"  and {rest} more"] if rest > 0 else [])]))
    if run.failures:
        lines = [f"{len(run.failures)} contents could not be encoded; their queries count as missed:"]
        lines += [f"  {why}" for why in run.failures[:_MOST]]
        rest = len(run.failures) - _MOST
        out.append("\n".join([*lines, *([f"  and {rest} more"] if rest > 0 else [])]))
    return out
