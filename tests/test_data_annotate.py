"""A teacher on loopback that fails when it is told to: what is asked and written; nothing is lost."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, last_text, pictures
from training_pairs import annotated, pair, picture, read, write
from typer.testing import CliRunner

from ume_r1_rag.cli.app import app
from ume_r1_rag.errors import ConfigError
from ume_r1_trainer import endpoint as endpoint_module
from ume_r1_trainer.data.annotate import annotate
from ume_r1_trainer.data.criteria import unlike_format
from ume_r1_trainer.data.record import Content, completion_of, make_record, pair_key
from ume_r1_trainer.data.teacher import ANNOTATION_PROMPT, FORMAT_HINT, ask_teacher, to_completion
from ume_r1_trainer.endpoint import Answer, ChatEndpoint
from ume_r1_trainer.records import parse_pair


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "_FIRST_WAIT_S", 0.01)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def teach(body: dict[str, Any]) -> str:
    """A teacher as the paper's: tags of its own, boxes in the summary, a closed answer."""
    shown = last_text(body["messages"]).removesuffix(ANNOTATION_PROMPT).strip() or "a picture"
    seen = f"{len(pictures(body['messages']))} pictures"
    summary = f"<answer><|begin_of_box|>{shown}<|end_of_box|></answer>"
    return f"<think>So, let's analyze: {seen}, {shown}</think>{summary}"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    picture(tmp_path, "images/a.png")
    picture(tmp_path, "images/blank.jpg", "white")
    return write(tmp_path / "pairs.jsonl", [pair(number) for number in range(12)])


def command(server: ChatServer, data: Path, output: Path, *more: object) -> list[str]:
    arguments = ["data", "annotate", "--data", data, "--output", output, "--model", "teacher"]
    return [str(one) for one in (*arguments, "--base-url", server.base_url, *more)]


def run(*arguments: Any):
    return CliRunner().invoke(app, command(*arguments))


def test_the_papers_prompt_stands_under_the_input(tmp_path: Path):
    picture(tmp_path, "a.png", "red")
    picture(tmp_path, "b.png", "blue")
    message = ask_teacher(Content("What is it?", ("a.png", "b.png")), tmp_path)[-1]
    *images, text = message["content"]
    assert text["text"] == f"What is it?\n\n{ANNOTATION_PROMPT}"
    sent = [base64.b64decode(image["image_url"]["url"].partition(",")[2]) for image in images]
    assert sent == [(tmp_path / name).read_bytes() for name in ("a.png", "b.png")]
    assert ANNOTATION_PROMPT.startswith("The above input is a query/candidate for retrieval. Carefully")
    assert ANNOTATION_PROMPT.endswith("If the input is a phrase or word, the summary is that word itself.")


def test_frames_go_in_their_order_and_a_hint_before_all(tmp_path: Path):
    frames = tuple(
        picture(tmp_path, f"{number}.png", colour) for number, colour in enumerate(("red", "blue"))
    )
    system, user = ask_teacher(Content("Do what?", (), frames), tmp_path, hint=True)
    assert system == {"role": "system", "content": FORMAT_HINT}
    assert len(user["content"]) == 3


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        (Answer("<think>a</think><answer>b</answer>"), "<think>a</think><answer>b\n<gen_emb>"),
        (Answer("\n<think>a</think>\n<answer>b</answer>\n"), "<think>a</think>\n<answer>b\n<gen_emb>"),
        (Answer("b", reasoning=" a\n"), "<think>a</think><answer>b\n<gen_emb>"),
        (Answer("<answer>b</answer>", reasoning="a"), "<think>a</think><answer>b\n<gen_emb>"),
        (
            Answer("<think>a</think><answer><|begin_of_box|>b<|end_of_box|></answer>"),
            "<think>a</think><answer>b\n<gen_emb>",
        ),
        (Answer("It is a b."), "It is a b.\n<gen_emb>"),
    ],
)
def test_an_answer_becomes_the_assistants_turn(answer: Answer, completion: str):
    assert to_completion(answer) == completion


