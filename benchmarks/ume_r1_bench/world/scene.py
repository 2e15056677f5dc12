"""What a picture shows: one to four coloured shapes in the cells of a three by three grid."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ume_r1_bench.world.split import split_of

COLOURS: Final = ("red", "green", "blue", "yellow", "purple", "orange", "cyan", "black")
SHAPES: Final = ("circle", "square", "triangle", "star", "cross", "ring")
POSITIONS: Final = (
    "northwest",
    "north",
    "northeast",
    "west",
    "center",
    "east",
    "southwest",
    "south",
    "southeast",
)
MAX_OBJECTS: Final = 4

Attribute = Literal["colour", "shape", "position"]
ATTRIBUTES: Final[tuple[Attribute, ...]] = ("colour", "shape", "position")


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """A coloured shape."""

    colour: str
    shape: str

    @property
    def name(self) -> str:
        """``"red circle"``."""
        return f"{self.colour} {self.shape}"


THINGS: Final = tuple(Thing(colour, shape) for colour in COLOURS for shape in SHAPES)


@dataclass(frozen=True, slots=True)
class Scene:
    """Things in distinct cells.

    Attributes:
        objects: ``(cell, thing)`` in row-major order; make one with ``Scene.of``.
    """

    objects: tuple[tuple[int, Thing], ...]

    @classmethod
    def of(cls, cells: Mapping[int, Thing]) -> Scene:
        """Returns the scene of a cell → thing mapping."""
        return cls(tuple(sorted(cells.items())))

    @property
    def cells(self) -> dict[int, Thing]:
        """Cell → thing."""
        return dict(self.objects)

    @property
    def phrases(self) -> list[str]:
        """``["northwest red circle", …]`` in row-major order."""
        return [f"{POSITIONS[cell]} {thing.name}" for cell, thing in self.objects]

    @property
    def key(self) -> str:
        """The canonical wording, ``"northwest red circle, center blue square"``."""
        return ", ".join(self.phrases)

    @property
    def split(self) -> str:
        """The split that the scene belongs to."""
        return split_of("picture", self.key)


def variants(scene: Scene, cell: int, attribute: Attribute) -> list[Scene]:
    """Returns every scene that differs from one in one attribute of the object in ``cell``."""
    rest = scene.cells
    thing = rest.pop(cell)
    if attribute == "colour":
        changed = [{cell: Thing(colour, thing.shape)} for colour in COLOURS]
    elif attribute == "shape":
        changed = [{cell: Thing(thing.colour, shape)} for shape in SHAPES]
    else:
        changed = [{free: thing} for free in range(len(POSITIONS)) if free not in rest]
    return [other for change in changed if (other := Scene.of({**rest, **change})) != scene]


def neighbours(scene: Scene) -> list[Scene]:
    """Returns every scene that differs from one in one attribute of one object."""
    return [
        other
        for cell, _ in scene.objects
        for attribute in ATTRIBUTES
        for other in variants(scene, cell, attribute)
    ]


@dataclass(frozen=True, slots=True)
class SceneGroup:
    """Scenes that differ from one another in one attribute of one object.

    Attributes:
        scenes: the siblings.
        attribute: what differs.
        cell: where it differs; in ``scenes[0]`` where a position differs.
    """

    scenes: tuple[Scene, ...]
    attribute: Attribute
    cell: int


def _draw_scene(rng: random.Random, must: Thing | None) -> Scene:
    count = rng.choices((1, 2, 3, 4), (2, 7, 7, 4))[0]
    cells = rng.sample(range(len(POSITIONS)), count)
    # Shared colours and shapes are what make counting a question and single-word references ambiguous.
    shared = rng.choice(("", "", "colour", "shape"))
    colour, shape = rng.choice(COLOURS), rng.choice(SHAPES)
    things = []
    for _ in cells:
        keep = rng.random() < 0.8
        things.append(
            Thing(
                colour if keep and shared == "colour" else rng.choice(COLOURS),
                shape if keep and shared == "shape" else rng.choice(SHAPES),
            )
        )
    if must is not None:
        things[0] = must
    return Scene.of(dict(zip(cells, things, strict=True)))


def sample_scene(rng: random.Random, split: str, must: Thing | None = None) -> Scene:
    """Returns a random scene of a split.

    Args:
        rng: generator.
        split: what the scene's hash must say.
        must: a thing that the scene holds.
    """
    while True:
        scene = _draw_scene(rng, must)
        if scene.split == split:
            return scene


def sample_group(rng: random.Random, split: str, size: int = 5) -> SceneGroup:
    """Returns ``size`` scenes of a split that differ in one attribute of one object."""
    while True:
        base = sample_scene(rng, split)
        cell = rng.choice(base.objects)[0]
        attribute = rng.choice(ATTRIBUTES)
        others = [scene for scene in variants(base, cell, attribute) if scene.split == split]
        if len(others) >= size - 1:
            return SceneGroup((base, *rng.sample(others, size - 1)), attribute, cell)


def sample_neighbourhood(rng: random.Random, split: str, smallest: int = 4, largest: int = 8) -> list[Scene]:
    """Returns a scene with scenes of the same split that differ from it in one attribute each."""
    while True:
        base = sample_scene(rng, split)
        others = [scene for scene in neighbours(base) if scene.split == split]
        if len(others) >= smallest - 1:
            return [base, *rng.sample(others, min(len(others), largest - 1))]


@dataclass(frozen=True, slots=True)
class Edit:
    """A described change of one object.

    Attributes:
        reference: how the object is named: ``"circle"``, ``"red object"`` or ``"red circle"``.
        attribute: what changes.
        value: what it changes to, a colour, a shape or a position word.
    """

    reference: str
    attribute: Attribute
    value: str


def references(scene: Scene, cell: int) -> list[str]:
    """Returns the names that mean the object in ``cell`` and no other."""
    thing = scene.cells[cell]
    things = [other for _, other in scene.objects]
    names = (
        (thing.shape, sum(other.shape == thing.shape for other in things)),
        (f"{thing.colour} object", sum(other.colour == thing.colour for other in things)),
        (thing.name, sum(other == thing for other in things)),
    )
    return [name for name, count in names if count == 1]


def edits(before: Scene, after: Scene) -> list[Edit]:
    """Returns the ways of telling a one-attribute change; empty where there is none."""
    lost = [item for item in before.objects if item not in after.objects]
    won = [item for item in after.objects if item not in before.objects]
    if len(lost) != 1 or len(won) != 1:
        return []
    (cell, old), (place, new) = lost[0], won[0]
    changed: list[tuple[Attribute, str]] = []
    if cell != place:
        changed.append(("position", POSITIONS[place]))
    if old.colour != new.colour:
        changed.append(("colour", new.colour))
    if old.shape != new.shape:
        changed.append(("shape", new.shape))
    if len(changed) != 1:
        return []
    attribute, value = changed[0]
    return [Edit(reference, attribute, value) for reference in references(before, cell)]


def apply_edit(scene: Scene, edit: Edit) -> Scene:
    """Returns the scene after an edit whose reference means exactly one object."""
    cell = next(cell for cell, _ in scene.objects if edit.reference in references(scene, cell))
    cells = scene.cells
    thing = cells.pop(cell)
    if edit.attribute == "position":
        cells[POSITIONS.index(edit.value)] = thing
    elif edit.attribute == "colour":
        cells[cell] = Thing(edit.value, thing.shape)
    else:
        cells[cell] = Thing(thing.colour, edit.value)
    return Scene.of(cells)


@dataclass(frozen=True, slots=True)
class Count:
    """A question for the number of things of one colour or shape."""

    attribute: Literal["colour", "shape"]
    value: str

    def matches(self, scene: Scene) -> list[Thing]:
        """Returns what counts, in row-major order."""
        return [thing for _, thing in scene.objects if getattr(thing, self.attribute) == self.value]


def counts(scene: Scene) -> Iterator[tuple[Count, int]]:
    """Yields every count question of a scene with its answer."""
    colours = Counter(thing.colour for _, thing in scene.objects)
    shapes = Counter(thing.shape for _, thing in scene.objects)
    for colour in COLOURS:
        yield Count("colour", colour), colours[colour]
    for shape in SHAPES:
        yield Count("shape", shape), shapes[shape]
