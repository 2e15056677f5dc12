"""Rows of the 18 video tasks, and the frames they name."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ume_r1_bench.mmeb.parsers.moment import POSITIVE, QUERY
from ume_r1_bench.mmeb.parsers.video_classification import label_sets
from ume_r1_bench.mmeb.parsers.video_qa import SUBSETS
from ume_r1_bench.mmeb.task import Hub, Task
from ume_r1_bench.world import wording
from ume_r1_bench.world.clip import BEHAVIOURS, HALVES, Clip, every_clip, sample_cast
from ume_r1_bench.world.film import draw_clip
from ume_r1_bench.world.mmeb.folder import Folder, Size, spread
from ume_r1_bench.world.picture import draw_scene
from ume_r1_bench.world.scene import POSITIONS, Scene

SPLIT: Final = "test"
_QA: Final = "{:04d}.jpeg"
_NEGATIVES: Final = 3
_LISTED: Final = 16

Writer = Callable[[Task, Hub, Folder, random.Random, Size], None]


def write_video_task(task: Task, hub: Hub, folder: Folder, rng: random.Random, size: Size) -> None:
    """Writes a video task: its table and all frames."""
    _WRITERS[task.parser](task, hub, folder, rng, size)


def _clips(rng: random.Random, count: int) -> list[Clip]:
    """Returns distinct clips, as many as can be of one cast: they are hard to tell apart."""
    clips: dict[Clip, None] = {}
    while len(clips) < count:
        every = every_clip(sample_cast(rng, SPLIT))
        clips.update(dict.fromkeys(rng.sample(every, min(len(every), count - len(clips)))))
    return list(clips)


def _classes(task: Task, hub: Hub, folder: Folder, rng: random.Random, size: Size) -> None:
    """What the upper thing does stands for one of the set's labels."""
    labels = label_sets()[task.dataset]
    rows = []
    for number, clip in enumerate(_clips(rng, size.rows)):
        folder.frames(folder.media(task) / f"clip_{number:04d}", clip)
        label = labels[BEHAVIOURS.index(clip.top)]
        rows.append({"video_id": f"clip_{number:04d}", "pos_text": label})
    folder.table(task, hub, rows)


def _labels(task: Task, hub: Hub, folder: Folder, rng: random.Random, size: Size) -> None:
    """A clip → its caption, among captions of clips of the same cast."""
    rows: list[Mapping[str, Any]] = []
    while len(rows) < size.rows:
        every = rng.sample(every_clip(sample_cast(rng, SPLIT)), min(size.pool, _LISTED))
        told = {clip: wording.word_clip(clip, rng) for clip in every}
        for clip in every[: size.rows - len(rows)]:
            number, listed = 1000 + len(rows), rng.sample(list(told.values()), len(told))
            folder.frames(folder.media(task) / str(number), clip)
            rows.append({"video_id": number, "pos_text": told[clip], "neg_text": listed})
    folder.table(task, hub, rows)


def _question(rng: random.Random, options: int) -> tuple[Clip, str, list[str], int]:
    """Returns a clip, a question for what one thing does, options, and which of them is right."""
    clip = rng.choice(every_clip(sample_cast(rng, SPLIT)))
    half = rng.choice(HALVES)
    right = clip.top if half == "top" else clip.bottom
    others = [behaviour for behaviour in BEHAVIOURS if behaviour != right]
    listed = rng.sample([right, *rng.sample(others, options - 1)], options)
    return clip, wording.word_event(clip, half, rng), listed, listed.index(right)


