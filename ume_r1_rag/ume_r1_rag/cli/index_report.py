"""What ``ume-r1 index`` says at its end. Names of files and reasons are untrusted text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from ume_r1_rag.cli.screen import clean, columns, fit, pad, table, width
from ume_r1_rag.types import ItemKind, Mode

if TYPE_CHECKING:
    from ume_r1_rag.cache import CacheInfo
    from ume_r1_rag.index import IndexInfo
    from ume_r1_rag.ingest import DryRun, Estimate, Failure, FileDryRun, IngestReport, Pruned

_MOST_REASONS = 10
_MOST_FAILURES = 100


def ingest_report(
    report: IngestReport, info: IndexInfo, listing: str, again: str, cache: CacheInfo | None = None
) -> str:
    """Returns what an ingestion did.

    Args:
        report: what it did.
        info: what the index holds now.
        listing: the command that lists the failures.
        again: the command that tries them again.
        cache: what a cache had of it.
    """
    kinds, covered = _kinds(report.kinds), info.coverage
    replaced = f", {report.replaced} of them replaced" if report.replaced else ""
    held = f"{info.points}: {covered['disc']} with disc, {covered['gen']} with gen"
    lines = [
        f"indexed    {counted(report.indexed, 'document')} in {report.seconds:.1f} s{kinds}{replaced}",
        f"into       {clean(info.collection)} in {clean(info.location)}, which now holds {held}",
    ]
    if report.unchanged:
        lines.append(f"unchanged  {counted(report.unchanged, 'document')}, left alone")
    if cache is not None:
        encoded = cache.misses + cache.uncached
        lines.append(f"cache      had {cache.hits} of {cache.hits + encoded}")
    if report.removed:
        lines.append(f"removed    {counted(report.removed, 'part')} that files no longer have")
    lines += _pruned(report.pruned)
    if report.flagged:
        issues = ", ".join(f"{issue} {count}" for issue, count in sorted(report.flagged.items()))
        lines.append(f"flagged    {counted(sum(report.flagged.values()), 'generation')}: {issues}")
    lines += _skipped(report.skipped)
    lines += failed_lines(report.failed, report.failures)
    if report.failed:
        lines.append(f"see `{clean(listing)}`; once mended: `{clean(again)}`")
    return "\n".join(lines)


def file_line(one: FileDryRun) -> str:
    """Returns what would be done with a file; empty if nothing."""
    counts = {"new": one.new, "replaced": one.replaced, "removed": one.removed}
    words = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{pad(words, 24)}  {fit(clean(one.title), columns() - 26)}" if words else ""


def plan_report(found: DryRun, collection: str, *, new_collection: bool) -> str:
    """Returns what an ingestion would do."""
    lines = [
        f"would index  {found.new} new and {found.replaced} replaced documents{_kinds(found.kinds)}",
        f"into         {clean(collection)}{', which would be made' if new_collection else ''}",
        f"unchanged    {found.unchanged}",
    ]
    if found.removed:
        lines.append(f"removed      {counted(found.removed, 'part')} that files no longer have")
    lines += _pruned(found.pruned)
    lines += _skipped(found.skipped)
    lines += failed_lines(found.failed, found.failures)
    lines.append("nothing was written; broken pictures and texts only show when they are read")
    return "\n".join(lines)


def estimate_report(found: Estimate, mode: Mode) -> str:
    """Returns what an ingestion would cost."""
    total = sum(found.items.values())
    sampled = sum(found.sampled.values())
    rows = {
        "documents": f"{total}{_kinds(found.items)}",
        "left alone": f"{found.unchanged} unchanged, {counted(found.skipped, 'file')} of other kinds",
        "tokens": f"{found.visual_tokens} visual",
        "time": f"{_duration(found.seconds)} ({found.hours:.2f} hours) for mode {mode}, as busy as it is now",
        "of that": f"reading {_duration(found.read_s)}, encoding {_duration(found.encode_s)}, writing "
        f"{_duration(found.write_s)}, side by side",
        "size": f"{_bytes(found.bytes)} on disk",
        "sample": f"{counted(sampled, 'document')}{_kinds(found.sampled)}",
    }
    lines = [f"{name:<11} {text}" for name, text in rows.items()]
    if found.failed:
        lines.append(f"{'failed':<11} {counted(found.failed, 'file')} cannot be opened")
    if found.sample_failures:
        lines += failed_lines(len(found.sample_failures), found.sample_failures, "of the sample")
    lines.append("nothing was written")
    return "\n".join(lines)


def failures_report(failures: Sequence[Failure]) -> str:
    """Returns the index's list of failures."""
    if not failures:
        return "no failures"
    rows = [[clean(one.name), str(one.attempts), clean(one.at), clean(one.reason)] for one in failures]
    return table(["document", "tries", "last", "reason"], rows, ["<", ">", "<", "<"], max(160, columns()))


def failed_lines(count: int, failures: Sequence[Failure], where: str = "") -> list[str]:
    """Returns how many documents failed, and the first of them with their reasons."""
    if not count:
        return []
    shown = failures[:_MOST_FAILURES]
    size = min(40, max(width(clean(item.name)) for item in shown))
    lines = [f"failed     {count}{f' {where}' if where else ''}"]
    lines += [f"  {pad(clean(item.name), size)}  {clean(item.reason)}" for item in shown]
    if count > len(shown):
        lines.append(f"  and {count - len(shown)} more")
    return lines


def counted(count: int, noun: str) -> str:
    """Returns a number of things: 1 file, 2 files."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _skipped(reasons: Mapping[str, int]) -> list[str]:
    if not reasons:
        return []
    by_reason = Counter(reasons)
    lines = [f"skipped    {counted(by_reason.total(), 'file')}"]
    return lines + [f"  {clean(reason)}: {count}" for reason, count in by_reason.most_common(_MOST_REASONS)]


def _pruned(pruned: Pruned | None) -> list[str]:
    if pruned is None:
        return []
    lines = [f"pruned     {counted(pruned.points, 'document')} of files that are gone"]
    return lines + [f"  kept {count}: {clean(reason)}" for reason, count in pruned.kept.items()]


def _kinds(kinds: Mapping[Any, int]) -> str:
    named = ", ".join(f"{kind} {kinds[kind]}" for kind in get_args(ItemKind) if kinds.get(kind))
    return f": {named}" if named else ""


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02} h" if minutes >= 60 else f"{minutes} min"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
