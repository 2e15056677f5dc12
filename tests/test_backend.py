"""The transformers backend: batches, windows, memory, cancellation, sampling; padding changes nothing."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from dataclasses import dataclass, replace
from itertools import count, islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ume_r1_bench.parity_inputs import clip, picture
from ume_r1_rag.backends import decoding
from ume_r1_rag.backends.base import Media, Request, Sampling
from ume_r1_rag.backends.batching import BatchLimits, batches, windows
from ume_r1_rag.backends.decoding import RowNoise, RowStop, repeats
from ume_r1_rag.backends.transformers import TransformersBackend
from ume_r1_rag.errors import BackendError, InputError
from ume_r1_rag.template import PRESETS, RepetitionStop
from ume_r1_rag.types import MultimodalInput

# Without a blank image a text has no visuals at all, which the encoder's presets never show the backend.
BARE = replace(PRESETS["serving"], name="bare", blank_size=None)
GEN = frozenset({"gen"})
BOTH = frozenset({"disc", "gen"})


@pytest.fixture(scope="module")
def backend(official_checkpoint):
    """An untrained model: it never ends by itself, so that every length is known."""
    return TransformersBackend(official_checkpoint, BARE, "cpu", "float32", BatchLimits(requests=4, window=8))


@pytest.fixture(scope="module")
def ask(backend):
    """Makes a request of text and visuals."""

    def make(name, text="a red circle", images=(), videos=(), cap=0, want=None, **options):
        sampling = Sampling(cap, **{k: options.pop(k) for k in ("temperature", "seed") if k in options})
        prompt = backend.prompt_tokenizer.prompt_ids(text, len(images), len(videos))
        wanted = want or (BOTH if cap else frozenset({"disc"}))
        return Request(str(name), prompt, Media(tuple(images), tuple(videos)), wanted, sampling, **options)

    return make


def outcomes(backend, requests):
    return dict(backend.run(requests))


def same(ours, other):
    assert ours.completion_ids == other.completion_ids
    assert (ours.finish, ours.prompt_tokens, ours.visual_tokens) == (
        other.finish,
        other.prompt_tokens,
        other.visual_tokens,
    )
    for state, reference in ((ours.disc_state, other.disc_state), (ours.gen_state, other.gen_state)):
        assert (state is None) == (reference is None)
        if state is not None:
            np.testing.assert_allclose(state, reference, atol=2e-5)


# Batches and windows


@dataclass(frozen=True)
class Item:
    length: int
    visual_tokens: int
    decodes: int
    key: int


items = st.lists(
    st.tuples(st.integers(1, 300), st.integers(0, 200), st.sampled_from([0, 0, 10, 500])), max_size=40
).map(lambda rows: [Item(*row, key) for key, row in enumerate(rows)])
limits = st.builds(
    BatchLimits,
    requests=st.integers(1, 8),
    tokens=st.integers(1, 2000),
    visual_tokens=st.integers(1, 500),
    window=st.integers(1, 20),
    window_visual_tokens=st.integers(1, 500),
)


@given(items, limits)
def test_batches_hold_everything_once_within_the_limits(prepared, limit):
    found = list(batches(prepared, limit))
    assert sorted(item.key for batch in found for item in batch) == list(range(len(prepared)))
    for batch in found:
        assert len({item.decodes > 0 for item in batch}) == 1
        if len(batch) > 1:
            assert len(batch) <= limit.requests
            assert max(item.length + item.decodes for item in batch) * len(batch) <= limit.tokens
            assert sum(item.visual_tokens for item in batch) <= limit.visual_tokens


@given(items, limits)
def test_the_longest_come_first_and_beside_each_other(prepared, limit):
    for decodes in (False, True):
        lengths = [
            item.length + item.decodes
            for batch in batches(prepared, limit)
            for item in batch
            if (item.decodes > 0) == decodes
        ]
        assert lengths == sorted(lengths, reverse=True)


@given(items, limits)
def test_windows_keep_order_and_end_at_a_limit(prepared, limit):
    found = list(windows(prepared, limit))
    assert [item for window in found for item in window] == prepared
    for number, window in enumerate(found):
        visual = [item.visual_tokens for item in window]
        assert 0 < len(window) <= limit.window
        assert sum(visual[:-1]) < limit.window_visual_tokens
        if number < len(found) - 1:
            assert len(window) == limit.window or sum(visual) >= limit.window_visual_tokens


def test_requests_are_taken_window_by_window(backend, ask):
    taken = []

    def endless():
        for number in count():
            taken.append(number)
            yield ask(number)

    run = backend.run(endless())
    first = list(islice(run, 8))
    assert len(taken) == 8
    assert len(list(islice(run, 1))) == 1
    assert len(taken) == 16
    run.close()
    assert sorted(int(name) for name, _ in first) == list(range(8))


def test_media_are_loaded_when_their_window_comes(backend, ask):
    loaded = []

    def lazy(number):
        def load():
            loaded.append(number)
            return Media((picture(number),))

        return replace(ask(number, images=[picture(number)]), media=load)

    run = backend.run(lazy(number) for number in range(12))
    next(run)
    assert loaded == list(range(8))
    run.close()
    assert len(loaded) == 8


def test_visual_tokens_end_a_window(backend, ask, monkeypatch):
    monkeypatch.setattr(backend, "_limits", replace(backend._limits, window_visual_tokens=18))
    taken = []

    def some():
        for number in range(6):
            taken.append(number)
            yield ask(number, images=[picture(number)])  # 9 tokens each

    run = backend.run(some())
    next(run)
    assert len(taken) == 2
    assert len(list(run)) == 5


# Padding


def test_a_mixed_batch_equals_single_ones(backend, ask):
    """Texts, images and videos in one left-padded batch: positions and masks are each row's own."""
    forced = (*backend.prompt_tokenizer.completion_ids("<think>"), backend.markers.gen)
    requests = [
        ask("short", "x"),
        ask("image", "", images=[picture(1)]),
        ask("video", "what moves?", videos=[clip(1)]),
        ask("images", "a longer text beside two images", images=[picture(2), picture(3, 140)]),
        ask("all", "and all of it", images=[picture(4)], videos=[clip(2)]),
        ask("long", "a red circle on the left of a blue square " * 4),
    ]
    wide = TransformersBackend.__new__(TransformersBackend)
    wide.__dict__ = {**backend.__dict__, "_limits": BatchLimits(requests=6)}
    for variant in (
        requests,
        [replace(r, want=BOTH, replay_ids=forced) for r in requests],
        [replace(r, want=BOTH, sampling=Sampling(6)) for r in requests],
    ):
        together = outcomes(wide, variant)
        for request in variant:
            same(together[request.id], outcomes(backend, [request])[request.id])