def test_both_sides_are_annotated_in_the_official_shape(data: Path, tmp_path: Path):
    with ChatServer(teach) as server:
        done = run(server, data, tmp_path / "out.jsonl", "--price-in", 1e5, "--price-out", 0)
    assert done.exit_code == 0, done.output
    rows = read(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == [f"find/{number}" for number in range(12)], "in the data's order"
    for number, row in enumerate(rows):
        made = parse_pair(row, "")
        assert made.query.text == f"query {number} of find"
        assert made.query.completion == (
            f"<think>So, let's analyze: 0 pictures, query {number} of find</think>"
            f"<answer>query {number} of find\n<gen_emb>"
        )
        assert "1 pictures, Represent the given image." in made.positive.completion
        assert made.query.images == ("images/blank.jpg",), "of a text alone; the teacher does not get it"
    # All targets are the same picture: it is paid for once.
    assert len(server.requests) == 13
    assert "annotated 12 of 12 pairs" in done.output
    assert "requests 24, 11 from the cache" in done.output
    assert "tokens 130 in" in done.output
    assert "cost 13.0000" in done.output
    assert not (tmp_path / "out.failed.jsonl").exists()


def test_a_failing_side_is_reported_and_alone_asked_again(data: Path, tmp_path: Path):
    broken = True

    def reply(body: dict) -> Any:
        if broken and last_text(body["messages"]).startswith("query 3 "):
            return {"status": 400, "error": "content filter"}
        return teach(body)

    output = tmp_path / "out.jsonl"
    with ChatServer(reply) as server:
        for how in ("500", "429", "reset", "garbled", "half"):
            server.retry_after = "0.01"
            server.fail(how)
        done = run(server, data, output)
        assert done.exit_code == 1
        assert {row["id"] for row in read(output)} == {f"find/{n}" for n in range(12) if n != 3}
        failed = read(tmp_path / "out.failed.jsonl")
        assert [row["row"]["id"] for row in failed] == ["find/3"]
        assert "find/3, qry: status 400" in done.output
        assert "content filter" in failed[0]["why"]
        broken, before = False, len(server.bodies)
        done = run(server, data, output)
        assert done.exit_code == 0
        assert len(server.bodies) == before + 1, "its other side was answered"
    assert "annotated 12 of 12 pairs, 11 of them before" in done.output
    assert [row["id"] for row in read(output)] == [f"find/{number}" for number in range(12)]
    assert not (tmp_path / "out.failed.jsonl").exists()


def test_what_cannot_be_asked_is_reported_and_the_others_are_done(data: Path, tmp_path: Path):
    gone = make_record("find", "gone", None, Content("x"), Content("", ("images/gone.png",)))
    write(data, [*read(data)[:2], "{ no json", gone, pair(1), {"dataset_name": "find", "id": "empty"}])
    with ChatServer(teach) as server:
        done = run(server, data, tmp_path / "out.jsonl")
    assert done.exit_code == 1
    assert [row["id"] for row in read(tmp_path / "out.jsonl")] == ["find/0", "find/1"]
    failed = read(tmp_path / "out.failed.jsonl")
    assert [row["row"] if isinstance(row["row"], str) else row["row"]["id"] for row in failed] == [
        "{ no json",
        "gone",
        "find/1",
        "empty",
    ]
    for told in ("pairs.jsonl:3: is no JSON", "images/gone.png cannot be read", "is that of an earlier row"):
        assert told in done.output
    assert len(server.requests) == 3, "nothing is asked of a pair that cannot be finished"


def test_a_teacher_that_is_out_of_reach_ends_the_run_soon(data: Path, tmp_path: Path):
    with ChatServer(lambda body: {"status": 401, "error": "no such key"}) as server:
        done = run(server, data, tmp_path / "out.jsonl", "--give-up-after", 4, "--concurrency", 2)
        assert done.exit_code == 1
        assert "stopped: 4 requests in a row failed" in done.output
        assert "OPENAI_API_KEY" in done.output
        assert len(server.requests) <= 8
    with ChatServer(teach) as server:
        assert run(server, data, tmp_path / "out.jsonl").exit_code == 0


def test_an_endpoint_that_never_answers_is_given_up_sooner(data: Path, tmp_path: Path):
    with ChatServer() as server:
        url = server.base_url
    with ChatEndpoint(url, "m", retries=0, concurrency=1) as chat:
        report = annotate(data, tmp_path / "out.jsonl", chat)
    assert report.stopped.startswith("10 requests in a row failed; the last: no connection")
    assert report.failed == 5


def test_a_first_look_is_part_of_the_whole(data: Path, tmp_path: Path):
    output = tmp_path / "out.jsonl"
    with ChatServer(teach) as server:
        assert run(server, data, output, "--limit", 3).exit_code == 0
        assert [row["id"] for row in read(output)] == ["find/0", "find/1", "find/2"]
        before = len(server.requests)
        assert run(server, data, output).exit_code == 0
        assert len(server.requests) == before + 9
        assert run(server, data, output, "--limit", 3).exit_code == 0
    assert len(read(output)) == 12


def test_an_answer_that_the_token_limit_cut_off_is_marked(data: Path, tmp_path: Path):
    def reply(body: dict) -> dict:
        return {"content": "<think>So, let's", "finish": "length"}

    with ChatServer(reply) as server:
        done = run(server, data, tmp_path / "out.jsonl", "--max-tokens", 4)
        assert server.bodies[0]["max_tokens"] == 4
    row = read(tmp_path / "out.jsonl")[0]
    assert row["qry"]["cut_off"]
    assert completion_of(row["qry"]) == "<think>So, let's\n<gen_emb>"
    assert "24 answers are of a form that the filter leaves out; if they are many, try --format-hint" in (
        done.output
    )


def test_an_output_of_other_data_is_not_gone_on_with(data: Path, tmp_path: Path):
    with ChatServer(teach) as server, ChatEndpoint(server.base_url, "m") as chat:
        annotate(data, tmp_path / "out.jsonl", chat)
        other = write(tmp_path / "other.jsonl", [{**pair(7), "id": "find/0"}])
        with pytest.raises(ConfigError, match="another pair under the id 'find/0' than row 1"):
            annotate(other, tmp_path / "out.jsonl", chat)
        with pytest.raises(ConfigError, match="not annotated"):
            annotate(data, write(tmp_path / "bare.jsonl", [pair(1)]), chat)
        with pytest.raises(ConfigError, match="not the data itself"):
            annotate(data, data, chat)
    assert len(read(tmp_path / "out.jsonl")) == 12


def test_columns_of_mmeb_are_records_too(tmp_path: Path):
    picture(tmp_path, "images/a.png")
    row = {
        "dataset_name": "manuals",
        "modality": "visdoc",
        "qry": "How is it opened?",
        "qry_image_path": "",
        "pos_text": "<|image_1|> Understand the content of the provided document image.",
        "pos_image_path": "images/a.png",
    }
    data = write(tmp_path / "own.jsonl", [row])
    with ChatServer(teach) as server:
        assert run(server, data, tmp_path / "out.jsonl").exit_code == 0
    made = read(tmp_path / "out.jsonl")[0]
    assert (tmp_path / made["qry"]["image"]).is_file(), "the blank picture of a text alone"
    assert (made["id"], made["modality"]) == ("manuals/0", "visdoc")
    assert parse_pair(made, "").positive.images == ("images/a.png",)


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_run_goes_on_after_it_was_ended(data: Path, tmp_path: Path, how: signal.Signals):
    output = tmp_path / "out.jsonl"
    with ChatServer(teach, pause_s=0.1) as server:
        child = subprocess.Popen(
            [
                Path(sys.executable).with_name("ume-r1"),
                *command(server, data, output, "--concurrency", "1"),
            ],
            env=os.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not output.is_file() or output.read_text().count("\n") < 2:
            assert child.poll() is None, child.communicate()
        child.send_signal(how)
        _, err = child.communicate(timeout=60)
        if how is signal.SIGINT:
            assert child.returncode == 130
            assert "the same command goes on from here" in err
        done_before = output.read_text().count("\n")
        assert done_before < 12
        with output.open("a") as file:
            file.write('{"half a li')
        server.pause_s = 0
        done = run(server, data, output)
        assert done.exit_code == 0, done.output
        asked = [json.dumps(body["messages"]) for body in server.bodies]
    assert f"annotated 12 of 12 pairs, {done_before} of them before" in done.output
    assert [row["id"] for row in read(output)] == [f"find/{number}" for number in range(12)]
    assert len(asked) - len(set(asked)) <= 1, "at most what was under way is asked again"


def test_from_pairs_to_records_for_rl_with_faults_on_the_way(tmp_path: Path):
    """Sample, annotate, filter, select-rl on the world: every pair is somewhere at the end."""
    from ume_r1_bench.world import make_world

    media = tmp_path / "world"
    make_world(media, "train", 0, sft=True, pairs=72, progress=False)
    source = next(media.glob("*.jsonl"))
    with source.open("a") as file:
        file.write("{ broken\n")
    (media / json.loads(source.read_text().partition("\n")[0])["qry"]["image"]).unlink()
    refused = ("red", "green")

    def reply(body: dict) -> Any:
        text = last_text(body["messages"]).removesuffix(ANNOTATION_PROMPT).strip()
        number = sum(map(ord, text))
        if any(word in text for word in refused) and number % 5 == 0:
            return {"status": 400, "error": "refused"}
        if number % 7 == 0:
            return "I see nothing."
        if number % 11 == 0:
            return f"<think>{'wait, ' * 60}</think><answer>{text}</answer>"
        if number % 13 == 0:
            return {"content": "<think>on and on", "finish": "length"}
        return teach(body)

    def ume(*arguments: Any) -> Any:
        return CliRunner().invoke(app, ["data", *map(str, arguments)])

    pairs, out, kept = (media / name for name in ("pairs.jsonl", "annotated.jsonl", "UME-sft.jsonl"))
    done = ume("sample", "--source", f"records={source}", "--media", media, "--output", pairs)
    assert done.exit_code == 1
    sampled, unsampled = read(pairs), read(media / "pairs.failed.jsonl")
    written = len(source.read_text().splitlines())
    assert len(sampled) + len(unsampled) == written
    assert len(unsampled) >= 2

    with ChatServer(reply) as server:
        server.retry_after = "0.05"
        for how in ("429", "500", "503", "reset", "garbled", "half", "slow") * 2:
            server.fail(how)
        server.slow_s = 2
        done = run(server, pairs, out, "--timeout", 1, "--retries", 14)
    assert done.exit_code == 1
    answered, failed = read(out), read(media / "annotated.failed.jsonl")
    assert failed
    assert {row["id"] for row in answered} | {row["row"]["id"] for row in failed} == {
        row["id"] for row in sampled
    }
    assert len(answered) + len(failed) == len(sampled)
    assert all("refused" in row["why"] for row in failed)

    done = ume("filter", "--data", out, "--output", kept)
    assert done.exit_code == 0
    left, dropped = read(kept), read(media / "UME-sft.dropped.jsonl")
    assert len(left) + len(dropped) == len(answered)
    report = json.loads((media / "UME-sft.report.json").read_text())
    assert all(criterion["pairs"] for criterion in report["criteria"].values())
    for row in left:
        parse_pair(row, row["id"])
        assert all(unlike_format(completion_of(row[side]) or "") is None for side in ("qry", "pos"))

    done = ume("select-rl", "--data", pairs, "--sft", kept, "--pairs", 12, "--output", media / "rl.json")
    assert done.exit_code == 0, done.output
    chosen = read(media / "rl.json")
    assert len(chosen) == 12
    by_id = {row["id"]: row for row in sampled}
    assert not {pair_key(by_id[row["id"]]) for row in chosen} & {pair_key(row) for row in left}


def test_annotated_fixture_is_what_annotate_writes(data: Path, tmp_path: Path):
    with ChatServer(lambda body: "<think>It is seen.</think><answer>a summary</answer>") as server:
        run(server, data, tmp_path / "out.jsonl")
    assert read(tmp_path / "out.jsonl") == [annotated(pair(number)) for number in range(12)]
