"""The paper's draw from files as they lie on disk, from a hub's layout, and from what is broken."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from training_pairs import COLOURS, annotated, pair, picture, read, write
from typer.testing import CliRunner

from ume_r1_rag.cli.app import app
from ume_r1_rag.errors import FetchError
from ume_r1_trainer.data.record import content_of, modality_of
from ume_r1_trainer.data.sample import sample
from ume_r1_trainer.data.sources import FRAMES, MMEB_TRAIN, open_sources
from ume_r1_trainer.data.table import HubTable, open_table
from ume_r1_trainer.records import RecordError


def run(*arguments: object):
    return CliRunner().invoke(app, ["data", "sample", *map(str, arguments)])


def mmeb_rows(media: Path, dataset: str, count: int) -> list[dict]:
    rows = []
    for number in range(count):
        path = picture(media, f"images/{dataset}/{number}.jpg", COLOURS[number % 6])
        rows.append(
            {
                "qry": f"<|image_1|>\nRepresent the given image with the following question: what? {number}",
                "qry_image_path": path,
                "pos_text": f"answer {number}",
                "pos_image_path": "",
                "neg_text": "another",
                "neg_image_path": "",
            }
        )
    return rows


@pytest.fixture(scope="module")
def mmeb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MMEB-train as the hub has it: a folder a data set, two splits, here in several row groups and files."""
    root = tmp_path_factory.mktemp("mmeb")
    for dataset, count in (("OK-VQA", 40), ("CIRR", 7)):
        rows = mmeb_rows(root, dataset, count)
        (root / dataset).mkdir()
        half = count // 2
        for number, part in enumerate((rows[:half], rows[half:])):
            table = pa.Table.from_pylist(part)
            pq.write_table(table, root / dataset / f"original-{number:05}-of-00002.parquet", row_group_size=6)
        other = [{**row, "qry": "another split"} for row in rows]
        pq.write_table(pa.Table.from_pylist(other), root / dataset / "diverse_instruction-00000.parquet")
    write(root / "NIGHTS.jsonl", [*mmeb_rows(root, "NIGHTS", 5), "{ no json", {"qry": "lacks the rest"}])
    return root


def test_the_paper_names_twenty_data_sets():
    assert len(set(MMEB_TRAIN)) == 20


def test_a_draw_is_of_the_right_size_split_and_shape(mmeb: Path, tmp_path: Path):
    sources = open_sources("mmeb", str(mmeb), mmeb, ["OK-VQA", "CIRR"])
    report = sample(sources, tmp_path / "pairs.jsonl", mmeb, caps={"mmeb": 10}, seed=3)
    rows = read(tmp_path / "pairs.jsonl")
    assert [row["dataset_name"] for row in rows] == ["OK-VQA"] * 10 + ["CIRR"] * 7
    assert len({row["id"] for row in rows}) == 17
    for row in rows:
        number = row["id"].partition("/")[2]
        query, positive = content_of(row["qry"], ""), content_of(row["pos"], "")
        assert query.text == f"Represent the given image with the following question: what? {number}"
        assert query.images == (f"images/{row['dataset_name']}/{number}.jpg",)
        assert (positive.text, positive.images) == (f"answer {number}", ())
        assert row["pos"]["image"] == "images/blank.jpg"
    assert (mmeb / "images/blank.jpg").is_file()
    assert report.datasets["OK-VQA"] == {"available": 40, "written": 10, "failed": 0}


def test_a_draw_is_the_same_for_its_seed_whatever_else_is_drawn(mmeb: Path, tmp_path: Path):
    def draw(seed: int, *only: str) -> list[str]:
        sources = open_sources("mmeb", str(mmeb), mmeb, only)
        sample(sources, tmp_path / "p.jsonl", mmeb, caps={"mmeb": 10}, seed=seed)
        return [row["id"] for row in read(tmp_path / "p.jsonl") if row["dataset_name"] == "OK-VQA"]

    assert draw(0, "OK-VQA") == draw(0, "OK-VQA", "CIRR")
    assert draw(0, "OK-VQA") != draw(1, "OK-VQA")


