"""vLLM against transformers on nano: the same ids give the same vectors, one engine or two, however batched.

The engine runs in this process, for all tests; a page is 32 tokens and a step 256, so that prompts are cut
into chunks and prefixes are found.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from ume_r1_bench.parity_inputs import parity_inputs
from ume_r1_rag.backends.base import Request, Sampling
from ume_r1_rag.template import PRESETS, RepetitionStop
from ume_r1_rag.types import MultimodalInput

pytestmark = pytest.mark.vllm

BOTH = frozenset({"disc", "gen"})
CAP = 96
LOOP = RepetitionStop(max_period=16, min_repeats=2, min_tokens=2)


def cosines(ours, others, space):
    """Returns a cosine per request; requests without a state of theirs are left out."""
    found = []
    for name, other in others.items():
        theirs, state = getattr(other, f"{space}_state"), getattr(ours[name], f"{space}_state")
        if theirs is not None:
            found.append(state @ theirs / np.linalg.norm(state) / np.linalg.norm(theirs))
    return np.asarray(found)


def agree(ours, others, least=0.99999):
    assert ours.keys() == others.keys()
    for space in ("disc", "gen"):
        found = cosines(ours, others, space)
        assert len(found) == len(others)
        assert found.min() >= least


@pytest.fixture(scope="module")
def requests(nano_encoder):
    """Every kind of input, decoded freely."""
    stop = PRESETS["serving"].repetition
    items = [entry.item for entry in parity_inputs()]
    return [
        Request(
            str(number),
            nano_encoder.prompt_ids(item),
            nano_encoder.load_media(item),
            BOTH,
            Sampling(CAP, repetition=stop),
        )
        for number, item in enumerate(items)
    ]


@pytest.fixture(scope="module")
def free(nano_encoder, requests):
    """What transformers makes of them."""
    return dict(nano_encoder.backend.run(requests))


@pytest.fixture(scope="module")
def forced(nano_encoder, requests, free):
    """The same inputs with what transformers wrote forced, and a marker at the end of each."""
    marker = nano_encoder.backend.markers.gen
    ids = {
        name: one.completion_ids if marker in one.completion_ids else (*one.completion_ids, marker)
        for name, one in free.items()
    }
    return [replace(one, sampling=Sampling(), replay_ids=ids[one.id]) for one in requests]


@pytest.fixture(scope="module")
def reference(nano_encoder, forced):
    return dict(nano_encoder.backend.run(forced))


@pytest.fixture(scope="module")
def found(vllm_backends, forced):
    return dict(vllm_backends("one-engine").run(forced))


def test_one_engine_gives_what_transformers_gives(reference, found):
    assert len(reference) >= 60
    assert {entry.kind for entry in parity_inputs()} >= {"text", "image", "images", "video", "mix"}
    agree(found, reference)
    for name, one in reference.items():
        assert (found[name].prompt_tokens, found[name].visual_tokens) == (
            one.prompt_tokens,
            one.visual_tokens,
        )
        assert (found[name].finish, found[name].completion_ids) == ("replay", one.completion_ids)
        # Not only the direction: the final norm, too, is the model's.
        np.testing.assert_allclose(found[name].gen_state, one.gen_state, atol=1e-4)


def test_left_to_itself_it_writes_the_same_and_ends_for_the_same_reason(vllm_backend, requests, free):
    ours = dict(vllm_backend.run(requests))
    same = [name for name, one in free.items() if ours[name].completion_ids == one.completion_ids]
    # A tie of two words may fall either way.
    assert len(same) >= 0.95 * len(free)
    for name in same:
        assert (ours[name].finish, ours[name].decoded_tokens) == (
            free[name].finish,
            free[name].decoded_tokens,
        )
        assert (ours[name].gen_state is None) == (free[name].gen_state is None)


def test_a_disc_request_gives_the_same_vector(vllm_backend, forced, reference):
    alone = [replace(one, want=frozenset({"disc"}), replay_ids=()) for one in forced]
    ours = dict(vllm_backend.run(alone))
    assert cosines(ours, reference, "disc").min() >= 0.99999
    assert all(one.gen_state is None and one.completion_ids == () for one in ours.values())


def cached(backend, request):
    """Returns a request's result, and how many of its tokens came from the prefix cache."""
    import queue

    inbox = queue.SimpleQueue()
    backend._way.start(backend.task(request, inbox))
    task = inbox.get(timeout=60)
    return task.outcome, task.completion.cached


def test_a_prefix_that_is_found_changes_nothing(vllm_backend, forced, reference):
    """Disc first, then gen on the same prompt, as an encoder does that enriches."""
    for request in forced[-3:]:
        # The engine lets go of the pages of what came before in its next moments.
        assert any(
            vllm_backend._way._engine._engine.reset_prefix_cache() or time.sleep(0.05) for _ in range(100)
        )
        cold, nothing = cached(vllm_backend, replace(request, want=frozenset({"disc"}), replay_ids=()))
        warm, found = cached(vllm_backend, request)
        assert nothing == 0
        assert found >= 32
        assert cold.disc_state @ warm.disc_state >= 0.99999 * warm.disc_state @ warm.disc_state
        agree({request.id: warm}, {request.id: reference[request.id]})