def test_a_text_after_images_does_not_inherit_their_positions(backend, ask):
    """The model remembers how far the last batch's positions were shifted; a text must not see that."""
    for cap in (0, 6):
        text = ask("text", cap=cap)
        before = outcomes(backend, [text])["text"]
        outcomes(backend, [ask("image", "", images=[picture(1), picture(2)], cap=cap)])
        assert backend.model.model.rope_deltas is not None
        same(outcomes(backend, [text])["text"], before)


# What a result holds


def test_only_what_is_wanted_is_returned(backend, ask):
    forced = (backend.markers.gen,)
    found = outcomes(
        backend,
        [
            ask("disc"),
            ask("gen", want=GEN, replay_ids=forced),
            ask("both", want=BOTH, replay_ids=forced),
            ask("none", cap=2),
        ],
    )
    assert (found["disc"].disc_state is None, found["disc"].gen_state is None) == (False, True)
    assert (found["gen"].disc_state is None, found["gen"].gen_state is None) == (True, False)
    assert (found["both"].disc_state is None, found["both"].gen_state is None) == (False, False)
    assert found["none"].gen_state is None
    assert found["both"].disc_state.dtype == np.float32
    assert found["both"].disc_state.shape == (backend.dimension,)
    assert [found[k].finish for k in ("disc", "both", "none")] == ["replay", "replay", "length"]
    # A disc request is run up to its marker only; the count is of the whole prompt.
    assert found["disc"].prompt_tokens == found["both"].prompt_tokens == len(ask("x").prompt_ids)


def test_replayed_tokens_are_continued_as_if_decoded(backend, ask):
    whole = outcomes(backend, [ask("whole", cap=10)])["whole"]
    assert whole.decoded_tokens == len(whole.completion_ids) == 10
    rest = outcomes(backend, [ask("rest", cap=4, replay_ids=whole.completion_ids[:6])])["rest"]
    assert rest.completion_ids == whole.completion_ids
    assert rest.decoded_tokens == 4


