"""The vLLM backend as a ``Backend``: lazy, cancellable, shared by threads, clear when it cannot go on."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ume_r1_bench.parity_inputs import clip, picture
from ume_r1_rag import UmeR1Encoder
from ume_r1_rag.backends.base import Media, Request, Sampling
from ume_r1_rag.backends.batching import BatchLimits
from ume_r1_rag.errors import BackendError, ConfigError, EncodeErrors, InputError
from ume_r1_rag.types import MultimodalInput

pytestmark = pytest.mark.vllm

BOTH = frozenset({"disc", "gen"})


@pytest.fixture
def ask(vllm_backend):
    """Makes a request of a text and a picture."""

    def make(name, cap=0, media=None, **options):
        prompt = vllm_backend.prompt_tokenizer.prompt_ids(f"number {name}", 1)
        want = BOTH if cap else frozenset({"disc"})
        return Request(str(name), prompt, media or Media((picture(1),)), want, Sampling(cap), **options)

    return make


@pytest.fixture
def encoder(vllm_encoder):
    return vllm_encoder


INPUTS = [
    MultimodalInput("a red circle"),
    MultimodalInput(images=(picture(3),)),
    MultimodalInput("what is it?", (picture(2),), clip(1)),
]


def same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert one.completion_ids == other.completion_ids
        assert (one.gen_valid, one.gen_issue, one.tokens) == (other.gen_valid, other.gen_issue, other.tokens)
        np.testing.assert_allclose(one.disc, other.disc, atol=1e-5)
        np.testing.assert_allclose(one.gen, other.gen, atol=1e-5)


@pytest.mark.parametrize("think", ["full", "none", 3, 12])
def test_an_encoder_gives_the_same_embeddings_at_every_budget(encoder, nano_encoder, think):
    same(encoder.encode(INPUTS, "both", think=think), nano_encoder.encode(INPUTS, "both", think=think))


def test_a_truncated_generation_is_finished_and_flagged_as_ever(encoder, nano_encoder):
    short = replace(nano_encoder.preset, max_new_tokens=5)
    cut = []
    for one in (encoder, nano_encoder):
        made = object.__new__(UmeR1Encoder)
        made.__dict__.update({**one.__dict__, "preset": short})
        cut.append(made.encode(INPUTS, "both"))
    same(*cut)
    assert {one.gen_issue for one in cut[0]} == {"token limit"}
    assert all(one.completion_ids[-1] == nano_encoder.backend.markers.gen for one in cut[0])


def test_samples_come_with_an_embedding(encoder):
    first, again = (encoder.encode("a red circle", "both", num_samples=3, seed=5) for _ in range(2))
    assert first.gen_samples.shape == (3, encoder.dimension)
    np.testing.assert_allclose(first.gen_samples, again.gen_samples, atol=1e-5)


def test_both_backends_have_one_fingerprint(encoder, nano_encoder):
    """Their vectors may stand in one collection."""
    assert encoder.fingerprint == nano_encoder.fingerprint
    assert encoder.backend.name == "vllm"


def test_requests_are_taken_as_there_is_room(vllm_backend, ask, monkeypatch):
    monkeypatch.setattr(vllm_backend, "_limits", BatchLimits(window=5))
    loaded = []

    def endless():
        for number in itertools.count():
            yield ask(number, media=lambda number=number: (loaded.append(number), Media((picture(1),)))[1])

    run = vllm_backend.run(endless())
    for taken in range(1, 8):
        next(run)
        assert len(loaded) <= taken + 5
    run.close()


def test_leaving_early_frees_the_slots(vllm_backend, ask):
    run = vllm_backend.run([ask(0), *(ask(number, cap=512) for number in range(1, 9))])
    assert next(run)[0] == "0"
    run.close()
    assert [name for name, _ in vllm_backend.run([ask("next")])] == ["next"]
    assert not vllm_backend._way._tasks
    # The engine, too, has forgotten them once it has stepped on.
    deadline = threading.Event()
    for _ in range(100):
        if not vllm_backend._way._engine._engine.has_unfinished_requests():
            break
        deadline.wait(0.05)
    assert not vllm_backend._way._engine._engine.has_unfinished_requests()


async def test_awaited_and_cancelled(vllm_backend, ask):
    found = [name async for name, _ in vllm_backend.arun(ask(number) for number in range(4))]
    assert sorted(found) == ["0", "1", "2", "3"]

    async def long():
        async for _ in vllm_backend.arun(ask(number, cap=512) for number in range(400)):
            pass

    task = asyncio.create_task(long())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [name async for name, _ in vllm_backend.arun([ask("after")])] == ["after"]


def test_threads_share_the_engine(vllm_backend, ask):
    expected = dict(vllm_backend.run([ask(number) for number in range(12)]))
    found = {}

    def work(part):
        found.update(vllm_backend.run([ask(number) for number in part]))

    threads = [threading.Thread(target=work, args=(range(at, 12, 4),)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.keys() == expected.keys()
    for name, one in found.items():
        np.testing.assert_allclose(one.disc_state, expected[name].disc_state, atol=1e-4)


def test_one_bad_request_fails_alone(vllm_backend, ask):
    def broken():
        raise InputError("this file is broken")

    found = dict(vllm_backend.run([ask(0), ask("bad", media=broken), ask("long", cap=10**6), ask(1)]))
    assert "broken" in str(found.pop("bad"))
    assert isinstance(found["long"], InputError)
    assert "exceed the model's 32768" in str(found.pop("long"))
    assert all(one.disc_state is not None for one in found.values())


def test_an_engine_that_dies_says_so_and_what_was_finished_stays(vllm_backend, encoder, monkeypatch):
    """The engine's step fails as it does when a kernel or its process dies."""
    engine, finished = vllm_backend._way._engine, []
    step = engine._engine.step

    def dying():
        if len(finished) >= 8:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        outputs = step()
        finished.extend(outputs)
        return outputs

    monkeypatch.setattr(engine._engine, "step", dying)
    monkeypatch.setattr(vllm_backend, "_limits", BatchLimits(window=2))
    try:
        with pytest.raises(EncodeErrors, match="engine died") as caught:
            encoder.encode([f"text {number}" for number in range(40)], "disc", show_progress=False)
        assert any(one is not None for one in caught.value.results)
        assert isinstance(caught.value.failures[-1][1], BackendError)
        assert "make a new encoder" in str(caught.value.failures[-1][1])
        # And at once from then on.
        with pytest.raises(BackendError, match="illegal memory access"):
            encoder.encode("another", "disc")
    finally:
        # The engine itself is well: only its step was replaced.
        monkeypatch.undo()
        engine._engine.abort_request(list(engine._engine.output_processor.request_states), internal=True)
        engine.error = None
        vllm_backend._way._tasks.clear()


