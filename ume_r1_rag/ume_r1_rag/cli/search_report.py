"""What ``ume-r1 search`` shows of its answers: a table, JSON, a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.cli.screen import Align, clean, columns, fit, table, width, wrap

if TYPE_CHECKING:
    from ume_r1_rag.retriever import SearchResult
    from ume_r1_rag.types import Hit, MultimodalInput


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, and how it is shown.

    Attributes:
        shown: its words and the names of its files, clean.
        asked: as the retriever takes it.
    """

    shown: str
    asked: MultimodalInput


def report(question: Question, found: SearchResult, about: str, explain: bool) -> str:
    """Returns an answer as text for a terminal."""
    most = columns()
    query = found.query_embedding
    spaces = ", ".join(found.spaces)
    way = f"{found.mode} ({found.fusion} of {spaces})" if found.fusion else spaces
    seconds = found.encode_s + found.search_s + found.enrich_s
    lines = [question.shown, fit(f"{way}: {clean(about)}, {seconds:.1f} s", most)]
    if found.enriched:
        lines.append(f"wrote {found.enriched} gen vectors in {found.enrich_s:.1f} s")
    if query.summary:
        lines.append(fit(f"read as: {clean(query.summary)}", most))
    if query.gen_issue:
        lines.append(f"note: the question's generation was cut off or malformed ({clean(query.gen_issue)})")
    if explain and query.reasoning:
        lines.append(wrap(clean(query.reasoning, lines=True), "  | ", most))
    if not found.hits:
        return "\n".join([*lines, "", "nothing was found"])
    lines += ["", *_hits(found, explain, most)]
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
        Section.of(question.shown, found, _thumbnail(question.asked))
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


def _hits(found: SearchResult, explain: bool, most: int) -> list[str]:
    """Returns the table of the hits, with each one's reasoning below its line if asked for."""
    # A single space's score is the one that ranks, unless it was estimated from another one's.
    used = [*found.spaces, *(s for s in ("disc",) if any(s in hit.scores for hit in found.hits))]
    spaces = list(dict.fromkeys(used))
    spaces = spaces if len(spaces) > 1 else []
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
    text = table(header, rows, [*numbers, "<", ">", "<"], most).split("\n")
    if not explain:
        return text
    lines = text[:1]
    for line, hit in zip(text[1:], found.hits, strict=True):
        lines += [line, *_explained(hit, most)]
    return lines


def _number(score: float, found: SearchResult) -> str:
    """Returns the score that ranks; reciprocal ranks are small, and BM25 is large."""
    if found.fusion is None:
        return f"{score:.{_digits(found.spaces[0])}f}"
    return f"{score:.{4 if found.fusion == 'rrf' else 3}f}"


def _digits(space: str) -> int:
    return 2 if space == "text" else 3


def _explained(hit: Hit, most: int) -> list[str]:
    summary, reasoning = (clean(text or "", lines=True) for text in (hit.summary, hit.reasoning))
    issue = clean(hit.payload.get("ume_gen_issue", ""))
    lines = [f"    summary: {summary}"] if summary and width(summary) > most // 3 else []
    lines += [wrap(reasoning, "  | ", most)] if reasoning else ["  | no reasoning is stored"]
    return [*lines, f"  flagged: {issue}"] if issue else lines


def _name(hit: Hit) -> str:
    """Returns what a user calls the file behind a hit."""
    return clean(hit.title or hit.key)