def test_the_state_is_that_of_the_last_generated_marker(backend, ask):
    marker, words = backend.markers.gen, backend.prompt_tokenizer.completion_ids("abc")
    twice = (*words, marker, *words, marker)
    found = outcomes(
        backend,
        [
            ask("once", want=GEN, replay_ids=twice[:4]),
            ask("twice", want=GEN, replay_ids=twice),
            ask("after", want=GEN, replay_ids=(*twice, *words)),
            ask("decoding", want=GEN, replay_ids=twice, cap=3),
        ],
    )
    assert np.abs(found["once"].gen_state - found["twice"].gen_state).max() > 1e-3
    np.testing.assert_allclose(found["after"].gen_state, found["twice"].gen_state, atol=2e-5)
    np.testing.assert_allclose(found["decoding"].gen_state, found["twice"].gen_state, atol=2e-5)


def test_a_row_is_read_up_to_its_own_end(backend, ask):
    """Rows of one batch stop at different caps; what follows in the tensor is padding."""
    found = outcomes(backend, [ask(cap, cap=cap) for cap in (2, 5, 9)])
    for cap in (2, 5, 9):
        result = found[str(cap)]
        assert (result.finish, result.decoded_tokens, len(result.completion_ids)) == ("length", cap, cap)
    assert found["9"].completion_ids[:5] == found["5"].completion_ids


def test_a_looping_row_is_flagged_though_its_batch_goes_on(backend, ask, monkeypatch):
    monkeypatch.setattr(decoding, "repeats", lambda ids, stop: stop.max_period == 7)
    looping, patient = (RepetitionStop(max_period=period) for period in (7, 8))
    requests = [ask("loops", cap=20), ask("goes on", cap=20)]
    requests = [
        replace(r, sampling=replace(r.sampling, repetition=stop))
        for r, stop in zip(requests, (looping, patient), strict=True)
    ]
    found = outcomes(backend, requests)
    assert (found["loops"].finish, found["loops"].decoded_tokens) == ("repetition", 8)
    assert found["loops"].completion_ids == found["goes on"].completion_ids[:8]
    assert (found["goes on"].finish, found["goes on"].decoded_tokens) == ("length", 20)


def test_an_end_token_ends_a_row_and_is_dropped(nano_encoder):
    backend = nano_encoder.backend
    prompts = [backend.prompt_tokenizer.prompt_ids(text, 1) for text in ("a red circle", "x", "two bars")]
    media = nano_encoder.load_media(MultimodalInput("x"))
    requests = [
        Request(str(n), prompt, media, BOTH, Sampling(96, repetition=RepetitionStop()))
        for n, prompt in enumerate(prompts)
    ]
    ended = [result for _, result in backend.run(requests) if result.finish == "stop"]
    assert ended
    for result in ended:
        assert result.decoded_tokens == len(result.completion_ids) + 1
        assert not set(result.completion_ids) & set(backend._end_ids)


# Failures


def test_one_bad_request_does_not_hurt_the_others(backend, ask):
    def broken():
        raise InputError("no such file")

    requests = [
        ask("good", "x"),
        replace(ask("broken"), media=broken),
        ask("endless", "word " * 40_000),
        ask("too much to decode", cap=40_000),
        ask("also good", "y"),
    ]
    found = outcomes(backend, requests)
    assert len(found) == 5
    assert found["good"].disc_state is not None
    assert found["also good"].disc_state is not None
    assert str(found["broken"]) == "no such file"
    for name in ("endless", "too much to decode"):
        assert isinstance(found[name], InputError)
        assert "32768" in str(found[name])


def out_of_memory_above(backend, monkeypatch, most, error):
    forward, sizes = backend._forward, []

    def limited(batch):
        sizes.append(len(batch))
        if len(batch) > most:
            raise error
        return forward(batch)

    monkeypatch.setattr(backend, "_forward", limited)
    return sizes


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=["python", "cuda", "cpu"],
)
def test_out_of_memory_halves_the_batch_and_goes_on(backend, ask, monkeypatch, error):
    requests = [ask(n, "word " * n, cap=3) for n in range(1, 5)]
    expected = outcomes(backend, requests)
    sizes = out_of_memory_above(backend, monkeypatch, 1, error)
    found = outcomes(backend, requests)
    assert sizes == [4, 2, 1, 1, 2, 1, 1]
    for name, result in expected.items():
        same(found[name], result)


