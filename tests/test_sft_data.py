"""What the cold start reads: official records, MMEB-train's columns, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from ume_r1_rag.errors import ConfigError
from ume_r1_trainer.corpus import Corpus, DataFault
from ume_r1_trainer.made_records import write_records
from ume_r1_trainer.records import BLANK, RecordError, parse_columns
from ume_r1_trainer.sampler import SourceSampler


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return write_records(tmp_path / "data", pairs=6, sources=2, negatives=True, side=28)


def rows_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "UME-sft-train.jsonl").read_text().splitlines()]


def write_rows(folder: Path, rows: list[object]) -> None:
    (folder / "UME-sft-train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_json_list_holds_the_same_rows_as_lines(made: Path, tmp_path: Path) -> None:
    rows = rows_of(made)
    # Brackets, quotes and backslashes inside of texts are no structure.
    rows[1]["qry"]["conversations"][1]["value"] = (
        '<think>a ] } "quoted\\" {[ text</think><answer>x\n<gen_emb>'
    )
    write_rows(made, rows)
    (made / "list.json").write_text(json.dumps(rows, indent=1))
    lines, listed = Corpus(made), Corpus(made / "list.json")
    assert len(lines) == len(listed) == 12
    assert [lines[n] for n in range(12)] == [listed[n] for n in range(12)]
    assert len(lines[0].negatives) == 1
    assert lines[1].negatives == ()
    (made / "cut.json").write_text(json.dumps(rows)[:-200])
    with pytest.raises(RecordError, match="cut off"):
        Corpus(made / "cut.json")
    (made / "object.json").write_text('{"a": 1}')
    with pytest.raises(RecordError, match=r"no list of records.*jsonl"):
        Corpus(made / "object.json")


def test_every_fault_is_found_before_the_start_by_file_row_and_field(made: Path, tmp_path: Path) -> None:
    rows: list[object] = list(rows_of(made))
    rows[2] = {"dataset_name": "made0", "qry": {"conversations": []}, "pos": None}
    rows[4]["pos"]["image"] = "images/absent.png"  # type: ignore[index]
    rows[7]["dataset_name"] = 5  # type: ignore[index]
    rows[8]["qry"]["image"] = [3]  # type: ignore[index]
    write_rows(made, rows)
    with (made / "UME-sft-train.jsonl").open("a") as file:
        file.write("not json\n")
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(DataFault, match=r"(?s)5 of 13 rows.*leave-out-faulty") as caught:
        Corpus(made).prepare(run)
    listed = [json.loads(line) for line in caught.value.report.read_text().splitlines()]
    assert [fault["row"] for fault in listed] == [2, 4, 7, 8, 12]
    texts = [fault["fault"] for fault in listed]
    for number, named in enumerate(
        (":3.qry.conversations", ":5: no such file", ":8.dataset_name", ":9.qry.image", ":13: is no JSON")
    ):
        assert f"UME-sft-train.jsonl{named}" in texts[number]
    assert "pos: images/absent.png" in texts[1]

    corpus = Corpus(made)
    corpus.prepare(run, "leave_out")
    assert corpus.left_out == 5
    assert {name: rows.tolist() for name, rows in corpus.datasets.items()} == {
        "made0": [0, 1, 3, 5],
        "made1": [6, 9, 10, 11],
    }
    # What was found is kept, though not for those who would refuse it, nor for another file.
    again = Corpus(made)
    (made / "images/0-1.png").unlink()
    again.prepare(run, "leave_out")
    assert again.left_out == 5
    with pytest.raises(DataFault):
        Corpus(made).prepare(run)
    write_rows(made, rows_of_good(rows))
    fresh = Corpus(made)
    fresh.prepare(run, "leave_out")
    assert fresh.left_out == 2, "the picture is missing from a pair and from another's negative"


def rows_of_good(rows: list[object]) -> list[object]:
    return [row for number, row in enumerate(rows) if number not in (2, 4, 7, 8)]


def test_media_are_looked_for_under_the_root(made: Path, tmp_path: Path) -> None:
    records = tmp_path / "elsewhere.jsonl"
    (made / "UME-sft-train.jsonl").rename(records)
    with pytest.raises(DataFault, match="12 of 12"):
        Corpus(records).prepare(tmp_path)
    corpus = Corpus(records, made)
    corpus.prepare(tmp_path)
    assert sum(map(len, corpus.datasets.values())) == 12


def write_columns(folder: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    Image.new("RGB", (28, 28), "red").save(folder / "a.png")
    columns = {
        "qry": ["<|image_1|>\nWhat is it?", "a text", "another"],
        "qry_image_path": ["a.png", "", ""],
        "pos_text": [["a dog"], ["<|image_1|> Represent."], ["third"]],
        "pos_image_path": [[""], ["a.png"], [""]],
        "neg_text": [["a cat", "a cow"], [], [""]],
        "neg_image_path": [["", ""], ["a.png"], [""]],
    }
    (folder / "A-OKVQA").mkdir()
    for name in ("original-00000-of-00001", "diverse_instruction-00000-of-00001"):
        parquet.write_table(pa.table(columns), folder / "A-OKVQA" / f"{name}.parquet", row_group_size=2)


def test_columns_of_mmeb_train_are_read_as_officially_and_with_their_negatives(tmp_path: Path) -> None:
    write_columns(tmp_path)
    corpus = Corpus(tmp_path)
    assert len(corpus) == 3, "the split `original` alone"
    first, second, third = (corpus[row] for row in range(3))
    assert first.dataset == "A-OKVQA"
    assert (first.query.text, first.query.images) == ("What is it?", ("a.png",))
    assert (first.positive.text, first.positive.images) == ("a dog", (BLANK,))
    assert [side.text for side in first.negatives] == ["a cat", "a cow"]
    assert (second.query.images, second.positive.images) == ((BLANK,), ("a.png",))
    assert [(side.text, side.images) for side in second.negatives] == [("", ("a.png",))]
    assert third.negatives == ()
    run = tmp_path / "run"
    run.mkdir()
    corpus.prepare(run, traces=False)
    assert corpus.datasets["A-OKVQA"].tolist() == [0, 1, 2]
    with pytest.raises(DataFault, match=r"\.parquet:1\.qry: has no reasoning.*dume"):
        Corpus(tmp_path).prepare(run)
    (tmp_path / "nothing.jsonl").touch()
    with pytest.raises(DataFault, match="no records at all"):
        Corpus(tmp_path / "nothing.jsonl").prepare(run)


def test_columns_of_another_shape_are_refused_by_place(tmp_path: Path) -> None:
    row = {"qry": "q", "qry_image_path": "", "pos_text": "p", "pos_image_path": ""}
    assert parse_columns(row, "d", "f:1").positive.text == "p"
    with pytest.raises(RecordError, match=r"f:1: has no pos_text"):
        parse_columns({"qry": "", "qry_image_path": "", "pos_image_path": ""}, "d", "f:1")
    with pytest.raises(RecordError, match=r"f:1\.qry: neither"):
        parse_columns({**row, "qry": ""}, "d", "f:1")
    with pytest.raises(RecordError, match=r"f:1\.pos_text: is int"):
        parse_columns({**row, "pos_text": [3]}, "d", "f:1")
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(RecordError, match="no Parquet file"):
        Corpus(tmp_path / "x.parquet")
    with pytest.raises(RecordError, match=r"UME-sft-train\.jsonl"):
        Corpus(_empty(tmp_path))


def _empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_sub_batches_take_turns_and_each_has_one_source() -> None:
    datasets = {"a": list(range(640)), "b": list(range(640, 1280))}
    sampler = SourceSampler(datasets, 8, 4, 0, sub_batches=4)
    plain = SourceSampler(datasets, 8, 4, 0)
    source, rows = sampler.batch(3)
    assert source == "a+b"
    assert len(rows) == len(set(rows)) == 32
    assert rows == [row for part in range(12, 16) for row in plain.batch(part)[1]]
    for start in range(0, 32, 8):
        assert len({row < 640 for row in rows[start : start + 8]}) == 1


def test_what_is_held_out_is_whole_blocks_and_not_trained_on(made: Path, tmp_path: Path) -> None:
    corpus = Corpus(made)
    corpus.prepare(tmp_path)
    held = corpus.split(0.3, 2, 0)
    for name, rows in held.items():
        assert len(rows) == 2
        assert rows[1] == rows[0] + 1
        assert not set(rows.tolist()) & set(corpus.datasets[name].tolist())
        assert len(corpus.datasets[name]) == 4
    with pytest.raises(ConfigError, match="fewer than two blocks"):
        corpus.split(0.5, 4, 0)
