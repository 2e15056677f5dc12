"""``ume-r1 data``: training data, from pairs to records for SFT and for GRPO."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ume_r1_rag.cli.data_report import tell_annotated, tell_failed, tell_filtered, tell_selected
from ume_r1_rag.cli.options import ready_target
from ume_r1_rag.cli.screen import clean

SAMPLE_EXAMPLES = """\b
Examples:
  ume-r1 data sample --source mmeb=MMEB-train --media MMEB-train --output MMEB-train/pairs.jsonl
  ume-r1 data sample --source vidore=vidore/colpali_train_set --cap vidore=5000 --output runs/pairs.jsonl
  ume-r1 data sample --source records=mine.jsonl --cap records=1000 --output runs/pairs.jsonl
"""

ANNOTATE_EXAMPLES = """\b
Examples:
  OPENAI_BASE_URL=http://localhost:8000/v1 ume-r1 data annotate --data pairs.jsonl --output out.jsonl -m M
  ume-r1 data annotate --data pairs.jsonl --output try.jsonl -m M --base-url URL --limit 20 --format-hint
  ume-r1 data annotate --data pairs.jsonl --output out.jsonl -m M --base-url URL --concurrency 64
"""

FILTER_EXAMPLES = """\b
Examples:
  ume-r1 data filter --data runs/annotated.jsonl --output runs/UME-sft-train.jsonl
  ume-r1 data filter --data annotated.jsonl --output kept.jsonl --tokenizer Qwen/Qwen2-VL-2B-Instruct
"""

SELECT_EXAMPLES = """\b
Examples:
  ume-r1 data select-rl --data pairs.jsonl --sft UME-sft-train.jsonl --preset paper --output rl.json
  ume-r1 data select-rl --data pairs.jsonl --sft UME-sft-train.jsonl --pairs 2000 --output rl.jsonl
  ume-r1 data select-rl --data pairs.jsonl --scores scores.jsonl --easy "rank<=1" --output rl.jsonl
  ume-r1 data select-rl --data mine.jsonl --modality manuals=visdoc --pairs 500 --output rl.jsonl