def _mvbench(task: Task, hub: Hub, folder: Folder, rng: random.Random, size: Size) -> None:
    """Twenty configurations, with three to five options."""
    for subset in SUBSETS:
        rows = []
        for number in range(max(1, size.rows // len(SUBSETS))):
            clip, question, options, right = _question(rng, rng.choice((3, 4, 5)))
            name = f"{subset}_{number:03d}.mp4"
            folder.frames(folder.media(task) / subset / name, clip, _QA)
            rows.append(
                {"video": name, "question": question, "candidates": options, "answer": options[right]}
            )
        folder.table(task, hub, rows, subset)


def _lettered(options: Sequence[str]) -> list[str]:
    return [f"{letter}. {option}." for letter, option in zip("ABCDE", options, strict=False)]


def _questions(task: Task, hub: Hub, folder: Folder, rng: random.Random, size: Size) -> None:
    """Video-MME, NExTQA, EgoSchema, ActivityNetQA: one question a clip."""
    rows: list[Mapping[str, Any]] = []
    for number in range(size.rows):
        clip, question, options, right = _question(rng, 4 if task.parser == "videomme" else 5)
        name = f"video{number:04d}"
        folder.frames(folder.media(task) / name, clip, _QA)
        if task.parser == "videomme":
            row: dict[str, Any] = {"videoID": name, "question": question, "options": _lettered(options)}
            row |= {
                "answer": "ABCD"[right],
                "question_id": f"{number:03d}-1",
                "domain": "",
                "sub_category": "",
            }
        elif task.parser == "nextqa":
            row = {"video": name, "question": question, "answer": right, "qid": number, "type": "DO"}
            row |= {f"a{place}": option for place, option in enumerate(options)}
        else:
            row = {"video_idx": name, "question_idx": str(number), "question": question}
            row |= {"option": _lettered(options), "answer": str(right)}
        rows.append(row)
    folder.table(task, hub, rows)


def _verdicts(task: Task, hub: Hub, folder: Folder, rng: random.Random, size: Size) -> None:
    """Yes or no, each as often."""
    rows = []
    for number in range(size.rows):
        clip, _, options, right = _question(rng, 2)
        told = options[right] if number % 2 else options[1 - right]
        thing = clip.cast.top if clip.top == options[right] else clip.cast.bottom
        name = f"video{number:04d}"
        folder.frames(folder.media(task) / f"v_{name}", clip, _QA)
        question = f"is it true that the {thing.name} {told}"
        rows.append(
            {
                "video_name": name,
                "question": question,
                "answer": "yes" if number % 2 else "no",
                "question_id": name,
            }
        )
    folder.table(task, hub, rows)


def _retrieval(task: Task, hub: Hub, folder: Folder, rng: random.Random, size: Size) -> None:
    """A caption → its clip."""
    rows: list[Mapping[str, Any]] = []
    for number, clip in enumerate(_clips(rng, size.rows)):
        name = f"video{number:04d}"
        folder.frames(folder.media(task) / name, clip)
        told = [wording.word_clip(clip, rng) for _ in range(2)]
        columns: dict[str, dict[str, Any]] = {
            "didemo": {"video": f"videos/{name}.mp4", "caption": told[0]},
            "msrvtt": {"video_id": name, "video": f"{name}.mp4", "caption": told[0]},
            "msvd": {"video_id": name, "video": f"{name}.avi", "caption": told},
            "vatex": {"videoID": name, "enCap": told},
            "youcook2": {"id": name, "video_path": f"val/{name}.mp4", "sentence": told[0]},
        }
        rows.append(columns[task.parser])
    folder.table(task, hub, rows)


def _moments(task: Task, hub: Hub, folder: Folder, rng: random.Random, size: Size) -> None:
    """A video of several clips with the caption of one → that one."""
    rows = []
    for number in range(size.rows):
        clips = rng.sample(every_clip(sample_cast(rng, SPLIT)), 1 + _NEGATIVES)
        right = rng.randrange(len(clips))
        name, home = f"video{number:04d}", folder.media(task) / f"video{number:04d}"
        drawn = [draw_clip(clip) for clip in clips]
        folder.frames(home / QUERY, spread([frame for frames in drawn for frame in frames]))
        for place, frames in enumerate(drawn):
            folder.frames(home / (POSITIVE if place == right else f"negative_{place}"), frames)
        rows.append({"query": wording.word_clip(clips[right], rng), "video_path": f"videos/{name}.mp4"})
    _write_moments(task, hub, folder, rows)


def _seeker(task: Task, hub: Hub, folder: Folder, rng: random.Random, size: Size) -> None:
    """Text alone, text with a picture, and text with a clip, by turns; two clips may be right."""
    rows = []
    home = folder.media(task) / "video_frames"
    for number in range(size.rows):
        every = every_clip(sample_cast(rng, SPLIT))
        base = rng.choice(every)
        others = rng.sample([clip for clip in every if clip.top != base.top], _NEGATIVES)
        right = [base]
        if number % 2:
            right.append(replace(base, bottom=rng.choice([act for act in BEHAVIOURS if act != base.bottom])))
        paths = [f"videos/seek{number:04d}/clip_{place}.mp4" for place in range(len(right) + len(others))]
        for path, clip in zip(paths, [*right, *others], strict=True):
            folder.frames(home / path.removesuffix(".mp4").replace("/", "_"), clip)
        shown = ("", f"seek{number:04d}.jpg", f"segments/seek{number:04d}.mp4")[number % 3]
        if shown.endswith(".jpg"):
            still = draw_scene(Scene.of({POSITIONS.index("center"): base.cast.top}))
            folder.still(folder.media(task) / f"query_{shown}", still)
        elif shown:
            folder.frames(home / shown.removesuffix(".mp4").replace("/", "_"), others[0])
        named = [{"output_path": path} for path in paths]
        row: dict[str, Any] = {"query": f"the {base.cast.top.name} {base.top}", "input_frames": shown}
        rows.append(row | {"positive_frames": named[: len(right)], "negative_frames": named[len(right) :]})
    _write_moments(task, hub, folder, rows)


def _write_moments(task: Task, hub: Hub, folder: Folder, rows: Sequence[Mapping[str, Any]]) -> None:
    if folder.layout == "old":
        folder.lines(task, rows)
    else:
        folder.table(task, hub, rows)


_WRITERS: Final[Mapping[str, Writer]] = {
    "video_classification": _classes,
    "ssv2": _labels,
    "mvbench": _mvbench,
    "videomme": _questions,
    "nextqa": _questions,
    "egoschema": _questions,
    "activitynetqa": _verdicts,
    "didemo": _retrieval,
    "msrvtt": _retrieval,
    "msvd": _retrieval,
    "vatex": _retrieval,
    "youcook2": _retrieval,
    "moment_retrieval": _moments,
    "momentseeker": _seeker,
}
