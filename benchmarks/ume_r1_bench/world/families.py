"""The eleven families: from a content, a query with the target that answers it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from ume_r1_bench.world import trace as traces
from ume_r1_bench.world import wording
from ume_r1_bench.world.clip import BEHAVIOURS, Clip, Half
from ume_r1_bench.world.page import BARS, Page, Part
from ume_r1_bench.world.scene import MAX_OBJECTS, THINGS, Count, Edit, Scene, apply_edit
from ume_r1_bench.world.trace import Trace
from ume_r1_rag.template.prompt import INSTRUCTIONS, instruct

Media = Scene | Page | Part | Clip

DESCRIBE_PICTURE: Final = "Find an image caption describing the given everyday image."
DESCRIBE_CLIP: Final = "Find a caption that describes the given video."

THING: Final = "a thing"
NUMBER: Final = "a number"
CODE: Final = "a code"
BAR: Final = "a bar"
PART: Final = "a part"
EVENT: Final = "an event"

FAMILIES: Final = (
    "picture_find",
    "picture_describe",
    "picture_edit",
    "picture_at",
    "picture_count",
    "page_find",
    "page_read",
    "page_chart",
    "clip_find",
    "clip_describe",
    "clip_event",
)
LESSONS: Final = ("page_part", *FAMILIES)
"""What is taught: a row or two are read long before a page is, and are never asked in an evaluation."""
LABELS: Final[dict[str, tuple[str, ...]]] = {
    "picture_at": tuple(thing.name for thing in THINGS),
    "picture_count": tuple(str(number) for number in range(MAX_OBJECTS + 1)),
    "page_chart": BARS,
    "clip_event": BEHAVIOURS,
}
"""The closed families' labels; all of them are candidates of every query."""
LABEL_KINDS: Final = {
    "picture_at": THING,
    "picture_count": NUMBER,
    "page_part": PART,
    "page_read": CODE,
    "page_chart": BAR,
    "clip_event": EVENT,
}


@dataclass(frozen=True, slots=True)
class Side:
    """A query or a target.

    Attributes:
        text: what the user's turn says, instruction included.
        media: what it shows; None for text alone.
        trace: what it makes the model write.
    """

    text: str
    media: Media | None
    trace: Trace


@dataclass(frozen=True, slots=True)
class Pair:
    """A query with the target that answers it."""

    family: str
    query: Side
    target: Side


def document(media: Scene | Page | Clip, rng: random.Random | None = None, empty: float = 0.0) -> Side:
    """Returns a picture, page or clip as a document.

    Args:
        media: what it shows.
        rng: generator; needed if ``empty`` is not 0.
        empty: probability of a document without the instruction.
    """
    if isinstance(media, Scene):
        kind, trace = "image", traces.scene_trace(media)
    elif isinstance(media, Page):
        kind, trace = "page", traces.page_trace(media)
    else:
        kind, trace = "clip", traces.clip_trace(media)
    bare = rng is not None and rng.random() < empty
    return Side("" if bare else INSTRUCTIONS[kind].document, media, trace)


def label(family: str, text: str) -> Side:
    """Returns a short answer as a document."""
    return Side(text, None, traces.label_trace(LABEL_KINDS[family], text))


def caption(media: Scene | Clip, rng: random.Random) -> Side:
    """Returns a caption as a document."""
    if isinstance(media, Scene):
        return Side(wording.word_scene(media, rng), None, traces.scene_trace(media))
    return Side(wording.word_clip(media, rng), None, traces.clip_trace(media))


class Asker:
    """Makes pairs, drawing their wording.

    Attributes:
        rng: generator.
        empty: probability that a picture, page or clip as a target comes without instruction.
    """

    def __init__(self, rng: random.Random, empty: float = 0.0) -> None:
        """Takes the generator and the share of bare targets."""
        self.rng = rng
        self.empty = empty

    def _maybe(self, kind: str, text: str) -> str:
        return instruct(INSTRUCTIONS[kind].query if self.rng.random() < 0.5 else None, text)

    def _document(self, media: Scene | Page | Clip) -> Side:
        return document(media, self.rng, self.empty)

    def picture_find(self, scene: Scene) -> Pair:
        """Caption → picture."""
        told = caption(scene, self.rng)
        return Pair(
            "picture_find", Side(self._maybe("image", told.text), None, told.trace), self._document(scene)
        )

    def picture_describe(self, scene: Scene) -> Pair:
        """Picture → caption."""
        query = Side(DESCRIBE_PICTURE, scene, traces.scene_trace(scene))
        return Pair("picture_describe", query, caption(scene, self.rng))

    def picture_edit(self, scene: Scene, edit: Edit) -> Pair:
        """Picture with a described change → the changed picture."""
        text = instruct(INSTRUCTIONS["edit"].query, wording.word_edit(edit, self.rng))
        query = Side(text, scene, traces.edit_trace(scene, edit))
        return Pair("picture_edit", query, self._document(apply_edit(scene, edit)))

    def picture_at(self, scene: Scene, cell: int) -> Pair:
        """Picture with a position → the thing there."""
        text = self._maybe("answer", wording.word_place(cell, self.rng))
        query = Side(text, scene, traces.place_trace(scene, cell))
        return Pair("picture_at", query, label("picture_at", scene.cells[cell].name))

    def picture_count(self, scene: Scene, question: Count) -> Pair:
        """Picture with a colour or a shape → how many."""
        text = self._maybe("answer", wording.word_count(question, self.rng))
        query = Side(text, scene, traces.count_trace(scene, question))
        return Pair("picture_count", query, label("picture_count", query.trace.summary))

    def page_part(self, part: Part) -> Pair:
        """Part of a page → what it says. The question names nothing of it, or nano would copy, not read."""
        query = Side(self._maybe("answer", wording.word_part(self.rng)), part, traces.part_trace(part))
        return Pair("page_part", query, label("page_part", part.key))

    def page_find(self, page: Page, key: str) -> Pair:
        """Heading and one line → page."""
        text = self._maybe("page", wording.word_page(page, key, self.rng))
        query = Side(text, None, traces.page_query_trace(page.heading, key, page.value(key)))
        return Pair("page_find", query, self._document(page))

    def page_read(self, page: Page, key: str) -> Pair:
        """Page with a key → the value beside it."""
        text = self._maybe("answer", wording.word_read(key, self.rng))
        return Pair(
            "page_read", Side(text, page, traces.read_trace(page, key)), label("page_read", page.value(key))
        )

    def page_chart(self, page: Page) -> Pair:
        """Page → the label of its longest bar."""
        text = self._maybe("answer", wording.word_chart(self.rng))
        return Pair(
            "page_chart", Side(text, page, traces.chart_trace(page)), label("page_chart", page.chart.longest)
        )

    def clip_find(self, clip: Clip) -> Pair:
        """Caption → clip."""
        told = caption(clip, self.rng)
        return Pair("clip_find", Side(self._maybe("clip", told.text), None, told.trace), self._document(clip))

    def clip_describe(self, clip: Clip) -> Pair:
        """Clip → caption."""
        query = Side(DESCRIBE_CLIP, clip, traces.clip_trace(clip))
        return Pair("clip_describe", query, caption(clip, self.rng))

    def clip_event(self, clip: Clip, half: Half) -> Pair:
        """Clip with one of its things → what that does."""
        text = self._maybe("answer", wording.word_event(clip, half, self.rng))
        query = Side(text, clip, traces.event_trace(clip, half))
        return Pair("clip_event", query, label("clip_event", query.trace.summary))