def test_a_failed_batch_is_let_go_before_its_halves_are_tried(backend, ask, monkeypatch):
    class Activations:
        pass

    forward, held, alive = backend._forward, [], []

    def limited(batch):
        alive.append(sum(reference() is not None for reference in held))
        activations = Activations()
        held.append(weakref.ref(activations))
        if len(batch) > 1:
            raise MemoryError
        return forward(batch)

    monkeypatch.setattr(backend, "_forward", limited)
    outcomes(backend, [ask(n, "word") for n in range(4)])
    assert alive == [0] * 7


def test_what_does_not_fit_alone_fails_alone(backend, ask, monkeypatch):
    forward = backend._forward

    def limited(batch):
        if any(item.request.id == "huge" for item in batch):
            raise MemoryError
        return forward(batch)

    monkeypatch.setattr(backend, "_forward", limited)
    found = outcomes(backend, [ask("huge"), ask("small"), ask("tiny", "x")])
    assert isinstance(found["huge"], BackendError)
    assert "out of memory" in str(found["huge"])
    assert found["small"].disc_state is not None
    assert found["tiny"].disc_state is not None


def test_other_errors_are_not_taken_for_memory(backend, ask, monkeypatch):
    out_of_memory_above(backend, monkeypatch, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        outcomes(backend, [ask("x")])
    assert not backend._lock.locked()


# Stopping


def test_closing_a_run_stops_it(backend, ask):
    run = backend.run(ask(n, cap=2) for n in range(100))
    next(run)
    run.close()
    assert not backend._lock.locked()
    assert outcomes(backend, [ask("next")])["next"].disc_state is not None


async def test_async_outcomes_are_those_of_run(backend, ask):
    requests = [ask(n, "word " * n, cap=4) for n in range(1, 7)]
    expected = outcomes(backend, requests)
    found = {name: result async for name, result in backend.arun(requests)}
    assert found.keys() == expected.keys()
    for name, result in expected.items():
        same(found[name], result)


async def test_an_error_reaches_the_awaiting_side(backend, ask, monkeypatch):
    out_of_memory_above(backend, monkeypatch, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        [outcome async for outcome in backend.arun([ask("x")])]


async def collect(run):
    return [outcome async for outcome in run]


async def test_cancelling_stops_at_the_next_token_and_frees_the_model(backend, ask):
    decoding_now = threading.Event()

    def seen(module, args):
        decoding_now.set()

    hook = backend.model.lm_head.register_forward_pre_hook(seen)
    task = asyncio.create_task(collect(backend.arun([ask("long", cap=20_000)])))
    await asyncio.to_thread(decoding_now.wait)
    hook.remove()
    started = time.perf_counter()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert outcomes(backend, [ask("next")])["next"].disc_state is not None
    # Decoding to the cap would take minutes.
    assert time.perf_counter() - started < 20


async def test_cancelling_does_not_wait_for_another_run(backend, ask):
    with backend._lock:
        task = asyncio.create_task(collect(backend.arun([ask("x")])))
        await asyncio.sleep(0.2)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=10)
        assert done


async def test_cancelling_loads_no_further_media(backend, ask):
    loaded = []
    started = threading.Event()

    def slow(number):
        def load():
            loaded.append(number)
            started.set()
            time.sleep(0.2)
            return Media()

        return replace(ask(number), media=load)

    task = asyncio.create_task(collect(backend.arun(slow(n) for n in range(8))))
    await asyncio.to_thread(started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(loaded) < 4


async def test_leaving_an_async_run_early_stops_it(backend, ask):
    run = backend.arun(ask(n) for n in range(100))
    async for _ in run:
        break
    await run.aclose()
    assert not backend._shared._waiting
    assert outcomes(backend, [ask("next")])["next"].disc_state is not None


# Sharing


async def until(condition):
    while not condition():  # noqa: ASYNC110 -- what is waited for happens in threads
        await asyncio.sleep(0.01)


async def queued(backend, callers):
    """Starts callers that all wait when the model becomes free; returns their tasks."""
    tasks = []
    with backend._lock:
        for number, requests in enumerate(callers):
            tasks.append(asyncio.create_task(collect(backend.arun(requests))))
            # The first is in a batch already, which waits for the model.
            expected = sum(len(r) for r in callers[1 : number + 1])
            await until(lambda n=expected: len(backend._shared._waiting) == n and backend._shared._working)
    return tasks


async def test_callers_at_the_same_time_share_batches(backend, ask, monkeypatch):
    callers = [[ask(n, f"{who} " * n, cap=4) for n in (1, 2)] for who in "abc"]
    expected = [outcomes(backend, requests) for requests in callers]
    sizes = out_of_memory_above(backend, monkeypatch, 9, MemoryError())
    found = [dict(one) for one in await asyncio.gather(*await queued(backend, callers))]
    assert sizes == [2, 4]
    for ours, other in zip(found, expected, strict=True):
        assert ours.keys() == other.keys()
        for name, result in other.items():
            same(ours[name], result)


async def test_disc_waits_for_one_batch_of_generations_at_most(backend, ask, monkeypatch):
    forward, order = backend._forward, []

    def noted(batch):
        order.extend(item.request.id for item in batch)
        return forward(batch)

    monkeypatch.setattr(backend, "_forward", noted)
    callers = [[ask("gen", cap=2)], [ask(f"more {n}", cap=2) for n in range(4)], [ask("disc")]]
    await asyncio.gather(*await queued(backend, callers))
    assert order[:2] == ["gen", "disc"]


async def test_a_cancelled_caller_leaves_its_batch_mates_alone(backend, ask):
    mine, other = [ask("mine", cap=10_000)], [ask("other", "y", cap=6)]
    expected = outcomes(backend, other)["other"]
    decoding_now = threading.Event()
    hook = backend.model.lm_head.register_forward_pre_hook(lambda module, args: decoding_now.set())
    # Held back by what is first, both are in one batch.
    _, long, short = await queued(backend, [[ask("first")], mine, other])
    await asyncio.to_thread(decoding_now.wait)
    hook.remove()
    long.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long
    [(_, result)] = await short
    same(result, expected)


async def test_who_is_cancelled_while_waiting_is_never_run(backend, ask, monkeypatch):
    sizes = out_of_memory_above(backend, monkeypatch, 9, MemoryError())
    with backend._lock:
        tasks = [asyncio.create_task(collect(backend.arun([ask(n)]))) for n in range(3)]
        await until(lambda: len(backend._shared._waiting) == 2)
        for task in tasks[1:]:
            task.cancel()
        await asyncio.wait(tasks[1:])
    assert len(await tasks[0]) == 1
    assert sizes == [1]


async def test_an_error_reaches_every_caller_of_its_batch_and_no_other(backend, ask, monkeypatch):
    forward = backend._forward

    def broken(batch):
        if any(item.request.id == "bad" for item in batch):
            raise RuntimeError("shapes do not match")
        return forward(batch)

    monkeypatch.setattr(backend, "_forward", broken)
    tasks = await queued(backend, [[ask("first")], [ask("bad")], [ask("mate")]])
    await asyncio.wait(tasks)
    assert len(tasks[0].result()) == 1
    for task in tasks[1:]:
        with pytest.raises(RuntimeError, match="shapes"):
            task.result()
    assert len(await collect(backend.arun([ask("next")]))) == 1


async def test_waiting_visuals_of_all_callers_are_bounded(backend, ask, monkeypatch):
    monkeypatch.setattr(backend._shared, "_limits", replace(backend._limits, window_visual_tokens=18))
    loaded = []

    def lazy(number):
        def load():
            loaded.append(number)
            return Media((picture(number),))

        return replace(ask(number, images=[picture(number)]), media=load)

    with backend._lock:
        tasks = [asyncio.create_task(collect(backend.arun([lazy(n)]))) for n in range(3)]
        await until(lambda: len(backend._shared._waiting) == 2)  # 9 tokens each; one more is at the model
        tasks.append(asyncio.create_task(collect(backend.arun([lazy(3)]))))
        await asyncio.sleep(0.3)
        assert sorted(loaded) == [0, 1, 2]
    assert [len(found) for found in await asyncio.gather(*tasks)] == [1] * 4
    assert sorted(loaded) == [0, 1, 2, 3]


def test_two_threads_share_one_model(backend, ask):
    requests = [[ask(f"{who}{n}", "word " * n, cap=4) for n in range(1, 4)] for who in "ab"]
    expected = {**outcomes(backend, requests[0]), **outcomes(backend, requests[1])}
    found = {}

    def work(mine):
        found.update(outcomes(backend, mine))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, result in expected.items():
        same(found[name], result)


def test_a_closed_backend_has_let_its_model_go(official_checkpoint):
    own = TransformersBackend(official_checkpoint, BARE, "cpu", "float32")
    model = weakref.ref(own.model)
    own.close()
    gc.collect()
    assert model() is None


# Decoding


def test_a_sample_depends_on_its_seed_alone(backend, ask):
    warm = [ask(seed, cap=6, temperature=1.0, seed=seed) for seed in (1, 2, 3)]
    alone = {request.id: outcomes(backend, [request])[request.id] for request in warm}
    mates = [*warm, ask("greedy", "another text", cap=9)]
    together = outcomes(backend, mates)
    for request in warm:
        same(together[request.id], alone[request.id])
    assert len({result.completion_ids for result in alone.values()}) == 3
    # Greedy rows beside sampled ones stay greedy.
    same(together["greedy"], outcomes(backend, mates[3:])["greedy"])


def test_noise_makes_a_sample_of_the_softmax():
    scores = torch.log(torch.tensor([[1.0, 3.0], [1.0, 3.0], [1.0, 3.0]]))
    noise = RowNoise([Sampling(temperature=1.0), Sampling(temperature=0.5, seed=1), Sampling()])
    drawn = torch.stack([noise(torch.zeros(3, 1), scores).argmax(-1) for _ in range(4000)]).float().mean(0)
    assert drawn[0] == pytest.approx(0.75, abs=0.03)
    assert drawn[1] == pytest.approx(0.9, abs=0.03)
    assert drawn[2] == 1.0


def test_a_row_stops_once_and_for_its_first_reason():
    stop = RowStop(
        [Sampling(100, repetition=RepetitionStop(4, 2, 8)), Sampling(11), Sampling(100)],
        prefix=2,
        cancelled=[threading.Event()] * 3,
    )
    for decoded in range(1, 17):
        ids = torch.zeros(3, 2 + decoded, dtype=torch.long)
        ids[2] = torch.arange(2 + decoded)
        done = stop(ids, None).tolist()
        assert done == [decoded >= 8, decoded >= 11, False]
    assert stop.ended == {0: ("repetition", 8), 1: ("length", 11)}


def test_cancelling_ends_every_row_of_its_caller():
    mine, other = threading.Event(), threading.Event()
    stop = RowStop([Sampling(100)] * 3, prefix=0, cancelled=[mine, other, mine])
    ids = torch.zeros(3, 1, dtype=torch.long)
    assert not stop(ids, None).any()
    mine.set()
    assert stop(ids, None).tolist() == [True, False, True]


STOP = RepetitionStop(max_period=6, min_repeats=3, min_tokens=9)


def repeats_slowly(ids, stop):
    for period in range(1, stop.max_period + 1):
        need = max(stop.min_tokens, period * stop.min_repeats)
        tail = ids[-need:]
        if len(tail) == need and all(tail[i] == tail[i - period] for i in range(period, need)):
            return True
    return False


@settings(max_examples=300)
@given(
    st.lists(st.integers(0, 2), max_size=30),
    st.lists(st.integers(0, 2), min_size=1, max_size=7),
    st.integers(0, 8),
)
def test_a_loop_is_a_block_again_and_again_at_the_end(head, block, times):
    ids = head + block * times
    assert repeats(ids, STOP) is repeats_slowly(ids, STOP)


@pytest.mark.parametrize(
    ("ids", "looping"),
    [
        ([5] * 9, True),
        ([5] * 8, False),
        ([1, 2, 3] * 3, True),
        ([1, 2, 3] * 3 + [1], True),
        ([1, 2, 3] * 3 + [4], False),
        ([1, 2, 3, 4, 5, 6] * 3, True),
        ([1, 2, 3, 4, 5, 6] * 2, False),
        ([1, 2, 3, 4, 5, 6, 7] * 9, False),
        ([], False),
    ],
)
def test_loops(ids, looping):
    assert repeats(ids, STOP) is looping
