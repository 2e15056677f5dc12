"""``ume-r1 bench visdoc``: from PDFs to answers, and the configuration to take."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ume_r1_rag.cli.options import (
    BackendOption,
    EngineOption,
    ModelOption,
    PresetOption,
    check_target,
    names,
)

if TYPE_CHECKING:
    from ume_r1_bench.visdoc.corpus import Corpus
    from ume_r1_rag.types import Encoder
    from ume_r1_trainer.endpoint import ChatEndpoint

EXAMPLES = """\b
Configurations:
  bm25      words of text layers and file names, no model
  disc      disc vectors
  gen-none  gen vectors with think="none": one pass
  gen       gen vectors with reasoning
  fused     disc, gen and words fused
  st:MODEL  any sentence-transformers model; one that sees no pictures gets the text layers

\b
Your own documents: a folder with PDFs (and pictures of pages) and a CSV with the columns question, file and
pages, and, to score answers, answers ("|" between several). Without a CSV the endpoint drafts questions.

\b
Examples:
  ume-r1 world visdoc runs/papers && ume-r1 bench visdoc --own runs/papers --model nano --endpoint world
  ume-r1 bench visdoc --own ~/papers --endpoint http://localhost:8000/v1 --answer-model Qwen2.5-VL-7B-Instruct
  ume-r1 bench visdoc --own ~/papers --configs bm25,disc,st:jinaai/jina-clip-v2@COMMIT --out figures.json
  ume-r1 bench visdoc --set vidore-v3/hr --data ~/vidore_v3_hr --limit 100 --html report.html
  ume-r1 bench visdoc --list-sets
