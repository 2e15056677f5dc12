"""Summary: an ingestion's report as lines for people. Names of files and reasons are untrusted text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

from ume_r1_rag.describe import printable
from ume_r1_rag.types import ItemKind

if TYPE_CHECKING:
    from ume_r1_rag.ingest.report import IngestReport, Pruned

_MOST_REASONS = 10
_MOST_FILES = 20
_MOST_FAILURES = 20


def report_lines(report: IngestReport) -> list[str]:
    """Returns what an ingestion did, but its failures; the first line says what was indexed."""
    replaced = f", {report.replaced} of them replaced" if report.replaced else ""
    indexed = counted(report.indexed, "document")
    lines = [f"indexed    {indexed} in {report.seconds:.1f} s{kinds_text(report.kinds)}{replaced}"]
    if report.unchanged:
        lines.append(f"unchanged  {counted(report.unchanged, 'document')}, left alone")
    if report.removed:
        lines.append(f"removed    {counted(report.removed, 'part')} that files no longer have")
    lines += pruned_lines(report.pruned)
    if report.flagged:
        issues = ", ".join(f"{issue} {count}" for issue, count in sorted(report.flagged.items()))
        lines.append(f"flagged    {counted(sum(report.flagged.values()), 'generation')}: {issues}")
    return lines + skipped_lines(report.skipped)


def report_text(report: IngestReport) -> str:
    """Returns what an ingestion did, with the first of its failures."""
    lines = report_lines(report)
    if report.failed:
        lines.append(f"failed     {report.failed}")
        shown = report.failures[:_MOST_FAILURES]
        lines += [f"  {_bare(one.name)}: {_bare(one.reason)}" for one in shown]
        if report.failed > len(shown):
            lines.append(f"  and {report.failed - len(shown)} more")
    if not report.found:
        lines.append("nothing was found that could be indexed")
    return "\n".join(lines)


def pruned_lines(pruned: Pruned | None, most: int = _MOST_FILES) -> list[str]:
    """Returns what was deleted, or would be, as its files are gone, and what was kept though they seem to be.

    Args:
        pruned: what became of it; None if nothing was to be pruned.
        most: files that are named.
    """
    if pruned is None:
        return []
    lines = [f"pruned     {counted(pruned.points, 'document')} of files that are gone"]
    named = list(pruned.files.items())[:most]
    lines += [f"  {_bare(name)}: {count}" for name, count in named]
    left = pruned.points - sum(count for _, count in named)
    if left and named:
        lines.append(f"  and {left} of others")
    return lines + [f"  kept {count}: {_bare(reason)}" for reason, count in pruned.kept.items()]


def skipped_lines(reasons: Mapping[str, int]) -> list[str]:
    """Returns how many files were left out on purpose, and why."""
    if not reasons:
        return []
    by_reason = Counter(reasons)
    lines = [f"skipped    {counted(by_reason.total(), 'file')}"]
    return lines + [f"  {_bare(reason)}: {count}" for reason, count in by_reason.most_common(_MOST_REASONS)]


def kinds_text(kinds: Mapping[Any, int]) -> str:
    """Returns how many of each kind, behind a colon; empty if there are none."""
    named = ", ".join(f"{kind} {kinds[kind]}" for kind in get_args(ItemKind) if kinds.get(kind))
    return f": {named}" if named else ""


def counted(count: int, noun: str) -> str:
    """Returns a number of things: 1 file, 2 files."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _bare(text: str) -> str:
    return " ".join(printable(text, " ").split())
