"""``python -m ume_r1_bench.demo``: the whole path once, from a folder of files to a page of answers.

Makes the sample folder, indexes it in both spaces, asks the eight questions that come with it by disc, by gen
and fused, and says how many were right. Works on the folder ``demo`` below the current one, or ``--folder``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ume_r1_bench.world import make_world
from ume_r1_rag.errors import ConfigError, UmeR1Error
from ume_r1_rag.retriever import Retriever, SearchMode, SearchResult
from ume_r1_rag.types import Hit, MultimodalInput

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex
    from ume_r1_rag.ingest import IngestReport

ROOT: Final = Path("demo")
MODEL: Final = "nano"
MODES: Final[tuple[SearchMode, ...]] = ("disc", "gen", "fused")
WIDTH: Final = 100
ON_PAGE: Final = 4
"""Hits of a question on the page."""

Shown: TypeAlias = tuple[str, int | None]
"""A document's title, and its page or None."""

_QUESTION: Final = 34
_CELL: Final = 21


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its answer.

    Attributes:
        text: the words, or empty.
        image: the picture asked with, or None.
        kind: what is looked for; names the instruction.
        gold: title and page of the one right document.
    """

    text: str
    image: Path | None
    kind: str
    gold: Shown

    @classmethod
    def read(cls, line: dict[str, Any], root: Path) -> Question:
        """Returns the question of a line of ``questions.jsonl``."""
        image = None if line["image"] is None else root / line["image"]
        return cls(line["text"], image, line["kind"], (line["gold"], line["page"]))

    @property
    def shown(self) -> str:
        """The question as a person would put it."""
        if self.image is None:
            return self.text
        return f"{self.text or 'what looks like this'} [{self.image.name}]"

    @property
    def input(self) -> MultimodalInput:
        """The question as the encoder takes it."""
        images = () if self.image is None else (self.image,)
        return MultimodalInput(text=self.text or None, images=images)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question got.

    Attributes:
        question: the question.
        results: per mode, every document in order.
    """

    question: Question
    results: dict[SearchMode, SearchResult]

    def rank(self, mode: SearchMode) -> int | None:
        """Returns the rank, from 1, of the right document; None if it is not in the index."""
        found = [shown(hit) for hit in self.results[mode].hits]
        return found.index(self.question.gold) + 1 if self.question.gold in found else None


