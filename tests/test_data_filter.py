"""The paper's three criteria, against direct loops and by hand; and the files that a filter leaves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_pairs import annotated, pair, read, write
from typer.testing import CliRunner

from ume_r1_rag.cli.app import app
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.template import completion_text, well_formed
from ume_r1_trainer.data.criteria import (
    RepetitionLimits,
    estimate_tokens,
    find_repetition,
    reasoning_of,
    too_long,
    unlike_format,
)
from ume_r1_trainer.data.filter import filter_pairs, judge
from ume_r1_trainer.data.record import with_completion
from ume_r1_trainer.records import parse_pair

SMALL = RepetitionLimits(max_period=4, min_repeats=3, min_tokens=6)
WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=24)
PARTS = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<answer>", "</answer>", "\n<gen_emb>", "<disc_emb>", "word", " ", "\n"]
    ),
    max_size=10,
).map("".join)


def repeats_somewhere(words: list[str], limits: RepetitionLimits) -> bool:
    """The definition, by trying every block at every place."""
    for start in range(len(words)):
        for period in range(1, limits.max_period + 1):
            end = start + period
            while end < len(words) and words[end] == words[end - period]:
                end += 1
            length = min(end, len(words)) - start
            if length >= max(limits.min_tokens, limits.min_repeats * period):
                return True
    return False


@given(WORDS)
@settings(deadline=None)
def test_repetition_is_found_where_the_definition_has_it(words: list[str]):
    assert (find_repetition(" ".join(words), SMALL) is not None) == repeats_somewhere(words, SMALL)


@given(WORDS.filter(bool), st.integers(1, 6), WORDS, WORDS)
@settings(deadline=None)
def test_what_is_found_stands_there_as_often_as_said(block, times, before, after):
    found = find_repetition(" ".join([*before, *block * times, *after]), SMALL)
    if times * len(block) >= 6 and times >= 3 and len(block) <= 4:
        assert found is not None
    if found is not None:
        unit = found.block.split()
        whole = (unit * (int(found.repeats) + 1))[: found.tokens]
        assert " ".join(whole) in " ".join([*before, *block * times, *after])
        assert found.tokens >= max(6, 3 * len(unit))
        assert found.repeats == pytest.approx(found.tokens / len(unit))


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("So the answer is left. " * 20, "So the answer is left."),
        ("wait " * 60, "wait"),
        ("a" * 200, "a"),
        ("哈" * 60, "哈"),
        ("ha!" * 30, "ha!"),
        ("| --- " * 40, "| - - -"),
        ("Once. " + "no, " * 40 + "and then all went well.", "no,"),
    ],
)
def test_extensive_repetition_is_found(text: str, block: str):
    found = find_repetition(text)
    assert found is not None
    assert re.sub(r"\s", "", found.block) == re.sub(r"\s", "", block)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no no no no no no",
        "It is red, and it is round, and it is small, and it is far away, and it is old.",
        " ".join(f"{number}. item {number}" for number in range(80)),
        "the cat " * 24,
    ],
)
def test_what_only_looks_like_it_is_not(text: str):
    assert find_repetition(text) is None


@given(st.text(max_size=300))
@settings(max_examples=50, deadline=None)
def test_any_text_can_be_looked_at(text: str):
    find_repetition(text, SMALL)
    assert estimate_tokens(text) * 4 >= len(text)
    assert unlike_format(text) is not None or text.startswith("<think>")


@given(PARTS)
@settings(deadline=None)
def test_what_has_the_format_has_the_official_one_and_can_be_taken_apart(text: str):
    if unlike_format(text) is None:
        assert well_formed(text)
        found = re.fullmatch(r"<think>(.+?)</think>\s*<answer>(.+)\n<gen_emb>\s*", text, re.DOTALL)
        assert found
        assert "<" not in (found[1] + found[2]).replace("</answer>", "")


@given(st.text(alphabet="ab \n", min_size=1), st.text(alphabet="ab \n", min_size=1))
@settings(deadline=None)
def test_reasoning_and_summary_that_are_not_empty_have_the_format(reasoning: str, summary: str):
    why = unlike_format(completion_text(reasoning, summary))
    assert (why is None) == bool(reasoning.strip() and summary.strip())
    assert reasoning_of(completion_text(reasoning, summary)) == reasoning


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A cat.\n<gen_emb>", "does not begin with <think>"),
        ("<think>A cat", "no </think>"),
        ("<think>A cat</think> It is a cat.\n<gen_emb>", "no <answer> after </think>"),
        ("<think>A cat</think> So: <answer>cat\n<gen_emb>", "text between </think> and <answer>: 'So:'"),
        ("<think>A cat</think><answer>cat", "does not end with <gen_emb>"),
        ("<think> </think><answer>cat\n<gen_emb>", "no reasoning"),
        ("<think>A cat</think><answer> \n<gen_emb>", "no summary"),
        ("<think>the <gen_emb> tag</think><answer>cat\n<gen_emb>", "<gen_emb> in the reasoning"),
        ("<think>A cat</think><answer>a <disc_emb>\n<gen_emb>", "<disc_emb> in the summary"),
    ],
)
def test_another_form_is_named(text: str, why: str):
    assert (unlike_format(text) or "").startswith(why)


def test_length_is_of_the_reasoning_alone():
    text = completion_text("word " * 10, "word " * 1000)
    assert too_long(text, 13) is None
    assert too_long(text, 12) == 13
    assert too_long("<think>" + "word " * 10, 12) == 13, "of an unfinished one, too"
    assert too_long(text, 9, lambda part: len(part.split())) == 10


def test_an_answer_that_was_cut_off_is_too_long():
    record = annotated(pair(1))
    record["pos"]["cut_off"] = True
    assert judge(record) == {"too_long": {"pos": "cut off at the teacher's token limit"}}


def faulty(number: int, completion: str) -> dict:
    record = annotated(pair(number))
    return {**record, "pos": with_completion(record["pos"], completion)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(
        tmp_path / "annotated.jsonl",
        [
            annotated(pair(0)),
            faulty(1, completion_text("wait " * 80, "cat")),
            faulty(2, completion_text(" ".join(map(str, range(9000))), "cat")),
            faulty(3, "A cat.\n<gen_emb>"),
            "{ no json",
            faulty(5, "wait " * 80),
            pair(6),
            annotated(pair(7)),
        ],
    )


def test_nothing_is_lost_and_everything_is_counted(data: Path, tmp_path: Path):
    report = filter_pairs(data, tmp_path / "kept.jsonl")
    kept, dropped = read(tmp_path / "kept.jsonl"), read(tmp_path / "kept.dropped.jsonl")
    assert [row["id"] for row in kept] == ["find/0", "find/7"]
    assert [set(row["why"]) for row in dropped] == [
        {"repetition"},
        {"too_long"},
        {"format"},
        {"unreadable"},
        {"repetition", "format"},
        {"unreadable"},
    ]
    assert [row["row"] if isinstance(row["row"], str) else row["row"]["id"] for row in dropped] == [
        *(f"find/{number}" for number in (1, 2, 3)),
        "{ no json",
        "find/5",
        "find/6",
    ]
    counts = {name: (one.pairs, one.only, one.sides["pos"]) for name, one in report.criteria.items()}
    assert counts == {"repetition": (2, 1, 2), "too_long": (1, 1, 1), "format": (2, 1, 2)}
    assert report.criteria["format"].examples[0]["id"] == "find/3"
    assert (report.kept, report.dropped, report.unreadable) == (2, 4, 2)
    assert json.loads((tmp_path / "kept.report.json").read_text())["datasets"] == {
        "find": {"kept": 2, "dropped": 4}
    }


def test_what_is_kept_can_be_trained_on(data: Path, tmp_path: Path):
    filter_pairs(data, tmp_path / "kept.jsonl")
    for number, row in enumerate(read(tmp_path / "kept.jsonl")):
        assert parse_pair(row, str(number)).query.text.startswith("query")


def test_the_official_file_is_one_list(tmp_path: Path):
    rows = [annotated(pair(number)) for number in range(300)]
    (tmp_path / "UME-sft-train.json").write_text(json.dumps(rows, indent=1))
    assert filter_pairs(tmp_path / "UME-sft-train.json", tmp_path / "kept.jsonl").kept == 300
    assert read(tmp_path / "kept.jsonl") == rows


def test_the_command_tells_each_criterion_with_examples(data: Path, tmp_path: Path):
    done = CliRunner().invoke(
        app, ["data", "filter", "--data", str(data), "--output", str(tmp_path / "kept.jsonl")]
    )
    assert done.exit_code == 1, "two rows cannot be read"
    assert "kept 2 of 6 pairs" in done.output
    assert "e.g. find/3 pos: does not begin with <think>: 'A cat." in done.output
    assert "annotated.jsonl:7: qry and pos not annotated" in done.output


def test_the_command_ends_well_when_all_is_well(tmp_path: Path):
    data = write(tmp_path / "a.jsonl", [annotated(pair(0)), faulty(1, "A cat.\n<gen_emb>")])
    arguments = ["data", "filter", "--data", str(data), "--output", str(tmp_path / "kept.jsonl")]
    assert CliRunner().invoke(app, arguments).exit_code == 0


def test_a_tokenizer_may_count(tmp_path: Path):
    from ume_r1_rag import nano_path

    data = write(tmp_path / "a.jsonl", [annotated(pair(0), "a red circle left of a blue square")])
    arguments = ["data", "filter", "--data", str(data), "--output", str(tmp_path / "kept.jsonl")]
    done = CliRunner().invoke(app, [*arguments, "--tokenizer", str(nano_path()), "--max-tokens", "3"])
    assert done.exit_code == 1
    assert "no pair is left" in done.output
    done = CliRunner().invoke(app, [*arguments, "--tokenizer", str(nano_path()), "--max-tokens", "40"])
    assert done.exit_code == 0
    done = CliRunner().invoke(app, [*arguments, "--tokenizer", str(tmp_path)])
    assert "has no tokenizer.json" in done.output


def test_the_data_are_not_written_over(tmp_path: Path):
    data = write(tmp_path / "a.jsonl", [annotated(pair(0))])
    with pytest.raises(ConfigError, match="not the data itself"):
        filter_pairs(data, data)
    assert len(read(data)) == 1