def test_a_second_engine_in_this_process_is_refused(vllm_backend):
    with pytest.raises(ConfigError, match="another encoder runs vLLM in this process"):
        vllm_backend.two_pass()


def test_the_self_check_passes_and_sees_a_wrong_row(vllm_backend, nano_encoder):
    """Against transformers in place of two passes, which another test holds to it."""
    from ume_r1_rag.backends.vllm import check

    requests = check.check_requests(vllm_backend.prompt_tokenizer)
    assert len(requests) == 16
    found, expected = (list(one.run(requests)) for one in (vllm_backend, nano_encoder.backend))
    verdict = check.compare(found, expected)
    assert verdict.agreed
    assert verdict.cosine >= 0.99999
    norm, vllm_backend._way._norm = vllm_backend._way._norm, lambda state: np.roll(state, 1)
    try:
        wrong = check.compare(vllm_backend.run(requests), expected)
    finally:
        vllm_backend._way._norm = norm
    assert not wrong.agreed
    assert "cosine" in wrong.why
    assert not check.compare([], expected).agreed


def test_auto_checks_once_says_what_for_and_what_came_of_it(
    vllm_backends, nano_encoder, monkeypatch, tmp_path, caplog
):
    """A machine that starts vLLM for the first time, and then for the second."""
    from ume_r1_rag.backends.vllm.backend import VllmBackend
    from ume_r1_rag.cli import doctor

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    vllm_backends(None)
    assert "none yet" in doctor._check_lines(doctor.examine()["vllm"], {"digest": None})[0]
    for when, first in (("passed now", True), ("passed earlier", False)):
        caplog.clear()
        with caplog.at_level("INFO", "ume_r1_rag"):
            backend = VllmBackend(
                nano_encoder.model_path, nano_encoder.preset, dtype="float32", options=OPTIONS
            )
        assert backend.way == "one-engine"
        backend.close()
        assert ("first use of vLLM" in caplog.text) == first
        assert when in caplog.text
        assert "32 disc and gen vectors, the smallest cosine to two passes 0.9999" in caplog.text
    found = doctor.examine()
    [line] = doctor._check_lines(found["vllm"], found["models"]["nano"])
    assert line.startswith("nano in float32: one engine (32 disc and gen vectors")


