"""The reasoning and the summary of one input: a function of what it shows and says, and of nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from ume_r1_bench.world.clip import Clip, Half
from ume_r1_bench.world.page import Page, Part
from ume_r1_bench.world.scene import POSITIONS, Count, Edit, Scene, apply_edit


@dataclass(frozen=True, slots=True)
class Trace:
    """What an input makes the model write.

    Attributes:
        reasoning: between the think tags.
        summary: after the answer tag.
    """

    reasoning: str
    summary: str


def scene_trace(scene: Scene) -> Trace:
    """Returns the trace of a picture, and of a caption that tells all of it."""
    count = len(scene.objects)
    listed = "; ".join(scene.phrases)
    return Trace(f"{count} object{'s' if count > 1 else ''}: {listed}", scene.key)


def edit_trace(scene: Scene, edit: Edit) -> Trace:
    """Returns the trace of a picture with a described change."""
    verb = "moves to" if edit.attribute == "position" else "becomes"
    listed = "; ".join(scene.phrases)
    return Trace(f"{listed}. {edit.reference} {verb} {edit.value}", apply_edit(scene, edit).key)


def place_trace(scene: Scene, cell: int) -> Trace:
    """Returns the trace of a picture with the question what stands in a cell."""
    name = scene.cells[cell].name
    return Trace(f"{'; '.join(scene.phrases)}. {POSITIONS[cell]} is {name}", name)


def count_trace(scene: Scene, question: Count) -> Trace:
    """Returns the trace of a picture with a count question."""
    found = question.matches(scene)
    listed = " ".join(f"{number} {thing.name}" for number, thing in enumerate(found, 1))
    total = f"total {len(found)}"
    return Trace(f"{listed}. {total}" if found else total, str(len(found)))


def part_trace(part: Part) -> Trace:
    """Returns the trace of a part of a page."""
    return Trace(part.key, part.key)


def page_trace(page: Page) -> Trace:
    """Returns the trace of a page."""
    return Trace("; ".join([*page.phrases, f"chart {page.chart.key}"]), ", ".join(page.phrases))


def page_query_trace(heading: str, key: str, value: str) -> Trace:
    """Returns the trace of a text that asks for a page."""
    return Trace(f"page {heading}; {key} {value}", f"{heading}, {key} {value}")


def read_trace(page: Page, key: str) -> Trace:
    """Returns the trace of a page with the question what stands beside a key."""
    value = page.value(key)
    return Trace(f"{'; '.join(page.phrases)}. {key} is {value}", value)


def chart_trace(page: Page) -> Trace:
    """Returns the trace of a page with the question for its longest bar."""
    return Trace(f"chart {page.chart.key}. longest is {page.chart.longest}", page.chart.longest)


def clip_trace(clip: Clip) -> Trace:
    """Returns the trace of a clip, and of a caption of one."""
    acts = [f"{half} {thing.name} {behaviour}" for half, thing, behaviour in clip.acts]
    return Trace("; ".join(acts), ", ".join(clip.phrases))


def event_trace(clip: Clip, half: Half) -> Trace:
    """Returns the trace of a clip with the question what one of the two does."""
    behaviour = clip.top if half == "top" else clip.bottom
    thing = clip.cast.top if half == "top" else clip.cast.bottom
    return Trace(f"{clip_trace(clip).reasoning}. {thing.name} {behaviour}", behaviour)


def label_trace(kind: str, label: str) -> Trace:
    """Returns the trace of a short answer, such as ``"a number: 2"``."""
    return Trace(f"{kind}: {label}", label)
