"""The ways of saying a thing, from which each query draws one."""

from __future__ import annotations

import random

from ume_r1_bench.world.clip import Clip, Half
from ume_r1_bench.world.page import Page
from ume_r1_bench.world.scene import POSITIONS, Count, Edit, Scene


def _with_article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def word_scene(scene: Scene, rng: random.Random) -> str:
    """Returns a caption that tells all of a scene, row by row: nano cannot learn to sort them."""
    objects = [(POSITIONS[cell], thing.name) for cell, thing in scene.objects]
    form = rng.randrange(4)
    if form == 0:
        return " and ".join(f"{_with_article(name)} at {place}" for place, name in objects)
    if form == 1:
        return "at " + ", at ".join(f"{place} {_with_article(name)}" for place, name in objects)
    if form == 2:
        return "there is " + ", ".join(f"{_with_article(name)} at {place}" for place, name in objects)
    return "picture of " + " and ".join(f"{name} {place}" for place, name in objects)


def word_edit(edit: Edit, rng: random.Random) -> str:
    """Returns a description of a change."""
    value = f"a {edit.value}" if edit.attribute == "shape" else edit.value
    place = edit.attribute == "position"
    forms = (
        f"the same but the {edit.reference} is {'at ' if place else ''}{value}",
        f"{'move' if place else 'change'} the {edit.reference} to {value}",
        f"same picture, {'put' if place else 'make'} the {edit.reference} {'at ' if place else ''}{value}",
    )
    return rng.choice(forms)


def word_place(cell: int, rng: random.Random) -> str:
    """Returns a question for what stands in a cell."""
    place = POSITIONS[cell]
    return rng.choice((f"what is at {place}?", f"which object is at {place}?", f"name the object at {place}"))


def word_count(question: Count, rng: random.Random) -> str:
    """Returns a question for a number."""
    what = f"{question.value}s" if question.attribute == "shape" else f"{question.value} objects"
    if what == "crosss":
        what = "crosses"
    return rng.choice((f"how many {what}?", f"count the {what}", f"number of {what}?"))


def word_page(page: Page, key: str, rng: random.Random) -> str:
    """Returns a text that asks for a page by its heading and one line."""
    line = f"{key} {page.value(key)}"
    forms = (
        f"{page.heading} with {line}",
        f"the {page.heading} where {key} is {page.value(key)}",
        f"page {page.heading}, {line}",
        f"{line} in the {page.heading}",
    )
    return rng.choice(forms)


def word_read(key: str, rng: random.Random) -> str:
    """Returns a question for a value."""
    return rng.choice((f"what is the {key}?", f"read the {key}", f"which {key} is given?"))


def word_chart(rng: random.Random) -> str:
    """Returns a question for the longest bar."""
    return rng.choice(("which bar is the longest?", "what is the longest bar?", "name the longest bar"))


def word_part(rng: random.Random) -> str:
    """Returns a question for what a part of a page says."""
    return rng.choice(("what does it say?", "read it all", "which text is given?"))


def word_clip(clip: Clip, rng: random.Random) -> str:
    """Returns a caption of a clip; where it names no halves, the upper thing comes first."""
    (_, top, rise), (_, bottom, fall) = clip.acts
    form = rng.randrange(4)
    if form == 0:
        return f"the {top.name} {rise} and the {bottom.name} {fall}"
    acts = [("top", top.name, rise), ("bottom", bottom.name, fall)]
    rng.shuffle(acts)
    if form == 1:
        return " and ".join(f"the {half} {name} {act}" for half, name, act in acts)
    if form == 2:
        return ", ".join(f"at the {half} {_with_article(name)} {act}" for half, name, act in acts)
    return "video of " + " and ".join(f"{half} {name} that {act}" for half, name, act in acts)


def word_event(clip: Clip, half: Half, rng: random.Random) -> str:
    """Returns a question for what one of the two things does."""
    thing = clip.cast.top if half == "top" else clip.cast.bottom
    name = rng.choice((thing.shape, f"{thing.colour} object", thing.name))
    return rng.choice((f"what does the {name} do?", f"what happens to the {name}?"))
