"""Rows of the 36 image tasks: the columns of ``MMEB_Test_Instruct``, the positive first."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ume_r1_bench.mmeb.prompt import IMAGE, PLACEHOLDER
from ume_r1_bench.mmeb.task import Task
from ume_r1_bench.world import wording
from ume_r1_bench.world.families import LABELS, Asker
from ume_r1_bench.world.mmeb.folder import Folder, Size
from ume_r1_bench.world.page import Page, sample_page
from ume_r1_bench.world.pool import sample_pages, sample_scenes
from ume_r1_bench.world.scene import (
    POSITIONS,
    THINGS,
    Scene,
    Thing,
    counts,
    edits,
    references,
    sample_scene,
)

SPLIT: Final = "test"
_READING: Final = frozenset({"DocVQA", "InfographicsVQA", "TextVQA"})
_CAPTIONED: Final = frozenset({"WebQA", "EDIS"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A query with its candidates, the right one first.

    Attributes:
        text: the query's text.
        picture: the query's picture; None for text alone.
        texts: candidates' texts.
        pictures: candidates' pictures; empty for candidates of text alone.
    """

    text: str
    picture: str | None
    texts: Sequence[str]
    pictures: Sequence[str] = ()


Maker = Callable[[Task, Folder, random.Random, Size], list[Asked]]


def image_rows(task: Task, folder: Folder, rng: random.Random, size: Size) -> list[dict[str, Any]]:
    """Returns the rows of an image task, its pictures written."""
    return [_row(task, asked) for asked in _maker(task)(task, folder, rng, size)]


def _maker(task: Task) -> Maker:
    if task.parser == "image_cls":
        return {"N24News": _places, "HatefulMemes": _verdicts}.get(task.name, _objects)
    if task.parser == "image_qa":
        if task.name == "ChartQA":
            return _bars
        if task.name == "ScienceQA":
            return _numbers
        return _values if task.name in _READING else _places
    if task.parser == "image_i2t":
        return _captions
    if task.parser == "image_t2i":
        return _pages if task.name == "Wiki-SS-NQ" else _scenes
    special = {"CIRR": _edits, "FashionIQ": _edits, "NIGHTS": _takes, "OVEN": _facts}
    return special.get(task.name, _matches if task.name == "RefCOCO-Matching" else _crops)


def _row(task: Task, asked: Asked) -> dict[str, Any]:
    shown = bool(task.query_rendered.startswith(IMAGE))
    instruction = f"{PLACEHOLDER}\n{task.instruction_query}" if shown else task.instruction_query
    target = f"{PLACEHOLDER}\n{task.instruction_target}" if asked.pictures else ""
    # The data end some instructions with a line's end, which the evaluator otherwise adds or does not.
    captioned = bool(asked.texts[0].strip())
    if task.parser == "image_i2i_vg" and not captioned and task.target_rendered.endswith("\n"):
        target += "\n"
    return {
        "qry_inst": instruction,
        "qry_text": asked.text,
        "qry_img_path": asked.picture or "",
        "tgt_inst": target,
        "tgt_text": list(asked.texts),
        "tgt_img_path": list(asked.pictures) or [""] * len(asked.texts),
    }


def _first(rng: random.Random, right: str, every: Sequence[str], pool: int) -> list[str]:
    """Returns the right one followed by others in random order, ``pool`` in all."""
    others = [one for one in dict.fromkeys(every) if one != right]
    return [right, *rng.sample(others, min(len(others), pool - 1))]


def _objects(task: Task, folder: Folder, rng: random.Random, size: Size) -> list[Asked]:
    """A picture of one kind of thing → its name."""
    cells = range(len(POSITIONS))
    every = [Scene.of({cell: thing, other: thing}) for thing in THINGS for cell in cells for other in cells]
    scenes = rng.sample([scene for scene in dict.fromkeys(every) if scene.split == SPLIT], size.rows)
    names = [thing.name for thing in THINGS]
    asked = []
    for number, scene in enumerate(scenes):
        path = folder.picture(task, f"{number:04d}", scene)
        asked.append(Asked("", path, _first(rng, scene.objects[0][1].name, names, size.pool)))
    return asked


def _places(task: Task, folder: Folder, rng: random.Random, size: Size) -> list[Asked]:
    """A picture with a position → the thing there."""
    asked = []
    for number in range(size.rows):
        scene = sample_scene(rng, SPLIT)
        cell, thing = rng.choice(scene.objects)
        path = folder.picture(task, f"{number:04d}", scene)
        texts = _first(rng, thing.name, LABELS["picture_at"], size.pool)
        asked.append(Asked(wording.word_place(cell, rng), path, texts))
    return asked


