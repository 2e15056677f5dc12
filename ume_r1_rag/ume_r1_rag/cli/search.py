"""``ume-r1 search``: questions to a collection."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ume_r1_rag.cli.options import (
    DEFAULT_COLLECTION,
    BackendOption,
    CacheOption,
    CollectionOption,
    EngineOption,
    IndexModelOption,
    JsonOption,
    Kind,
    PathOption,
    TenantOption,
    ThinkOption,
    UrlOption,
    budget,
    check_target,
)
from ume_r1_rag.cli.screen import clean, to_json
from ume_r1_rag.errors import EncodeErrors, InputError
from ume_r1_rag.retriever.fusion import Fusion
from ume_r1_rag.retriever.options import GroupBy, SearchMode, SearchOptions

if TYPE_CHECKING:
    from ume_r1_rag.cli.search_report import Question
    from ume_r1_rag.retriever import Retriever, SearchResult

EXAMPLES = """\b
Examples:
  ume-r1 search "revenue by quarter" --kind page
  ume-r1 search "INV-2023-0117" --mode text                  # by its words, without a model
  ume-r1 search --image photo.jpg -k 5                       # what looks like it
  ume-r1 search "the same in blue" --image shoe.jpg --kind edit --explain
  ume-r1 search "a red ball rolls in" --mode gen --json
  ume-r1 search "net income" --spaces disc,text --weights disc=1,text=0.5
  ume-r1 search "net income" --filter kind=page --filter page='[1,2]' --group-by document
  ume-r1 search --queries questions.txt --html results.html
"""


def search(
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY",
            help="The question, always text; may be left out beside --image or --video.",
            show_default=False,
        ),
    ] = "",
    image: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="FILE", help="A picture to ask with; several may be given."),
    ] = None,
    video: Annotated[str | None, typer.Option("--video", metavar="FILE", help="A video to ask with.")] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Questions, one a line: a text, or JSON with text, image, video.",
        ),
    ] = None,
    mode: Annotated[
        SearchMode, typer.Option("--mode", help="By which space to rank, or by several.")
    ] = "fused",
    spaces: Annotated[
        str | None,
        typer.Option(
            "--spaces",
            metavar="SPACE,...",
            help="What fused fuses, of disc, gen and text.",
            show_default="those the collection and the question have",
        ),
    ] = None,
    fusion: Annotated[Fusion, typer.Option("--fusion", help="How fused combines the spaces.")] = "convex",
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="SPACE=N,...", help="What the spaces weigh in fused."),
    ] = None,
    kind: Annotated[
        Kind | None,
        typer.Option(
            "--kind",
            help="What is looked for: puts that instruction before the question. It filters nothing.",
        ),
    ] = None,
    filter: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="KEY=VALUE",
            help="Only documents of this field: kind, page, title, document, your metadata. Values as in "
            "JSON or bare; several keys must all match, several values of a key may.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="At most so many hits.")] = 10,
    group_by: Annotated[
        GroupBy | None, typer.Option("--group-by", help="Find files instead of pages and segments.")
    ] = None,
    group_size: Annotated[
        int, typer.Option("--group-size", min=1, help="Hits of a file, with --group-by.")
    ] = 1,
    lazy_gen: Annotated[
        int,
        typer.Option(
            "--lazy-gen",
            metavar="N",
            min=0,
            help="Reason about the first N hits that nobody has reasoned about, keep that, and rank again.",
        ),
    ] = 0,
    think: ThinkOption = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what the model thought about the question and each hit.")
    ] = False,
    as_json: JsonOption = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", dir_okay=False, help="Also write a page with pictures."),
    ] = None,
    cache: CacheOption = None,
    backend: BackendOption = "auto",
    engine: EngineOption = None,
    model: IndexModelOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    collection: CollectionOption = DEFAULT_COLLECTION,
    tenant: TenantOption = None,
) -> None:
    """Search a collection by text, picture, video or a mix.

    QUERY is text, even if it is the name of a file: --image and --video take files. A picture or video
    without words and without --kind is asked for its like. Preset and think budget are the collection's,
    the latter unless --think is given.

    The scores: cosines for disc and gen, BM25 for text. A document without a gen vector is found too, by
    what it has.
    """
    from ume_r1_rag.cli import search_input, search_report
    from ume_r1_rag.cli.store import open_index
    from ume_r1_rag.retriever import Retriever

    if queries is not None and (query or image or video is not None):
        raise typer.BadParameter("--queries holds the questions: leave QUERY, --image and --video out")
    options: SearchOptions = {
        "fusion": fusion,
        "group_by": group_by,
        "group_size": group_size,
        "kind": kind,
        "filter": search_input.filters(filter),
    }
    if spaces is not None:
        options["spaces"] = search_input.spaces(spaces)
    if weights is not None:
        options["weights"] = search_input.weights(weights)
    if lazy_gen and (mode not in ("gen", "fused") or "gen" not in (options.get("spaces") or ["gen"])):
        raise typer.BadParameter("--lazy-gen makes gen vectors: rank by gen, with --mode gen or fused")
    thinking = budget(think)
    check_target(html, "--html")
    asked = (
        search_input.questions(queries)
        if queries is not None
        else [search_input.question(query, image, video)]
    )
    # Words are found without any model.
    needs_model = mode != "text" and options.get("spaces") != ["text"]
    with open_index(path, url, collection, tenant) as index, ExitStack() as stack:
        encoder, name = None, str(index.fingerprint.get("model", "-"))
        if needs_model:
            from ume_r1_rag.cli.model import cached, encoder_for, running

            loaded = encoder_for(index.fingerprint, model, thinking, run=running(backend, engine))
            encoder, name = stack.enter_context(cached(loaded, cache, tenant)), loaded.model
        retriever = Retriever(encoder, index)
        if lazy_gen and encoder is not None:
            from ume_r1_rag.ingest import Enricher

            retriever.enricher = Enricher(encoder, index)
            options["lazy_gen"] = lazy_gen
        found = _search(retriever, asked, k, mode, options)
        about = f"{name}, {index.count()} documents in {collection}"
    if html is not None:
        search_report.write_page(html, asked, found, about)
    if as_json:
        answers = [search_report.as_dict(*pair, name) for pair in zip(asked, found, strict=True)]
        typer.echo(to_json(answers if queries is not None else answers[0]))
        return
    reports = [search_report.report(*pair, about, explain) for pair in zip(asked, found, strict=True)]
    typer.echo("\n\n\n".join(reports))
    if html is not None:
        typer.echo(f"\nwrote {clean(html)}")


def _search(
    retriever: Retriever, asked: Sequence[Question], k: int, mode: SearchMode, options: SearchOptions
) -> list[SearchResult]:
    """Returns the answers.

    Raises:
        InputError: questions cannot be encoded; each is named.
    """
    try:
        return retriever.search_batch([one.asked for one in asked], k, mode, **options)
    except EncodeErrors as errors:
        failed = "; ".join(f"{asked[at].shown}: {error}" for at, error in errors.failures)
        raise InputError(f"{len(errors.failures)} of {len(asked)} questions failed: {failed}") from errors
