"""The world: what is drawn, asked, told and kept apart."""

import re
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from ume_r1_bench.world import (
    FAMILIES,
    LABELS,
    LESSONS,
    SPLITS,
    erase_text,
    make_world,
    single_frame,
)
from ume_r1_bench.world import trace as traces
from ume_r1_bench.world.clip import BEHAVIOURS, Clip, every_clip
from ume_r1_bench.world.codec import decode_mp4, decode_pdf, encode_mp4, encode_pdf
from ume_r1_bench.world.families import document
from ume_r1_bench.world.film import FRAMES, MIDDLE, draw_clip
from ume_r1_bench.world.lesson import SIBLINGS, Lessons
from ume_r1_bench.world.page import Bar, Chart, Line, Page, Part, sample_page, values_of
from ume_r1_bench.world.picture import draw_scene
from ume_r1_bench.world.pool import POOL, make_pools
from ume_r1_bench.world.scene import (
    POSITIONS,
    Scene,
    Thing,
    apply_edit,
    edits,
    neighbours,
    sample_group,
    sample_scene,
)
from ume_r1_bench.world.sheet import draw_page
from ume_r1_bench.world.split import make_rng, split_of

PAIRS = 384


@pytest.fixture(scope="module")
def pools():
    return list(make_pools("test", 0))


@pytest.fixture(scope="module")
def lessons():
    made = Lessons("train", 0, 4800)
    return [(family, pair) for family, groups in made for group in groups for pair in group]


def in_family(pools, family):
    return [pool for pool in pools if pool.family == family]


def pixels(image):
    return np.asarray(image.convert("RGB"), int)


def sides_of(pools):
    for pool in pools:
        yield from pool.candidates
        for pair in pool.pairs:
            yield from (pair.query, pair.target)


def files_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# ---- determinism