def _numbers(task: Task, folder: Folder, rng: random.Random, size: Size) -> list[Asked]:
    """A picture with a kind of thing → how many; every other answer is none."""
    asked = []
    for number in range(size.rows):
        scene = sample_scene(rng, SPLIT)
        found = list(counts(scene))
        wanted = [one for one in found if bool(one[1]) == bool(number % 2)]
        question, count = rng.choice(wanted)
        path = folder.picture(task, f"{number:04d}", scene)
        texts = _first(rng, str(count), LABELS["picture_count"], size.pool)
        asked.append(Asked(wording.word_count(question, rng), path, texts))
    return asked


def _verdicts(task: Task, folder: Folder, rng: random.Random, size: Size) -> list[Asked]:
    """A picture → whether there is much in it."""
    asked = []
    for number in range(size.rows):
        scene = sample_scene(rng, SPLIT)
        path = folder.picture(task, f"{number:04d}", scene)
        asked.append(Asked("", path, ["Yes", "No"] if len(scene.objects) > 2 else ["No", "Yes"]))
    return asked


def _values(task: Task, folder: Folder, rng: random.Random, size: Size) -> list[Asked]:
    """A page with a key → the value beside it."""
    pool = sample_pages(rng, SPLIT)
    asked = []
    for number, (page, key) in enumerate(rng.sample(pool.pages, size.rows)):
        path = folder.picture(task, f"{number:04d}", page)
        near = [value for _, value in page.lines]
        texts = _first(rng, page.value(key), [*near, *pool.values], size.pool)
        asked.append(Asked(wording.word_read(key, rng), path, texts))
    return asked


def _bars(task: Task, folder: Folder, rng: random.Random, size: Size) -> list[Asked]:
    """A page → the label of its longest bar."""
    asked = []
    for number in range(size.rows):
        page = sample_page(rng, SPLIT, rng.choice(LABELS["page_chart"]))
        right = Asker(rng).page_chart(page).target.text
        path = folder.picture(task, f"{number:04d}", page)
        texts = _first(rng, right, LABELS["page_chart"], size.pool)
        asked.append(Asked(wording.word_chart(rng), path, texts))
    return asked


def _pool(rng: random.Random, size: Size) -> list[Scene]:
    """Returns distinct scenes in groups of near-duplicates."""
    scenes = [scene for group in sample_scenes(rng, SPLIT) for scene in group]
    return scenes[: max(size.pool, size.rows)]


def _gallery(task: Task, folder: Folder, shown: Sequence[Scene | Page]) -> list[str]:
    return [folder.picture(task, f"{number:04d}", one) for number, one in enumerate(shown)]


def _captions(task: Task, folder: Folder, rng: random.Random, size: Size) -> list[Asked]:
    """A picture → its caption."""
    scenes = _pool(rng, size)
    told = [wording.word_scene(scene, rng) for scene in scenes]
    chosen = rng.sample(range(len(scenes)), size.rows)
    paths = _gallery(task, folder, scenes)
    return [Asked("", paths[number], _first(rng, told[number], told, size.pool)) for number in chosen]


def _scenes(task: Task, folder: Folder, rng: random.Random, size: Size) -> list[Asked]:
    """A caption → its picture; of WebQA and EDIS, pictures have captions, another one in every row."""
    scenes = _pool(rng, size)
    paths = _gallery(task, folder, scenes)
    shown = dict(zip(paths, scenes, strict=True))
    asked = []
    for number in rng.sample(range(len(scenes)), size.rows):
        pictures = _first(rng, paths[number], paths, size.pool)
        texts = [""] * len(pictures)
        if task.name in _CAPTIONED:
            texts = [wording.word_scene(shown[path], rng) for path in pictures]
        asked.append(Asked(wording.word_scene(scenes[number], rng), None, texts, pictures))
    return asked


def _pages(task: Task, folder: Folder, rng: random.Random, size: Size) -> list[Asked]:
    """Heading and a line → the page."""
    pages = sample_pages(rng, SPLIT).pages[: max(size.pool, size.rows)]
    paths = _gallery(task, folder, [page for page, _ in pages])
    asked = []
    for number in rng.sample(range(len(pages)), size.rows):
        pictures = _first(rng, paths[number], paths, size.pool)
        asked.append(Asked(wording.word_page(*pages[number], rng), None, [""] * len(pictures), pictures))
    return asked


