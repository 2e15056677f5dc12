"""The server over loopback, as users have it: nano and OpenAI's client, clients that go away, a shutdown."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import socket
import threading
from dataclasses import replace

import httpx
import numpy as np
import openai
import pytest
from served import Patient, Served, chat, data_url, image_part, wait_until
from typer.testing import CliRunner

from ume_r1_bench.parity_inputs import picture
from ume_r1_rag.cli.app import app as command
from ume_r1_rag.cli.serve import _is_loopback
from ume_r1_rag.server import ServerLimits, bounded_protocol, create_app


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("UME_R1_", "QDRANT_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def nano(nano_encoder):
    """The nano with a cap, so that not even a bad generation talks for long."""
    other = copy.copy(nano_encoder)
    other.preset = replace(nano_encoder.preset, max_new_tokens=48)
    return other


@pytest.fixture(scope="module")
def served(nano):
    with Served(create_app(nano, api_key="a key")) as served:
        yield served


def close(ours, other):
    np.testing.assert_allclose(ours, other, atol=2e-5)


# Nano


def test_openais_client_gets_nanos_vectors(served, nano):
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="a key")
    texts = ["a red circle", "two bars", "a blue square"]
    found = client.embeddings.create(model="nano", input=texts)
    for ours, other in zip(found.data, nano.encode(texts), strict=True):
        close(np.float32(ours.embedding), other.disc)
    messages = chat("what colour is it?", image_part(data_url(picture(2))), system="Find it:")
    body = {"messages": messages, "mode": "both", "return_reasoning": True}
    both = client.post("/embeddings", body=body, cast_to=openai.types.CreateEmbeddingResponse)
    wanted = nano.encode(
        {"text": "what colour is it?", "image": picture(2), "instruction": "Find it:"}, "both"
    )
    [one] = both.data
    close(np.float32(one.embedding), wanted.disc)
    close(np.float32(one.gen), wanted.gen)
    assert (one.reasoning, one.fingerprint) == (wanted.reasoning, wanted.fingerprint)
    assert one.tokens["visual"] == wanted.tokens.visual


def test_many_clients_at_once_get_each_their_own(served, nano):
    texts = [f"{n} red circles" for n in range(24)]
    wanted = nano.encode(texts)
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="a key")
    found = {}

    def ask(at):
        found[at] = client.embeddings.create(model="nano", input=texts[at]).data[0].embedding

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for at, other in enumerate(wanted):
        close(np.float32(found[at]), other.disc)


def test_a_generation_that_is_not_awaited_ends_and_leaves_the_model_free(served, nano):
    """The request asks for more samples than would be done in a minute; the client leaves at once."""
    long = copy.copy(nano)
    long.preset = replace(nano.preset, max_new_tokens=4000, repetition=None)
    with Served(create_app(long)) as other:
        body = {"input": ["x"] * 16, "mode": "gen", "num_samples": 8, "temperature": 50.0}
        leave(other, body, once=lambda: queue_of(other.url) > 0)
        wait_until(lambda: queue_of(other.url) == 0)
        assert httpx.post(f"{other.url}/v1/embeddings", json={"input": "y"}, timeout=60).status_code == 200


# Clients that do not behave


def queue_of(url):
    text = httpx.get(f"{url}/metrics").text
    return float(next(line for line in text.splitlines() if line.startswith("ume_r1_queue ")).split()[1])


def request(body, length=None):
    data = json.dumps(body).encode()
    head = (
        "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length or len(data)}\r\n\r\n"
    )
    return head.encode() + data


def leave(served, body, once):
    """Sends a request, and hangs up once that is so."""
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(request(body))
        wait_until(once)


def test_who_hangs_up_gives_a_place_free():
    encoder = Patient()
    with Served(create_app(encoder, limits=ServerLimits(queue=2))) as served:
        leave(served, {"input": ["a", "b"], "mode": "gen"}, encoder.begun.is_set)
        wait_until(lambda: encoder.given_up == 1)
        wait_until(lambda: queue_of(served.url) == 0)
        answer = httpx.post(f"{served.url}/v1/embeddings", json={"input": ["c", "d"]})
        assert answer.status_code == 200
        assert 'status="499"' in httpx.get(f"{served.url}/metrics").text


def test_who_never_sends_the_rest_holds_no_place():
    limits = ServerLimits(queue=1, body_s=0.3)
    with Served(create_app(Patient(), limits=limits)) as served:
        slow = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(8)]
        for connection in slow:
            connection.sendall(request({"input": "x"}, length=500))
        assert httpx.post(f"{served.url}/v1/embeddings", json={"input": "c"}).status_code == 200
        for connection in slow:
            connection.settimeout(60)
            assert b" 408 " in connection.recv(100)
            connection.close()


def test_who_never_says_what_it_wants_is_hung_up_on():
    """Nothing at all, half of a head, half of a second head; and nobody is who waits for an answer."""
    encoder = Patient()
    app = create_app(encoder, limits=ServerLimits(header_s=0.5))
    with Served(app, http=bounded_protocol(0.5), timeout_keep_alive=60) as served:

        def connect(data=b""):
            connection = socket.create_connection(("127.0.0.1", served.port), timeout=60)
            connection.sendall(data)
            return connection

        waiting = connect(request({"input": "a", "mode": "gen"}))
        again = connect(request({"input": "b"}))
        assert b" 200 " in again.recv(200)
        while again.recv(1 << 20).count(b"}") == 0:
            pass
        again.sendall(b"POST /v1/embed")
        for connection in (connect(), connect(b"POST /v1/embeddings HTTP/1.1\r\nHost: loc"), again):
            assert connection.recv(100) == b""
            connection.close()
        encoder.go.set()
        assert b" 200 " in waiting.recv(100)
        waiting.close()


def test_a_shutdown_lets_answers_finish():
    encoder = Patient()
    with Served(create_app(encoder), timeout_graceful_shutdown=60) as served:
        answers = []
        body = {"input": "a", "mode": "gen"}

        def ask():
            answers.append(httpx.post(f"{served.url}/v1/embeddings", json=body, timeout=60))

        asking = threading.Thread(target=ask)
        asking.start()
        wait_until(encoder.begun.is_set)
        served.server.should_exit = True
        wait_until(lambda: not _listens(served))
        encoder.go.set()
        asking.join()
        assert [answer.status_code for answer in answers] == [200]


def _listens(served):
    return any(server.is_serving() for server in served.server.servers)


async def test_overload_is_refused_and_nothing_is_lost():
    """64 clients, room for 4: all are answered, by a vector or by when to come again."""
    encoder = Patient()
    with Served(create_app(encoder, limits=ServerLimits(queue=4))) as served:
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:

            async def ask(mode):
                answer = await client.post("/v1/embeddings", json={"input": "x", "mode": mode})
                return answer.status_code, answer.headers.get("retry-after")

            held = [asyncio.create_task(ask("gen")) for _ in range(4)]
            while "ume_r1_queue 4.0" not in (await client.get("/metrics")).text:
                pass
            found = await asyncio.gather(*(ask("disc") for _ in range(60)))
            assert set(found) == {(503, "1")}
            encoder.go.set()
            assert set(await asyncio.gather(*held)) == {(200, None)}
            assert await ask("disc") == (200, None)


# The command


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("192.168.1.5", False), ("example.org", False), ("", False)],
)  # fmt: skip
def test_what_is_loopback(host, local):
    assert _is_loopback(host) is local


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", ""])
def test_beyond_loopback_a_key_is_asked_for(host):
    said = CliRunner().invoke(command, ["serve", "nano", "--host", host])
    assert said.exit_code == 2
    assert "set UME_R1_API_KEY, or say --insecure" in " ".join(said.output.split()).replace("│ ", "")


def test_a_port_that_is_taken_is_said(served):
    said = CliRunner().invoke(command, ["serve", "nano", "--port", str(served.port)])
    assert said.exit_code == 1
    assert "is the port taken?" in said.output