def test_every_row_is_as_likely_as_another(mmeb: Path, tmp_path: Path):
    counts = [0] * 40
    sources = open_sources("mmeb", str(mmeb), mmeb, ["OK-VQA"])
    for seed in range(60):
        sample(sources, tmp_path / "p.jsonl", mmeb, caps={"mmeb": 10}, seed=seed, check_media=False)
        for row in read(tmp_path / "p.jsonl"):
            counts[int(row["id"].partition("/")[2])] += 1
    # 15 is expected; a binomial of 60 at 1/4 has a deviation of 3.4.
    assert min(counts) >= 2
    assert max(counts) <= 30


def test_the_command_reports_what_cannot_be_used_and_goes_on(mmeb: Path, tmp_path: Path):
    (mmeb / "images/NIGHTS/3.jpg").unlink()
    done = run("--source", f"mmeb={mmeb}", "--media", mmeb, "--output", tmp_path / "pairs.jsonl")
    assert done.exit_code == 1
    assert len(read(tmp_path / "pairs.jsonl")) == 40 + 7 + 4
    failed = read(tmp_path / "pairs.failed.jsonl")
    assert [row["id"] for row in failed] == ["NIGHTS/3", "NIGHTS/5", "NIGHTS/6"]
    assert "images/NIGHTS/3.jpg" in failed[0]["why"]
    assert "is no JSON" in failed[1]["why"]
    assert "has no column qry_image_path" in failed[2]["why"]
    assert "failed 3" in done.output
    assert json.loads((tmp_path / "pairs.report.json").read_text())["settings"]["caps"] == {"mmeb": 50_000}


def test_pages_come_out_of_their_columns(tmp_path: Path):
    buffer = BytesIO()
    Image.new("RGB", (56, 56), "red").save(buffer, "JPEG")
    page = {"bytes": buffer.getvalue(), "path": None}
    pq.write_table(
        pa.Table.from_pylist(
            [
                {"query": "What is it?", "image": page, "answer": "a page", "source": "pdf"},
                {"query": "And this?", "image": {"bytes": b"no picture", "path": None}, "answer": "x"},
            ]
        ),
        tmp_path / "train-0.parquet",
    )
    pq.write_table(
        pa.Table.from_pylist([{"query": "a chart of rain", "image": page, "source": "ChartQA"}]),
        tmp_path / "visrag.parquet",
    )
    sources = open_sources("vidore", str(tmp_path / "train-0.parquet"), tmp_path)
    sources += open_sources("visrag", str(tmp_path / "visrag.parquet"), tmp_path)
    report = sample(sources, tmp_path / "pairs.jsonl", tmp_path)
    vidore, visrag = read(tmp_path / "pairs.jsonl")
    query = content_of(vidore["qry"], "")
    assert query.text == "What is it?"
    assert (tmp_path / query.images[0]).read_bytes() == buffer.getvalue()
    assert content_of(vidore["pos"], "").text == "a page"
    assert content_of(visrag["qry"], "").text.endswith("a chart of rain")
    assert content_of(visrag["pos"], "").images[0].startswith("visrag/images/")
    assert {modality_of(row) for row in (vidore, visrag)} == {"visdoc"}
    assert report.failed == 1
    assert "is no picture" in report.examples[0]


def test_videos_come_from_their_frames(tmp_path: Path):
    folder = tmp_path / "llavahound"
    for number in range(11):
        picture(folder, f"train_300k/v1/c{number}.jpeg", COLOURS[number % 6])
    turns = [{"from": "human", "value": "<video>\nDescribe it."}, {"from": "gpt", "value": "A red wall."}]
    rows = [
        {"id": "1", "video": "v1", "conversations": turns},
        {"id": "2", "video": "gone", "conversations": turns},
        {"id": "3", "video": "../../..", "conversations": turns},
        {"id": "4", "video": "v1", "conversations": turns[:1]},
    ]
    write(folder / "video_caption_300k.jsonl", rows)
    write(folder / "video_240k_caption_15k.jsonl", rows[:1])
    report = sample(
        open_sources("llavahound", str(folder), tmp_path), tmp_path / "p.jsonl", tmp_path, caps={}
    )
    found = {row["dataset_name"]: row for row in read(tmp_path / "p.jsonl")}
    assert report.failed == 6, "three of the captions, either way"
    frames = content_of(found["video_caption_300k"]["qry"], "").frames
    assert len(frames) == FRAMES
    assert (frames[0], frames[-1]) == (
        "llavahound/train_300k/v1/c0.jpeg",
        "llavahound/train_300k/v1/c10.jpeg",
    )
    assert content_of(found["video_caption_300k"]["pos"], "").text == "A red wall."
    assert content_of(found["video_caption_300k-video"]["qry"], "").text.endswith("content: A red wall.")
    assert content_of(found["video_caption_300k-video"]["pos"], "").frames == frames
    assert content_of(found["video_qa_240k"]["qry"], "").text.endswith("of a video. Describe it.")
    assert {modality_of(row) for row in found.values()} == {"video"}


