"""What `ume-r1 reindex` says of a build, of the comparison, and of what a swap loses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ume_r1_rag.cli.screen import clean

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex
    from ume_r1_rag.ingest import Agreement, ReindexReport


def built(report: ReindexReport, index: QdrantIndex) -> str:
    """Returns what a build did, beside the live version."""
    from ume_r1_rag.cli.index_report import failed_lines

    already = f", {report.unchanged} were there" if report.unchanged else ""
    state = f"{report.points} documents" if report.complete else f"{report.points} documents so far"
    lines = [
        f"built      {clean(report.physical)}: {state}",
        f"written    {report.written} in {report.seconds:.1f} s{already}",
    ]
    if report.removed:
        lines.append(f"removed    {report.removed} that {clean(index.physical)} no longer has")
    tenants = [tenant for tenant in report.tenants if tenant is not None]
    if tenants:
        lines.append(f"tenants    {len(tenants)}")
    if report.texts:
        lines.append(
            f"kept       reasoning and summary of {report.texts} documents, the earlier model's; its gen "
            "vectors are not"
        )
    if report.flagged:
        issues = ", ".join(f"{issue} {count}" for issue, count in sorted(report.flagged.items()))
        lines.append(f"flagged    {sum(report.flagged.values())} generations: {issues}")
    lines += failed_lines(report.missing, report.failures, "and would be missing")
    if not report.complete:
        lines.append("stopped    interrupted; the same command goes on from there")
    return "\n".join(lines)


def compared(found: Agreement) -> str:
    """Returns how much two versions agree."""
    left = f"; {found.left_out} left out, which one of the models cannot read" if found.left_out else ""
    lines = [
        f"compared   {found.questions} questions by {found.space}{left}",
        f"  overlap@{found.k}  {found.overlap:.2f} of the first {found.k} hits are the same",
        f"  agreement   {found.rbo:.2f} rank-biased overlap, 1 for equal rankings",
        f"  first hit   the same for {found.same_first} of {found.questions}",
    ]
    if found.gold:
        lines.append(f"  hit@1       {found.hit_before} of {found.gold} now, {found.hit_after} after")
    return "\n".join(lines)


def lost_gen(index: QdrantIndex, target: QdrantIndex) -> str:
    """Returns what a search by gen would lose, or nothing: a comparison by disc cannot show it."""
    now, then = index.coverage()["gen"], target.coverage()["gen"]
    if then >= now:
        return ""
    return (
        f"gen        {now:,} documents have a gen vector now, {then:,} in the new version: `--mode both` "
        "makes them anew, and so does `ume-r1 enrich` after the swap"
    )


def swapped(index: QdrantIndex, model: str, replaced: str, report: ReindexReport) -> str:
    """Returns what is live now, and what it lacks."""
    from ume_r1_rag.cli.index_report import failed_lines

    now = clean(index.physical)
    lines = [
        f"live       {clean(index.collection)} is {now} now, with model {clean(model)}",
        f"           --rollback goes back to {clean(replaced)}, --drop-old deletes it",
        *failed_lines(report.missing, report.failures, "and are missing"),
    ]
    return "\n".join(lines)
