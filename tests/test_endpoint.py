"""A chat endpoint against a real server on loopback that fails when it is told to."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chat_server import ChatServer, last_text, pictures
from PIL import Image

from ume_r1_rag.errors import CacheUnavailable, ConfigError, InputError
from ume_r1_trainer import endpoint as module
from ume_r1_trainer.endpoint import ChatEndpoint, user_message


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def said(text: str) -> list[dict]:
    return [user_message(text)]


def test_an_answer_has_text_tokens_and_cost():
    with ChatServer() as server, ChatEndpoint(server.base_url, "m", price_in=2e6, price_out=1e6) as chat:
        answer = chat.ask(said("hello there"))
        assert (answer.text, answer.error, answer.cached) == ("you said hello there", None, False)
        assert (answer.prompt_tokens, answer.completion_tokens, answer.finish) == (10, 4, "stop")
        assert answer.seconds > 0
        assert chat.usage.cost == pytest.approx(24)
        assert server.bodies[0]["max_tokens"] == 1024


@pytest.mark.parametrize("how", ["500", "503", "429", "reset", "garbled", "half"])
def test_what_passes_is_asked_again(how: str):
    with ChatServer() as server, ChatEndpoint(server.base_url, "m", retries=2) as chat:
        server.retry_after = "0.01"
        server.fail(how, times=2)
        assert chat.ask(said("a")).text == "you said a"
        assert chat.usage.retries == 2
        assert len(server.requests) == 3


@pytest.mark.parametrize("how", ["500", "429", "reset", "garbled", "half"])
def test_a_failure_that_stays_is_a_value_that_says_why(how: str):
    with ChatServer() as server, ChatEndpoint(server.base_url, "m", retries=1) as chat:
        server.retry_after = "0.01"
        server.fail(how, times=99)
        answer = chat.ask(said("a"))
        assert answer.text == ""
        assert "(2 attempts)" in answer.error
        assert chat.usage.failures == 1


def test_a_slow_server_is_given_up_and_asked_again():
    with ChatServer() as server, ChatEndpoint(server.base_url, "m", retries=1, timeout_s=0.3) as chat:
        server.fail("slow")
        assert chat.ask(said("a")).text == "you said a"
        server.fail("slow", times=2)
        assert chat.ask(said("b")).error == "no answer within 0.3 s (2 attempts)"


def test_retry_after_is_honoured():
    with ChatServer() as server, ChatEndpoint(server.base_url, "m") as chat:
        server.retry_after = "0.5"
        server.fail("429")
        assert chat.ask(said("a")).seconds >= 0.5


@pytest.mark.parametrize(
    ("given", "least", "most"), [("120", 120, 120), ("0.5", 0.5, 0.5), ("soon", None, None)]
)
def test_retry_after_is_read_whatever_its_size(given: str, least: float | None, most: float | None):
    assert module._asked_for({"retry-after": given}) == (least if least == most else None)


def test_retry_after_may_be_a_date():
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert 90 < module._asked_for({"retry-after": later}) <= 100
    assert module._asked_for({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}) == 0


def test_a_server_that_asks_for_hours_has_its_request_failed():
    with ChatServer() as server, ChatEndpoint(server.base_url, "m") as chat:
        server.retry_after = "7200"
        server.fail("429")
        assert "status 429" in chat.ask(said("a")).error
        assert len(server.requests) == 1


def test_a_wrong_request_is_not_asked_again():
    def reply(body: dict) -> dict:
        return {"status": 400, "error": "image too large"}

    with ChatServer(reply) as server, ChatEndpoint(server.base_url, "m") as chat:
        assert (
            chat.ask(said("a")).error
            == "status 400: Error code: 400 - {'error': {'message': 'image too large'}}"
        )
        assert len(server.requests) == 1


def test_a_url_without_v1_is_told_of():
    with ChatServer() as server, ChatEndpoint(server.url, "m") as chat:
        assert "end in /v1?" in chat.ask(said("a")).error


def test_nobody_listening_is_a_value():
    with ChatServer() as server:
        url = server.base_url
    with ChatEndpoint(url, "m", retries=1) as chat:
        assert chat.ask(said("a")).error.startswith("no connection: ")


def test_all_answers_come_with_their_numbers_and_no_more_at_a_time_than_allowed():
    with ChatServer(pause_s=0.02) as server, ChatEndpoint(server.base_url, "m", concurrency=4) as chat:
        server.retry_after = "0.01"
        for how in ("429", "500", "reset", "garbled", "half"):
            server.fail(how)
        found = dict(chat.ask_all(said(str(number)) for number in range(40)))
    assert {number: answer.text for number, answer in found.items()} == {
        n: f"you said {n}" for n in range(40)
    }
    assert 1 < server.most <= 4
    assert (chat.usage.requests, chat.usage.failures) == (40, 0)
    assert chat.usage.retries == 5


def test_one_failure_among_many_is_in_its_place():
    def reply(body: dict) -> dict | str:
        return {"status": 400, "error": "no"} if last_text(body["messages"]) == "3" else "yes"

    with ChatServer(reply) as server, ChatEndpoint(server.base_url, "m") as chat:
        found = dict(chat.ask_all([said(str(number)) for number in range(8)]))
    assert [number for number, answer in found.items() if answer.error] == [3]


def test_requests_are_drawn_as_they_are_needed():
    drawn = []

    def requests():
        for number in range(1000):
            drawn.append(number)
            yield said(str(number))

    with ChatServer() as server, ChatEndpoint(server.base_url, "m", concurrency=2) as chat:
        answers = chat.ask_all(requests())
        next(answers)
        assert len(drawn) <= 5
        answers.close()
        time.sleep(0.1)
        assert len(server.requests) <= 5


def test_progress_is_shown_on_stderr(capfd: pytest.CaptureFixture[str]):
    with ChatServer() as server, ChatEndpoint(server.base_url, "m") as chat:
        list(chat.ask_all([said("a"), said("b")], progress="asking"))
    out, err = capfd.readouterr()
    assert not out
    assert "asking" in err
    assert "2/2" in err


async def test_it_works_inside_a_running_event_loop():
    with ChatServer() as server, ChatEndpoint(server.base_url, "m") as chat:
        assert chat.ask(said("a")).text == "you said a"
        assert len(list(chat.ask_all([said("b"), said("c")]))) == 2
        answers = await asyncio.gather(*(asyncio.to_thread(chat.ask, said(str(n))) for n in range(5)))
    assert [answer.text for answer in answers] == [f"you said {n}" for n in range(5)]


def test_the_cache_answers_across_endpoints_and_counts_nothing(tmp_path: Path):
    with ChatServer() as server:
        with ChatEndpoint(server.base_url, "m", cache=tmp_path / "c", price_in=1e6) as chat:
            first = chat.ask(said("a"))
        with ChatEndpoint(server.base_url, "m", cache=tmp_path / "c", price_in=1e6) as chat:
            again = chat.ask(said("a"))
            assert (again.text, again.cached, again.completion_tokens) == (first.text, True, 3)
            assert (chat.usage.requests, chat.usage.from_cache, chat.usage.cost) == (1, 1, 0)
        assert len(server.requests) == 1


def test_the_key_of_the_cache_is_all_that_shapes_the_answer(tmp_path: Path):
    red, blue = (Image.new("RGB", (28, 28), colour) for colour in ("red", "blue"))
    with ChatServer() as server:
        for model, options, message in (
            ("m", None, user_message("a")),
            ("n", None, user_message("a")),
            ("m", {"temperature": 1.0}, user_message("a")),
            ("m", None, user_message("a", [red])),
            ("m", None, user_message("a", [blue])),
        ):
            with ChatEndpoint(server.base_url, model, cache=tmp_path, options=options) as chat:
                assert not chat.ask([message]).cached
                assert chat.ask([message]).cached


def test_failures_are_not_cached(tmp_path: Path):
    with ChatServer() as server, ChatEndpoint(server.base_url, "m", cache=tmp_path, retries=0) as chat:
        server.fail("500")
        assert chat.ask(said("a")).error
        assert chat.ask(said("a")).text == "you said a"


def test_the_same_request_under_way_is_paid_for_once(tmp_path: Path):
    with (
        ChatServer(pause_s=0.1) as server,
        ChatEndpoint(server.base_url, "m", cache=tmp_path) as chat,
    ):
        answers = dict(chat.ask_all([said("a")] * 8))
    assert len(server.requests) == 1
    assert sum(answer.cached for answer in answers.values()) == 7
    assert {answer.text for answer in answers.values()} == {"you said a"}


def test_who_shares_a_request_gets_an_answer_when_its_asker_leaves(tmp_path: Path):
    with (
        ChatServer(pause_s=0.3) as server,
        ChatEndpoint(server.base_url, "m", cache=tmp_path) as chat,
    ):
        first = chat._begin(said("a"))
        second = chat._begin(said("a"))
        time.sleep(0.1)
        first.cancel()
        assert second.result(5).text == "you said a"


KILLED = """
import sys
from ume_r1_trainer.endpoint import ChatEndpoint, user_message
chat = ChatEndpoint(sys.argv[1], "m", cache=sys.argv[2], concurrency=1)
for number, answer in chat.ask_all([user_message(str(number))] for number in range(50)):
    print(number, flush=True)