def test_records_are_drawn_without_their_completions(tmp_path: Path):
    picture(tmp_path, "images/a.png")
    rows = [annotated(pair(number, "mine", "visdoc")) for number in range(6)] + [{"dataset_name": "mine"}]
    data = write(tmp_path / "own.jsonl", rows)
    done = run("--source", f"records={data}", "--cap", "records=4", "--output", tmp_path / "pairs.jsonl")
    drawn = read(tmp_path / "pairs.jsonl")
    assert done.exit_code == 1
    assert "own.jsonl:7.qry.conversations" in done.output
    assert [row["id"] for row in drawn] == sorted({row["id"] for row in drawn})
    assert len(drawn) == 4
    assert all(len(row[side]["conversations"]) == 1 for row in drawn for side in ("qry", "pos"))
    assert {row["modality"] for row in drawn} == {"visdoc"}


def test_a_hub_layout_is_streamed_by_configuration_and_split(mmeb: Path, tmp_path: Path):
    """``datasets`` reads a folder as it reads the hub, which is out of reach here."""
    root = tmp_path / "hub"
    (root / "CIRR").mkdir(parents=True)
    for name in (mmeb / "CIRR").iterdir():
        (root / "CIRR" / name.name).write_bytes(name.read_bytes())
    (root / "README.md").write_text(
        "---\nconfigs:\n- config_name: CIRR\n  data_files:\n"
        "  - split: original\n    path: CIRR/original-*\n"
        "  - split: diverse_instruction\n    path: CIRR/diverse_instruction-*\n---\n"
    )
    table = HubTable(str(root), "CIRR", "original")
    assert len(table) == 7
    assert [(number, row["pos_text"]) for number, row in table.rows({1, 5})] == [
        (1, "answer 1"),
        (5, "answer 5"),
    ]
    with pytest.raises(FetchError, match="nowhere/at-all, CIRR, split original cannot be had from the Hub"):
        HubTable("nowhere/at-all", "CIRR", "original")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "mmeb"], "'mmeb' is no NAME=VALUE"),
        (["--source", "films=x"], "'films' is no kind of source"),
        (["--source", "mmeb=./not-there"], "there is no ./not-there"),
        (["--source", "records=not-there.jsonl"], "no file of records"),
        (["--source", "mmeb={mmeb}", "--cap", "mmeb=0"], "no number above 0"),
        (["--source", "mmeb={mmeb}", "--cap", "films=3"], "'films' is none of"),
        (["--source", "mmeb={mmeb}", "--dataset", "Nothing"], "no source has Nothing"),
        (["--source", "mmeb={mmeb}", "--source", "mmeb={mmeb}"], "two sources have CIRR"),
        (["--source", "llavahound={mmeb}"], "needs its frames in train_300k"),
    ],
)
def test_a_slip_is_told(mmeb: Path, tmp_path: Path, arguments: list[str], said: str):
    done = run(*(one.format(mmeb=mmeb) for one in arguments), "--output", tmp_path / "p.jsonl")
    assert done.exit_code
    assert said in " ".join(done.output.replace("│", " ").split())


def test_a_file_that_is_no_parquet_is_told(tmp_path: Path):
    (tmp_path / "a.parquet").write_text("nothing of the kind")
    with pytest.raises(RecordError, match="is no Parquet file"):
        open_table(str(tmp_path / "a.parquet"))
