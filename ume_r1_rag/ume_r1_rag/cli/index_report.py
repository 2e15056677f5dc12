"""What ``ume-r1 index`` says at its end. Names of files and reasons are untrusted text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ume_r1_rag.cli.screen import clean, columns, fit, pad, table, width
from ume_r1_rag.errors import FileGone
from ume_r1_rag.ingest.files import path_of
from ume_r1_rag.ingest.retry import REMEDY
from ume_r1_rag.ingest.summary import counted, kinds_text, pruned_lines, report_lines, skipped_lines
from ume_r1_rag.types import Mode

if TYPE_CHECKING:
    from ume_r1_rag.cache import CacheInfo
    from ume_r1_rag.index import IndexInfo
    from ume_r1_rag.ingest import DryRun, Estimate, Failure, FileDryRun, IngestReport

_MOST_FAILURES = 100
_MOST_FILES = 1000
"""Files that a dry run names as gone: whoever asks beforehand wants to see them all."""


def ingest_report(
    report: IngestReport, info: IndexInfo, listing: str, again: str, cache: CacheInfo | None = None
) -> str:
    """Returns what an ingestion did.

    Args:
        report: what it did.
        info: what the index holds now.
        listing: the command that lists the failures.
        cache: what a cache had of it.
        again: the command that tries them again.
    """
    covered = info.coverage
    held = f"{info.points}: {covered['disc']} with disc, {covered['gen']} with gen"
    whose = f" of tenant {clean(info.tenant)}" if info.tenant is not None else ""
    first, *others = report_lines(report)
    lines = [
        first,
        f"into       {clean(info.collection)} in {clean(info.location)}, which now holds {held}{whose}",
    ]
    if cache is not None:
        encoded = cache.misses + cache.uncached
        lines.append(f"cache      had {cache.hits} of {cache.hits + encoded}")
    lines += others
    lines += failed_lines(report.failed, report.failures)
    if report.failed:
        gone = sum(one.error == FileGone.__name__ for one in report.failures)
        mend = f"; once mended: `{clean(again)}`" if report.failed > gone else ""
        lines.append(f"see `{clean(listing)}`{mend}")
    return "\n".join(lines)


def nothing_found(paths: Sequence[object]) -> str:
    """Returns what is said where there is nothing to index below some paths."""
    named = ", ".join(clean(path) for path in paths[:3]) + (", …" if len(paths) > 3 else "")
    return (
        f"nothing was found in {named} that can be indexed: PDFs, pictures, videos, .txt, .md and .markdown "
        "can, and hidden files are passed over"
    )


def file_line(one: FileDryRun) -> str:
    """Returns what would be done with a file; empty if nothing."""
    counts = {"new": one.new, "replaced": one.replaced, "removed": one.removed}
    words = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{pad(words, 24)}  {fit(clean(one.title), columns() - 26)}" if words else ""


def plan_report(found: DryRun, collection: str, *, new_collection: bool) -> str:
    """Returns what an ingestion would do."""
    replaced = counted(found.replaced, "replaced document")
    lines = [
        f"to index   {found.new} new and {replaced}{kinds_text(found.kinds)}",
        f"into       {clean(collection)}{', which would be made' if new_collection else ''}",
        f"unchanged  {found.unchanged}",
    ]
    if found.removed:
        lines.append(f"removed    {counted(found.removed, 'part')} that files no longer have")
    lines += pruned_lines(found.pruned, _MOST_FILES)
    lines += skipped_lines(found.skipped)
    lines += failed_lines(found.failed, found.failures)
    lines.append("nothing was written; broken pictures and texts only show when they are read")
    return "\n".join(lines)


def estimate_report(found: Estimate, mode: Mode) -> str:
    """Returns what an ingestion would cost."""
    total = sum(found.items.values())
    sampled = sum(found.sampled.values())
    rows = {
        "documents": f"{total}{kinds_text(found.items)}",
        "left alone": f"{found.unchanged} unchanged, {counted(found.skipped, 'file')} of other kinds",
        "tokens": f"{found.visual_tokens:,} visual, {found.generated_tokens:,} generated",
        "time": f"{_duration(found.seconds)} ({found.hours:.2f} hours) for mode {mode}, as busy as it is now",
        "of that": f"reading {_duration(found.read_s)}, encoding {_duration(found.encode_s)}, writing "
        f"{_duration(found.write_s)}, side by side",
        "size": f"{_bytes(found.bytes)} on disk",
        "sample": f"{counted(sampled, 'document')}{kinds_text(found.sampled)}",
    }
    lines = [f"{name:<10} {text}" for name, text in rows.items()]
    lines += failed_lines(found.failed, found.failures, "that cannot be opened")
    lines += failed_lines(len(found.sample_failures), found.sample_failures, "of the sample")
    lines.append("nothing was written")
    return "\n".join(lines)


def failures_report(failures: Sequence[Failure], again: str) -> str:
    """Returns the index's list of failures.

    Args:
        failures: all of them.
        again: the command that tries them again.
    """
    if not failures:
        return "no failures"
    rows = [[clean(one.name), str(one.attempts), clean(one.at), clean(one.reason)] for one in failures]
    found = table(["document", "tries", "last", "reason"], rows, ["<", ">", "<", "<"], max(160, columns()))
    documents = [path_of(one.document) for one in failures]
    gone = sum(Path(path).is_absolute() and not os.path.lexists(path) for path in documents)
    lines = [found, ""]
    if gone:
        lines.append(f"{gone} of {len(failures)} are of files that are gone: {REMEDY}")
    if gone < len(failures):
        lines.append(f"once mended: `{clean(again)}`")
    return "\n".join(lines)


def failed_lines(count: int, failures: Sequence[Failure], where: str = "") -> list[str]:
    """Returns how many documents failed, and the first of them with their reasons."""
    if not count:
        return []
    shown = failures[:_MOST_FAILURES]
    size = min(40, max((width(clean(item.name)) for item in shown), default=0))
    lines = [f"failed     {count}{f' {where}' if where else ''}"]
    lines += [f"  {pad(clean(item.name), size)}  {clean(item.reason)}" for item in shown]
    if count > len(shown):
        lines.append(f"  and {count - len(shown)} more")
    return lines


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
