"""Pairs for GRPO: even quotas, what is seen and what is easy left out, and the official shape."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_pairs import annotated, pair, picture, read, write
from typer.testing import CliRunner

from ume_r1_rag.cli import model
from ume_r1_rag.cli.app import app
from ume_r1_rag.errors import ConfigError
from ume_r1_trainer.data.pools import pools
from ume_r1_trainer.data.quota import share_out
from ume_r1_trainer.data.record import Content, make_record, modality_of, pair_key
from ume_r1_trainer.data.scores import hardness, parse_condition, read_scores
from ume_r1_trainer.data.select_rl import PAPER_IMAGE_SETS, Choice, select_rl
from ume_r1_trainer.records import RecordError

AVAILABLE = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 30), max_size=6)


def run(*arguments: object):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


@given(st.integers(0, 120), AVAILABLE)
@settings(deadline=None)
def test_quotas_are_all_that_can_be_had_and_as_even_as_can_be(total: int, available: dict[str, int]):
    quota = share_out(total, available)
    assert quota.keys() == available.keys()
    assert sum(quota.values()) == min(total, sum(available.values()))
    assert all(0 <= quota[name] <= available[name] for name in quota)
    # Nobody has two more than one who could still give: then one could be moved between them.
    could_give = [quota[name] for name in quota if quota[name] < available[name]]
    assert not could_give or max(quota.values()) - min(could_give) <= 1


def test_a_negative_quota_is_refused():
    with pytest.raises(ConfigError, match="must not be negative"):
        share_out(-1, {"a": 3})


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_rank_and_margin_are_those_of_a_direct_loop(count: int, seed: int):
    rng = np.random.default_rng(seed)
    queries, targets = rng.normal(size=(2, count, 4)).astype(np.float32)
    contents = [int(kind) for kind in rng.integers(0, 5, count)]
    found = hardness(queries, targets, contents)
    for row in range(count):
        similar = [float(queries[row] @ target) for target in targets]
        others = [similar[at] for at in range(count) if contents[at] != contents[row]]
        margin = similar[row] - max(others) if others else 1.0
        assert found[row]["rank"] == 1 + sum(other >= similar[row] for other in others)
        assert found[row]["margin"] == pytest.approx(margin, abs=1e-5)


def video(number: int, dataset: str) -> dict:
    frames = tuple(f"clips/{dataset}{number}/{at}.png" for at in range(3))
    return make_record(
        dataset, f"{dataset}/{number}", None, Content("What is done?", (), frames), Content("x")
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [pair(number, name, None) for name in ("OK-VQA", "CIRR", "NIGHTS") for number in range(30)]
    rows += [video(number, "clips_a") for number in range(40)]
    rows += [video(number, "clips_b") for number in range(4)]
    rows += [pair(number, "colpali_train_set", None) for number in range(50)]
    return write(tmp_path / "pairs.jsonl", rows)


def test_modalities_and_data_sets_are_balanced(data: Path, tmp_path: Path):
    report = select_rl(data, tmp_path / "rl.jsonl", Choice(pairs=90))
    assert report.selected == {
        "image": {"CIRR": 10, "NIGHTS": 10, "OK-VQA": 10},
        "video": {"clips_a": 26, "clips_b": 4},
        "visdoc": {"colpali_train_set": 30},
    }
    chosen = read(tmp_path / "rl.jsonl")
    assert len({row["id"] for row in chosen}) == report.chosen == 90
    assert not report.left_out


def test_a_draw_is_the_same_for_its_seed(data: Path, tmp_path: Path):
    draws = []
    for seed in (0, 0, 1):
        select_rl(data, tmp_path / "rl.jsonl", Choice(pairs=30, seed=seed))
        draws.append([row["id"] for row in read(tmp_path / "rl.jsonl")])
    assert draws[0] == draws[1] != draws[2]


def test_what_sft_has_seen_is_left_out_under_whatever_id(data: Path, tmp_path: Path):
    seen = [annotated({**row, "id": f"other {row['id']}"}) for row in read(data) if "NIGHTS" in row["id"]]
    sft = write(tmp_path / "sft.jsonl", seen)
    report = select_rl(data, tmp_path / "rl.jsonl", Choice(pairs=10_000), sft=[sft])
    assert report.left_out == {"seen": 30}
    assert "NIGHTS" not in {row["dataset"] for row in read(tmp_path / "rl.jsonl")}
    assert report.chosen == 154


def test_a_pair_is_chosen_once(data: Path, tmp_path: Path):
    write(data, read(data)[:5] * 3)
    report = select_rl(data, tmp_path / "rl.jsonl", Choice(pairs=90))
    assert (report.chosen, report.left_out) == (5, {"duplicate": 10})


def test_the_papers_preset_takes_its_five_image_sets(data: Path, tmp_path: Path):
    done = run("select-rl", "--data", data, "--preset", "paper", "--output", tmp_path / "rl.json")
    assert done.exit_code == 0
    assert "there are no more: 11136 were asked for" in done.output
    report = json.loads((tmp_path / "rl.report.json").read_text())
    assert list(report["selected"]["image"]) == ["CIRR", "OK-VQA"]
    assert set(report["selected"]["image"]) <= set(PAPER_IMAGE_SETS)
    assert report["left_out"] == {"other_image_set": 30}


def test_easy_pairs_are_left_out_by_what_was_measured(data: Path, tmp_path: Path):
    rows = [row for row in read(data) if row["dataset_name"] == "CIRR"]
    write(data, rows)
    scores = [{"id": row["id"], "rank": 1 + at % 2, "margin": at / 100} for at, row in enumerate(rows[:-2])]
    file = write(tmp_path / "scores.jsonl", scores)
    easy = ["--scores", file, "--easy", "rank<=1", "--easy", "margin >= 0.1"]
    done = run("select-rl", "--data", data, "--output", tmp_path / "rl.jsonl", *easy)
    assert done.exit_code == 0
    hard = {one["id"] for one in scores if not (one["rank"] <= 1 and one["margin"] >= 0.1)}
    assert {row["id"] for row in read(tmp_path / "rl.jsonl")} == hard
    assert "left out: easy 9, unscored 2" in done.output


def test_records_have_the_official_shape(data: Path, tmp_path: Path):
    select_rl(data, tmp_path / "rl.json", Choice(pairs=10_000))
    rows = {row["id"]: row for row in read(tmp_path / "rl.json")}
    bare = {name: value for name, value in rows["CIRR/3"].items() if name not in ("id", "modality")}
    assert bare == {
        "dataset": "CIRR",
        "dataset_name": "CIRR",
        "solution": "<embedding>",
        "qry_text": "query 3 of CIRR",
        "qry_image": "",
        "qry_video": [""],
        "pos_text": "Represent the given image.",
        "pos_image": "images/a.png",
        "pos_video": [""],
    }
    clip = rows["clips_a/2"]
    assert clip["qry_video"] == [f"clips/clips_a2/{at}.png" for at in range(3)]
    assert (clip["qry_image"], clip["modality"]) == ("", "video")


def test_a_modality_may_be_told(tmp_path: Path):
    data = write(tmp_path / "a.jsonl", [pair(0, "manuals", None), pair(1, "photos", None)])
    assert modality_of(read(data)[0]) == "image"
    output = tmp_path / "rl.jsonl"
    done = run("select-rl", "--data", data, "--modality", "manuals=visdoc", "--output", output)
    assert done.exit_code == 0
    assert {row["dataset"]: row["modality"] for row in read(output)} == {
        "manuals": "visdoc",
        "photos": "image",
    }


def test_rows_that_cannot_be_read_are_reported_and_the_others_chosen(tmp_path: Path):
    data = write(tmp_path / "a.jsonl", [pair(0), "{", pair(1), {"dataset_name": "x"}, [1]])
    done = run("select-rl", "--data", data, "--output", tmp_path / "rl.jsonl")
    assert done.exit_code == 1
    assert len(read(tmp_path / "rl.jsonl")) == 2
    for told in ("3 rows cannot be read", "a.jsonl:2: is no JSON", "a.jsonl:4.qry", "a.jsonl:5: is a list"):
        assert told in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--easy", "rank<=1"], "needs both"),
        (["--easy", "rank=1", "--scores", "{scores}"], "'rank=1' is no condition"),
        (["--scores", "{scores}", "--easy", "loss<=1"], "needs id, loss"),
        (["--scores", "nowhere", "--easy", "rank<=1"], "no scores at nowhere"),
        (["--sft", "{broken}"], "Give the file that SFT was trained on"),
        (["--sft", "{data}"], "is left to choose: 2 seen"),
        (["--modality", "find=pages"], "'pages' is no modality"),
        (["--preset", "paper", "--image-set", "x"], "the preset names"),
        (["--image-set", "x"], "is left to choose: 2 other_image_set"),
    ],
)
def test_a_slip_is_told_and_nothing_is_written(tmp_path: Path, arguments: list[str], said: str):
    files = {
        "data": write(tmp_path / "a.jsonl", [pair(0), pair(1)]),
        "scores": write(tmp_path / "s.jsonl", [{"id": "find/0", "rank": 1}]),
        "broken": write(tmp_path / "b.jsonl", ["{"]),
    }
    output = tmp_path / "rl.jsonl"
    done = run(
        "select-rl", "--data", files["data"], "--output", output, *(one.format(**files) for one in arguments)
    )
    assert done.exit_code
    assert said in " ".join(done.output.split())
    assert not output.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", "--source", "mmeb=x"],
        ["annotate", "--data", "x", "--model", "m", "--base-url", "http://localhost/v1"],
        ["filter", "--data", "x"],
        ["score", "--data", "x"],
        ["select-rl", "--data", "x"],
        ["pages", ".", "--model", "m", "--base-url", "http://localhost/v1"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_output_that_cannot_be_written_is_told_before_any_work(tmp_path: Path, arguments: list[str]):
    (tmp_path / "file").write_text("no folder")
    done = run(*arguments, "--output", tmp_path / "file/below/out.jsonl")
    assert done.exit_code == 2
    assert "cannot be made" in done.output


@pytest.mark.parametrize("text", ["rank<=1", " margin >= -0.25 ", "x<1e-3", "y > 2"])
def test_a_condition_is_read_as_written(text: str):
    assert str(parse_condition(text)).replace(" ", "") in (text.replace(" ", ""), "x<0.001")


def test_a_score_that_is_no_number_is_named(tmp_path: Path):
    write(tmp_path / "s.jsonl", [{"id": "a", "rank": 1}, {"id": "b", "rank": float("nan")}])
    with pytest.raises(RecordError, match=r"s\.jsonl:2\.rank: nan is no number"):
        read_scores(tmp_path / "s.jsonl", ["rank"])


@given(st.lists(st.sampled_from("ab"), max_size=60), st.integers(2, 8))
@settings(deadline=None)
def test_pools_hold_every_pair_once_and_of_one_data_set(tmp_path_factory, names: list[str], size: int):
    rows = [pair(number, name) for number, name in enumerate(names)]
    path = write(tmp_path_factory.mktemp("pools") / "a.jsonl", rows)
    made = [records for records, _ in pools(path, size)]
    assert sorted(row["id"] for records in made for row in records) == sorted(row["id"] for row in rows)
    for records in made:
        assert len({row["dataset_name"] for row in records}) <= 1
        assert len(records) < size + (size + 1) // 2
        assert len(records) * 2 >= size or names.count(records[0]["dataset_name"]) == len(records)


def test_a_checkpoint_measures_and_what_it_cannot_encode_is_named(
    tmp_path: Path, nano_encoder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(model, "load_encoder", lambda *_, **__: nano_encoder)
    picture(tmp_path, "images/a.png")
    rows = [pair(number) for number in range(5)]
    rows[3]["pos"]["image"] = "images/gone.png"
    data = write(tmp_path / "a.jsonl", [*rows, "{"])
    done = run("score", "--data", data, "--model", "nano", "--output", tmp_path / "scores.jsonl")
    assert done.exit_code == 1
    assert "gone.png" in done.output
    assert "a.jsonl:6" in done.output
    scored = read(tmp_path / "scores.jsonl")
    assert [row["id"] for row in scored] == [f"find/{number}" for number in (0, 1, 2, 4)]
    # All show the same picture, so there is no other target to be nearer.
    assert {(row["rank"], row["margin"]) for row in scored} == {(1, 1.0)}


def test_a_key_is_what_is_shown(tmp_path: Path):
    one = pair(1)
    assert pair_key(one) == pair_key(annotated({**one, "id": "x", "dataset_name": "y"}))
    assert pair_key(one) != pair_key(pair(2))