def test_same_seed_writes_the_same_bytes(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_world(tmp_path / name, split="train", seed=seed, sft=True, pairs=PAIRS, progress=False)
    first, again, other = (files_of(tmp_path / name) for name in "abc")
    assert first == again
    assert first["UME-sft-train.jsonl"] != other["UME-sft-train.jsonl"]


def test_pdf_and_mp4_encode_to_the_same_bytes():
    rng = make_rng("bytes")
    page, scene = draw_page(sample_page(rng, "test")), draw_scene(sample_scene(rng, "test"))
    assert encode_pdf([page]) == encode_pdf([page])
    assert encode_mp4([scene] * FRAMES) == encode_mp4([scene] * FRAMES)


# ---- splits


def contents(split):
    """Canonical keys of what a split's pools and lessons show, by kind."""
    found = defaultdict(set)
    sides = list(sides_of(make_pools(split, 0)))
    for _, groups in Lessons(split, 1, 480) if split == "train" else ():
        sides += [side for group in groups for pair in group for side in (pair.query, pair.target)]
    for side in sides:
        if isinstance(side.media, Scene):
            found["scene"].add(side.media.key)
        elif isinstance(side.media, Page):
            found["value"].update(value for _, value in side.media.lines)
            found["chart"].add(side.media.chart.key)
        elif isinstance(side.media, Part):
            found["value"].update(row.value for row in side.media.rows if isinstance(row, Line))
        elif isinstance(side.media, Clip):
            found["cast"].add(frozenset((side.media.cast.top, side.media.cast.bottom)))
        elif re.fullmatch("[A-Z][0-9][A-Z]", side.text):
            found["value"].add(side.text)
        found["asked"].add((side.media.key if side.media else None, side.text) if side.media else None)
    found["asked"].discard(None)
    return found


def test_splits_share_no_content_and_no_question():
    found = {split: contents(split) for split in SPLITS}
    for one, other in combinations(SPLITS, 2):
        for kind in ("scene", "value", "chart", "cast", "asked"):
            assert found[one][kind], (one, kind)
            assert found[one][kind].isdisjoint(found[other][kind]), (one, other, kind)


def test_splits_have_their_shares_whatever_the_seed():
    values = {split: set(values_of(split)) for split in SPLITS}
    total = sum(map(len, values.values()))
    for split, share in zip(SPLITS, (0.80, 0.05, 0.12, 0.03), strict=True):
        assert abs(len(values[split]) / total - share) < 0.02
    assert split_of("picture", "center red circle") == Scene.of({4: Thing("red", "circle")}).split


# ---- scenes


def test_edit_leads_from_one_scene_to_the_other():
    rng = make_rng("edits")
    told = 0
    for _ in range(30):
        scene = sample_scene(rng, "train")
        for other in neighbours(scene):
            for edit in edits(scene, other):
                assert apply_edit(scene, edit) == other
                told += 1
    assert told > 1000


def test_group_differs_in_one_attribute_of_one_object():
    rng = make_rng("groups")
    for _ in range(50):
        group = sample_group(rng, "train")
        assert len(set(group.scenes)) == 5
        for one, other in combinations(group.scenes, 2):
            assert len(set(one.objects) - set(other.objects)) == 1
            (cell, old), (place, new) = (
                next(iter(set(a.objects) - set(b.objects))) for a, b in ((one, other), (other, one))
            )
            changes = [cell != place, old.colour != new.colour, old.shape != new.shape]
            assert sum(changes) == 1


def test_pictures_of_different_scenes_differ():
    rng = make_rng("pictures")
    group = sample_group(rng, "train")
    assert len({draw_scene(scene).tobytes() for scene in group.scenes}) == len(group.scenes)
    assert draw_scene(group.scenes[0]).size == (84, 84)


# ---- traces


def read_scene(text):
    """A caption's scene, from its words alone."""
    things = re.findall(r"(red|green|blue|yellow|purple|orange|cyan|black) (\w+)", text)
    places = re.findall(r"\b(" + "|".join(POSITIONS) + r")\b", text)
    assert len(things) == len(places)
    cells = (POSITIONS.index(place) for place in places)
    return Scene.of(dict(zip(cells, (Thing(*thing) for thing in things), strict=True)))


def read_clip(text):
    """A clip caption's acts from top to bottom, from its words alone."""
    acts = re.findall(r"(?:(top|bottom) (?:an? )?)?(\w+ \w+) (?:that )?(" + "|".join(BEHAVIOURS) + ")", text)
    acts.sort(key=lambda act: act[0] == "bottom")
    return ", ".join(f"{name} {behaviour}" for _, name, behaviour in acts)


def test_one_input_has_one_trace(lessons, pools):
    seen = {}
    for side in [s for _, pair in lessons for s in (pair.query, pair.target)] + list(sides_of(pools)):
        assert seen.setdefault((side.media, side.text), side.trace) == side.trace


def test_caption_trace_follows_from_its_words(lessons):
    checked = Counter()
    for family, pair in lessons:
        text = pair.query if family.endswith("_find") else pair.target
        if family in ("picture_find", "picture_describe"):
            assert text.trace == traces.scene_trace(read_scene(text.text))
            checked[family] += 1
        elif family in ("clip_find", "clip_describe"):
            assert text.trace.summary == read_clip(text.text)
            checked[family] += 1
        elif family == "page_find":
            heading, key, value = re.fullmatch(r"(\w+ \w+), (\w+) (\w+)", text.trace.summary).groups()
            assert all(part in text.text for part in (heading, key, value))
            assert text.trace.reasoning == f"page {heading}; {key} {value}"
            checked[family] += 1
    assert len(checked) == 5


def test_document_trace_follows_from_what_it_shows(lessons):
    for family, pair in lessons:
        if pair.target.media is not None:
            assert pair.target.trace == document(pair.target.media).trace
        if family.endswith("_describe"):
            assert pair.query.trace == document(pair.query.media).trace
            assert pair.query.trace == pair.target.trace


def test_question_trace_follows_from_picture_and_question(lessons):
    for family, pair in lessons:
        media, text, told = pair.query.media, pair.query.text, pair.query.trace
        if family == "picture_at":
            cell = POSITIONS.index(re.search(r"\bat (\w+)", text)[1])
            assert told.summary == media.cells[cell].name
        elif family == "picture_count":
            words = [word for thing in media.objects for word in (thing[1].colour, thing[1].shape)]
            asked = re.search(r"(\w+?)(?: objects|(?<=s)es|s)\??$", text)[1]
            assert told.summary == str(words.count(asked)), text
            assert told.reasoning.endswith(f"total {told.summary}")
        elif family == "page_read":
            key = next(key for key, _ in media.lines if re.search(rf"\b{key}\b", text))
            assert told.summary == media.value(key)
        elif family == "page_chart":
            bars = told.reasoning.removeprefix("chart ").split(". ")[0].split()
            assert told.summary == max(bars, key=lambda bar: int(bar[1:]))[0]
        elif family == "page_part":
            assert told.summary == media.key == pair.target.text
            assert not set(media.key.split()) & set(re.findall(r"\w+", text)), "or there is nothing to read"
        elif family == "picture_edit":
            assert told.summary == pair.target.media.key
        if family in LABELS or family == "page_read":
            assert told.summary == pair.target.text == pair.target.trace.summary


def test_edit_names_exactly_one_object(lessons):
    for family, pair in lessons:
        if family == "picture_edit":
            reference = re.search(r"\. ([\w ]+?) (becomes|moves to) ", pair.query.trace.reasoning)[1]
            names = [
                name
                for _, thing in pair.query.media.objects
                for name in (thing.shape, f"{thing.colour} object", thing.name)
            ]
            assert names.count(reference) == 1
            assert f"the {reference} " in pair.query.text


# ---- lessons


def test_siblings_are_hard_negatives_of_one_another():
    for family, groups in Lessons("train", 5, 1920):
        for group in groups:
            assert len(group) == SIBLINGS
            targets = [pair.target.media or pair.target.trace for pair in group]
            assert len(set(targets)) == SIBLINGS, family
            for one, other in combinations((pair.target.media for pair in group), 2):
                if isinstance(one, Scene):
                    assert len(set(one.objects) - set(other.objects)) == 1
                elif isinstance(one, Page):
                    assert sum(a != b for a, b in zip(one.phrases, other.phrases, strict=True)) == 1
                elif isinstance(one, Clip):
                    assert one.cast == other.cast
                    assert (one.top != other.top) + (one.bottom != other.bottom) == 1


def test_lessons_are_balanced_over_families_and_counts(lessons):
    families = Counter(family for family, _ in lessons)
    assert set(families) == set(LESSONS)
    assert len(set(families.values())) == 1
    for family, labels in LABELS.items():
        answers = Counter(pair.target.text for name, pair in lessons if name == family)
        assert set(answers) == set(labels)
        assert max(answers.values()) < 3 * sum(answers.values()) / len(labels), family


# ---- pools


def test_every_family_has_queries_enough(pools):
    queries = Counter()
    for pool in pools:
        queries[pool.family] += len(pool.pairs)
    assert set(queries) == set(FAMILIES)
    assert min(queries.values()) >= 512


def test_gold_is_among_the_candidates_exactly_once(pools):
    for pool in pools:
        assert len(set(pool.candidates)) == len(pool.candidates)
        assert len(pool.candidates) == len(LABELS.get(pool.family, range(POOL)))
        for pair in pool.pairs:
            assert pool.candidates.count(pair.target) == 1
            assert pair.family == pool.family


def test_labels_are_balanced(pools):
    for family in LABELS:
        (pool,) = in_family(pools, family)
        answers = Counter(pair.target.text for pair in pool.pairs)
        assert set(answers) == set(LABELS[family])
        assert len(set(answers.values())) == 1
        assert len({(pair.query.media, pair.query.trace) for pair in pool.pairs}) == len(pool.pairs)


def test_near_duplicates_stand_in_every_picture_pool(pools):
    for pool in in_family(pools, "picture_find"):
        scenes = {side.media for side in pool.candidates}
        for scene in scenes:
            near = scenes.intersection(neighbours(scene))
            # A leaf of a group knows its base; the base knows them all.
            assert near
            assert max(len(scenes.intersection(neighbours(other))) for other in {scene, *near}) >= 3


def test_page_query_is_answered_by_one_page(pools):
    for pool in in_family(pools, "page_find"):
        for pair in pool.pairs:
            heading, key, value = re.fullmatch(r"(\w+ \w+), (\w+) (\w+)", pair.query.trace.summary).groups()
            pages = [side for side in pool.candidates if side.media.heading == heading]
            fitting = [side for side in pages if (key, value) in side.media.lines]
            assert fitting == [pair.target]


def test_blanked_pages_of_a_pool_are_one_image(pools):
    for pool in in_family(pools, "page_find"):
        assert len({erase_text(draw_page(side.media)).tobytes() for side in pool.candidates}) == 1
    some = [side.media for side in in_family(pools, "page_find")[0].candidates[::8]]
    decoded = (decode_pdf(encode_pdf([draw_page(page)]), 224)[0] for page in some)
    assert len({erase_text(page).tobytes() for page in decoded}) == 1


def test_a_blanked_chart_keeps_its_bars_and_loses_their_labels():
    page = sample_page(make_rng("blank"), "test")
    lengths = [bar.length for bar in page.chart.bars]
    renamed = replace(page, chart=Chart(tuple(map(Bar, "tnsx", lengths))))
    longer = replace(page, chart=Chart(tuple(map(Bar, "tnsx", reversed(lengths)))))
    blank, again, other = (erase_text(draw_page(one)).tobytes() for one in (page, renamed, longer))
    assert blank == again != other


def test_read_candidates_hold_the_other_values_of_the_page(pools):
    for pool in in_family(pools, "page_read"):
        values = [side.text for side in pool.candidates]
        for pair in pool.pairs:
            assert {value for _, value in pair.query.media.lines} <= set(values)
        assert max(Counter(pair.target.text for pair in pool.pairs).values()) <= 3


def test_one_frame_tells_nothing_about_a_clip(pools):
    for pool in in_family(pools, "clip_find"):
        clips = [side.media for side in pool.candidates]
        assert set(clips) == set(every_clip(clips[0].cast))
        films = [draw_clip(clip) for clip in clips]
        assert len({single_frame(film)[0].tobytes() for film in films}) == 1
        assert len({b"".join(frame.tobytes() for frame in film) for film in films}) == POOL


def test_single_frame_repeats_the_middle():
    assert single_frame(list(range(FRAMES))) == [MIDDLE] * FRAMES
    assert single_frame(["a", "b", "c", "d"]) == ["c"] * 4


# ---- pixels


def test_pdf_decodes_to_nearly_what_was_drawn():
    drawn = [draw_page(sample_page(make_rng("pdf", n), "test")) for n in range(3)]
    decoded = decode_pdf(encode_pdf(drawn), 224)
    assert len(decoded) == 3
    for page, back in zip(drawn, decoded, strict=True):
        assert back.size == (224, 224)
        assert np.abs(pixels(page) - pixels(back)).mean() < 1


def test_mp4_decodes_to_nearly_what_was_drawn(pools):
    clips = [side.media for side in in_family(pools, "clip_find")[0].candidates[:: POOL // 8]]
    for clip in clips:
        drawn = draw_clip(clip)
        decoded = decode_mp4(encode_mp4(drawn))
        assert len(decoded) == FRAMES
        for frame, back in zip(drawn, decoded, strict=True):
            assert back.size == (84, 84)
            assert np.abs(pixels(frame) - pixels(back)).mean() < 3