"""

DataOption = Annotated[
    Path, typer.Option("--data", metavar="FILE", help="Records, .jsonl or .json.", show_default=False)
]
OutputOption = Annotated[
    Path,
    typer.Option("--output", metavar="FILE", dir_okay=False, help="What is written.", show_default=False),
]
MediaOption = Annotated[
    Path | None,
    typer.Option(
        "--media",
        metavar="DIR",
        file_okay=False,
        help="Where the paths of pictures and frames start; by default the folder of --data, for sample of "
        "--output.",
        show_default=False,
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of the draw.")]


def sample(
    source: Annotated[
        list[str],
        typer.Option(
            "--source",
            metavar="KIND=WHERE",
            help="mmeb, vidore, visrag, llavahound or records; a file, a folder or owner/name on the Hub.",
            show_default=False,
        ),
    ],
    output: OutputOption,
    media: MediaOption = None,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", metavar="NAME", help="Only these data sets.")
    ] = None,
    cap: Annotated[
        list[str] | None,
        typer.Option(
            "--cap",
            metavar="KIND=N",
            help="At most so many pairs of each data set of a kind.",
            show_default="mmeb=50000; all of others",
        ),
    ] = None,
    seed: SeedOption = 0,
    check_media: Annotated[
        bool, typer.Option("--check-media/--no-check-media", help="Leave out pairs whose media are absent.")
    ] = True,
) -> None:
    """Draw the pairs that are to be annotated, as section 2 of the paper does.

    50,000 of each of MMEB's 20 data sets, and all of the others. A drawn pair that cannot be used, for it is
    broken or its media are absent, is listed beside the output, and the exit status is then 1.
    """
    ready_target(output)
    from ume_r1_rag.cli.model import needs

    with needs("train"):
        from ume_r1_trainer.data.sample import PAPER_CAPS
        from ume_r1_trainer.data.sample import sample as run
        from ume_r1_trainer.data.sources import KINDS, open_sources

        root = media or output.parent
        caps = {**PAPER_CAPS, **{kind: _count(text) for kind, text in _pairs(cap, "--cap")}}
        if unknown := [kind for kind in caps if kind not in KINDS]:
            raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(KINDS)}", param_hint="'--cap'")
        sources = [
            one
            for kind, where in _pairs(source, "--source")
            for one in open_sources(kind, where, root, dataset or ())
        ]
        if absent := sorted(set(dataset or ()) - {one.dataset for one in sources}):
            raise typer.BadParameter(f"no source has {', '.join(absent)}", param_hint="'--dataset'")
        report = run(
            sources, output, root, caps=caps, seed=seed, check_media=check_media, progress=sys.stderr.isatty()
        )
    typer.echo(f"wrote {report.written} pairs of {len(report.datasets)} data sets to {output}")
    for name, counts in report.datasets.items():
        typer.echo(f"  {clean(name):<28} {counts['written']:>7} of {counts['available']}")
    if report.failed:
        tell_failed(report.failed, report.examples, output.with_suffix(".failed.jsonl"))
        raise typer.Exit(1)


def annotate(
    data: DataOption,
    output: OutputOption,
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="NAME", help="The teacher's name there.", show_default=False),
    ],
    base_url: Annotated[
        str,
        typer.Option(
            "--base-url",
            metavar="URL",
            envvar="OPENAI_BASE_URL",
            help="An OpenAI-compatible endpoint, with /v1; its key in OPENAI_API_KEY.",
            show_default=False,
        ),
    ],
    media: MediaOption = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Only so many pairs of the file.", show_default=False),
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Requests at the same time.")] = 8,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="DIR",
            file_okay=False,
            help="Where answers are kept; by default NAME.cache beside --output.",
            show_default=False,
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Of an answer.")] = 9216,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", min=0, help="Of the sampling.", show_default="the server's own"),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds for one attempt.")] = 600.0,
    retries: Annotated[int, typer.Option("--retries", min=0, help="Attempts after the first.")] = 5,
    give_up_after: Annotated[
        int, typer.Option("--give-up-after", min=1, help="Stop after so many failures in a row.")
    ] = 50,
    format_hint: Annotated[
        bool, typer.Option("--format-hint", help="Tell the teacher to write <think> and <answer> tags.")
    ] = False,
    price_in: Annotated[float, typer.Option("--price-in", min=0, help="Per million prompt tokens.")] = 0.0,
    price_out: Annotated[float, typer.Option("--price-out", min=0, help="Per million answer tokens.")] = 0.0,
) -> None:
    """Have a teacher write reasoning and summary for both sides of every pair, with the paper's prompt.

    The same command goes on where it stopped, by Ctrl-C, a crash or failures: what was answered is neither
    asked nor paid for again. Pairs that failed are listed beside the output, and the exit status is then 1.
    """
    from ume_r1_rag.cli.interrupt import Interrupt

    ready_target(output)
    from ume_r1_rag.cli.model import needs

    with needs("train"):
        from ume_r1_trainer.data.annotate import annotate as run
        from ume_r1_trainer.endpoint import ChatEndpoint

        endpoint = ChatEndpoint(
            base_url,
            model,
            concurrency=concurrency,
            cache=cache or output.with_suffix(".cache"),
            timeout_s=timeout,
            retries=retries,
            max_tokens=max_tokens,
            price_in=price_in,
            price_out=price_out,
            options={} if temperature is None else {"temperature": temperature},
        )
        with endpoint, Interrupt("stopping; Ctrl-C again stops at once") as interrupt:
            report = run(
                data,
                output,
                endpoint,
                media=media,
                limit=limit,
                hint=format_hint,
                give_up_after=give_up_after,
                stop=interrupt.asked,
                progress=sys.stderr.isatty(),
            )
    tell_annotated(report, endpoint, output, hint=format_hint)
    if report.stopped == "interrupted":
        raise typer.Exit(130)
    if report.failed or report.stopped:
        raise typer.Exit(1)


def filter(
    data: DataOption,
    output: OutputOption,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="Most tokens of reasoning; the paper's example.")
    ] = 8192,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            metavar="NAME",
            help="What counts them, a checkpoint here or on the Hub; by default one for four bytes.",
            show_default=False,
        ),
    ] = None,
    min_repeats: Annotated[
        int, typer.Option("--min-repeats", min=2, help="A block repeats if it stands so often in a row …")
    ] = 5,
    min_tokens: Annotated[
        int, typer.Option("--min-tokens", min=1, help="… and the whole has so many words and marks …")
    ] = 50,
    max_period: Annotated[
        int, typer.Option("--max-period", min=1, help="… and the block at most so many.")
    ] = 100,
) -> None:
    """Leave out the pairs that meet one of the paper's three criteria, and say which and why.

    They are contiguous repetition, reasoning that is too long, and an answer of another form than
    <think>…</think><answer>…. Writes NAME.dropped.jsonl and NAME.report.json beside the output. Rows that are
    no annotated records make the exit status 1; so does an output without a pair.
    """
    ready_target(output)
    from ume_r1_rag.cli.model import needs

    with needs("train"):
        from ume_r1_trainer.data.criteria import RepetitionLimits
        from ume_r1_trainer.data.filter import filter_pairs

        options: dict[str, Any] = {}
        if tokenizer is not None:
            options = {"count": _counter(tokenizer), "counted_by": tokenizer}
        report = filter_pairs(
            data,
            output,
            limits=RepetitionLimits(max_period, min_repeats, min_tokens),
            max_tokens=max_tokens,
            progress=sys.stderr.isatty(),
            **options,
        )
    tell_filtered(report, output)
    if report.unreadable or not report.kept:
        raise typer.Exit(1)


def select_rl(
    data: DataOption,
    output: OutputOption,
    preset: Annotated[
        Literal["paper"] | None,
        typer.Option("--preset", help="paper: of image data sets only its five.", show_default=False),
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="Altogether; the paper's number.")] = 11_136,
    sft: Annotated[
        list[Path] | None, typer.Option("--sft", metavar="FILE", help="What SFT has seen is left out.")
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            "--scores",
            metavar="FILE",
            dir_okay=False,
            help="What `ume-r1 data score` measured.",
            show_default=False,
        ),
    ] = None,
    easy: Annotated[
        list[str] | None,
        typer.Option(
            "--easy",
            metavar="CONDITION",
            help="Pairs that meet all of these are left out: rank<=1, margin>=0.2.",
        ),
    ] = None,
    image_set: Annotated[
        list[str] | None,
        typer.Option("--image-set", metavar="NAME", help="Of image data sets only these."),
    ] = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(
            "--modality", metavar="DATASET=NAME", help="image, video or visdoc, where records do not say it."
        ),
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Choose pairs for GRPO: unseen in SFT, not easy, balanced over modalities and data sets.

    The output has the official UME-rl-train shape, one list (.json) or a record a line (.jsonl);
    NAME.report.json beside it says what was left out and why.
    """
    if preset and image_set:
        raise typer.BadParameter("the preset names the image data sets", param_hint="'--image-set'")
    ready_target(output)
    from ume_r1_rag.cli.model import needs

    with needs("train"):
        from ume_r1_trainer.data.scores import parse_condition
        from ume_r1_trainer.data.select_rl import PAPER_IMAGE_SETS, Choice
        from ume_r1_trainer.data.select_rl import select_rl as run

        choice = Choice(
            pairs=pairs,
            image_sets=PAPER_IMAGE_SETS if preset else tuple(image_set or ()),
            easy=tuple(parse_condition(text) for text in easy or ()),
            seed=seed,
            modalities=dict(_pairs(modality, "--modality")),
        )
        report = run(data, output, choice, sft=sft or (), scores=scores, progress=sys.stderr.isatty())
    tell_selected(report, output, pairs)
    if report.unreadable:
        raise typer.Exit(1)


def _pairs(given: Sequence[str] | None, flag: str) -> list[tuple[str, str]]:
    """Returns the parts of ``NAME=VALUE`` texts."""
    found = []
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise typer.BadParameter(f"{text!r} is no NAME=VALUE", param_hint=f"'{flag}'")
        found.append((name.strip(), value.strip()))
    return found


def _count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise typer.BadParameter(f"{text!r} is no number above 0", param_hint="'--cap'")
    return int(text)


def _counter(name: str) -> Any:
    """Returns what counts the tokens of a text by a checkpoint's tokenizer."""
    from tokenizers import Tokenizer  # far lighter than transformers, and both have the same file

    from ume_r1_rag.errors import CheckpointError

    file = Path(name) / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file)) if Path(name).exists() else Tokenizer.from_pretrained(name)
    except Exception as error:  # the package raises Exception itself
        raise CheckpointError(f"{name} has no tokenizer.json that can be loaded: {error}") from error
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
