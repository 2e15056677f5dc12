"""``ume-r1 data pages``: pairs of questions and pages from a folder of one's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ume_r1_rag.cli.data import OutputOption
from ume_r1_rag.cli.data_report import tell_failed, tell_usage
from ume_r1_rag.cli.options import ready_target
from ume_r1_rag.errors import ConfigError, InputError

if TYPE_CHECKING:
    from PIL.Image import Image

    from ume_r1_trainer.data.questions import PagePicture

EXAMPLES = """\b
Examples:
  OPENAI_BASE_URL=http://localhost:8000/v1 ume-r1 data pages ~/manuals --output runs/pairs.jsonl -m M
  ume-r1 data pages ~/manuals --output runs/pairs.jsonl -m M --base-url URL --questions 3 --hold-out 0.1
"""

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def pages(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="PDFs and pictures of pages.")
    ],
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
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="Of the data set that is made; by default the folder's.", show_default=False
        ),
    ] = None,
    questions: Annotated[int, typer.Option("--questions", min=1, help="Of a page, at most.")] = 2,
    hold_out: Annotated[
        float,
        typer.Option(
            "--hold-out",
            min=0,
            max=0.9,
            help="Share of the documents that go to NAME.heldout.jsonl, to measure on.",
        ),
    ] = 0.0,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=784, help="Of a page as a picture.")
    ] = 1_003_520,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Requests at the same time.")] = 8,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Of an answer.")] = 4096,
) -> None:
    """Make pairs to train on of your own pages: a teacher writes questions for each.

    Pages become pictures below the output's folder, in pages/. The same command asks nothing twice: answers
    are kept in NAME.cache. What fails is listed in NAME.failed.jsonl, and the exit status is then 1.
    """
    ready_target(output)
    from ume_r1_rag.cli.model import needs

    if output.suffix != ".jsonl":
        raise ConfigError(f"{output} must be a .jsonl")
    failures: list[dict[str, str]] = []
    with needs("train"):
        from ume_r1_trainer.data.questions import ask_pages, held_out
        from ume_r1_trainer.data.record import place_blank
        from ume_r1_trainer.endpoint import ChatEndpoint

        media = output.parent
        place_blank(media)
        found = _pictures(folder, media, max_pixels, lambda why: failures.append({"why": why}))
        endpoint = ChatEndpoint(
            base_url,
            model,
            concurrency=concurrency,
            max_tokens=max_tokens,
            timeout_s=600,
            cache=output.with_suffix(".cache"),
        )
        kept: dict[bool, list[tuple[str, int, list[str]]]] = {False: [], True: []}
        with endpoint:
            progress = "asking" if sys.stderr.isatty() else None
            for asked in ask_pages(
                found, media, endpoint, name or folder.resolve().name, count=questions, progress=progress
            ):
                page = asked.page
                if asked.error is not None:
                    failures.append({"why": f"{page.document}, page {page.number}: {asked.error}"})
                lines = [json.dumps(record, ensure_ascii=False) for record in asked.records]
                kept[held_out(page.document, hold_out)].append((page.document, page.number, lines))
    counts = {out: _write(output, kept[out], held=out) for out in (False, True)}
    told = f"; held out: {counts[True]}" if hold_out else ""
    typer.echo(f"wrote {counts[False]} pairs of {sum(map(len, kept.values()))} pages to {output}{told}")
    tell_usage(endpoint.usage)
    where = output.with_suffix(".failed.jsonl")
    where.unlink(missing_ok=True)
    if failures:
        lines = [json.dumps(failure, ensure_ascii=False) + "\n" for failure in failures]
        where.write_text("".join(lines), encoding="utf-8")
        tell_failed(len(failures), [failure["why"] for failure in failures[:5]], where)
        raise typer.Exit(1)


def _pictures(
    folder: Path, media: Path, max_pixels: int, fail: Callable[[str], None]
) -> Iterator[PagePicture]:
    """Yields the pages of a folder, each drawn when it is needed; what cannot be read goes to ``fail``."""
    from ume_r1_rag.media import PdfPages, load_image
    from ume_r1_trainer.data.questions import PagePicture

    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.resolve().is_relative_to((media / "pages").resolve()):
            continue  # our own pictures, where the output lies in the folder
        try:
            if path.suffix.lower() == ".pdf":
                with PdfPages(path) as pdf:
                    for number in range(1, len(pdf) + 1):
                        image = f"pages/{name}/{number:04}.{max_pixels}.png"
                        if not _drawn(media / image, path):
                            try:
                                _save(pdf.render(number, max_pixels), media / image)
                            except InputError as error:
                                fail(f"{name}, page {number}: {error}")
                                continue
                        yield PagePicture(name, number, image)
            elif path.suffix.lower() in _PICTURES:
                image = f"pages/{name}.png"
                if not _drawn(media / image, path):
                    _save(load_image(path), media / image)
                yield PagePicture(name, 1, image)
        except InputError as error:
            fail(f"{name}: {error}")


def _drawn(picture: Path, source: Path) -> bool:
    """Returns whether a picture was drawn from a file as it is now."""
    return picture.is_file() and picture.stat().st_mtime_ns >= source.stat().st_mtime_ns


def _save(picture: Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    picture.save(partial, "PNG")
    partial.replace(path)


def _write(output: Path, pages: list[tuple[str, int, list[str]]], *, held: bool) -> int:
    """Writes the pairs of pages in the pages' order; returns how many."""
    path = output.with_suffix(".heldout.jsonl") if held else output
    lines = [line for _, _, lines in sorted(pages) for line in lines]
    if held and not pages:
        path.unlink(missing_ok=True)
        return 0
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(lines)
