"""The application: its commands, and what becomes of an error."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ume_r1_rag.cli import (
    bench,
    bench_doctor,
    bench_mmeb,
    bench_peers,
    bench_speed,
    bench_visdoc,
    claims,
    data,
    data_pages,
    data_score,
    delete,
    doctor,
    download,
    embed,
    enrich,
    index,
    info,
    reindex,
    search,
    serve,
    train,
    verify,
    world,
    world_mmeb,
)
from ume_r1_rag.cli.screen import clean
from ume_r1_rag.errors import UmeR1Error

EXAMPLES = """\b
Examples:
  ume-r1 index ~/papers --model nano
  ume-r1 search "a red circle left of a blue square" --explain
  ume-r1 search --image photo.jpg --html results.html

\b
Two vectors of everything:
  disc  one pass through the model: quick
  gen   the model reasons and sums up first: better on average, and many times dearer
  Words (text) are searched beside them.

\b
Environment (a flag wins over it):
  UME_R1_MODEL        the model, where no --model is given and no collection names one
  UME_R1_PATH         the index folder, where neither --path nor --url is given
  UME_R1_COLLECTION   the collection
  UME_R1_TENANT       the tenant
  UME_R1_PRESET       the protocol of embed, reindex and new collections
  UME_R1_CACHE        a folder for what index, enrich, search and embed encode
  UME_R1_BASE_URL     a server that encodes for index, enrich, search and embed
  UME_R1_API_KEY      the key of that server, and of `ume-r1 serve`
  UME_R1_ALLOW_FETCH  1 to read pictures and videos from http(s) URLs
  QDRANT_URL          a Qdrant server in place of a folder, its key in QDRANT_API_KEY
  HF_HUB_OFFLINE      1 to never ask the Hugging Face Hub
"""


class Commands(TyperGroup):
    """The root command: one of our errors is one line on stderr and exit status 1."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the chosen command."""
        # An unreachable hub becomes our error; its own warnings about retries would stand before that.
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
        try:
            return super().invoke(ctx)
        except UmeR1Error as error:
            typer.echo(f"error: {clean(str(error))}", err=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    name="ume-r1",
    cls=Commands,
    # Plain help: examples keep their lines, and output is the same with and without rich.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        from ume_r1_rag import __version__

        typer.echo(f"ume-r1-rag {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True, epilog=EXAMPLES)
def root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 -- its callback does all
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Retrieval over pages, pictures, clips and texts with UME-R1: embeddings that reason.

    Index a folder, then search it. The index is the folder .ume-r1 below the current one, unless --path,
    --url or the environment say otherwise.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _group(name: str, help_text: str) -> typer.Typer:
    group = typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name=name)
    return group


app.command("index", epilog=index.EXAMPLES)(index.index)
app.command("enrich", epilog=enrich.EXAMPLES)(enrich.enrich)
app.command("reindex", epilog=reindex.EXAMPLES)(reindex.reindex)
app.command("search", epilog=search.EXAMPLES)(search.search)
app.command("delete", epilog=delete.EXAMPLES)(delete.delete)
app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
app.command("embed", epilog=embed.EXAMPLES)(embed.embed)
app.command("info", epilog=info.EXAMPLES)(info.info)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
app.command("download", epilog=download.EXAMPLES)(download.download)
app.command("verify", epilog=verify.EXAMPLES)(verify.verify)
_world = _group("world", "Make the world that nano is trained on, or benchmarks of it.")
_world.command("make", epilog=world.EXAMPLES)(world.make)
_world.command("mmeb", epilog=world_mmeb.EXAMPLES)(world_mmeb.mmeb)
_world.command("visdoc", epilog=world.VISDOC_EXAMPLES)(world.visdoc)
_group("train", "Train UME-R1-shaped models.").command("sft", epilog=train.EXAMPLES)(train.sft)
_data = _group("data", "Make training data: pairs, their reasoning, what is kept, what RL gets.")
_data.command("pages", epilog=data_pages.EXAMPLES)(data_pages.pages)
_data.command("sample", epilog=data.SAMPLE_EXAMPLES)(data.sample)
_data.command("annotate", epilog=data.ANNOTATE_EXAMPLES)(data.annotate)
_data.command("filter", epilog=data.FILTER_EXAMPLES)(data.filter)
_data.command("score", epilog=data_score.EXAMPLES)(data_score.score)
_data.command("select-rl", epilog=data.SELECT_EXAMPLES)(data.select_rl)
_bench = _group("bench", "Measure a model, the index, a server, or how fast both embeddings are had.")
_bench.command("world", epilog=bench.EXAMPLES)(bench.world)
_bench.command("index", epilog=bench.INDEX_EXAMPLES)(bench.index)
_bench.command("serve", epilog=bench.SERVE_EXAMPLES)(bench.serve)
_bench.command("doctor", epilog=bench_doctor.EXAMPLES)(bench_doctor.doctor)
_bench.command("mmeb", epilog=bench_mmeb.EXAMPLES)(bench_mmeb.mmeb)
_bench.command("mmeb-speed", epilog=bench_mmeb.SPEED_EXAMPLES)(bench_mmeb.speed)
_bench.command("peers", epilog=bench_peers.EXAMPLES)(bench_peers.peers)
_bench.command("speed", epilog=bench_speed.EXAMPLES)(bench_speed.speed)
_bench.command("visdoc", epilog=bench_visdoc.EXAMPLES)(bench_visdoc.visdoc)
_claims = _group("claims", "What should be true of the real weights, and running some of it.")
_claims.command("list", epilog=claims.LIST_EXAMPLES)(claims.list_claims)
_claims.command("show", epilog=claims.SHOW_EXAMPLES)(claims.show)
_claims.command("run", epilog=claims.RUN_EXAMPLES)(claims.run)
_claims.command("cost", epilog=claims.COST_EXAMPLES)(claims.cost)
_claims.command("parity", epilog=claims.PARITY_EXAMPLES)(claims.parity)
