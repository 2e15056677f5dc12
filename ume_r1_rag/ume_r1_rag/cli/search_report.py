"""What ``ume-r1 search`` shows of its answers: a table, JSON, a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.cli.screen import Align, clean, columns, fit, table, wrap

if TYPE_CHECKING:
    from ume_r1_rag.retriever import Question, SearchResult
    from ume_r1_rag.types import Hit, MultimodalInput


def report(question: Question, found: SearchResult, about: str, explain: bool, empty: str = "") -> str:
    """Returns an answer as text for a terminal.

    Args:
        question: what was asked.
        found: the answer.
        about: model and collection.
        explain: whether to tell what the model thought of the question and of each hit.
        empty: why there is nothing to be found, if there is nothing at all.
    """
    most = columns()
    query = found.query_embedding
    spaces = ", ".join(found.spaces)
    way = f"{found.mode} ({found.fusion} of {spaces})" if found.fusion else spaces
    seconds = found.encode_s + found.search_s + found.enrich_s
    lines = [question.shown, fit(f"{way}: {clean(about)}, {seconds:.1f} s", most)]
    if found.enriched:
        lines.append(f"wrote {found.enriched} gen vectors in {found.enrich_s:.1f} s")
    if query.summary and not explain:
        lines.append(fit(f"read as: {clean(query.summary)}", most))
    if query.gen_issue:
        lines.append(f"note: the question's generation was cut off or malformed ({clean(query.gen_issue)})")
    if explain:
        lines += _thoughts(query.reasoning, query.summary, "", most)
    if not found.hits:
        return "\n".join([*lines, "", f"nothing was found{f': {empty}' if empty else ''}"])
    lines += ["", *(_explained(found, most) if explain else _table(found, most))]
    lacking = sum("gen" in found.spaces and "gen" not in hit.scores for hit in found.hits)
    if lacking:
        how = "judged by the rest" if found.fusion else "placed by an estimate from disc"
        lines += ["", f"{lacking} of {len(found.hits)} have no gen vector yet: {how}"]
    return "\n".join(lines)


def as_dict(question: Question, found: SearchResult, model: str) -> dict[str, Any]:
    """Returns an answer as ``--json`` prints it."""
    return {"query": question.shown, "model": model, **found.as_dict()}


def write_page(
    target: Path, questions: Sequence[Question], answers: Sequence[SearchResult], about: str
) -> None:
    """Writes a page of answers."""
    from ume_r1_rag.results_page import Section, render_results

    sections = [
        Section.of(question.shown, found, _thumbnail(question.input))
        for question, found in zip(questions, answers, strict=True)
    ]
    page = render_results(sections, title="Search results", subtitle=about)
    target.write_text(page, encoding="utf-8")


def _thumbnail(asked: MultimodalInput) -> bytes | None:
    from ume_r1_rag.media import load_image, load_video, thumbnail

    if asked.images:
        return thumbnail(load_image(asked.images[0]))
    if asked.video is None:
        return None
    frames = load_video(asked.video, 3)
    return thumbnail(frames[len(frames) // 2])


def _table(found: SearchResult, most: int) -> list[str]:
    """Returns the table of the hits."""
    spaces = _spaces(found)
    header = ["#", "score", *spaces, "document", "page", "summary"]
    rows = []
    for rank, hit in enumerate(found.hits, start=1):
        rows.append(
            [
                str(rank),
                _number(hit.score, found),
                *(
                    f"{hit.scores[space]:.{_digits(space)}f}" if space in hit.scores else "-"
                    for space in spaces
                ),
                fit(_name(hit), most * 2 // 5),
                "" if hit.page is None else str(hit.page),
                clean(hit.summary or ""),
            ]
        )
    numbers: list[Align] = [">"] * (len(header) - 3)
    return table(header, rows, [*numbers, "<", ">", "<"], most).split("\n")


def _spaces(found: SearchResult) -> list[str]:
    """Returns the spaces whose scores are shown beside the one that ranks."""
    # A single space's score is the one that ranks, unless it was estimated from another one's.
    used = [*found.spaces, *(s for s in ("disc",) if any(s in hit.scores for hit in found.hits))]
    spaces = list(dict.fromkeys(used))
    return spaces if len(spaces) > 1 else []


def _number(score: float, found: SearchResult) -> str:
    """Returns the score that ranks; reciprocal ranks are small, and BM25 is large."""
    if found.fusion is None:
        return f"{score:.{_digits(found.spaces[0])}f}"
    return f"{score:.{4 if found.fusion == 'rrf' else 3}f}"


def _digits(space: str) -> int:
    return 2 if space == "text" else 3


def _explained(found: SearchResult, most: int) -> list[str]:
    """Returns the hits, each in a few lines: its place, its scores, and what the model thought of it."""
    lines: list[str] = []
    unreasoned = 0
    for rank, hit in enumerate(found.hits, start=1):
        part = "" if hit.page is None else f", page {hit.page}"
        if hit.span_s is not None:
            part = f", {hit.span_s[0]:.1f} to {hit.span_s[1]:.1f} s"
        lines.append(fit(f"{rank:>2}  {_number(hit.score, found)}  {_name(hit)}{part}", most))
        scores = ", ".join(
            f"{space} {hit.scores[space]:.{_digits(space)}f}" if space in hit.scores else f"{space} none"
            for space in _spaces(found)
        )
        if scores:
            lines.append(f"    scores    {scores}")
        thoughts = _thoughts(hit.reasoning, hit.summary, "    ", most)
        unreasoned += not (hit.reasoning or "").strip()
        lines += thoughts
        if issue := clean(hit.payload.get("ume_gen_issue", "")):
            lines.append(f"    flagged   {issue}")
        lines.append("")
    if unreasoned:
        lines.append(f"no reasoning is stored of {unreasoned} of {len(found.hits)}")
    return lines if unreasoned else lines[:-1]


def _thoughts(reasoning: str | None, summary: str | None, indent: str, most: int) -> list[str]:
    """Returns what the model wrote, folded beside its label; nothing of what it did not write."""
    lines: list[str] = []
    for label, text in (("reasoned", reasoning), ("summary", summary)):
        bare = clean(text or "", lines=True)
        if bare.strip():
            margin = indent + " " * 10
            folded = wrap(bare, margin, most)
            lines.append(f"{indent}{label:<10}{folded[len(margin) :]}")
    return lines


def _name(hit: Hit) -> str:
    """Returns what a user calls the file behind a hit."""
    return clean(hit.title or hit.key)
