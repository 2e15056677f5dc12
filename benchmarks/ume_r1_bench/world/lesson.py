"""Training pairs, four at a time: siblings whose targets differ in one attribute."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

from ume_r1_bench.world.clip import ClipGroup, sample_clip_group
from ume_r1_bench.world.families import LESSONS, Asker, Pair
from ume_r1_bench.world.page import PageGroup, Part, sample_page_group
from ume_r1_bench.world.scene import Count, Scene, SceneGroup, counts, edits, sample_group
from ume_r1_bench.world.split import make_rng

SIBLINGS: Final = 4
EMPTY: Final = 0.15
PARTS: Final = (1, 1, 2, 3, 4, 5)
"""Rows of a part of a page."""

Group = list[Pair]


class Lessons:
    """The training pairs of a split.

    Attributes:
        scene_groups: five pictures each.
        page_groups: four pages each.
        clip_groups: four clips each.
    """

    def __init__(self, split: str, seed: int, pairs: int) -> None:
        """Draws the contents, so few that every family shares them.

        Args:
            split: whose contents.
            seed: of everything.
            pairs: about how many pairs there are to be.
        """
        rng = make_rng("lessons", split, seed)
        self._rng, self._asker = rng, Asker(rng, EMPTY)
        self._groups = max(8, pairs // len(LESSONS) // SIBLINGS)
        scale = self._groups / 1364
        self.scene_groups = [sample_group(rng, split) for _ in range(max(16, round(1800 * scale)))]
        self.page_groups = [sample_page_group(rng, split) for _ in range(max(8, round(1250 * scale)))]
        self.clip_groups = [sample_clip_group(rng, split) for _ in range(max(8, round(1000 * scale)))]
        self._counts = self._count_questions()

    def __iter__(self) -> Iterator[tuple[str, list[Group]]]:
        """Yields each family with its groups of siblings."""
        for family in LESSONS:
            make: Callable[[], Group | None] = getattr(self, f"_{family}")
            groups: list[Group] = []
            self._turn: Iterator[int] = iter(())
            while len(groups) < self._groups:
                group = make()
                if group is not None:
                    groups.append(group)
            yield family, groups

    def _deal(self, groups: list[SceneGroup] | list[PageGroup] | list[ClipGroup]) -> int:
        """Returns the next position in a shuffled round over the groups."""
        for position in self._turn:
            return position
        self._turn = iter(self._rng.sample(range(len(groups)), len(groups)))
        return next(self._turn)

    def _scenes(self) -> SceneGroup:
        return self.scene_groups[self._deal(self.scene_groups)]

    def _pages(self) -> PageGroup:
        return self.page_groups[self._deal(self.page_groups)]

    def _clips(self) -> ClipGroup:
        return self.clip_groups[self._deal(self.clip_groups)]

    def _picture_find(self) -> Group:
        return [self._asker.picture_find(s) for s in self._rng.sample(self._scenes().scenes, SIBLINGS)]

    def _picture_describe(self) -> Group:
        return [self._asker.picture_describe(s) for s in self._rng.sample(self._scenes().scenes, SIBLINGS)]

    def _picture_edit(self) -> Group | None:
        before, *afters = self._rng.sample(self._scenes().scenes, SIBLINGS + 1)
        ways = [edits(before, after) for after in afters]
        # A thing that stands twice in a picture cannot be named, so its group gives no edits.
        if not all(ways):
            return None
        return [self._asker.picture_edit(before, self._rng.choice(way)) for way in ways]

    def _picture_at(self) -> Group | None:
        group = self._scenes()
        if group.attribute == "position":
            return None
        return [self._asker.picture_at(s, group.cell) for s in self._rng.sample(group.scenes, SIBLINGS)]

    def _count_questions(self) -> dict[int, list[tuple[Scene, Count]]]:
        questions = defaultdict(list)
        for scene in sorted({s for group in self.scene_groups for s in group.scenes}, key=lambda s: s.key):
            for question, number in counts(scene):
                questions[number].append((scene, question))
        return dict(questions)

    def _picture_count(self) -> Group:
        numbers = self._rng.sample(sorted(self._counts), SIBLINGS)
        # One picture with several answers is harder than several pictures; a high count is the rarest.
        scene, _ = self._rng.choice(self._counts[max(numbers)])
        here: dict[int, list[Count]] = defaultdict(list)
        for question, number in counts(scene):
            here[number].append(question)
        pairs = []
        for number in numbers:
            if here.get(number):
                pairs.append(self._asker.picture_count(scene, self._rng.choice(here[number])))
            else:
                pairs.append(self._asker.picture_count(*self._rng.choice(self._counts[number])))
        return pairs

    def _page_part(self) -> Group:
        rows = self._pages().pages[0].rows
        size = self._rng.choice(PARTS)
        starts = self._rng.sample(range(len(rows) - size + 1), SIBLINGS)
        return [self._asker.page_part(Part(tuple(rows[start : start + size]))) for start in starts]

    def _page_find(self) -> Group:
        group = self._pages()
        return [self._asker.page_find(page, group.key) for page in group.pages]

    def _page_read(self) -> Group:
        group = self._pages()
        return [self._asker.page_read(page, group.key) for page in group.pages]

    def _page_chart(self) -> Group:
        return [self._asker.page_chart(page) for page in self._pages().pages]

    def _clip_find(self) -> Group:
        return [self._asker.clip_find(clip) for clip in self._clips().clips]

    def _clip_describe(self) -> Group:
        return [self._asker.clip_describe(clip) for clip in self._clips().clips]

    def _clip_event(self) -> Group:
        group = self._clips()
        return [self._asker.clip_event(clip, group.half) for clip in group.clips]
