"""The world benchmark: its scores, its bars, its controls, and one small run."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ume_r1_bench.interval import wilson
from ume_r1_bench.world import Document, Query
from ume_r1_bench.world.write import write_lines
from ume_r1_bench.world_bench import (
    FamilyScore,
    WorldReport,
    _chosen,
    _input,
    _score,
    run_world_bench,
    score_families,
)
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.types import Embedding

CANDIDATES = ("a", "b", "c", "d")


def query(family="picture_at", gold="b", candidates=CANDIDATES, number=0, **given):
    asked = Query(f"{family}-{number}", family, "what is it", None, (), tuple(candidates), gold)
    return replace(asked, **given)


def hit(*scores, gold="b"):
    (found,) = score_families([query(gold=gold)], lambda _: np.array(scores), "disc")
    return found.hit


# ---- interval


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (8, 10, 0.4902, 0.9433), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0)],
)
def test_wilson_gives_the_known_intervals(hits, n, low, high):
    assert wilson(hits / n, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_knows_nothing_without_trials_and_more_with_many():
    assert wilson(0.0, 0) == (0.0, 1.0)
    few, many = wilson(0.3, 10), wilson(0.3, 1000)
    assert few[0] < many[0] < 0.3 < many[1] < few[1]
    assert wilson(0.3, 10, z=1.0)[0] > few[0]


# ---- scores


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((0.1, 0.9, 0.2, 0.3), 1.0),
        ((0.1, 0.9, 0.9, 0.3), 0.5),
        ((0.7, 0.7, 0.7, 0.3), 1 / 3),
        ((0.5, 0.5, 0.5, 0.5), 0.25),
        ((0.9, 0.8, 0.2, 0.3), 0.0),
        ((0.9, 0.1, 0.9, 0.3), 0.0),
    ],
)
def test_a_hit_is_shared_with_those_that_tie(scores, expected):
    assert hit(*scores) == pytest.approx(expected)


def test_the_gold_counts_wherever_it_stands():
    assert [hit(9, 1, 1, 1, gold=gold) for gold in CANDIDATES] == [1, 0, 0, 0]
    assert [hit(1, 1, 1, 9, gold=gold) for gold in CANDIDATES] == [0, 0, 0, 1]


def test_families_are_kept_apart_each_with_its_chance():
    queries = [
        query("picture_at", "a"),
        query("clip_find", "c", "cd"),
        query("picture_at", "b"),
        query("clip_find", "d", "cdef"),
    ]
    scores = [np.array(s) for s in ([1, 0, 0, 0], [1, 0], [1, 0, 0, 0], [0, 1, 0, 0])]
    picture, clip = score_families(queries, scores.__getitem__, "gen")
    assert (picture.family, picture.mode, picture.hit, picture.n, picture.chance) == (
        "picture_at",
        "gen",
        0.5,
        2,
        0.25,
    )
    assert (clip.family, clip.hit, clip.n, clip.chance) == ("clip_find", 1.0, 2, 0.375)
    assert (picture.low, picture.high) == wilson(0.5, 2)
    assert (clip.low, clip.high) == wilson(1.0, 2)


@pytest.mark.parametrize("many", [2, 3, 7, 27, 64])
def test_a_constant_embedding_scores_exactly_chance(many):
    # Of several sizes, for BLAS rounds the rows that are left over otherwise than the rest.
    vector = np.random.default_rng(many).normal(size=128).astype(np.float32)
    constant = Embedding(vector / np.linalg.norm(vector), None)
    names = [f"d{n}" for n in range(many)]
    documents = [Document(name, "text", name, None, None, ()) for name in names]
    queries = [query(gold=gold, candidates=names) for gold in names]
    found = ([constant] * many, [constant] * many)
    (score,) = _score(queries, documents, found, "disc", "disc")
    assert score.hit == score.chance == pytest.approx(1 / many)


def test_documents_are_found_by_id_and_not_by_place():
    axes = np.eye(4, dtype=np.float32)
    documents = [Document(name, "text", name, None, None, ()) for name in CANDIDATES]
    queries = [query(gold="d", candidates="dbca"), query(gold="a", candidates="cdab")]
    embedded = [Embedding(axes[3], axes[0]), Embedding(axes[0], axes[0])]
    found = (embedded, [Embedding(axis, axis) for axis in axes])
    assert _score(queries, documents, found, "disc", "disc")[0].hit == 1.0
    assert _score(queries, documents, found, "gen", "gen")[0].hit == 0.5


# ---- the report


def score(family="picture_at", mode="disc", hit=0.5, low=0.4, chance=0.1, n=10):
    return FamilyScore(family, mode, hit, low, min(1.0, hit + 0.1), n, chance)


def report(*scores, valid=1.0, generations=40, **meta):
    return WorldReport(list(scores), valid, generations, meta)


GOOD = (score(mode="disc", hit=0.5), score(mode="gen", hit=0.6))


def test_all_bars_can_be_reached():
    good = report(*GOOD)
    assert [reached for _, reached in good.bars()] == [True] * 4
    assert good.ok


@pytest.mark.parametrize(
    ("bad", "number", "named"),
    [
        (report(*GOOD, score("clip_find", "gen", 0.6, low=0.19)), 0, "(clip_find gen)"),
        (report(score(hit=0.7), score(mode="gen", hit=0.6)), 1, "gen 0.600 >= mean disc 0.700"),
        (report(score(hit=0.9), score(mode="gen", hit=0.96)), 2, "neither mean above 0.95"),
        (report(score(hit=0.6), score(mode="gen", hit=0.6), valid=0.9799), 3, "0.9799 >= 0.98 of 40"),
    ],
)
def test_each_bar_can_be_missed_alone(bad, number, named):
    bars = bad.bars()
    assert [reached for _, reached in bars] == [at != number for at in range(4)]
    assert named in bars[number][0]
    assert not bad.ok


def test_a_bar_holds_at_its_very_value():
    exact = report(score(hit=0.95, low=0.2), score(mode="gen", hit=0.95, low=0.2), valid=0.98)
    assert exact.ok, exact.bars()


def test_without_gen_disc_alone_is_judged():
    alone = report(score(), valid=0.0, generations=0)
    assert len(alone.bars()) == 1
    assert alone.ok
    assert not report(score(low=0.1), generations=0).ok


def test_a_think_budget_is_shown_and_not_judged():
    forced = score(mode="gen think=none", hit=0.1, low=0.0)
    both = report(*GOOD, forced)
    assert both.modes == ["disc", "gen", "gen think=none"]
    assert both.ok
    assert len(report(GOOD[0], forced, generations=0).bars()) == 1


def test_a_control_is_to_be_at_chance_in_every_mode():
    at_chance = [score("page_read", mode, 0.1, low=0.1) for mode in ("disc", "gen", "gen think=none")]
    fallen = report(*at_chance, valid=0.5, control="blank")
    assert fallen.ok
    assert [text for text, _ in fallen.bars()] == ["no family's interval lies above chance (none does)"]
    for number, mode in enumerate(("disc", "gen", "gen think=none")):
        leaking = list(at_chance)
        leaking[number] = score("page_read", mode, 0.2, low=0.11)
        leak = report(*leaking, control="blank")
        assert not leak.ok
        assert leak.bars() == [(f"no family's interval lies above chance (page_read {mode} does)", False)]


def test_the_mean_weighs_families_equally():
    three = report(score("a", hit=1.0, n=90), score("b", hit=0.0, n=10), score("b", "gen", 0.3))
    assert three.mean("disc") == pytest.approx(0.5)
    assert three.mean("gen") == pytest.approx(0.3)


def test_the_table_names_what_was_measured():
    scores = [
        FamilyScore(family, mode, share, low, 0.789, 31, 0.0156)
        for family, mode, share, low in (
            ("picture_at", "disc", 0.512, 0.456),
            ("picture_at", "gen", 0.498, 0.321),
            ("clip_find", "disc", 0.6, 0.5),
            ("clip_find", "gen", 0.7, 0.5),
        )
    ]
    meta = {"model": "nano", "weights": "0123456789abcdef", "split": "test", "seed": 7, "seconds": 12.3}
    lines = report(*scores, valid=0.5, **meta).table().splitlines()
    assert lines[0].split() == ["family", "n", "chance", "disc", "gen"]
    assert lines[2].split() == "picture_at 31 0.016 0.512 [0.456 0.789] 0.498 [0.321 0.789]".split()
    assert lines[3].split() == "clip_find 31 0.016 0.600 [0.500 0.789] 0.700 [0.500 0.789]".split()
    assert lines[4].split() == ["mean", "0.556", "0.599"]
    (about,) = (line for line in lines if line.startswith("hit@1"))
    for words in ("nano (0123456789ab)", "split test", "seed 7", "control none", "12 s"):
        assert words in about
    assert [line.split()[0] for line in lines[-4:]] == ["reached", "reached", "reached", "MISSED"]
    # A column stands under its head.
    assert {lines[0].index("disc") + 4, lines[2].index("]") + 1, lines[3].index("]") + 1} == {51}


# ---- what is measured


@pytest.fixture
def queries():
    families = ("page_read", "clip_event", "picture_at", "page_find")
    return [query(family, number=n) for n in range(3) for family in families]


def test_queries_are_chosen_by_family_and_limit(queries):
    chosen = _chosen(queries, None, 1, None)
    assert [q.family for q in chosen] == ["clip_event", "page_find", "page_read", "picture_at"]
    assert [q.id for q in chosen] == [q.id for q in _chosen(queries, None, 1, None)]
    assert {q.family for q in _chosen(queries, ["page_read"], 2, None)} == {"page_read"}
    assert len(_chosen(queries, None, None, None)) == 12


def test_a_limit_does_not_take_the_first_ones():
    # The closed families are ordered by their answers, so that the first ones share one.
    many = [query("picture_count", number=n) for n in range(500)]
    numbers = [int(q.id.rpartition("-")[2]) for q in _chosen(many, None, 64, None)]
    assert len(set(numbers)) == 64
    assert 200 < sum(numbers) / 64 < 300


def test_a_control_takes_the_families_it_is_for(queries):
    assert {q.family for q in _chosen(queries, None, None, "blank")} == {"page_read", "page_find"}
    assert {q.family for q in _chosen(queries, None, None, "frame")} == {"clip_event"}
    chosen = _chosen(queries, ["page_read", "picture_at"], None, "blank")
    assert {q.family for q in chosen} == {"page_read"}


def test_an_unknown_family_is_told_the_known_ones(queries):
    with pytest.raises(ConfigError) as caught:
        _chosen(queries, ["page_read", "pages"], None, None)
    assert str(caught.value) == ("unknown families pages: use clip_event, page_find, page_read, picture_at")


def test_a_control_that_is_for_no_family_is_refused(queries):
    with pytest.raises(ConfigError, match=r"picture_at: control='blank' is for page_\* alone"):
        _chosen(queries, ["picture_at"], None, "blank")


def test_an_unknown_control_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(ConfigError, match=r"control='sound' is unknown: use one of blank, frame"):
        run_world_bench(data=tmp_path, model="no such model", control="sound")


def test_text_stays_text_under_every_control():
    for control in (None, "blank", "frame"):
        item = _input(Document("t", "text", "a red circle", None, None, ()), control)
        assert (item.text, item.images, item.video) == ("a red circle", (), None)


def test_a_picture_goes_in_as_its_file_and_a_clip_as_its_frames(tmp_path):
    asked = query(image=tmp_path / "p.png")
    for control in (None, "frame"):
        item = _input(asked, control)
        assert (item.text, item.images, item.video) == ("what is it", (tmp_path / "p.png",), None)
    frames = tuple(tmp_path / f"{n}.png" for n in range(8))
    for shown in (query(video=frames), Document("c", "clip", "what is it", None, None, frames)):
        for control in (None, "blank"):
            item = _input(shown, control)
            assert (item.text, item.images, item.video) == ("what is it", (), frames)


def test_the_frame_control_repeats_the_middle(tmp_path):
    frames = tuple(tmp_path / f"{n}.png" for n in range(8))
    for shown in (query(video=frames), Document("c", "clip", "", None, None, frames)):
        assert _input(shown, "frame").video == (frames[4],) * 8


def test_the_blank_control_paints_over_the_text_and_leaves_the_bars(tmp_path):
    page = Image.new("RGB", (224, 224), "white")
    draw = ImageDraw.Draw(page)
    draw.text((10, 10), "INVOICE", fill="black")
    draw.text((10, 90), "total 12", fill="black")
    draw.text((30, 130), "A", fill="black")
    draw.rectangle((60, 130, 140, 190), fill="blue")
    page.save(tmp_path / "page.png")
    shown = Document("p", "page", "", tmp_path / "page.pdf", tmp_path / "page.png", ())
    (blank,) = _input(shown, "blank").images
    before, after = np.asarray(page), np.asarray(blank)
    for text in (np.s_[:112], np.s_[112:, :54]):
        assert (before[text] < 128).any()
        assert (after[text] == 255).all()
    np.testing.assert_array_equal(after[112:, 56:], before[112:, 56:])
    assert (after[130:190, 60:140] == (0, 0, 255)).all()


# ---- one run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Three pictures and three labels, in the files that a world has."""
    root = tmp_path_factory.mktemp("tiny")
    documents, asked = [], []
    colours = ("red", "green", "blue")
    for number, colour in enumerate(colours):
        picture = Image.new("RGB", (84, 84), "white")
        ImageDraw.Draw(picture).ellipse((20, 20, 60, 60), fill=colour)
        picture.save(root / f"{colour}.png")
        image = f"{colour}.png"
        documents += [
            {
                "id": f"p{number}",
                "kind": "picture",
                "text": "",
                "path": image,
                "image": image,
                "frames": None,
            },
            {"id": f"t{number}", "kind": "text", "text": f"{colour} circle"}
            | {"path": None, "image": None, "frames": None},
        ]
        for family, letter, shown in (("picture_find", "p", None), ("picture_at", "t", image)):
            text = f"a {colour} circle" if shown is None else "what is in the middle"
            candidates = [f"{letter}{n}" for n in range(3)]
            line = {"id": f"{family}-{number}", "family": family, "text": text, "image": shown}
            asked.append(line | {"video": None, "candidates": candidates, "gold": f"{letter}{number}"})
    asked.append(asked[0] | {"id": "other", "family": "clip_find", "candidates": ["absent"]})
    write_lines(root / "corpus.jsonl", documents)
    write_lines(root / "queries.jsonl", asked)
    return root


