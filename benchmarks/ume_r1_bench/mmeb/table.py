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
    if found.lost:
        return "all lost"
    low, high = (100 * end for end in found.interval(one.task.metric))
    return f"{100 * found.mean(one.task.metric):.1f} [{low:.1f}, {high:.1f}]"


def _averages(run: Run, modes: Sequence[str]) -> str:
    columns, asked = [run.averages(mode) for mode in modes], {task.name for task in run.options.tasks}
    lines = []
    for row in zip(*columns, strict=True):
        partial = not asked.issuperset(row[0].tasks)
        if all(one.mean is None for one in row) or partial:
            continue
        cells = "".join(f"{_average(one):>24}" for one in row)
        lines.append(f"{row[0].name:<36}{count_of(len(row[0].tasks), 'task'):>14}{'':>8}{cells}")
    refused = next((one for one in columns[0] if one.name == "All" and not one.complete), None)
    if refused is not None and (left := [name for name in refused.tasks if name not in asked]):
        lines.append(
            f"averages over more than these tasks are left out: of {run.options.suite.name}'s "
            f"{len(refused.tasks)} tasks {len(left)} were not asked for"
        )
    elif refused is not None:
        missing = ", ".join(refused.missing[:6]) + (", …" if len(refused.missing) > 6 else "")
        lines.append(
            f"All is refused: {len(refused.missing)} of {len(refused.tasks)} tasks are missing ({missing})"
        )
    return "\n".join(lines)


def _average(one: Average) -> str:
    if not one.complete:
        return "refused"
    if one.interval is None:
        return f"{100 * one.value:.1f}"
    low, high = (100 * end for end in one.interval)
    return f"{100 * one.value:.1f} [{low:.1f}, {high:.1f}]"


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
    if run.validity():
        notes.append(run.validity())
    if run.estimated:
        notes.append("estimates: of some tasks not all queries were asked")
    return "\n".join(notes)


def _findings(title: str, found: Sequence[Finding]) -> str:
    lines = [title]
    for one in found:
        ends = f"[{one.low:+.1f}, {one.high:+.1f}]"
        scope = f"{count_of(one.tasks, 'task')}, {one.queries} queries"
        lines.append(f"  {one.name:<18}{one.value:>7.1f}  {ends:<18}{one.about} ({scope})")
    return "\n".join(lines)


def _troubles(run: Run) -> list[str]:
    out = []
    if run.skipped:
        lines = [f"{count_of(len(run.skipped), 'task')} could not be read:"]
        lines += [f"  {name}: {why}" for name, why in list(run.skipped.items())[:_MOST]]
        rest = len(run.skipped) - _MOST
        out.append("\n".join([*lines, *([f"  and {rest} more"] if rest > 0 else [])]))
    if run.failures:
        failed = run.failed()
        lines = [
            f"{count_of(len(run.failures), 'content')} could not be encoded; their queries count as missed:"
        ]
        lines += [f"  {why}" for why in failed[:_MOST]]
        rest = len(failed) - _MOST
        out.append("\n".join([*lines, *([f"  and {rest} more"] if rest > 0 else [])]))
    return out


def count_of(number: int, what: str) -> str:
    """Returns a count in words, such as ``1 task`` and ``2 tasks``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