"""


def test_what_was_answered_before_a_kill_is_not_asked_again(tmp_path: Path):
    with ChatServer(pause_s=0.02) as server:
        command = [sys.executable, "-c", KILLED, server.base_url, str(tmp_path)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(5):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait()
        with ChatEndpoint(server.base_url, "m", cache=tmp_path) as chat:
            assert len(list(chat.ask_all(said(str(number)) for number in range(50)))) == 50
            assert chat.usage.from_cache >= 5
        assert len(server.bodies) <= 51


def test_a_cache_that_is_no_database_is_told_of(tmp_path: Path):
    (tmp_path / "answers.sqlite").write_text("something else entirely, and long enough to be read" * 30)
    with pytest.raises(CacheUnavailable, match=r"answers\.sqlite cannot be used.*Delete it"):
        ChatEndpoint("http://localhost/v1", "m", cache=tmp_path)


def test_a_row_that_cannot_be_read_is_asked_again(tmp_path: Path):
    with ChatServer() as server, ChatEndpoint(server.base_url, "m", cache=tmp_path) as chat:
        for broken in ("{", "[]", '{"unknown": 1}'):
            chat.ask(said("a"))
            with sqlite3.connect(tmp_path / "answers.sqlite") as other:
                other.execute("UPDATE answers SET data = ?", (broken,))
            other.close()
            assert not chat.ask(said("a")).cached


def test_an_answer_that_cannot_be_kept_is_still_an_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with ChatServer() as server, ChatEndpoint(server.base_url, "m", cache=tmp_path) as chat:
        with sqlite3.connect(tmp_path / "answers.sqlite") as other:
            other.execute(
                "CREATE TRIGGER full BEFORE INSERT ON answers BEGIN SELECT RAISE(ABORT, 'disk'); END"
            )
        other.close()
        assert chat.ask(said("a")).text == "you said a"
    assert "an answer was not kept" in caplog.text


def test_the_key_is_sent_and_never_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    def reply(body: dict) -> dict | str:
        if last_text(body["messages"]) == "no":
            return {"status": 401, "error": "Incorrect API key provided: sk-secret-1"}
        return "yes"

    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1")
    caplog.set_level(logging.DEBUG)
    with ChatServer(reply) as server, ChatEndpoint(server.base_url, "m") as chat:
        server.fail("500")
        assert chat.ask(said("a")).text == "yes"
        answer = chat.ask(said("no"))
        assert server.keys[0] == "sk-secret-1"
    assert "401" in answer.error
    assert "OPENAI_API_KEY" in answer.error
    assert "sk-secret-1" not in answer.error + caplog.text + repr(chat) + repr(answer)


def test_reasoning_that_the_server_takes_out_is_kept_beside_the_text(tmp_path: Path):
    def reply(body: dict) -> dict:
        return {"content": "a cat", "reasoning_content": "It has whiskers."}

    with ChatServer(reply) as server, ChatEndpoint(server.base_url, "m", cache=tmp_path) as chat:
        for _ in range(2):
            answer = chat.ask(said("a"))
            assert (answer.text, answer.reasoning) == ("a cat", "It has whiskers.")


def test_options_reach_the_server():
    options = {"temperature": 0.5, "max_completion_tokens": 7, "extra_body": {"top_k": 3}}
    with ChatServer() as server, ChatEndpoint(server.base_url, "m", options=options) as chat:
        chat.ask(said("a"))
    body = server.bodies[0]
    assert (body["temperature"], body["max_completion_tokens"], body["top_k"]) == (0.5, 7, 3)
    assert "max_tokens" not in body


def test_pictures_go_as_they_are_or_as_png(tmp_path: Path):
    picture = Image.new("RGB", (28, 28), "red")
    picture.save(tmp_path / "a.jpg")
    picture.save(tmp_path / "a.bmp")
    picture.save(tmp_path / "a.png")
    message = user_message("what?", [tmp_path / "a.jpg", tmp_path / "a.bmp", tmp_path / "a.png", picture])
    assert [part["type"] for part in message["content"]] == ["image_url"] * 4 + ["text"]
    kinds = [url.partition(";")[0] for url in pictures([message])]
    assert kinds == ["data:image/jpeg", "data:image/png", "data:image/png", "data:image/png"]


@pytest.mark.parametrize("content", [None, b"no picture at all"])
def test_a_file_that_is_no_picture_is_named(tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png cannot be read as a picture"):
        user_message("what?", [tmp_path / "a.png"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base_url": "localhost:8000"}, "no server"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"timeout_s": -1}, "timeout_s=-1"),
        ({"retries": -1}, "retries=-1"),
        ({"price_in": -1.0}, "prices"),
    ],
)
def test_a_value_that_cannot_work_is_refused(options: dict, said: str):
    with pytest.raises(ConfigError, match=said):
        ChatEndpoint(**{"base_url": "http://localhost/v1", "model": "m", **options})