def _edits(task: Task, folder: Folder, rng: random.Random, size: Size) -> list[Asked]:
    """A picture with a described change → the changed picture."""
    scenes: list[Scene] = []
    changes: list[tuple[int, int]] = []
    while len(changes) < size.rows:
        scenes = _pool(rng, size)
        pairs = [(a, b) for a in range(len(scenes)) for b in range(len(scenes)) if a != b]
        changes = [(a, b) for a, b in pairs if edits(scenes[a], scenes[b])]
    paths = _gallery(task, folder, scenes)
    asked = []
    for before, after in rng.sample(changes, size.rows):
        told = wording.word_edit(rng.choice(edits(scenes[before], scenes[after])), rng)
        pictures = _first(rng, paths[after], paths, size.pool)
        asked.append(Asked(told, paths[before], [""] * len(pictures), pictures))
    return asked


def _takes(task: Task, folder: Folder, rng: random.Random, size: Size) -> list[Asked]:
    """A picture → another drawing of the same."""
    scenes = _pool(rng, size)
    paths = _gallery(task, folder, scenes)
    asked = []
    for number in rng.sample(range(len(scenes)), size.rows):
        query = folder.picture(task, f"query-{number:04d}", scenes[number], take=1)
        pictures = _first(rng, paths[number], paths, size.pool)
        asked.append(Asked("", query, [""] * len(pictures), pictures))
    return asked


def _facts(task: Task, folder: Folder, rng: random.Random, size: Size) -> list[Asked]:
    """A picture with a question → a picture of the answer, with its name as caption."""
    paths = _portraits(task, folder)
    asked = []
    for number in range(size.rows):
        scene = sample_scene(rng, SPLIT)
        cell, thing = rng.choice(scene.objects)
        query = folder.picture(task, f"query-{number:04d}", scene)
        pictures = _first(rng, paths[thing], list(paths.values()), size.pool)
        names = {path: thing.name for thing, path in paths.items()}
        asked.append(
            Asked(wording.word_place(cell, rng), query, [names[path] for path in pictures], pictures)
        )
    return asked


def _portraits(task: Task, folder: Folder) -> dict[Thing, str]:
    """Writes every thing alone, as what is cut out of a picture, and returns the paths."""
    middle = POSITIONS.index("center")
    return {
        thing: folder.picture(task, thing.name.replace(" ", "-"), Scene.of({middle: thing}))
        for thing in THINGS
    }


def _crops(task: Task, folder: Folder, rng: random.Random, size: Size) -> list[Asked]:
    """A picture with an expression → the thing that it means, cut out."""
    paths = _portraits(task, folder)
    asked = []
    for number in range(size.rows):
        scene, cell = _meant(rng)
        thing = scene.cells[cell]
        told = {
            "MSCOCO": thing.name,
            "RefCOCO": f"{thing.name} at {POSITIONS[cell]}",
            "Visual7W-Pointing": wording.word_place(cell, rng),
        }[task.name]
        query = folder.picture(task, f"query-{number:04d}", scene)
        beside = [paths[other] for _, other in scene.objects]
        pictures = _first(rng, paths[thing], [*beside, *paths.values()], size.pool)
        asked.append(Asked(f'"{told}"', query, [""] * len(pictures), pictures))
    return asked


def _matches(task: Task, folder: Folder, rng: random.Random, size: Size) -> list[Asked]:
    """A picture with an expression → the picture with another expression of the same thing."""
    found = [_meant(rng) for _ in range(max(size.rows, size.pool))]
    paths = _gallery(task, folder, [scene for scene, _ in found])
    every = [
        (path, f'"{POSITIONS[cell]} {thing.name}"')
        for path, (scene, _) in zip(paths, found, strict=True)
        for cell, thing in scene.objects
    ]
    asked = []
    for number in range(size.rows):
        scene, cell = found[number]
        right = (paths[number], f'"{POSITIONS[cell]} {scene.cells[cell].name}"')
        others = rng.sample([one for one in every if one != right], min(size.pool, len(every)) - 1)
        chosen = [right, *others]
        told = f'"{scene.cells[cell].name}"'
        asked.append(Asked(told, paths[number], [text for _, text in chosen], [path for path, _ in chosen]))
    return asked


def _meant(rng: random.Random) -> tuple[Scene, int]:
    """Returns a scene with the cell of a thing whose name means it alone."""
    while True:
        scene = sample_scene(rng, SPLIT)
        cells = [cell for cell, thing in scene.objects if thing.name in references(scene, cell)]
        if len(scene.objects) > 1 and cells:
            return scene, rng.choice(cells)
