"""Card: one query as the report shows it, with what each mode and each sample made of it.

Shown of a task is the first query, in the rows' order, of each case in turn: gen alone finds it, disc alone,
neither, both; queries whose generation is valid go before those whose is flagged. Which queries are shown
depends on how they came out and on nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ume_r1_bench.mmeb.modes import DISC, Mode

if TYPE_CHECKING:
    from ume_r1_bench.mmeb.measured import TaskRun
    from ume_r1_bench.mmeb.row import Item
    from ume_r1_bench.mmeb.score import TaskScore

FIRST: Final = 3
"""Candidates that are shown of a ranking."""

MOST_SAMPLES: Final = 6
CASES: Final = ("gen alone", "disc alone", "neither", "both")


@dataclass(frozen=True, slots=True)
class Shown:
    """A query or candidate as it is shown.

    Attributes:
        name: the candidate's key; empty of a query.
        text: its text.
        thumbnail: a small JPEG, or None.
        right: whether it is relevant.
    """

    name: str
    text: str
    thumbnail: bytes | None
    right: bool = False


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a mode or a sample found.

    Attributes:
        name: of the mode or the sample.
        rank: of the first right one, from 1; 0 if it was not ranked.
        first: the first candidates.
        reasoning: what the model thought about the query, if it did.
        summary: what it took the query to be.
        issue: why a generation is flagged, or empty.
    """

    name: str
    rank: float
    first: tuple[Shown, ...]
    reasoning: str = ""
    summary: str = ""
    issue: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """One query.

    Attributes:
        task: the task's name.
        meta_task: what it belongs to.
        number: the query's id in its data.
        case: which of disc and gen finds it.
        query: the query.
        right: the relevant candidates, at most two.
        candidates: how many it ranks.
        rankings: by mode.
        samples: by sampled generation of the query.
    """

    task: str
    meta_task: str
    number: str
    case: str
    query: Shown
    right: tuple[Shown, ...]
    candidates: int
    rankings: tuple[Ranking, ...]
    samples: tuple[Ranking, ...]


def make_cards(
    run: TaskRun, done: Mapping[Mode, TaskScore], samples: Sequence[TaskScore], most: int
) -> list[Card]:
    """Returns at most ``most`` cards of a task."""
    return [_card(run, number, case, done, samples) for number, case in _chosen(run, done, most)]


def _chosen(run: TaskRun, done: Mapping[Mode, TaskScore], most: int) -> list[tuple[int, str]]:
    gen = run.options.gen
    cases: dict[str, list[int]] = {case: [] for case in CASES}
    for number in range(len(run.placed.queries)):
        disc = _found(done.get(DISC), number)
        thought = _found(done.get(gen) if gen else None, number)
        case = ("both" if disc else "gen alone") if thought else ("disc alone" if disc else "neither")
        cases[case].append(number)
    texts = (
        {n: run.texts(gen, run.placed.queries[n])[2] for n in range(len(run.placed.queries))} if gen else {}
    )
    for numbers in cases.values():
        numbers.sort(key=lambda number: bool(texts.get(number)))
    chosen: list[tuple[int, str]] = []
    for turn in range(most):
        chosen += [(numbers[turn], case) for case, numbers in cases.items() if turn < len(numbers)]
    return sorted(chosen[:most], key=lambda one: (bool(texts.get(one[0])), one[1] == "neither"))


def _found(score: TaskScore | None, number: int) -> bool:
    return score is not None and 0 < score.rank[number] <= 1 + 1e-9


def _card(
    run: TaskRun, number: int, case: str, done: Mapping[Mode, TaskScore], samples: Sequence[TaskScore]
) -> Card:
    data, key = run.placed.data, run.placed.queries[number]
    query = data.queries[number]

    def shown(name: str) -> Shown:
        item = data.candidates.get(name)
        return _shown(item, name, name in query.relevance) if item else Shown(name, name, None)

    def ranking(name: str, score: TaskScore, texts: tuple[str, str, str]) -> Ranking:
        first = tuple(shown(one) for one in score.first[number][:FIRST])
        return Ranking(name, float(score.rank[number]), first, *texts)

    rankings = tuple(ranking(mode.name, score, run.texts(mode, key)) for mode, score in done.items())
    sampled = run.sample_texts(key)
    drawn = tuple(
        ranking(f"sample {at + 1}", score, (*sampled[at], "") if at < len(sampled) else ("", "", ""))
        for at, score in enumerate(samples[:MOST_SAMPLES])
    )
    right = tuple(shown(name) for name in list(query.relevance)[:2])
    asked = _shown(query.item, "", False)
    task = data.task
    return Card(
        task.name,
        task.meta_task,
        query.id,
        case,
        asked,
        right,
        len(run.placed.names[number]),
        rankings,
        drawn,
    )


def _shown(item: Item, name: str, right: bool) -> Shown:
    return Shown(name, item.text or "", _thumbnail(item), right)


def _thumbnail(item: Item) -> bytes | None:
    """Returns a preview, of a clip some frames side by side; None of what is no picture or cannot be read."""
    from PIL import Image

    from ume_r1_rag.errors import UmeR1Error
    from ume_r1_rag.media import load_image, thumbnail

    frames = item.frames[:: max(1, len(item.frames) // 4)][:4]
    try:
        pictures = [load_image(path) for path in (*item.images[:1], *frames)]
    except (UmeR1Error, OSError):
        return None
    if not pictures:
        return None
    if len(pictures) == 1:
        return thumbnail(pictures[0], 240)
    height = min(picture.height for picture in pictures)
    scaled = [p.resize((max(1, p.width * height // p.height), height)) for p in pictures]
    strip = Image.new("RGB", (sum(p.width for p in scaled), height))
    left = 0
    for picture in scaled:
        strip.paste(picture, (left, 0))
        left += picture.width
    return thumbnail(strip, 320)