def run_demo(root: Path = ROOT) -> list[Answer]:
    """Runs the demo in a folder, tells of it on stdout, and returns the answers.

    Args:
        root: gets ``files``, ``asked``, ``questions.jsonl``, ``index`` (made anew) and ``results.html``.

    Raises:
        ConfigError: there is an ``index`` in it that no index is.
    """
    from ume_r1_rag.encoder import UmeR1Encoder
    from ume_r1_rag.index import QdrantIndex
    from ume_r1_rag.ingest import ingest

    began = time.monotonic()
    _clear(root / "index")
    _title("UME-R1 demo: a folder of pages, pictures and clips, indexed in both spaces and asked")
    make_world(root, split="demo", progress=False)
    lines = (root / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [Question.read(json.loads(line), root) for line in lines]
    _say("Files", f"{_counted(root / 'files')} in {root / 'files'}")
    _quiet()
    encoder = UmeR1Encoder(MODEL)
    size = sum(file.stat().st_size for file in encoder.model_path.iterdir())
    _say("Model", f"nano, {size / 1e6:.1f} MB, on {getattr(encoder.backend, 'device', 'cpu')}")
    _say("", "A toy, trained on drawings like these: it shows the machinery, not how good UME-R1 is.")
    with QdrantIndex(root / "index", fingerprint=encoder.fingerprint) as index:
        report = ingest(encoder, index, root / "files", show_progress=sys.stderr.isatty())
        _say("Index", _indexed(report, index, root))
        asked = time.monotonic()
        retriever = Retriever(encoder, index)
        answers = ask(retriever, questions)
        _say("Asked", f"{len(answers)} questions in {len(MODES)} ways in {time.monotonic() - asked:.1f} s")
        good = suggestion(retriever, answers)
    print(f"\n{table(answers, colour=_colours())}\n")
    _show_reasoning(answers)
    page = root / "results.html"
    page.write_text(_page(answers, report.indexed), encoding="utf-8")
    _title(closing(answers, report.indexed))
    _say_how_on(root, page, good, time.monotonic() - began)
    return answers


def ask(retriever: Retriever, questions: Sequence[Question]) -> list[Answer]:
    """Returns the answers; each question is encoded once and ranked in every mode."""
    k = max(1, retriever.index.count())
    answers = []
    for question in questions:
        kind = question.kind if question.text else None
        fused = retriever.search(question.input, k, "fused", kind=kind, spaces=("disc", "gen"))
        results: dict[SearchMode, SearchResult] = {
            mode: fused if mode == "fused" else retriever.search(fused.query_embedding, k, mode)
            for mode in MODES
        }
        answers.append(Answer(question, results))
    return answers


def suggestion(retriever: Retriever, answers: Sequence[Answer]) -> Question | None:
    """Returns a question in words that ``ume-r1 search`` answers rightly, to be tried next; None if none is.

    It is asked as that command asks, by words too, so that what is promised was seen.
    """
    for answer in answers:
        question = answer.question
        if question.image is None and answer.rank("fused") == 1:
            found = retriever.search(question.input, 1, "fused", kind=question.kind).hits
            if found and shown(found[0]) == question.gold:
                return question
    return None


def table(answers: Sequence[Answer], colour: bool = False) -> str:
    """Returns one block a question: its words and answer, and per mode the first hit, marked right or wrong.

    Args:
        answers: what to show.
        colour: whether right is green and wrong is red.
    """
    head = f"{'#':>2} {'question':<{_QUESTION}}" + "".join(f"{mode:<{_CELL}}" for mode in MODES)
    lines = [head.rstrip(), "─" * WIDTH]
    for number, answer in enumerate(answers, start=1):
        words = textwrap.wrap(answer.question.shown, _QUESTION - 2, break_on_hyphens=False)
        words.append(f"→ {short(answer.question.gold)}")
        cells = [_cell(answer, mode) for mode in MODES]
        for at in range(max(len(words), 2)):
            left = f"{number if at == 0 else '':>2} {words[at] if at < len(words) else '':<{_QUESTION}}"
            right = "".join(_coloured(cell[at] if at < 2 else "", cell[0], colour) for cell in cells)
            lines.append((left + right).rstrip())
        lines.append("")
    return "\n".join(lines[:-1])


def closing(answers: Sequence[Answer], documents: int) -> str:
    """Returns how many were right, beside what guessing gives."""
    right = {mode: sum(answer.rank(mode) == 1 for answer in answers) for mode in MODES}
    counts = ", ".join(f"{mode} {count}" for mode, count in right.items())
    guessed = len(answers) / documents if documents else 0.0
    return f"Of {len(answers)} questions right at rank 1: {counts} (guessing: {guessed:.1f})"


def shown(hit: Hit) -> Shown:
    """Returns by what a document is known to the questions: keys are paths of this machine."""
    return hit.title or hit.key, hit.page


def short(document: Shown) -> str:
    """Returns a document as the table shows it: without its extension, the page as a number."""
    title, page = document
    return Path(title).stem if page is None else f"{Path(title).stem} p{page}"


def _cell(answer: Answer, mode: SearchMode) -> tuple[str, str]:
    """Returns the first hit with its mark, and where the right one is if that is another."""
    hits, rank = answer.results[mode].hits, answer.rank(mode)
    name = short(shown(hits[0])) if hits else "nothing"
    mark, below = ("✓", "") if rank == 1 else ("✗", f"right one: rank {rank}" if rank else "not found")
    return f"{mark} {name}"[: _CELL - 1], below and f"  {below}"


def _coloured(text: str, first: str, colour: bool) -> str:
    padded = f"{text:<{_CELL}}"
    if not colour or not text:
        return padded
    return f"\x1b[{32 if first.startswith('✓') else 31}m{padded}\x1b[0m"


def _colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _show_reasoning(answers: Sequence[Answer]) -> None:
    """Prints what the model thought about one question: the most, of those that gen got right."""
    right = [answer for answer in answers if answer.rank("gen") == 1] or answers
    answer = max(right, key=lambda a: len(a.results["gen"].query_embedding.reasoning or ""))
    number, result = answers.index(answer) + 1, answer.results["gen"]
    query, hit = result.query_embedding, result.hits[0]
    print(textwrap.fill(f"How the model reasoned about question {number}, “{answer.question.shown}”:", WIDTH))
    print(_quoted(query.reasoning, query.summary))
    print(f"\nand about {short(shown(hit))}, which gen puts first (cosine {hit.score:.3f}):")
    print(_quoted(hit.reasoning, hit.summary), end="\n\n")


def _quoted(reasoning: str | None, summary: str | None) -> str:
    lines = [*(reasoning or "(no reasoning)").strip().splitlines(), f"⇒ {summary or '(no summary)'}"]
    bare = ("".join(char for char in line if char.isprintable()) for line in lines)
    return "\n".join(
        textwrap.fill(line, WIDTH, initial_indent="  │ ", subsequent_indent="  │ ") for line in bare
    )


def _page(answers: Sequence[Answer], documents: int) -> str:
    from ume_r1_rag.media import load_image, thumbnail
    from ume_r1_rag.results_page import Section, render_results

    sections = []
    for answer in answers:
        asked, result = answer.question, answer.results["fused"]
        small = None if asked.image is None else thumbnail(load_image(asked.image))
        right = [hit.key for hit in result.hits if shown(hit) == asked.gold]
        sections.append(Section.of(asked.shown, result, small, gold=right, most=ON_PAGE))
    subtitle = f"model nano, a toy; {documents} documents. {closing(answers, documents)}."
    return render_results(sections, title="UME-R1 demo", subtitle=subtitle)


def _clear(folder: Path) -> None:
    """Removes an index of before; nothing else that may bear its name."""
    if not folder.exists():
        return
    if not (folder / "meta.json").is_file():
        raise ConfigError(f"{folder} is there and is no index: move it away, the demo makes its own")
    shutil.rmtree(folder)


def _quiet() -> None:
    """Switches off transformers' bar for loading weights: it would stand in the middle of the report."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def _counted(folder: Path) -> str:
    names = {".pdf": "PDFs", ".png": "PNGs", ".mp4": "MP4s"}
    counts = Counter(file.suffix for file in folder.iterdir())
    return ", ".join(f"{count} {names.get(suffix, suffix)}" for suffix, count in sorted(counts.items()))


def _indexed(report: IngestReport, index: QdrantIndex, root: Path) -> str:
    coverage = index.coverage()
    flagged = index.count({"gen_valid": False})
    mended = f", {flagged} generations flagged" if flagged else ""
    failed = f", {report.failed} failed" if report.failed else ""
    return (
        f"{report.indexed} documents in {report.seconds:.1f} s in {root / 'index'}: "
        f"{coverage['disc']} disc, {coverage['gen']} gen{mended}{failed}"
    )


def _say_how_on(root: Path, page: Path, good: Question | None, seconds: float) -> None:
    command = "ume-r1" if shutil.which("ume-r1") else _near(Path(sys.executable).with_name("ume-r1"))
    _say("Open", f"{page} in a browser: every question with pictures, scores and reasoning")
    if good is not None:
        _say("Ask", f"{command} search {shlex.quote(good.text)} \\")
        _say("", f"  --kind {good.kind} --path {shlex.quote(str(root / 'index'))} --explain")
        _say("", f"which finds {short(good.gold)}")
    _say("Took", f"{seconds:.0f} s")


def _near(path: Path) -> str:
    """Returns a path from here if that is below, else in full."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _title(text: str) -> None:
    print(f"\x1b[1m{text}\x1b[0m" if _colours() else text, flush=True)


def _say(label: str, text: str) -> None:
    print(f"  {label:<6} {text}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if everything ran, whatever the answers; 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m ume_r1_bench.demo",
        description="Makes a folder of PDFs, pictures and clips, indexes it with nano, asks eight questions "
        "and writes a page of the answers. About a minute on two cores; needs no network.",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT,
        metavar="DIR",
        help="where to; an index of an earlier demo in it is replaced (default: %(default)s)",
    )
    chosen = parser.parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    try:
        run_demo(chosen.folder)
    except UmeR1Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
