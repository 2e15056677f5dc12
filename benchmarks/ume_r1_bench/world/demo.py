"""A small folder of plain files with eight questions, for a person to try a search on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ume_r1_bench.world import wording
from ume_r1_bench.world.clip import Clip, sample_clip_group
from ume_r1_bench.world.codec import encode_mp4, encode_pdf, encode_png
from ume_r1_bench.world.film import draw_clip
from ume_r1_bench.world.page import KEYS, Page, sample_chart, sample_heading, values_of
from ume_r1_bench.world.picture import draw_scene
from ume_r1_bench.world.scene import Edit, Scene, apply_edit, edits, sample_neighbourhood
from ume_r1_bench.world.sheet import draw_page
from ume_r1_bench.world.split import make_rng

FILES: Final = "files"
ASKED: Final = "asked"
QUESTIONS: Final = "questions.jsonl"
SPLIT: Final = "demo"
PAGES_PER_PDF: Final = (1, 3, 1, 2, 1, 1)
_TRIO: Final = 3


def make_demo(root: Path, seed: int) -> list[dict[str, Any]]:
    """Writes the files of a demo and returns its questions.

    A question is ``{"text", "image", "kind", "gold", "page"}``: ``kind`` names the instruction pair
    (``image``, ``page``, ``clip`` or ``edit``), which ``text`` does not hold yet; ``image`` is a path under
    ``root`` or None, ``gold`` a file's name and ``page`` its page, from 1, if it is a PDF.

    Args:
        root: directory; gets ``files`` and the pictures ``asked`` with, which are not among the files.
        seed: which contents.
    """
    rng = make_rng("demo", seed)
    for folder in (FILES, ASKED):
        (root / folder).mkdir(parents=True, exist_ok=True)
    return [*_make_pictures(root, rng), *_make_papers(root, rng), *_make_clips(root, rng)]


def _question(
    text: str, kind: str, gold: str, image: str | None = None, page: int | None = None
) -> dict[str, Any]:
    return {"text": text, "image": image, "kind": kind, "gold": gold, "page": page}


def _make_pictures(root: Path, rng: random.Random) -> list[dict[str, Any]]:
    groups: list[list[Scene]] = []
    while len(groups) < 4:
        group = sample_neighbourhood(rng, SPLIT, _TRIO, _TRIO)
        if _changes(group) and not any(scene in other for scene in group for other in groups):
            groups.append(group)
    names = {scene: f"shapes-{n:02d}.png" for n, scene in enumerate((s for g in groups for s in g), 1)}
    for scene, name in names.items():
        (root / FILES / name).write_bytes(encode_png(draw_scene(scene)))
    before, edit = rng.choice(_changes(groups[-1]))
    shown, again = rng.choice(groups[0]), rng.choice(groups[1])
    return [
        _question(wording.word_scene(shown, rng), "image", names[shown]),
        _question(wording.word_scene(again, rng), "image", names[again]),
        _question(
            wording.word_edit(edit, rng),
            "edit",
            names[apply_edit(before, edit)],
            _ask_with(root, before, "to-be-changed.png"),
        ),
        # The same scene with every object a little off its place, so not a byte-equal file.
        _question("", "image", names[groups[2][0]], _ask_with(root, groups[2][0], "much-like-one.png")),
    ]


def _changes(group: Sequence[Scene]) -> list[tuple[Scene, Edit]]:
    return [(before, edit) for before in group for after in group for edit in edits(before, after)]


def _ask_with(root: Path, scene: Scene, name: str) -> str:
    (root / ASKED / name).write_bytes(encode_png(draw_scene(scene, take=1)))
    return f"{ASKED}/{name}"


def _make_papers(root: Path, rng: random.Random) -> list[dict[str, Any]]:
    headings: list[str] = []
    papers: dict[str, list[Page]] = {}
    values = iter(rng.sample(values_of(SPLIT), 3 * sum(PAGES_PER_PDF)))
    for count in PAGES_PER_PDF:
        headings.append(sample_heading(rng, headings))
        keys = rng.sample(KEYS, 3)
        pages = [
            Page(headings[-1], tuple((key, next(values)) for key in keys), sample_chart(rng, SPLIT))
            for _ in range(count)
        ]
        papers[headings[-1].replace(" ", "-") + ".pdf"] = pages
    for name, pages in papers.items():
        (root / FILES / name).write_bytes(encode_pdf([draw_page(page) for page in pages]))
    questions = []
    for name in list(papers)[:2]:
        number = len(papers[name])
        page = papers[name][number - 1]
        text = wording.word_page(page, rng.choice(page.lines)[0], rng)
        questions.append(_question(text, "page", name, page=number))
    return questions


def _make_clips(root: Path, rng: random.Random) -> list[dict[str, Any]]:
    clips: dict[Clip, str] = {}
    chosen: list[Clip] = []
    while len(chosen) < 2:
        group = sample_clip_group(rng, SPLIT, _TRIO)
        if any(clip in clips for clip in group.clips):
            continue
        chosen.append(rng.choice(group.clips))
        for clip in group.clips:
            clips[clip] = f"clip-{len(clips) + 1:02d}.mp4"
    for clip, name in clips.items():
        (root / FILES / name).write_bytes(encode_mp4(draw_clip(clip)))
    return [_question(wording.word_clip(clip, rng), "clip", clips[clip]) for clip in chosen]
