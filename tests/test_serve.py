"""The server, in process: what it answers, what it refuses, what it counts. See test_serve_wire.py, too."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from dataclasses import replace

import numpy as np
import openai
import pytest
from made_files import write_clip
from points import page
from served import Patient, chat, data_url, image_part, in_process, until, video_part

from ume_r1_bench.parity_inputs import picture
from ume_r1_rag.errors import BackendError, ConfigError
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.media import MediaLimits
from ume_r1_rag.retriever import Retriever
from ume_r1_rag.server import ServerLimits, create_app

EMBED = "/v1/embeddings"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("UME_R1_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def encoder(make_encoder):
    return make_encoder()


@pytest.fixture
async def client(encoder):
    async with in_process(create_app(encoder)) as client:
        yield client


async def embed(client, status=200, **body):
    answer = await client.post(EMBED, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def refused(client, status, **body):
    return (await embed(client, status, **body))["error"]


def vector(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


# OpenAI's own client


@pytest.fixture
def openai_client(encoder):
    app = create_app(encoder, api_key="a key")
    return openai.AsyncOpenAI(
        base_url="http://localhost/v1", api_key="a key", http_client=in_process(app), max_retries=0
    )


async def test_openais_client_gets_the_encoders_vectors(openai_client, encoder):
    texts = ["a red circle", "two bars", "a red circle"]
    for given in (texts[0], texts):
        for form in ({}, {"encoding_format": "float"}):
            found = await openai_client.embeddings.create(model="m1", input=given, **form)
            wanted = encoder.encode_document([given] if given == texts[0] else given)
            assert [one.index for one in found.data] == list(range(len(wanted)))
            for ours, other in zip(found.data, wanted, strict=True):
                np.testing.assert_array_equal(np.float32(ours.embedding), other.disc)
    assert (found.model, found.usage.prompt_tokens, found.usage.total_tokens) == ("m1", 8, 8)
    assert [one.id for one in (await openai_client.models.list()).data] == ["m1"]


async def test_openais_client_gets_its_own_errors(openai_client):
    create = openai_client.embeddings.create
    with pytest.raises(openai.BadRequestError, match="no Matryoshka model, and its vectors have 32"):
        await create(model="m1", input="x", dimensions=8)
    with pytest.raises(openai.NotFoundError, match="use 'm1'"):
        await create(model="text-embedding-3-small", input="x")
    with pytest.raises(openai.BadRequestError, match="token ids are not taken"):
        await create(model="m1", input=[[1, 2, 3]])
    with pytest.raises(openai.AuthenticationError):
        await openai_client.with_options(api_key="another").embeddings.create(model="m1", input="x")


async def test_our_fields_go_in_the_extra_body(openai_client, encoder):
    extra = {"mode": "both", "return_reasoning": True}
    found = await openai_client.embeddings.create(model="m1", input="a cat", extra_body=extra)
    wanted = encoder.encode_document("a cat", "both")
    [one] = found.data
    np.testing.assert_array_equal(np.float32(one.embedding), wanted.disc)
    np.testing.assert_array_equal(vector(one.gen), wanted.gen)
    assert (one.space, one.reasoning, one.summary) == ("disc", wanted.reasoning, wanted.summary)
    assert one.fingerprint == wanted.fingerprint
    assert found.usage.completion_tokens == wanted.tokens.completion


# What goes in


async def test_messages_are_texts_pictures_videos_and_an_instruction(client, encoder, tmp_path):
    film = write_clip(tmp_path / "film.mp4", frames=6, rate=3).read_bytes()
    video = f"data:video/mp4;base64,{base64.b64encode(film).decode()}"
    frames = "data:video/png;base64," + ",".join(data_url(picture(n)).partition(",")[2] for n in (1, 2))
    one = chat("what is", image_part(data_url(picture(1))), "this?", image_part(data_url(picture(2))))
    told = chat(video_part(video), system="Find the clip:")
    listed = chat("x", video_part(frames))
    for body in ({"messages": [one, told, listed]}, {"input": [one, told, listed]}):
        encoder.seen.clear()
        found = await embed(client, **body)
        assert len(found["data"]) == 3
        assert [item.text for item in encoder.seen] == ["what is\nthis?", None, "x"]
        assert [len(item.images) for item in encoder.seen] == [2, 0, 0]
        assert [item.instruction for item in encoder.seen] == [None, "Find the clip:", None]
        assert len(encoder.seen[2].video) == 2
    wanted = encoder.encode_document({"text": "what is\nthis?", "image": [picture(1), picture(2)]})
    np.testing.assert_array_equal(np.float32(found["data"][0]["embedding"]), wanted.disc)
    assert len((await embed(client, messages=one))["data"]) == 1


async def test_queries_and_documents_are_encoded_as_such(client, encoder):
    await embed(client, input="x", input_type="query")
    await embed(client, input=["x", "y"], mode="gen")
    assert encoder.calls == [("query", "disc", 1), ("document", "gen", 2)]


async def test_a_vector_is_of_the_space_it_says(client, encoder):
    wanted = encoder.encode_document("a cat", "both")
    for mode, space in (("disc", "disc"), ("gen", "gen"), ("both", "disc")):
        [one] = (await embed(client, input="a cat", mode=mode))["data"]
        assert one["space"] == space
        np.testing.assert_array_equal(np.float32(one["embedding"]), wanted.vector(space))
        assert ("gen" in one) == (mode == "both")
        assert "reasoning" not in one


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "as input or as messages, one of them"),
        ({"input": "x", "messages": chat("x")}, "one of them"),
        ({"input": []}, "input: "),
        ({"input": ""}, "input: "),
        ({"input": ["x", "  "]}, "input 1: empty input"),
        ({"input": "x", "truncate_prompt_tokens": 3}, "truncate_prompt_tokens: Extra inputs"),
        ({"input": "x", "mode": "quick"}, "mode: "),
        ({"input": "x", "think": 0}, "think: "),
        ({"input": "x", "deadline_ms": 0}, "deadline_ms: "),
        ({"input": "x", "num_samples": 9}, "num_samples=9: at most 8"),
        ({"messages": chat("x") * 2}, "one message of the user"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages: "),
        ({"messages": chat("x", video_part("data:video/mp4;base64,AA"), video_part("data:video/mp4,A"))},
         "2 videos in one input"),
        ({"messages": chat(*[image_part("data:image/png;base64,AA")] * 33)}, "33 pictures in one input"),
        ({"messages": chat(video_part("data:video/jpeg;base64," + "A," * 40))}, "a video of 41 frames"),
        ({"messages": chat(image_part("data:image/png;base64,AAAA"))}, "is of no known format"),
        ({"messages": chat(image_part("data:text/plain,x"))}, "and no files of the server"),
        ({"input": "x" * 300_000}, "a text of 300000 characters"),
    ],
)  # fmt: skip
async def test_what_cannot_be_embedded_is_refused_by_name(client, body, said):
    error = await refused(client, 400, **body)
    assert said in error["message"]
    assert error["type"] == "invalid_request_error"


async def test_no_json_is_refused(client):
    for content, kind in ((b"{", "application/json"), (b'{"input": "x"}', "text/plain"), (b"", None)):
        headers = {} if kind is None else {"content-type": kind}
        answer = await client.post(EMBED, content=content, headers=headers)
        assert answer.status_code == 400
        assert "application/json" in answer.json()["error"]["message"]


async def test_nothing_in_a_request_is_a_file_of_the_server(client, encoder, tmp_path):
    path = tmp_path / "secret.png"
    picture(1).save(path)
    for url in (str(path), path.as_uri(), "secret.png", ""):
        error = await refused(client, 400, messages=chat(image_part(url)))
        assert error["message"]
    await embed(client, input=[str(path), "http://localhost/x.png", "data:image/png;base64,AA"])
    assert all(item.text and not item.images for item in encoder.seen)


async def test_urls_are_fetched_only_if_the_operator_says_so(client, monkeypatch):
    error = await refused(client, 400, messages=chat(image_part("http://localhost:9/x.png")))
    assert error["code"] == "FetchError"
    assert "fetching is off" in error["message"]
    monkeypatch.setenv("UME_R1_ALLOW_FETCH", "1")
    error = await refused(client, 400, messages=chat(image_part("http://localhost:9/x.png")))
    assert "not a public address" in error["message"]


async def test_pixels_and_frames_are_limited(nano_encoder, tmp_path):
    from ume_r1_rag import UmeR1Encoder

    small = UmeR1Encoder.__new__(UmeR1Encoder)
    small.__dict__ = {**vars(nano_encoder), "_media_limits": MediaLimits(max_pixels=100 * 100, max_frames=5)}
    film = base64.b64encode(write_clip(tmp_path / "film.mp4", frames=6).read_bytes()).decode()
    async with in_process(create_app(small)) as client:
        error = await refused(client, 400, messages=chat(image_part(data_url(picture(1, 112)))))
        assert "112x112 pixels, more than 10000" in error["message"]
        error = await refused(client, 400, messages=chat(video_part(f"data:video/mp4;base64,{film}")))
        assert "more than 5 frames" in error["message"]


# Who comes in


async def test_without_the_key_there_is_nothing_but_health(encoder):
    async with in_process(create_app(encoder, api_key="naïve")) as client:
        for path in ("/v1/models", "/metrics", "/openapi.json", EMBED, "/nowhere"):
            for key in (None, "Bearer", "Bearer other", "Basic naïve", "naïve"):
                headers = {} if key is None else {"Authorization": key.encode()}
                answer = await client.get(path, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
        assert (await client.get("/health")).json()["status"] == "ok"
        headers = {"Authorization": "bearer naïve".encode()}
        assert (await client.get("/v1/models", headers=headers)).status_code == 200


async def test_health_is_bad_once_the_index_is_gone(encoder):
    index = filled(encoder)
    async with in_process(create_app(encoder, Retriever(encoder, index), api_key="k")) as client:
        assert (await client.get("/health")).status_code == 200
        index._client.delete_collection(index.physical)
        index._known.clear()  # as some seconds later
        answer = await client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == "the index cannot be reached"


async def test_a_key_is_asked_for_before_a_body_is_read(encoder):
    async def endless():
        while True:
            yield b"x" * 1000

    async with in_process(create_app(encoder, api_key="k")) as client:
        answer = await client.post(EMBED, content=endless())
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 403),
        ("localhost.evil.example:8000", 403),
    ],
)
async def test_on_loopback_a_page_in_a_browser_cannot_borrow_a_name(encoder, host, status):
    async with in_process(create_app(encoder, local_only=True)) as client:
        assert (await client.get("/v1/models", headers={"Host": host})).status_code == status


# How much


async def test_a_body_that_is_too_large_is_refused(encoder):
    async def drops():
        for _ in range(20):
            yield b" " * 100

    async with in_process(create_app(encoder, limits=ServerLimits(body_bytes=1000))) as client:
        for content in (b" " * 2000, drops()):
            answer = await client.post(EMBED, content=content)
            assert answer.status_code == 413
            assert "larger than 1000 bytes" in answer.json()["error"]["message"]
        await embed(client, input="x")


async def test_a_body_that_comes_too_slowly_is_refused_and_holds_nothing(encoder):
    slow = asyncio.Event()

    async def never():
        yield b" " * 600
        await slow.wait()

    limits = ServerLimits(body_bytes=1000, bodies_bytes=1000, body_s=0.2)
    async with in_process(create_app(encoder, limits=limits)) as client:
        first = asyncio.create_task(client.post(EMBED, content=never()))
        await asyncio.sleep(0.05)
        second = await client.post(EMBED, content=b" " * 600)
        assert (second.status_code, second.headers["retry-after"]) == (503, "1")
        assert (await first).status_code == 408
        await embed(client, input="x" * 500)


async def test_a_full_queue_refuses_and_says_when_to_come_again():
    encoder = Patient()
    async with in_process(create_app(encoder, limits=ServerLimits(queue=3))) as client:
        waiting = asyncio.create_task(embed(client, input=["a", "b"], mode="gen"))
        await until(encoder.begun.is_set)
        assert "ume_r1_queue 2.0" in (await client.get("/metrics")).text
        await embed(client, input="c")
        for body in ({"input": ["c", "d"]}, {"input": "c", "mode": "gen", "num_samples": 1}):
            answer = await client.post(EMBED, json=body)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["error"]["code"] == "Overloaded"
        # More than there will ever be room for is the request's own fault.
        error = await refused(client, 400, input=["x"] * 4)
        assert "more than this server takes (3)" in error["message"]
        encoder.go.set()
        assert len((await waiting)["data"]) == 2
        assert "ume_r1_queue 0.0" in (await client.get("/metrics")).text
        await embed(client, input=["c", "d"])


async def test_pictures_and_samples_take_room_too():
    encoder = Patient()
    async with in_process(create_app(encoder, limits=ServerLimits(queue=4))) as client:
        three = chat("x", *[image_part(data_url(picture(1)))] * 3)
        waiting = asyncio.create_task(embed(client, messages=three, mode="gen"))
        await until(encoder.begun.is_set)
        await embed(client, 503, input=["a", "b"])
        await embed(client, input="a")
        encoder.go.set()
        await waiting


# Deadlines


async def test_an_embedding_past_its_deadline_is_an_error_that_names_its_disc():
    encoder = Patient()
    wanted = encoder.encode_document(["a", "b"])
    async with in_process(create_app(encoder)) as client:
        for mode in ("gen", "both"):
            answer = await embed(client, 504, input=["a", "b"], mode=mode, deadline_ms=20)
            assert "data" not in answer
            assert answer["error"]["code"] == "DeadlineMissed"
            for at, one in enumerate(answer["error"]["disc"]):
                assert one["index"] == at
                np.testing.assert_array_equal(np.float32(one["embedding"]), wanted[at].disc)
        answer = await embed(client, 504, input="a", mode="gen", deadline_ms=20, encoding_format="base64")
        np.testing.assert_array_equal(vector(answer["error"]["disc"][0]["embedding"]), wanted[0].disc)
        assert encoder.given_up == 3
        counted = (await client.get("/metrics")).text
        assert 'ume_r1_deadline_misses_total{route="/v1/embeddings"} 3.0' in counted
        assert "ume_r1_queue 0.0" in counted


async def test_within_its_deadline_nothing_is_different():
    encoder = Patient()
    encoder.go.set()
    async with in_process(create_app(encoder)) as client:
        for mode in ("disc", "gen", "both"):
            found = await embed(client, input=["a", "b"], mode=mode, deadline_ms=60_000)
            plain = await embed(client, input=["a", "b"], mode=mode)
            assert found["data"] == plain["data"]
        encoder.go.clear()
        # Disc is what there is: a deadline has nothing to fall back to.
        assert (await embed(client, input="a", deadline_ms=1))["data"]


async def test_an_input_that_fails_fails_whatever_the_deadline(client):
    error = await refused(
        client, 400, messages=chat(image_part("data:image/png;base64,AA")), mode="gen", deadline_ms=60_000
    )
    assert error["code"] == "InputError"


# Search

TEXTS = {"a.pdf": "red circle", "b.pdf": "blue square", "c.pdf": "green bar"}


def filled(encoder, mode="both", tenant=None, texts=TEXTS):
    index = QdrantIndex(":memory:", fingerprint=encoder.fingerprint, tenant=tenant)
    add(index, encoder, mode, texts)
    return index


def add(index, encoder, mode, texts):
    documents = [
        replace(page(1), key=f"{name}#page=1", title=name, text=text, document=name)
        for name, text in texts.items()
    ]
    index.upsert(documents, encoder.encode_document(list(texts.values()), mode))


async def find(client, status=200, **body):
    answer = await client.post("/v1/search", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def names(answer):
    return [hit["title"] for hit in answer["hits"]]


async def test_a_search_is_the_retrievers(encoder):
    retriever = Retriever(encoder, filled(encoder))
    async with in_process(create_app(encoder, retriever)) as client:
        for mode in ("disc", "gen", "text", "fused"):
            found = await find(client, query="red circle", mode=mode, k=2)
            wanted = retriever.search("red circle", 2, mode)
            assert [hit["key"] for hit in found["hits"]] == [hit.key for hit in wanted.hits]
            assert [hit["score"] for hit in found["hits"]] == pytest.approx(
                [hit.score for hit in wanted.hits]
            )
            assert (found["mode"], found["asked"], found["deadline_missed"]) == (mode, mode, False)
            assert found["spaces"] == list(wanted.spaces)
            assert "reasoning" not in found
            assert not any("reasoning" in hit for hit in found["hits"])
        found = await find(client, query="red", mode="gen", return_reasoning=True)
        assert (found["reasoning"], found["hits"][0]["reasoning"]) == (
            "It shows red.",
            "It shows circle red.",
        )
        found = await find(client, query="red", filter={"title": ["b.pdf", "c.pdf"]})
        assert set(names(found)) == {"b.pdf", "c.pdf"}
        parts = [{"type": "text", "text": "red circle"}, image_part(data_url(picture(1)))]
        assert len((await find(client, query=parts, mode="disc", k=1))["hits"]) == 1


async def test_a_search_past_its_deadline_is_ranked_without_gen_and_says_so():
    encoder = Patient()
    retriever = Retriever(encoder, filled(encoder))
    async with in_process(create_app(encoder, retriever)) as client:
        for mode, ranked, spaces in (("gen", "disc", ["disc"]), ("fused", "fused", ["disc", "text"])):
            found = await find(client, query="red circle", mode=mode, deadline_ms=20)
            assert (found["asked"], found["mode"], found["spaces"]) == (mode, ranked, spaces)
            assert found["deadline_missed"] is True
            assert found["hits"][0]["title"] == "a.pdf"
            assert "gen" not in found["hits"][0]["scores"]
        only = {"query": "red", "mode": "fused", "spaces": ["gen"], "deadline_ms": 20}
        assert (await find(client, 504, **only))["error"]["code"] == "DeadlineMissed"
        weighed = {**only, "spaces": ["gen", "text"], "weights": {"gen": 1, "text": 0}}
        assert (await find(client, 504, **weighed))["error"]["code"] == "DeadlineMissed"
        found = await find(client, query="red circle", mode="text", deadline_ms=20)
        assert found["deadline_missed"] is False
        encoder.go.set()
        found = await find(client, query="red circle", mode="gen", deadline_ms=60_000)
        assert (found["mode"], found["deadline_missed"]) == ("gen", False)


async def test_a_search_never_falls_back_to_a_space_the_index_lacks():
    encoder = Patient()
    retriever = Retriever(encoder, filled(encoder, "gen"))
    async with in_process(create_app(encoder, retriever)) as client:
        assert (
            "nothing but gen"
            in (await find(client, 504, query="red", mode="gen", deadline_ms=20))["error"]["message"]
        )
        found = await find(client, query="red", mode="fused", deadline_ms=20)
        assert found["spaces"] == ["text"]


async def test_a_search_is_bound_to_the_servers_tenant(encoder, tmp_path):
    place = {"path": tmp_path / "index", "fingerprint": encoder.fingerprint}
    with QdrantIndex(**place, tenant="one") as one, QdrantIndex(**place, tenant="two") as two:
        add(one, encoder, "both", {"mine.pdf": "red circle"})
        add(two, encoder, "both", {"theirs.pdf": "red circle secret"})
        async with in_process(create_app(encoder, Retriever(encoder, one))) as client:
            for mode in ("disc", "gen", "text", "fused"):
                assert names(await find(client, query="red secret", mode=mode)) in (["mine.pdf"], [])
            assert names(await find(client, query="red")) == ["mine.pdf"]
            for own in ({"tenant": "two"}, {"collection": "x"}, {"lazy_gen": 3}):
                assert "Extra inputs" in (await find(client, 400, query="red", **own))["error"]["message"]
            # Nor does a filter name one.
            assert names(await find(client, query="red", filter={"ume_tenant": "two"})) == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"query": " "}, "empty input"),
        ({"query": "x", "k": 5000}, "k=5000 is more than this server gives"),
        ({"query": "x", "candidates": 50_000}, "candidates=50000 is more"),
        ({"query": "x", "spaces": ["disc"], "mode": "gen"}, "spaces= has no meaning"),
        ({"query": "x", "filter": {"title": {"$gt": 3}}}, "filter: "),
        ({"query": "x", "filter": {"a..b[": 3}}, "filter: "),
        ({"query": [image_part("/etc/hostname")]}, "no files of the server"),
    ],
)
async def test_a_search_that_cannot_be_is_refused(encoder, body, said):
    async with in_process(create_app(encoder, Retriever(encoder, filled(encoder)))) as client:
        assert said in (await find(client, 400, **body))["error"]["message"]


async def test_without_an_index_there_is_no_search(client):
    assert (await client.post("/v1/search", json={"query": "x"})).status_code == 404
    assert "/v1/search" not in (await client.get("/openapi.json")).json()["paths"]


# What is told


async def test_the_model_says_what_its_vectors_depend_on(client, encoder):
    [card] = (await client.get("/v1/models")).json()["data"]
    assert card["fingerprint"] == encoder.fingerprint
    assert (card["id"], card["dimension"], card["spaces"]) == ("m1", 32, ["disc", "gen"])


async def test_metrics_count_without_naming_contents(encoder):
    class Cut(type(encoder)):
        async def aencode_document(self, *args, **options):
            found = await super().aencode_document(*args, **options)
            return [replace(one, gen_valid=False, gen_issue="token limit") for one in found]

    async with in_process(create_app(Cut())) as client:
        await embed(client, input=["private words", "two"], mode="gen")
        await embed(client, 400, input="")
        await client.get("/private/path")
        text = (await client.get("/metrics")).text
    for line in (
        'ume_r1_requests_total{route="/v1/embeddings",status="200"} 1.0',
        'ume_r1_requests_total{route="/v1/embeddings",status="400"} 1.0',
        'ume_r1_requests_total{route="other",status="404"} 1.0',
        'ume_r1_tokens_total{kind="prompt"} 3.0',
        'ume_r1_tokens_total{kind="completion"} 3.0',
        "ume_r1_truncations_total 2.0",
        'ume_r1_invalid_generations_total{issue="token limit"} 2.0',
        'ume_r1_request_seconds_count{route="/v1/embeddings"} 2.0',
    ):
        assert line in text.splitlines()
    assert "private" not in text


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (BackendError("out of memory on cuda for one input"), 500, True),
        (ConfigError("think= means nothing here"), 400, True),
        (RuntimeError("shapes at /srv/model"), 500, False),
    ],
)
async def test_a_failure_tells_clients_what_is_theirs_to_know(error, status, shown):
    class Broken(Patient):
        async def aencode_document(self, *args, **options):
            raise error

    async with in_process(create_app(Broken())) as client:
        told = (await embed(client, status, input="x"))["error"]["message"]
    assert (str(error) in told) == shown
    assert json.dumps(told).count("/srv") == 0
