"""``RemoteEncoder``: the vectors of the encoder behind the server, whatever happens on the way."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path

import httpx
import numpy as np
import pytest
from made_files import write_clip
from served import Patient, Served, until
from typer.testing import CliRunner

from ume_r1_bench.parity_inputs import clip, picture
from ume_r1_rag import CachedEncoder, RemoteEncoder, UmeR1Encoder
from ume_r1_rag.cli.app import app as command
from ume_r1_rag.encoder import connection
from ume_r1_rag.errors import (
    BackendError,
    ConfigError,
    DeadlineMissed,
    EncodeErrors,
    FetchError,
    InputError,
    ServerUnavailable,
)
from ume_r1_rag.server import ServerLimits, create_app
from ume_r1_rag.types import Encoder, MultimodalInput


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("UME_R1_", "QDRANT_"))]:
        monkeypatch.delenv(name)


class Wire(httpx.AsyncBaseTransport):
    """The way to an application in this process, which can fail.

    Attributes:
        failures: what the next requests for embeddings meet in place of the application: a status with
            headers, or an error.
        most: the most requests that were under way at a time.
    """

    def __init__(self, app, failures=()):
        self._inner = httpx.ASGITransport(app)
        self.failures, self.most, self._now = list(failures), 0, 0

    async def handle_async_request(self, request):
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await asyncio.sleep(0)
            if self.failures and request.url.path == "/v1/embeddings":
                failure = self.failures.pop(0)
                if isinstance(failure, Exception):
                    raise failure
                return httpx.Response(failure[0], headers=failure[1], json={"error": {"message": "no"}})
            return await self._inner.handle_async_request(request)
        finally:
            self._now -= 1


@pytest.fixture
def reach(monkeypatch):
    """Makes remote encoders of applications; pauses are short, and are kept in ``reach.pauses``."""
    made, pauses, sleep = [], [], asyncio.sleep

    async def pause(seconds):
        pauses.append(seconds)
        # Not at once: whoever is busy gets the core meanwhile.
        await sleep(0.001)

    monkeypatch.setattr(connection, "pause", pause)

    def reach(app, failures=(), **options):
        wire = Wire(app, failures)
        encoder = RemoteEncoder("http://localhost:8000/v1/", transport=wire, **options)
        made.append(encoder)
        encoder.wire = wire
        return encoder

    reach.pauses = pauses
    yield reach
    for encoder in made:
        encoder.close()


def same(ours, other):
    for name in ("disc", "gen", "gen_samples"):
        a, b = getattr(ours, name), getattr(other, name)
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == np.float32
            np.testing.assert_allclose(a, b, atol=2e-5)
    for name in ("reasoning", "summary", "gen_valid", "gen_issue", "think", "tokens", "fingerprint"):
        assert getattr(ours, name) == getattr(other, name), name
    assert ours.completion_ids == other.completion_ids


def test_every_kind_of_input_has_the_vector_it_has_here(reach, nano_encoder, tmp_path):
    ours = reach(create_app(nano_encoder))
    path, film = tmp_path / "a picture.png", write_clip(tmp_path / "film.mp4", frames=12)
    picture(1).save(path)
    data = path.read_bytes()
    inputs = [
        "a red circle",
        MultimodalInput("what is it?", (picture(2),), instruction="Find the picture:"),
        path,
        data,
        f"data:image/png;base64,{base64.b64encode(data).decode()}",
        {"image": [picture(3), path], "text": "both"},
        {"video": list(clip(1))},
        film,
        {"video": film.read_bytes(), "text": "and words", "image": path},
        picture(4).convert("LA"),
        "ein Text mit Ümlauten, 文字 und\nZeilen",
    ]
    for ours_one, other in zip(ours.encode(inputs), nano_encoder.encode(inputs), strict=True):
        same(ours_one, other)
    for kind in ("page", "image"):
        same(ours.encode_query("x", kind=kind), nano_encoder.encode_query("x", kind=kind))
        same(ours.encode_document(path, kind=kind), nano_encoder.encode_document(path, kind=kind))
    short = {"mode": "both", "think": 4, "num_samples": 2, "seed": 3}
    same(ours.encode(path, **short), nano_encoder.encode(path, **short))
    same(ours.encode("x", "gen", think="none"), nano_encoder.encode("x", "gen", think="none"))


def test_it_is_an_encoder_with_the_fingerprint_of_the_model(reach, make_encoder):
    encoder = make_encoder()
    ours = reach(create_app(encoder))
    assert isinstance(ours, Encoder)
    assert ours.fingerprint == encoder.fingerprint
    for name in ("model", "dimension", "spaces", "max_image_pixels", "max_video_frames"):
        assert getattr(ours, name) == getattr(encoder, name)
    assert reach(create_app(encoder), think="none").fingerprint == {**encoder.fingerprint, "think": "none"}


def test_order_is_kept_and_requests_are_bounded(reach, make_encoder):
    encoder = make_encoder()
    ours = reach(create_app(encoder), concurrency=5)
    texts = [f"text {n}" for n in range(60)]
    for one, other in zip(ours.encode_query(texts, "both"), encoder.encode_query(texts, "both"), strict=True):
        same(one, other)
    assert ours.wire.most == 5
    assert {call[0] for call in encoder.calls} == {"query"}


def test_an_input_that_fails_fails_alone(reach, make_encoder, tmp_path):
    ours = reach(
        create_app(make_encoder(fail=lambda one: InputError("not that") if one.text == "bad" else None))
    )
    missing = tmp_path / "missing.png"
    found = ours.encode(["a", "bad", missing, "b", {"image": "http://localhost/x.png"}], on_error="return")
    assert [type(one).__name__ for one in found] == [
        *("Embedding", "InputError", "InputError", "Embedding", "FetchError")
    ]
    assert str(found[1]) == "not that"
    assert isinstance(found[4], FetchError)
    with pytest.raises(EncodeErrors) as failed:
        ours.encode(["a", "bad"])
    assert [at for at, _ in failed.value.failures] == [1]
    same(failed.value.results[0], found[0])
    with pytest.raises(InputError, match="not that"):
        ours.encode("bad")


def test_an_input_that_is_too_large_is_not_sent(reach, make_encoder):
    ours = reach(create_app(make_encoder(), limits=ServerLimits(body_bytes=2000)))
    found = ours.encode(["x" * 3000, "y"], on_error="return")
    assert "where http://localhost:8000 takes 2000" in str(found[0])
    assert isinstance(found[0], InputError)
    assert found[1].disc is not None


def test_an_option_that_cannot_work_ends_the_call(reach, make_encoder):
    ours = reach(create_app(make_encoder(spaces=("disc",))))
    with pytest.raises(ConfigError, match="no gen vectors"):
        ours.encode(["a", "b"], "gen", on_error="return")
    for options in ({"mode": "quick"}, {"think": 0}, {"on_error": "ignore"}):
        with pytest.raises(ConfigError):
            ours.encode("a", **options)


def test_a_busy_server_is_asked_again_when_it_says(reach, make_encoder):
    encoder = make_encoder()
    failures = [
        (503, {"Retry-After": "7"}),
        (429, {}),
        httpx.ReadError("reset"),
        (429, {"Retry-After": "soon"}),
    ]
    ours = reach(create_app(encoder), failures)
    same(ours.encode("x"), encoder.encode_document("x"))
    assert reach.pauses[0] == 7
    assert len(reach.pauses) == 4
    # They grow, with some chance in them.
    for pause, most in zip(reach.pauses[1:], (1, 2, 4), strict=True):
        assert most / 2 <= pause <= most


def test_a_server_that_stays_busy_ends_the_call(reach, make_encoder):
    ours = reach(create_app(make_encoder()), [(503, {})] * 50, max_retries=2, concurrency=1)
    with pytest.raises(ServerUnavailable, match=r"localhost:8000 is busy \(503\), 3 times"):
        ours.encode(["x"] * 10, on_error="return")
    assert len(ours.wire.failures) > 40


def test_what_is_refused_for_good_is_not_asked_again(reach, make_encoder):
    ours = reach(create_app(make_encoder()), [(418, {})])
    with pytest.raises(BackendError, match="answered 418"):
        ours.encode("x")
    assert reach.pauses == []


def test_a_queue_that_is_too_short_is_come_back_to(reach, make_encoder):
    """A real refusal: more at a time than the server takes.

    Who comes back when is chance, so that no number of retries is enough for sure on a busy machine.
    """
    encoder = Patient()
    encoder.go.set()
    ours = reach(create_app(encoder, limits=ServerLimits(queue=2)), concurrency=16, max_retries=10**6)
    texts = [f"text {n}" for n in range(40)]
    for one, other in zip(ours.encode(texts, "gen"), encoder.encode_document(texts, "gen"), strict=True):
        same(one, other)


def test_a_missed_deadline_hands_the_disc_over(reach):
    encoder = Patient()
    ours = reach(create_app(encoder))
    with pytest.raises(DeadlineMissed, match="not ready within 20 ms") as missed:
        ours.encode("a", "gen", deadline_ms=20)
    [disc] = missed.value.disc
    np.testing.assert_array_equal(disc, encoder.encode_document("a").disc)


def test_nobody_there_a_wrong_key_another_model_no_server_of_ours(reach, make_encoder):
    app = create_app(make_encoder(), api_key="right")
    with pytest.raises(ConfigError, match="refuses the API key"):
        reach(app)
    assert reach(app, api_key="right").model == "m1"
    with pytest.raises(ConfigError, match="serves 'm1' and not 'm2'"):
        reach(app, api_key="right", model="m2")

    async def foreign(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"data": []}'})

    with pytest.raises(BackendError, match="is no `ume-r1 serve`"):
        reach(foreign)
    with pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:9 cannot be reached"):
        RemoteEncoder("http://127.0.0.1:9", max_retries=1)
    with pytest.raises(ConfigError, match="is no address"):
        RemoteEncoder("localhost:8000")


def test_the_key_in_the_environment_is_used(reach, make_encoder, monkeypatch):
    monkeypatch.setenv("UME_R1_API_KEY", "right")
    assert reach(create_app(make_encoder(), api_key="right")).encode("x").disc is not None


async def test_it_works_in_any_loop_and_cancelling_gives_up():
    encoder = Patient()
    with Served(create_app(encoder)) as served, RemoteEncoder(served.url) as ours:
        same(await ours.aencode_query("x"), encoder.encode_query("x"))
        # The other one blocks this loop, and still gets its answer.
        same(ours.encode_query("y"), encoder.encode_query("y"))
        task = asyncio.create_task(ours.aencode("a", "gen"))
        await asyncio.to_thread(encoder.begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: encoder.given_up == 1)
    with pytest.raises(BackendError, match="was closed"):
        ours.encode("x")
    ours.close()


def test_a_cache_goes_around_it(reach, make_encoder, tmp_path):
    encoder = make_encoder()
    with CachedEncoder(reach(create_app(encoder)), tmp_path / "cache.sqlite") as cached:
        first = cached.encode_query("x", "both")
        same(cached.encode_query("x", "both"), first)
    assert len(encoder.calls) == 1


def test_an_encoder_by_address_is_remote(make_encoder):
    encoder = make_encoder()
    with Served(create_app(encoder, api_key="k")) as served:
        with UmeR1Encoder(base_url=served.url, api_key="k", think="none") as ours:
            assert isinstance(ours, RemoteEncoder)
            assert ours.fingerprint["think"] == "none"
            same(ours.encode("x", "gen"), encoder.encode_document("x", "gen", think="none"))
        with pytest.raises(ConfigError, match="device, preset: the server"):
            UmeR1Encoder(base_url=served.url, device="cpu", preset="paper")
    with pytest.raises(ConfigError, match="give base_url="):
        UmeR1Encoder("nano", api_key="k")


def test_index_and_search_can_encode_on_a_server(make_encoder, tmp_path, monkeypatch):
    files = tmp_path / "files"
    files.mkdir()
    (files / "note.txt").write_text("a red circle at north")
    picture(1).save(files / "one.png")
    encoder = make_encoder()
    monkeypatch.setenv("UME_R1_API_KEY", "k")
    with Served(create_app(encoder, api_key="k")) as served:
        place = ["--path", str(tmp_path / "index"), "--base-url", served.url]
        run = CliRunner().invoke(command, ["index", str(files), "--mode", "both", *place])
        assert run.exit_code == 0, run.output
        assert encoder.calls
        run = CliRunner().invoke(command, ["search", "red circle", *place])
        assert run.exit_code == 0, run.output
        assert "note.txt" in run.output
        run = CliRunner().invoke(command, ["embed", "red", "--json", "--base-url", served.url])
        assert run.exit_code == 0, run.output
        # Another model would not fit the collection.
        with Served(create_app(make_encoder(model="m2"), api_key="k")) as other:
            run = CliRunner().invoke(command, ["search", "red", *place[:3], other.url])
        assert run.exit_code == 1
        assert "another encoder" in run.output or "fingerprint" in run.output
    assert Path(tmp_path / "index").is_dir()