def test_a_run_measures_both_and_writes_its_figures(tiny, nano_encoder, tmp_path, capsys):
    out = tmp_path / "figures.json"
    families = ["picture_find", "picture_at"]
    found = run_world_bench(tiny, nano_encoder, families, limit=2, out=out, progress=False)
    assert found.modes == ["disc", "gen", "gen think=none"]
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert set(figures) == {"meta", "valid", "generations", "scores"}
    # Two queries a family, three pictures and three labels.
    assert figures["generations"] == found.generations == 10
    assert figures["valid"] == found.valid
    assert round(10 * found.valid) == pytest.approx(10 * found.valid)
    assert [(s["mode"], s["family"]) for s in figures["scores"]] == [
        (mode, family) for mode in found.modes for family in ("picture_at", "picture_find")
    ]
    for line in figures["scores"]:
        assert (line["n"], line["chance"]) == (2, pytest.approx(1 / 3))
        assert line["hit"] in {0.0, 0.5, 1.0}
        assert (line["low"], line["high"]) == pytest.approx(wilson(line["hit"], 2))
    meta = figures["meta"]
    assert (meta["model"], meta["split"], meta["seed"], meta["control"]) == (
        nano_encoder.model,
        tiny.name,
        "as made",
        None,
    )
    assert meta["weights"] == nano_encoder.fingerprint["weights"]
    assert meta["seconds"] > 0
    assert capsys.readouterr() == ("", "")


def test_without_budgets_disc_alone_is_measured(tiny, nano_encoder, tmp_path):
    out = tmp_path / "figures.json"
    found = run_world_bench(tiny, nano_encoder, ["picture_at"], think=(), out=out, progress=False)
    assert found.modes == ["disc"]
    assert found.generations == 0
    figures = json.loads(out.read_text(encoding="utf-8"))
    # What was not measured has no value.
    assert (figures["valid"], figures["generations"]) == (None, 0)
    pictures = [
        nano_encoder.encode({"text": "what is in the middle", "image": str(tiny / f"{c}.png")}).disc
        for c in ("red", "green", "blue")
    ]
    labels = [nano_encoder.encode(f"{c} circle").disc for c in ("red", "green", "blue")]
    right = np.argmax(np.stack(pictures) @ np.stack(labels).T, axis=1) == np.arange(3)
    assert found.scores[0].n == 3
    assert found.scores[0].hit == pytest.approx(right.mean())
