"""Evaluation pools: queries that share their candidates, and candidates that are hard to tell apart."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from ume_r1_bench.world.clip import BEHAVIOURS, Cast, every_clip, sample_cast
from ume_r1_bench.world.families import LABELS, Asker, Pair, Side, document, label
from ume_r1_bench.world.page import (
    KEYS,
    Page,
    sample_chart,
    sample_heading,
    sample_page,
    values_of,
    with_value,
)
from ume_r1_bench.world.scene import (
    THINGS,
    Count,
    Edit,
    Scene,
    counts,
    edits,
    sample_neighbourhood,
    sample_scene,
)
from ume_r1_bench.world.split import make_rng

POOLS: Final = 8
POOL: Final = 64
CLOSED: Final = POOLS * POOL
SMALLEST: Final = 4
LARGEST: Final = 8


@dataclass(frozen=True, slots=True)
class Pool:
    """Queries of one family with the candidates of each of them.

    Attributes:
        family: the family.
        pairs: queries; each target is equal to exactly one candidate.
        candidates: distinct documents.
    """

    family: str
    pairs: list[Pair]
    candidates: list[Side]


def make_pools(split: str, seed: int) -> Iterator[Pool]:
    """Yields the pools of every family.

    Args:
        split: whose contents.
        seed: which of them.
    """
    rng = make_rng("pools", split, seed)
    asker = Asker(rng)
    yield from _picture_pools(asker, split)
    yield from _page_pools(asker, split)
    yield from _clip_pools(asker, split)


def _closed(family: str, pairs: list[Pair]) -> Pool:
    return Pool(family, pairs, [label(family, text) for text in LABELS[family]])


def _documents(family: str, pairs: list[Pair]) -> Pool:
    return Pool(family, pairs, [pair.target for pair in pairs])


def sample_scenes(rng: random.Random, split: str) -> list[list[Scene]]:
    """Returns 64 distinct pictures in groups of near-duplicates."""
    groups: list[list[Scene]] = []
    taken: set[Scene] = set()
    while len(taken) < POOL:
        left = POOL - len(taken)
        group = sample_neighbourhood(rng, split, SMALLEST, min(left, LARGEST))
        rest = left - len(group)
        if taken.isdisjoint(group) and (rest == 0 or rest >= SMALLEST):
            groups.append(group)
            taken.update(group)
    return groups


def _changes(groups: list[list[Scene]]) -> list[tuple[Scene, list[Edit]]]:
    return [
        (before, ways)
        for group in groups
        for before in group
        for after in group
        if (ways := edits(before, after))
    ]


def _picture_pools(asker: Asker, split: str) -> Iterator[Pool]:
    rng = asker.rng
    for _ in range(POOLS):
        groups = sample_scenes(rng, split)
        while len(changes := _changes(groups)) < POOL:
            groups = sample_scenes(rng, split)
        scenes = [scene for group in groups for scene in group]
        yield _documents("picture_find", [asker.picture_find(scene) for scene in scenes])
        yield _documents("picture_describe", [asker.picture_describe(scene) for scene in scenes])
        asked = [asker.picture_edit(before, rng.choice(ways)) for before, ways in rng.sample(changes, POOL)]
        yield Pool("picture_edit", asked, [document(scene) for scene in scenes])
    yield _closed("picture_at", _places(asker, split))
    yield _closed("picture_count", _numbers(asker, split))


def _places(asker: Asker, split: str) -> list[Pair]:
    asked: set[tuple[Scene, int]] = set()
    pairs = []
    for thing in THINGS:
        for _ in range(-(-CLOSED // len(THINGS))):
            question = _place(asker.rng, split, thing.name)
            while question in asked:
                question = _place(asker.rng, split, thing.name)
            asked.add(question)
            pairs.append(asker.picture_at(*question))
    return pairs


def _place(rng: random.Random, split: str, name: str) -> tuple[Scene, int]:
    scene = sample_scene(rng, split, next(thing for thing in THINGS if thing.name == name))
    return scene, rng.choice([cell for cell, thing in scene.objects if thing.name == name])


def _numbers(asker: Asker, split: str) -> list[Pair]:
    labels = len(LABELS["picture_count"])
    each = -(-CLOSED // labels)
    asked: dict[int, dict[tuple[Scene, Count], None]] = {number: {} for number in range(labels)}
    while any(len(questions) < each for questions in asked.values()):
        scene = sample_scene(asker.rng, split)
        found = list(counts(scene))
        for number, questions in asked.items():
            matching = [question for question, answer in found if answer == number]
            if matching and len(questions) < each:
                questions[scene, asker.rng.choice(matching)] = None
    return [asker.picture_count(*question) for questions in asked.values() for question in questions]


@dataclass(frozen=True, slots=True)
class PagePool:
    """64 pages that share one chart, so that without its text no page differs from another.

    Attributes:
        pages: ``(page, key)``; heading and line of that key mean this page alone.
        values: 64 values, all that stand on the pages among them.
    """

    pages: list[tuple[Page, str]]
    values: list[str]


def sample_pages(rng: random.Random, split: str) -> PagePool:
    """Returns a pool in blocks of eight: two headings by four values of one key, the other lines the same."""
    chart = sample_chart(rng, split)
    values = rng.sample(values_of(split), POOL)
    unused = iter(values)
    headings: list[str] = []
    pages: list[tuple[Page, str]] = []
    while len(pages) < POOL:
        keys = rng.sample(KEYS, 3)
        varied = rng.choice(keys)
        lines = tuple((key, next(unused)) for key in keys)
        choices = [dict(lines)[varied], *(next(unused) for _ in range(3))]
        for _ in range(2):
            headings.append(sample_heading(rng, headings))
            base = Page(headings[-1], lines, chart)
            pages += [(with_value(base, varied, value), varied) for value in choices]
    return PagePool(pages, values)


def _page_pools(asker: Asker, split: str) -> Iterator[Pool]:
    for _ in range(POOLS):
        pool = sample_pages(asker.rng, split)
        yield _documents("page_find", [asker.page_find(page, key) for page, key in pool.pages])
        used: Counter[str] = Counter()
        asked = []
        for page, varied in asker.rng.sample(pool.pages, len(pool.pages)):
            # At most two queries share an answer, so that guessing the pool's favourite gains nothing.
            keys = [key for key, value in page.lines if used[value] < 2 or key == varied]
            key = asker.rng.choice(keys)
            used[page.value(key)] += 1
            asked.append(asker.page_read(page, key))
        yield Pool("page_read", asked, [label("page_read", value) for value in pool.values])
    longest = LABELS["page_chart"] * (CLOSED // len(LABELS["page_chart"]))
    yield _closed("page_chart", [asker.page_chart(sample_page(asker.rng, split, bar)) for bar in longest])


def _clip_pools(asker: Asker, split: str) -> Iterator[Pool]:
    casts: list[Cast] = []
    while len(casts) < POOLS:
        cast = sample_cast(asker.rng, split)
        if cast not in casts and replace(cast, top=cast.bottom, bottom=cast.top) not in casts:
            casts.append(cast)
    events = []
    for cast in casts:
        clips = every_clip(cast)
        yield _documents("clip_find", [asker.clip_find(clip) for clip in clips])
        yield _documents("clip_describe", [asker.clip_describe(clip) for clip in clips])
        for number, clip in enumerate(clips):
            # A chessboard over the pairs of behaviours: every behaviour is the answer equally often.
            upper = sum(divmod(number, len(BEHAVIOURS))) % 2 == 0
            events.append(asker.clip_event(clip, "top" if upper else "bottom"))
    yield _closed("clip_event", events)
