"""``ume-r1 search``: one question to a collection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ume_r1_rag.cli.options import (
    DEFAULT_COLLECTION,
    CollectionOption,
    IndexModelOption,
    JsonOption,
    Kind,
    PathOption,
    ThinkOption,
    UrlOption,
    budget,
    check_target,
)
from ume_r1_rag.cli.screen import Align, clean, columns, fit, table, to_json, width, wrap
from ume_r1_rag.retriever import SearchMode
from ume_r1_rag.retriever.fusion import Fusion

if TYPE_CHECKING:
    from ume_r1_rag.retriever import SearchResult
    from ume_r1_rag.types import Hit, MultimodalInput

EXAMPLES = """\b
Examples:
  ume-r1 search "revenue by quarter" --kind page
  ume-r1 search --image photo.jpg -k 5                       # what looks like it
  ume-r1 search "the same in blue" --image shoe.jpg --kind edit --explain
  ume-r1 search "a red ball rolls in" --mode gen --json
  ume-r1 search "a red ball rolls in" --html results.html
"""

_FIELDS = ("kind", "title", "document", "uri", "page", "span_s", "summary", "reasoning", "gen_issue", "text")
"""What ``--json`` tells of a hit, beside its scores: everything but the thumbnail and bookkeeping."""


def search(
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY",
            help="The question; may be left out beside --image or --video.",
            show_default=False,
        ),
    ] = "",
    image: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="FILE", help="A picture to ask with; several may be given."),
    ] = None,
    video: Annotated[str | None, typer.Option("--video", metavar="FILE", help="A video to ask with.")] = None,
    mode: Annotated[SearchMode, typer.Option("--mode", help="By which space to rank, or by both.")] = "fused",
    fusion: Annotated[Fusion, typer.Option("--fusion", help="How fused combines the spaces.")] = "convex",
    kind: Annotated[
        Kind | None,
        typer.Option(
            "--kind",
            help="What is looked for: puts that instruction before the question. It filters nothing.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="At most so many hits.")] = 10,
    think: ThinkOption = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what the model thought about the question and each hit.")
    ] = False,
    as_json: JsonOption = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", dir_okay=False, help="Also write a page with pictures."),
    ] = None,
    model: IndexModelOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    collection: CollectionOption = DEFAULT_COLLECTION,
) -> None:
    """Search a collection by text, picture, video or a mix.

    A QUERY alone that is the name of an existing picture or video is read as that file. A picture or video
    without words and without --kind is asked for its like. Preset and think budget are the collection's,
    the latter unless --think is given.
    """
    if not query.strip() and not image and video is None:
        raise typer.BadParameter("give a QUERY, --image or --video")
    thinking = budget(think)
    check_target(html, "--html")
    from ume_r1_rag.cli.model import encoder_for
    from ume_r1_rag.cli.store import open_index
    from ume_r1_rag.retriever import Retriever

    asked = _asked(query, image, video)
    with open_index(path, url, collection) as index:
        encoder = encoder_for(index.fingerprint, model, thinking)
        retriever = Retriever(encoder, index)
        found = retriever.search(asked, k, mode, fusion=fusion, kind=kind)
        about = f"{encoder.model}, {index.count()} documents in {collection}"
    shown = _shown(query, image, video)
    if html is not None:
        _write_page(html, shown, asked, found, about)
    if as_json:
        typer.echo(to_json(_as_dict(shown, found, encoder.model)))
        return
    typer.echo(_report(shown, found, about, explain))
    if html is not None:
        typer.echo(f"\nwrote {html}")


def _asked(query: str, images: Sequence[str] | None, video: str | None) -> MultimodalInput:
    """Returns the query as an input.

    Raises:
        InputError: a file is absent or of another kind.
    """
    from ume_r1_rag.inputs import to_input

    if images or video is not None:
        given: dict[str, Any] = {"text": query or None, "image": list(images or ()) or None, "video": video}
        return to_input({name: value for name, value in given.items() if value is not None})
    return to_input(query)


def _shown(query: str, images: Sequence[str] | None, video: str | None) -> str:
    files = [Path(name).name for name in (*(images or ()), *([video] if video else ()))]
    return clean(" + ".join(part for part in (query, *files) if part))


def _report(shown: str, found: SearchResult, about: str, explain: bool) -> str:
    most = columns()
    query = found.query_embedding
    way = f"{found.mode} ({found.fusion})" if found.fusion else found.mode
    lines = [f"{shown}", f"{way}: {clean(about)}, {found.encode_s + found.search_s:.1f} s"]
    if query.summary:
        lines.append(fit(f"read as: {clean(query.summary)}", most))
    if query.gen_issue:
        lines.append(f"note: the question's generation was cut off or malformed ({query.gen_issue})")
    if explain and query.reasoning:
        lines.append(wrap(clean(query.reasoning, lines=True), "  | ", most))
    if not found.hits:
        return "\n".join([*lines, "", "nothing was found"])
    lines += ["", *_hits(found, explain, most)]
    return "\n".join(lines)


def _hits(found: SearchResult, explain: bool, most: int) -> list[str]:
    """Returns the table of the hits, with each one's reasoning below its line if asked for."""
    spaces = ["disc", "gen"] if found.fusion else [found.mode]
    digits = 4 if found.fusion == "rrf" else 3
    header = ["#", "score", *(spaces if found.fusion else []), "document", "page", "summary"]
    rows = []
    for rank, hit in enumerate(found.hits, start=1):
        cosines = [f"{hit.scores[s]:.3f}" if s in hit.scores else "-" for s in spaces] if found.fusion else []
        page = hit.payload.get("ume_page")
        rows.append(
            [
                str(rank),
                f"{hit.score:.{digits}f}",
                *cosines,
                fit(_name(hit), most * 2 // 5),
                "" if page is None else str(page),
                clean(hit.payload.get("ume_summary", "")),
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


def _explained(hit: Hit, most: int) -> list[str]:
    summary, reasoning = (
        clean(hit.payload.get(f"ume_{f}", ""), lines=True) for f in ("summary", "reasoning")
    )
    issue = clean(hit.payload.get("ume_gen_issue", ""))
    lines = [f"    summary: {summary}"] if summary and width(summary) > most // 3 else []
    lines += [wrap(reasoning, "  | ", most)] if reasoning else ["  | no reasoning is stored"]
    return [*lines, f"  flagged: {issue}"] if issue else lines


def _name(hit: Hit) -> str:
    """Returns what a user calls the file behind a hit."""
    return clean(hit.payload.get("ume_title") or hit.key)


def _as_dict(shown: str, found: SearchResult, model: str) -> dict[str, Any]:
    query = found.query_embedding
    return {
        "query": shown,
        "model": model,
        "mode": found.mode,
        "fusion": found.fusion,
        "summary": query.summary,
        "reasoning": query.reasoning,
        "gen_valid": query.gen_valid,
        "gen_issue": query.gen_issue,
        "encode_s": round(found.encode_s, 4),
        "search_s": round(found.search_s, 4),
        "hits": [
            {
                "rank": rank,
                "key": hit.key,
                "id": hit.id,
                "score": hit.score,
                "scores": dict(hit.scores),
                **{field: hit.payload.get(f"ume_{field}") for field in _FIELDS},
            }
            for rank, hit in enumerate(found.hits, start=1)
        ],
    }


def _write_page(target: Path, shown: str, asked: MultimodalInput, found: SearchResult, about: str) -> None:
    from ume_r1_rag.media import load_image, load_video, thumbnail
    from ume_r1_rag.results_page import Section, render_results

    small = None
    if asked.images:
        small = thumbnail(load_image(asked.images[0]))
    elif asked.video is not None:
        frames = load_video(asked.video, 3)
        small = thumbnail(frames[len(frames) // 2])
    page = render_results([Section.of(shown, found, small)], title="Search results", subtitle=about)
    target.write_text(page, encoding="utf-8")