def test_auto_takes_two_passes_where_the_check_failed(
    vllm_backends, nano_encoder, monkeypatch, tmp_path, caplog
):
    from ume_r1_rag.backends.vllm import check
    from ume_r1_rag.backends.vllm.backend import VllmBackend
    from ume_r1_rag.backends.vllm.options import VllmOptions

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    vllm_backends(None)
    given = check.conditions(nano_encoder.model_path, VllmOptions.of(OPTIONS), "float32", "cpu")
    assert check.recall(given) is None
    check.keep(given, check.Verdict(False, 0.31, "gen of input 3 has cosine 0.31000 to two passes"))
    backend = VllmBackend(nano_encoder.model_path, nano_encoder.preset, dtype="float32", options=OPTIONS)
    assert backend.way == "two-pass"
    [warned] = [one for one in caplog.records if one.name.startswith("ume_r1_rag")]
    assert warned.levelname == "WARNING"
    assert "gen of input 3 has cosine 0.31000" in warned.getMessage()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        next(backend.run([]))
    # Another version, model, machine or option is another question.
    other = check.conditions(
        nano_encoder.model_path, VllmOptions.of({**OPTIONS, "seed": 1}), "float32", "cpu"
    )
    assert check.recall(other) is None


OPTIONS = {"in_process": True, "enforce_eager": True, "kv_cache_memory_bytes": 2**26, "max_model_len": 2048}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", ["one-engine", "two-pass"])
def test_engines_in_processes_of_their_own_give_the_same_vectors(way, nano_encoder):
    """By the command line, whose process the engines are not in."""
    engine = ["in_process=false", f"way={way}", "enforce_eager=true", f"kv_cache_memory_bytes={2**28}"]
    texts = ["a red circle", "two bars at north"]
    command = [sys.executable, "-c", "from ume_r1_rag.cli import main; main()", "embed", *texts, "--json"]
    command += ["--model", "nano", "--backend", "vllm", "--mode", "both"]
    command += [part for option in engine for part in ("--engine", option)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # Nothing but that on stdout, and no engine that dies because its process ends.
    found = json.loads(done.stdout)
    assert "EngineDeadError" not in done.stderr
    for ours, other in zip(found, nano_encoder.encode(texts, "both"), strict=True):
        assert ours["tokens"]["completion"] == other.tokens.completion
        np.testing.assert_allclose(ours["disc"], other.disc, atol=1e-5)
        np.testing.assert_allclose(ours["gen"], other.gen, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # a minute or two on a free core
def test_memory_does_not_grow_with_what_is_queued():
    """5,000 pictures against 50, each in a process of its own."""
    peaks = []
    for count in (50, 5000):
        code = Path(__file__).with_name("vllm_memory.py")
        done = subprocess.run([sys.executable, code, str(count)], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] <= 1.5 * peaks[0]