"""


def _listed(wanted: bool) -> None:
    if wanted:
        from ume_r1_bench.visdoc.sets import test_sets

        typer.echo("\n".join(f"{one.name:<38}{one.hub}" for one in test_sets().values()))
        raise typer.Exit


def visdoc(
    own: Annotated[
        Path | None,
        typer.Option(
            "--own",
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="A folder of PDFs and pictures of pages.",
            show_default=False,
        ),
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            "--questions",
            metavar="FILE.csv",
            exists=True,
            dir_okay=False,
            help="The questions about --own.",
            show_default="the CSV in it",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--set", metavar="NAME", help="A public test set in place of --own.", show_default=False
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Where the set was downloaded to.",
            show_default="the hub",
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            "--language", help='Of a set\'s questions, e.g. french; "all".', show_default="the set's own"
        ),
    ] = None,
    list_sets: Annotated[  # noqa: ARG001 -- its callback does all
        bool, typer.Option("--list-sets", callback=_listed, is_eager=True, help="List the public test sets.")
    ] = False,
    model: ModelOption = None,
    configs: Annotated[
        list[str] | None,
        typer.Option(
            "--configs",
            metavar="NAME,...",
            help="Which configurations; see below.",
            show_default="all that the model is able to",
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="URL",
            help="An OpenAI-compatible server that answers; its key in OPENAI_API_KEY. "
            '"world" starts one here that reads the world\'s pages.',
            show_default="none: retrieval alone",
        ),
    ] = None,
    answer_model: Annotated[
        str | None,
        typer.Option("--answer-model", metavar="NAME", help="The model there that answers, and drafts."),
    ] = None,
    judge: Annotated[bool, typer.Option("--judge", help="Let that model judge the answers, too.")] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="Pages that an answer is made from.")] = 3,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=1, help="At most so many questions, drawn at random.", show_default="all"
        ),
    ] = None,
    decide_by: Annotated[
        str | None,
        typer.Option(
            "--decide-by",
            metavar="NAME",
            help="ndcg@5, recall@1, recall@5, recall@10, mrr@10, em, anls, relaxed, f1 or judge.",
            show_default="anls with answers, else ndcg@5",
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", min=0.01, max=50, help="Points below the best that are good enough.")
    ] = 1.0,
    queries_per_page: Annotated[
        float,
        typer.Option(
            "--queries-per-page", min=0, help="How often a page is asked about, for what is cheapest."
        ),
    ] = 1.0,
    price_hour: Annotated[
        float, typer.Option("--price-hour", min=0, help="Of this machine; without prices, seconds count.")
    ] = 0.0,
    price_in: Annotated[
        float, typer.Option("--price-in", min=0, help="Of a million prompt tokens of the endpoint.")
    ] = 0.0,
    price_out: Annotated[
        float, typer.Option("--price-out", min=0, help="Of a million of its answers.")
    ] = 0.0,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="Requests to the endpoint at a time.")
    ] = 8,
    temperature: Annotated[
        float,
        typer.Option("--temperature", help="Of the endpoint; below 0 it is the server's own.", min=-1),
    ] = 0.0,
    preset: PresetOption = "serving",
    backend: BackendOption = "auto",
    engine: EngineOption = None,
    work: Annotated[
        Path,
        typer.Option(
            "--work",
            metavar="DIR",
            file_okay=False,
            help="Indexes, rankings and answers; a run that was stopped goes on from there.",
        ),
    ] = Path(".ume-r1-visdoc"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of --limit, drafts and intervals.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.json", dir_okay=False, help="Write the figures.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", dir_okay=False, help="Write them as a page."),
    ] = None,
) -> None:
    """Measure document retrieval and answers, configuration by configuration, and say which one to take.

    The first line names the cheapest configuration within one point of the best, or says that the questions
    are too few to tell, and how many would do. The exit status is 1 if something went wrong: a file
    that cannot be read, a question that was not answered.
    """
    _check(own, name, questions, data, endpoint, answer_model)
    check_target(out, "--out")
    check_target(html, "--html")
    from ume_r1_rag.cli.model import load_encoder, needs, quiet, running

    run = running(backend, engine)

    def load(other: str | None) -> Encoder:
        return load_encoder(model, preset, run=run) if other is None else load_encoder(other)

    with needs("bench"):
        quiet()
        from ume_r1_bench.visdoc.encoders import Encoders
        from ume_r1_bench.visdoc.outcome import Prices
        from ume_r1_bench.visdoc.page import render
        from ume_r1_bench.visdoc.run import Options, run_visdoc

        shown = sys.stderr.isatty()
        prices = Prices(price_hour, price_in, price_out)
        given = Options(
            configs=names(configs),
            top=top,
            judge=judge,
            decide_by=decide_by,
            margin=margin / 100,
            queries_per_page=queries_per_page,
            prices=prices,
            seed=seed,
            progress=shown,
        )
        folder = work / _safe(name or str(own))
        chat: dict[str, Any] = {"concurrency": concurrency, "price_in": price_in, "price_out": price_out}
        chat["options"] = {"temperature": temperature} if temperature >= 0 else None
        with _answering(endpoint, answer_model, folder, chat) as model_there:
            corpus = _corpus(own, questions, name, data, language, folder, model_there, limit, seed, shown)
            encoders = Encoders(load)
            try:
                report = run_visdoc(corpus, folder, encoders, model_there, given)
            finally:
                encoders.close()
        typer.echo(report.table())
        if out is not None:
            text = json.dumps(report.as_dict(), indent=1, ensure_ascii=False)
            out.write_text(text, encoding="utf-8", errors="backslashreplace")
        if html is not None:
            html.write_text(render(report), encoding="utf-8", errors="backslashreplace")
    if not report.ok:
        raise typer.Exit(1)


def _check(
    own: Path | None,
    name: str | None,
    questions: Path | None,
    data: Path | None,
    endpoint: str | None,
    answer_model: str | None,
) -> None:
    """Refuses options that do not go together.

    Raises:
        typer.BadParameter: they do not.
    """
    if (own is None) == (name is None):
        raise typer.BadParameter("give one of --own DIR and --set NAME", param_hint="'--own'")
    if questions is not None and own is None:
        raise typer.BadParameter("it goes with --own", param_hint="'--questions'")
    if data is not None and name is None:
        raise typer.BadParameter("it goes with --set", param_hint="'--data'")
    if endpoint not in (None, "world") and answer_model is None:
        raise typer.BadParameter("say which model of the endpoint answers", param_hint="'--answer-model'")


@contextmanager
def _answering(
    endpoint: str | None, model: str | None, folder: Path, options: dict[str, Any]
) -> Iterator[ChatEndpoint | None]:
    """Opens what answers, if anything does."""
    if endpoint is None:
        yield None
        return
    from ume_r1_trainer.endpoint import ChatEndpoint

    cache = folder / "answers"
    if endpoint != "world":
        with ChatEndpoint(endpoint, str(model), cache=cache, **options) as chat:
            yield chat
        return
    from ume_r1_bench.visdoc.world_answerer import NAME, WorldAnswerer

    with (
        WorldAnswerer() as server,
        ChatEndpoint(server.base_url, model or NAME, cache=cache, **options) as chat,
    ):
        yield chat


def _corpus(
    own: Path | None,
    questions: Path | None,
    name: str | None,
    data: Path | None,
    language: str | None,
    folder: Path,
    endpoint: ChatEndpoint | None,
    limit: int | None,
    seed: int,
    progress: bool,
) -> Corpus:
    """Returns pages and questions; drafts the questions where there are none."""
    from ume_r1_bench.visdoc.drafting import draft
    from ume_r1_bench.visdoc.own import find_table, read_own
    from ume_r1_bench.visdoc.pages import Pages
    from ume_r1_bench.visdoc.sets import read_set

    folder.mkdir(parents=True, exist_ok=True)
    if own is None:
        return read_set(str(name), data, folder / "pictures", language).sampled(limit, seed)
    corpus = read_own(own, questions)
    if questions is not None or find_table(own) is not None:
        return corpus.sampled(limit, seed)
    if endpoint is None:
        raise typer.BadParameter(
            f"{own} holds no CSV of questions: write one, or give --endpoint to draft some",
            param_hint="'--own'",
        )
    table = folder / "drafted.csv"
    typer.echo(f"no CSV of questions: drafting them, to {table}", err=True)
    pages = Pages(corpus, folder / "pages")
    return draft(endpoint, corpus, pages, table, limit=limit, seed=seed, progress=progress)


def _safe(text: str) -> str:
    """Returns the name of a folder for a corpus: its own name, and what tells it from others of that name."""
    import hashlib

    place = Path(text)
    full = str(place.resolve()) if place.is_dir() else text
    named = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in place.resolve().name)
    return f"{named[:40] or 'corpus'}-{hashlib.sha256(full.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