def test_a_prompt_of_several_chunks(vllm_backend, nano_encoder):
    """256 tokens a step: this one takes five, and its markers stand in the last."""
    item = MultimodalInput("the second of the three figures shows what was paid " * 40)
    tokens = nano_encoder.backend.prompt_tokenizer
    request = Request(
        "long",
        nano_encoder.prompt_ids(item),
        nano_encoder.load_media(item),
        BOTH,
        replay_ids=tokens.completion_ids("<think>a table</think><answer>a table\n<gen_emb>"),
    )
    ours, theirs = dict(vllm_backend.run([request])), dict(nano_encoder.backend.run([request]))
    assert ours["long"].prompt_tokens > 4 * 256
    agree(ours, theirs)


def test_alone_or_among_32(vllm_backend, requests):
    together = dict(vllm_backend.run(requests[:32]))
    for request in requests[:32:5]:
        alone = dict(vllm_backend.run([request]))[request.id]
        assert alone.completion_ids == together[request.id].completion_ids
        for space in ("disc_state", "gen_state"):
            one, many = getattr(alone, space), getattr(together[request.id], space)
            assert (one is None) == (many is None)
            if one is not None:
                np.testing.assert_allclose(one, many, atol=1e-4)


def test_a_loop_ends_at_the_same_token(vllm_backend, nano_encoder, requests):
    """A loop of next to nothing: twice the same token is one."""
    looping = [replace(one, sampling=Sampling(CAP, repetition=LOOP)) for one in requests[10:22]]
    ours, theirs = (dict(one.run(looping)) for one in (vllm_backend, nano_encoder.backend))
    assert sum(one.finish == "repetition" for one in theirs.values()) >= 2
    for name, one in theirs.items():
        assert (ours[name].finish, ours[name].completion_ids) == (one.finish, one.completion_ids)
        assert ours[name].decoded_tokens == one.decoded_tokens
        # Stopped half-way, a request still hands over the state of its prompt.
        assert ours[name].disc_state @ one.disc_state >= 0.99999 * one.disc_state @ one.disc_state


def test_samples_repeat_and_do_not_depend_on_their_neighbours(vllm_backend, requests):
    def sampled(seed, name="s"):
        return replace(requests[0], id=f"{name}{seed}", sampling=Sampling(CAP, temperature=1.0, seed=seed))

    alone = dict(vllm_backend.run([sampled(7)]))["s7"]
    crowd = dict(vllm_backend.run([*requests[:8], *(sampled(seed) for seed in range(6, 14))]))
    assert crowd["s7"].completion_ids == alone.completion_ids
    assert len({crowd[f"s{seed}"].completion_ids for seed in range(6, 14)}) >= 4


def test_samples_are_drawn_from_the_models_own_distribution(vllm_backend, nano_encoder, requests):
    """At a low temperature nearly all begin like the greedy one, as with transformers; at 1 some differ."""
    for temperature in (0.02, 1.0):
        shares = []
        for backend in (vllm_backend, nano_encoder.backend):
            greedy = dict(backend.run([replace(requests[0], sampling=Sampling(8))]))["0"].completion_ids
            many = [
                replace(requests[0], id=f"t{seed}", sampling=Sampling(8, temperature=temperature, seed=seed))
                for seed in range(48)
            ]
            drawn = [one.completion_ids for one in dict(backend.run(many)).values()]
            shares.append(np.mean([np.mean(np.equal(one, greedy[: len(one)])) for one in drawn]))
        # Of 384 tokens each; the standard error of a share is below 0.04.
        assert abs(shares[0] - shares[1]) < 0.16
        assert shares[1] > 0.9 or temperature == 1.0


def test_two_passes_give_what_one_engine_gives(vllm_backends, forced, requests, found, reference):
    """Last, because the one engine must be closed for it."""
    one = dict(vllm_backends("one-engine").run(requests[::6]))
    two = vllm_backends("two-pass")
    ours = dict(two.run(forced))
    agree(ours, reference)
    agree(ours, found)
    # And where the completion is decoded first.
    for name, state in dict(two.run(requests[::6])).items():
        assert state.completion_ids == one[name].completion_ids
        assert (state.finish, state.decoded_tokens) == (one[name].finish, one[name].decoded_tokens)
    stopped = dict(two.run([replace(requests[14], sampling=Sampling(CAP, repetition=LOOP))]))["14"]
    assert (stopped.finish, len(stopped.completion_ids)) == ("repetition", 8)
