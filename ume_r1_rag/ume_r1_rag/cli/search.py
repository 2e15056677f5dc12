"""``ume-r1 search``: questions to a collection."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ume_r1_rag.cli.filter import FilterOption, check_filter, filters
from ume_r1_rag.cli.options import (
    DEFAULT_COLLECTION,
    BackendOption,
    BaseUrlOption,
    CacheOption,
    CollectionOption,
    EngineOption,
    GrpcOption,
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
from ume_r1_rag.types import Encoder, Think

if TYPE_CHECKING:
    from ume_r1_rag.cli.model import Running
    from ume_r1_rag.index import QdrantIndex
    from ume_r1_rag.retriever import Question, Retriever, SearchResult

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
            help="Questions, one a line: a text, or JSON with text, image, video, kind.",
        ),
    ] = None,
    mode: Annotated[
        SearchMode,
        typer.Option(
            "--mode", help="What to rank by: disc, gen, words (text), or these fused. text loads no model."
        ),
    ] = "fused",
    spaces: Annotated[
        str | None,
        typer.Option(
            "--spaces",
            metavar="SPACE,...",
            help="With --mode fused: which of disc, gen and text to combine.",
            show_default="those the collection and the question have",
        ),
    ] = None,
    fusion: Annotated[
        Fusion, typer.Option("--fusion", help="With --mode fused: how to combine them.")
    ] = "convex",
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="SPACE=N,...", help="With --mode fused: what each weighs."),
    ] = None,
    kind: Annotated[
        Kind | None,
        typer.Option(
            "--kind",
            help="What is looked for: puts that instruction before the question. It filters nothing.",
        ),
    ] = None,
    filter: FilterOption = None,
    k: Annotated[
        int, typer.Option("-k", min=1, help="At most so many hits; with --group-by, so many files.")
    ] = 10,
    group_by: Annotated[
        GroupBy | None, typer.Option("--group-by", help="Find files instead of pages and segments.")
    ] = None,
    group_size: Annotated[
        int,
        typer.Option(
            "--group-size", min=1, help="With --group-by: at most so many pages or segments of each file."
        ),
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
        bool,
        typer.Option("--explain", help="Show, in place of the table, what was thought of question and hits."),
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
    base_url: BaseUrlOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    grpc: GrpcOption = False,
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
    from ume_r1_rag.cli import search_input
    from ume_r1_rag.cli.model import running
    from ume_r1_rag.cli.store import Address, open_index

    if queries is not None and (query or image or video is not None):
        raise typer.BadParameter("--queries holds the questions: leave QUERY, --image and --video out")
    where = filters(filter)
    options: SearchOptions = {
        "fusion": fusion,
        "group_by": group_by,
        "group_size": group_size,
        "kind": kind,
        "filter": where,
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
    with open_index(Address(path, url, collection, tenant, grpc)) as index, ExitStack() as stack:
        check_filter(index, where)
        encoder: Encoder | None = None
        name = str(index.fingerprint.get("model", "-"))
        # Words are found without any model.
        if mode != "text" and options.get("spaces") != ["text"]:
            run = running(backend, engine, base_url)
            encoder, name = _encoder(stack, index, model, thinking, run, cache)
        found = _search(_retriever(encoder, index, lazy_gen, options), asked, k, mode, options)
        shown = _Shown(asked, found, name, *_about(index, name))
    shown.tell(html, as_json=as_json, listed=queries is not None, explain=explain)


def _encoder(
    stack: ExitStack,
    index: QdrantIndex,
    model: str | None,
    think: Think | None,
    run: Running,
    cache: Path | None,
) -> tuple[Encoder, str]:
    """Returns what encodes the questions, and its name; its cache is closed with the stack."""
    from ume_r1_rag.cli.model import cached, encoder_for

    loaded = encoder_for(index.fingerprint, model, think, run=run)
    return stack.enter_context(cached(loaded, cache, index.tenant)), loaded.model


def _retriever(
    encoder: Encoder | None, index: QdrantIndex, lazy_gen: int, options: SearchOptions
) -> Retriever:
    """Returns what searches; with ``lazy_gen`` it has the first hits reasoned about."""
    from ume_r1_rag.retriever import Retriever

    retriever = Retriever(encoder, index)
    if lazy_gen and encoder is not None:
        from ume_r1_rag.ingest import Enricher

        retriever.enricher = Enricher(encoder, index)
        options["lazy_gen"] = lazy_gen
    return retriever


def _about(index: QdrantIndex, name: str) -> tuple[str, str]:
    """Returns what was searched, in words, and why nothing can be found there, if so."""
    from ume_r1_rag.cli.store import why_empty

    points = index.count()
    whose = f" of tenant {index.tenant}" if index.tenant is not None else ""
    about = f"{name}, {points} documents{whose} in {index.collection}"
    return about, "" if points else why_empty(index)


@dataclass(frozen=True, slots=True)
class _Shown:
    """Questions and answers, and what is said with them.

    Attributes:
        asked: the questions.
        found: an answer each.
        name: the model's.
        about: what was searched.
        empty: why there is nothing to be found, or nothing.
    """

    asked: Sequence[Question]
    found: Sequence[SearchResult]
    name: str
    about: str
    empty: str

    def tell(self, html: Path | None, *, as_json: bool, listed: bool, explain: bool) -> None:
        """Prints them, and writes the page if one is wanted."""
        from ume_r1_rag.cli import search_report

        pairs = list(zip(self.asked, self.found, strict=True))
        if html is not None:
            search_report.write_page(html, self.asked, self.found, self.about)
        if as_json:
            answers = [search_report.as_dict(*pair, self.name) for pair in pairs]
            typer.echo(to_json(answers if listed else answers[0]))
            return
        reports = [search_report.report(*pair, self.about, explain, self.empty) for pair in pairs]
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
    # What a question says of itself goes before what is said of all.
    given = options.get("kind")
    kinds = [one.kind_for(retriever.encoder) or given for one in asked]
    found: dict[int, SearchResult] = {}
    failed: list[str] = []
    for kind in dict.fromkeys(kinds):
        places = [at for at, own in enumerate(kinds) if own == kind]
        options["kind"] = kind
        try:
            answers = retriever.search_batch([asked[at].input for at in places], k, mode, **options)
        except EncodeErrors as errors:
            failed += [f"{asked[places[at]].shown}: {error}" for at, error in errors.failures]
        else:
            found |= zip(places, answers, strict=True)
    if failed:
        raise InputError(f"{len(failed)} of {len(asked)} questions failed: {'; '.join(failed)}")
    return [found[at] for at in range(len(asked))]
