"""The encoder: order, errors, think budgets, samples, mending, fingerprints, async twins.

What the model writes is scripted where a test is about what follows from it. Where the nano writes, only what
any trained model does is taken for granted.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import shutil
import sys
import threading
import time
from dataclasses import asdict, replace

import numpy as np
import pytest

from ume_r1_bench.parity_inputs import clip, page, picture
from ume_r1_rag import UmeR1Encoder, nano_path
from ume_r1_rag.backends.base import Request, Result
from ume_r1_rag.encoder import digest
from ume_r1_rag.encoder.encoder import _sample_seed
from ume_r1_rag.errors import BackendError, ConfigError, EncodeErrors, InputError, MissingExtra
from ume_r1_rag.pooling import normalize
from ume_r1_rag.template import INSTRUCTIONS, NO_THINK_COMPLETION, PRESETS, Preset, load_preset
from ume_r1_rag.types import Embedding, Encoder, MultimodalInput, TokenCounts

SOME = (
    MultimodalInput("a red circle"),
    MultimodalInput(images=(picture(1),)),
    MultimodalInput("a text that is quite a bit longer than the others, of two blue squares and a bar"),
    MultimodalInput(video=clip(1)),
    MultimodalInput("what colour is it?", (picture(2),)),
    MultimodalInput(images=(page(1),)),
    MultimodalInput("two bars"),
)


@pytest.fixture(scope="module")
def capped(nano_encoder):
    """The nano with a cap, so that not even a bad one talks for long."""
    return with_preset(nano_encoder, max_new_tokens=64)


@pytest.fixture(scope="module")
def both(capped):
    """Both embeddings of ``SOME``."""
    return capped.encode(list(SOME), "both")


@pytest.fixture(scope="module")
def valid(both):
    """An input that the nano answers in the right format, and its embedding."""
    found = [(item, embedding) for item, embedding in zip(SOME, both, strict=True) if embedding.gen_valid]
    assert found, "a trained nano answers some inputs in the right format"
    return found[0]


def with_preset(encoder, **changes):
    other = copy.copy(encoder)
    other.preset = replace(encoder.preset, **changes)
    return other


def close(ours, other, atol=2e-5):
    np.testing.assert_allclose(ours, other, atol=atol)


def forced(encoder, item, completion):
    """The gen vector of a completion that is only fed."""
    request = Request(
        "0", encoder.prompt_ids(item), encoder.load_media(item), frozenset({"gen"}), replay_ids=completion
    )
    [(_, result)] = encoder.backend.run([request])
    return normalize(result.gen_state)


class Script:
    """A backend whose model writes what it is told, a text per decoding request, in their order."""

    name, device, dtype, dimension, max_length = "script", "cpu", "float32", 8, 32768
    max_image_pixels, protocol = 50_176, {"prompt": "script"}

    def __init__(self, tokens, *writes, finish="stop", stateless=False):
        self.prompt_tokenizer, self.markers = tokens, tokens.markers
        self.writes, self.finish, self.stateless = list(writes), finish, stateless
        self.requests = []

    def run(self, requests):
        for request in requests:
            self.requests.append(request)
            yield request.id, self.answer(request)

    async def arun(self, requests):
        for outcome in self.run(requests):
            yield outcome

    def close(self):
        self.requests.clear()

    def state(self, ids):
        return np.random.default_rng(list(ids)).standard_normal(self.dimension).astype(np.float32)

    def answer(self, request):
        written, finish = (), "replay"
        if cap := request.sampling.max_new_tokens:
            entry = self.writes.pop(0) if len(self.writes) > 1 else self.writes[0]
            if isinstance(entry, Exception):
                return entry
            written, finish = self.prompt_tokenizer.completion_ids(entry), self.finish
            if len(written) >= cap:
                written, finish = written[:cap], "length"
        ids = (*request.replay_ids, *written)
        # A marker that was decoded last of all was never fed.
        fed = ids[:-1] if finish == "length" else ids
        state = self.state(fed) if self.markers.gen in fed[-1:] or self.markers.gen in fed else None
        if state is not None and finish == "length" and ids[-1] == self.markers.gen:
            state = None
        return Result(
            disc_state=self.state(request.prompt_ids) if "disc" in request.want else None,
            gen_state=None if self.stateless or "gen" not in request.want else state,
            completion_ids=ids,
            finish=finish,
            prompt_tokens=len(request.prompt_ids),
            visual_tokens=0,
            decoded_tokens=len(written) + (finish == "stop"),
        )


@pytest.fixture
def scripted(nano_encoder):
    """Makes an encoder whose model writes what it is told."""

    def make(*writes, finish="stop", stateless=False, **preset):
        encoder = with_preset(nano_encoder, **preset)
        encoder.backend = Script(
            nano_encoder.backend.prompt_tokenizer, *writes, finish=finish, stateless=stateless
        )
        return encoder

    return make


GOOD = "<think>fur</think><answer>cat\n<gen_emb>"


# One input or many


def test_embeddings_come_in_the_order_of_the_inputs(capped, both):
    backwards = capped.encode(list(reversed(SOME)), "both")
    for ours, other in zip(both, reversed(backwards), strict=True):
        close(ours.disc, other.disc)
        assert ours.tokens.prompt == other.tokens.prompt
    for item, embedding in zip(SOME, both, strict=True):
        close(capped.encode(item).disc, embedding.disc)
    assert len({embedding.disc.tobytes() for embedding in both}) == len(SOME)


def test_a_list_of_one_is_a_list(nano_encoder):
    single, listed = nano_encoder.encode("x"), nano_encoder.encode(["x"])
    assert isinstance(single, Embedding)
    assert isinstance(listed, list)
    close(single.disc, listed[0].disc)
    assert nano_encoder.encode([]) == []
    assert nano_encoder.encode([], "both", on_error="return") == []


def test_an_embedding_holds_what_was_asked_for(capped, both):
    dimension = capped.dimension
    for embedding in both:
        for vector in (embedding.disc, embedding.gen):
            assert (vector.shape, vector.dtype) == ((dimension,), np.float32)
            assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
        assert embedding.gen_samples is None
        assert (embedding.gen_issue is None) is embedding.gen_valid
        assert embedding.tokens.visual < embedding.tokens.prompt
        assert 0 < embedding.tokens.completion <= 64
        assert embedding.completion_ids.count(capped.backend.markers.gen) >= 1
    only = capped.encode(SOME[1])
    assert (only.gen, only.gen_valid, only.gen_issue, only.reasoning, only.summary) == (None,) * 5
    assert (only.completion_ids, only.tokens.completion) == ((), 0)
    assert only.tokens.visual == 9
    gen = capped.encode(SOME[0], "gen")
    assert gen.disc is None
    close(gen.gen, both[0].gen)
    with pytest.raises(ConfigError, match="no disc vector"):
        gen.vector("disc")


def test_a_valid_generation_ends_with_its_marker(capped, valid):
    item, embedding = valid
    assert embedding.completion_ids[-1] == capped.backend.markers.gen
    text = capped.backend.prompt_tokenizer.decode(embedding.completion_ids)
    assert text.startswith("<think>")
    assert embedding.reasoning in text
    assert embedding.summary in text
    close(forced(capped, item, embedding.completion_ids), embedding.gen)


def test_it_is_an_encoder(nano_encoder):
    assert isinstance(nano_encoder, Encoder)
    assert nano_encoder.model_path == nano_path()
    assert nano_encoder.max_image_pixels == 50176


# Errors


BROKEN = {"image": "no-such-folder/no-such-picture.png"}


def test_the_others_are_finished_before_an_error_is_raised(nano_encoder):
    inputs = ["x", BROKEN, picture(1), {"text": " "}, "y"]
    with pytest.raises(EncodeErrors, match=r"2 of 5 inputs failed: input 1: .*no-such-picture") as caught:
        nano_encoder.encode(inputs)
    assert [result is None for result in caught.value.results] == [False, True, False, True, False]
    assert [position for position, _ in caught.value.failures] == [1, 3]
    close(caught.value.results[4].disc, nano_encoder.encode("y").disc)


def test_errors_can_be_returned_in_place(nano_encoder):
    found = nano_encoder.encode(["x", BROKEN, "y"], on_error="return")
    assert [type(result) for result in found] == [Embedding, InputError, Embedding]
    assert isinstance(nano_encoder.encode(BROKEN, on_error="return"), InputError)


async def test_a_single_input_raises_its_own_error(nano_encoder):
    with pytest.raises(InputError, match="no-such-picture"):
        nano_encoder.encode(BROKEN)
    with pytest.raises(InputError, match="no-such-picture"):
        await nano_encoder.aencode(BROKEN)
    with pytest.raises(EncodeErrors):
        await nano_encoder.aencode([BROKEN])


def test_an_error_of_the_backend_is_that_of_its_input(scripted):
    encoder = scripted(GOOD, BackendError("no room"), GOOD)
    found = encoder.encode(["a", "b", "c"], "both", on_error="return")
    assert [isinstance(result, BackendError) for result in found] == [False, True, False]


def test_a_state_without_a_direction_is_an_error_of_its_input(scripted, monkeypatch):
    encoder = scripted(GOOD)
    monkeypatch.setattr(encoder.backend, "state", lambda ids: np.zeros(8, np.float32))
    with pytest.raises(BackendError, match="norm 0"):
        encoder.encode("a")


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "dense"},
        {"think": 0},
        {"think": -1},
        {"think": True},
        {"think": "some"},
        {"think": 2.5},
        {"on_error": "ignore"},
        {"mode": "gen", "num_samples": -1},
        {"mode": "disc", "num_samples": 2},
        {"mode": "gen", "num_samples": 2, "temperature": 0},
        {"mode": "gen", "num_samples": 2, "think": "none"},
    ],
    ids=str,
)
async def test_an_option_that_cannot_work_is_refused(scripted, options):
    encoder = scripted(GOOD)
    with pytest.raises(ConfigError):
        encoder.encode("x", **options)
    with pytest.raises(ConfigError):
        await encoder.aencode("x", **options)
    assert encoder.backend.requests == []


@pytest.mark.parametrize(
    "options",
    [
        {"backend": "tensorflow"},
        {"batch_size": 0},
        {"max_new_tokens": 0},
        {"preset": "fast"},
        {"think": "a lot"},
    ],
    ids=str,
)
def test_a_constructor_option_that_cannot_work_is_refused(options):
    with pytest.raises(ConfigError):
        UmeR1Encoder("nano", **options)


async def test_unknown_keywords_are_errors(scripted):
    encoder = scripted(GOOD)
    for method in (encoder.encode, encoder.encode_query, encoder.encode_document):
        with pytest.raises(TypeError, match="thinking"):
            method("x", thinking="none")
    for method in (encoder.aencode, encoder.aencode_query, encoder.aencode_document):
        with pytest.raises(TypeError, match="thinking"):
            await method("x", thinking="none")
    with pytest.raises(TypeError, match="attn_implementation"):
        UmeR1Encoder("nano", attn_implementation="eager")


def test_without_torch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ume_r1_rag.backends.transformers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'ume-r1-rag\[transformers\]'"):
        UmeR1Encoder("nano")


# What the model wrote


def test_a_good_generation_takes_one_request(scripted):
    encoder = scripted(GOOD)
    found = encoder.encode("x", "both")
    assert (found.gen_valid, found.gen_issue) == (True, None)
    assert (found.reasoning, found.summary) == ("fur", "cat")
    [request] = encoder.backend.requests
    assert request.want == {"disc", "gen"}
    assert request.sampling.temperature == 0
    assert request.sampling.max_new_tokens == encoder.preset.max_new_tokens
    close(found.gen, normalize(encoder.backend.state(found.completion_ids)))


@pytest.mark.parametrize(
    ("written", "finish", "issue", "summary"),
    [
        ("<think>fur</think><answer>cat", "stop", "missing marker", "cat"),
        ("", "stop", "missing marker", ""),
        ("<think>fur fur fur fur", "repetition", "repetition", ""),
    ],
)
def test_a_missing_marker_is_forced_and_flagged(scripted, written, finish, issue, summary):
    encoder = scripted(written, finish=finish)
    found = encoder.encode("x", "both")
    assert (found.gen_valid, found.gen_issue, found.summary) == (False, issue, summary)
    first, second = encoder.backend.requests
    marker = encoder.backend.markers.gen
    assert second.replay_ids == (*encoder.backend.prompt_tokenizer.completion_ids(written), marker)
    assert second.replay_ids == found.completion_ids
    assert second.sampling.max_new_tokens == 0
    assert (second.prompt_ids, second.media) == (first.prompt_ids, first.media)
    close(found.gen, normalize(encoder.backend.state(found.completion_ids)))
    # Disc was there after the first request and is not asked for again.
    assert second.want == {"gen"}
    close(found.disc, normalize(encoder.backend.state(first.prompt_ids)))


def test_what_is_cut_off_is_mended_and_flagged(scripted):
    encoder = scripted(GOOD, max_new_tokens=5)
    found = encoder.encode("x", "gen")
    assert (found.gen_valid, found.gen_issue, found.tokens.completion) == (False, "token limit", 5)
    whole = encoder.backend.prompt_tokenizer.completion_ids(GOOD)
    assert found.completion_ids == (*whole[:5], encoder.backend.markers.gen)


def test_a_marker_as_the_last_word_before_the_cap_is_valid(scripted, nano_encoder):
    ids = nano_encoder.backend.prompt_tokenizer.completion_ids(GOOD)
    encoder = scripted(GOOD, max_new_tokens=len(ids))
    found = encoder.encode("x", "gen")
    assert (found.gen_valid, found.gen_issue) == (True, None)
    assert found.completion_ids == ids == encoder.backend.requests[1].replay_ids


def test_words_after_the_marker_that_are_cut_off_are_flagged(scripted, nano_encoder):
    ids = nano_encoder.backend.prompt_tokenizer.completion_ids(GOOD)
    encoder = scripted(f"{GOOD} and on and on and on", max_new_tokens=len(ids) + 3)
    found = encoder.encode("x", "gen")
    assert (found.gen_valid, found.gen_issue, found.summary) == (False, "token limit", "cat")
    assert len(encoder.backend.requests) == 1


def test_a_wrong_format_is_flagged_and_left_as_it_is(scripted):
    encoder = scripted("<answer>cat\n<gen_emb>")
    found = encoder.encode("x", "gen")
    assert (found.gen_valid, found.gen_issue, found.summary) == (False, "format", "cat")
    assert len(encoder.backend.requests) == 1


@pytest.mark.parametrize("written", [GOOD, "<think>fur"])
def test_a_backend_without_states_is_not_asked_for_ever(scripted, written):
    encoder = scripted(written, stateless=True)
    with pytest.raises(BackendError, match="without a hidden state"):
        encoder.encode("x", "gen")
    assert len(encoder.backend.requests) == 2


@pytest.mark.parametrize("which", ["cap", "marker last"])
def test_the_nano_cut_off_equals_a_forced_marker(capped, valid, which):
    item, embedding = valid
    marker = capped.backend.markers.gen
    if which == "cap":
        found = with_preset(capped, max_new_tokens=3).encode(item, "both")
        assert found.completion_ids == (*embedding.completion_ids[:3], marker)
        assert (found.gen_valid, found.gen_issue) == (False, "token limit")
    else:
        found = with_preset(capped, max_new_tokens=len(embedding.completion_ids)).encode(item, "both")
        assert found.completion_ids == embedding.completion_ids
        assert found.gen_valid
        close(found.gen, embedding.gen)
    close(found.gen, forced(capped, item, found.completion_ids))
    close(found.disc, embedding.disc)


# Think budgets


def test_without_thinking_nothing_is_decoded(capped):
    completion = capped.backend.prompt_tokenizer.completion_ids(NO_THINK_COMPLETION)
    found = capped.encode(list(SOME), "both", think="none")
    for item, embedding in zip(SOME, found, strict=True):
        assert embedding.tokens.completion == 0
        assert (embedding.gen_valid, embedding.think) == (True, "none")
        assert (embedding.reasoning, embedding.summary) == ("", "")
        assert embedding.completion_ids == completion
        close(embedding.gen, forced(capped, item, completion))


@pytest.mark.parametrize("budget", [1, 4])
def test_thinking_ends_after_its_budget(capped, both, budget):
    tokens = capped.backend.prompt_tokenizer
    found = capped.encode(list(SOME), "both", think=budget)
    changed = 0
    for item, embedding, full in zip(SOME, found, both, strict=True):
        assert embedding.think == budget
        close(embedding.disc, full.disc)
        close(embedding.gen, forced(capped, item, embedding.completion_ids))
        assert embedding.tokens.completion <= 64
        if embedding.completion_ids == full.completion_ids:
            continue  # It had done with thinking before.
        changed += 1
        opening = len(tokens.completion_ids("<think>"))
        first = full.completion_ids[: opening + budget]
        thought = tokens.decode(embedding.completion_ids).partition("</think><answer>")[0]
        assert tokens.decode(first).startswith(thought)
    assert changed


TEXT = "<think>soft fur of a cat</think><answer>a cat\n<gen_emb>"


def test_a_spent_budget_closes_the_thinking_and_goes_on(scripted):
    encoder = scripted(TEXT, "a cat\n<gen_emb>", max_new_tokens=100)
    found = encoder.encode("x", "both", think=3)
    tokens = encoder.backend.prompt_tokenizer
    opening, ids = len(tokens.completion_ids("<think>")), tokens.completion_ids(TEXT)
    first, second = encoder.backend.requests
    assert first.sampling.max_new_tokens == opening + 3
    closed = tokens.completion_ids("</think><answer>")
    assert second.replay_ids == (*ids[: opening + 3], *closed)
    assert second.sampling.max_new_tokens == 100 - opening - 3
    assert second.want == {"gen"}
    assert found.summary == "a cat"
    # A token may hold the end of the tag and the first letters.
    assert found.reasoning == tokens.decode(ids[: opening + 3]).removeprefix("<think>").strip()
    assert (found.gen_valid, found.think) == (True, 3)
    close(found.gen, normalize(encoder.backend.state(found.completion_ids)))
    # What was forced is not counted.
    assert found.tokens.completion == opening + 3 + len(tokens.completion_ids("a cat\n<gen_emb>")) + 1


def test_a_budget_that_cuts_through_the_closing_tag_closes_once(scripted, nano_encoder):
    tokens = nano_encoder.backend.prompt_tokenizer
    length = len(tokens.completion_ids(TEXT)) - len(tokens.completion_ids("<think>"))
    torn = 0
    for budget in range(1, length):
        encoder = scripted(TEXT, "a cat\n<gen_emb>", max_new_tokens=100)
        encoder.encode("x", "gen", think=budget)
        first, second = encoder.backend.requests[:2]
        cut = tokens.decode(tokens.completion_ids(TEXT)[: first.sampling.max_new_tokens])
        replay = tokens.decode(second.replay_ids)
        assert replay.count("</think>") == 1
        assert replay.replace("</think>", "", 1).count("<") == 1 + ("<" in replay.partition("</think>")[2])
        if "</think>" in cut:
            assert replay == cut  # Closed by itself: it goes on from where it was cut.
        else:
            assert replay.endswith("</think><answer>")
            torn += cut.endswith(("<", "</", "</th", "</think"))
    assert torn


def test_a_budget_over_the_cap_is_the_cap(scripted):
    encoder = scripted(TEXT, max_new_tokens=4)
    found = encoder.encode("x", "gen", think=500)
    assert encoder.backend.requests[0].sampling.max_new_tokens == 4
    assert (found.gen_issue, found.think, found.tokens.completion) == ("token limit", 500, 4)


def test_a_budget_that_leaves_nothing_of_the_cap_is_a_token_limit(scripted, nano_encoder):
    opening = len(nano_encoder.backend.prompt_tokenizer.completion_ids("<think>"))
    encoder = scripted(TEXT, max_new_tokens=opening + 2)
    found = encoder.encode("x", "gen", think=opening + 1)
    assert (found.gen_valid, found.gen_issue) == (False, "token limit")
    assert found.tokens.completion == opening + 2


def test_thinking_done_before_its_budget_is_left_alone(scripted):
    encoder = scripted(GOOD)
    found = encoder.encode("x", "gen", think=200)
    assert len(encoder.backend.requests) == 1
    assert (found.gen_valid, found.reasoning, found.think) == (True, "fur", 200)


# Samples


def test_samples_have_one_row_each_and_obey_their_seed(capped):
    short = with_preset(capped, max_new_tokens=12)
    items = list(SOME[:2])
    greedy = short.encode(items, "both")
    four = short.encode(items, "both", num_samples=4, temperature=2.0)
    again = short.encode(items[0], "gen", num_samples=2, temperature=2.0)
    other = short.encode(items[0], "gen", num_samples=4, temperature=2.0, seed=1)
    for plain, sampled in zip(greedy, four, strict=True):
        assert sampled.gen_samples.shape == (4, short.dimension)
        assert sampled.gen_samples.dtype == np.float32
        close(np.linalg.norm(sampled.gen_samples, axis=1), 1)
        # They come on top: gen is the greedy one.
        close(sampled.gen, plain.gen)
        assert sampled.completion_ids == plain.completion_ids
        assert sampled.tokens.completion > plain.tokens.completion
        assert plain.sample_texts == ()
        assert len(sampled.sample_texts) == 4
        assert len(set(sampled.sample_texts)) > 1
    assert again.sample_texts == four[0].sample_texts[:2]
    close(again.gen_samples, four[0].gen_samples[:2])
    assert np.abs(other.gen_samples - four[0].gen_samples).max() > 1e-3


def test_seeds_side_by_side_share_no_sample():
    seeds = {_sample_seed(seed, number) for seed in range(-5, 50) for number in range(20)}
    assert len(seeds) == 55 * 20
    assert all(0 <= seed < 2**63 for seed in seeds)


# Prompts and visuals


def test_only_a_text_alone_gets_the_blank_image(nano_encoder):
    assert [image.size for image in nano_encoder.load_media(SOME[0]).images] == [(28, 28)]
    blank = nano_encoder.load_media(SOME[0]).images[0]
    assert blank.getextrema() == ((255, 255),) * 3
    for item in SOME[1:2] + SOME[3:5]:
        media = nano_encoder.load_media(item)
        assert (len(media.images), len(media.videos)) == (len(item.images), int(item.video is not None))
    assert with_preset(nano_encoder, blank_size=None).load_media(SOME[0]).images == ()
    pad = nano_encoder.backend.prompt_tokenizer.image_id
    assert nano_encoder.prompt_ids(SOME[0]).count(pad) == 1
    assert with_preset(nano_encoder, blank_size=None).prompt_ids(SOME[0]).count(pad) == 0


def test_a_text_without_a_blank_image_can_be_encoded_after_images(capped):
    bare = with_preset(capped, blank_size=None, name="bare")
    alone = bare.encode("a red circle", "both")
    bare.encode([picture(1), {"image": [picture(2), picture(3)]}], "both")
    after = bare.encode("a red circle", "both")
    close(after.disc, alone.disc)
    close(after.gen, alone.gen)
    assert alone.tokens.visual == 0


def test_a_long_video_is_sampled_to_the_presets_frames(nano_encoder):
    frames = [picture(n) for n in range(40)]
    [video] = nano_encoder.load_media(MultimodalInput(video=frames)).videos
    assert len(video) == nano_encoder.preset.num_frames == 8


@pytest.mark.parametrize("kind", sorted(INSTRUCTIONS))
async def test_each_kind_of_query_has_its_instruction(scripted, kind):
    encoder = scripted(GOOD)
    own = MultimodalInput("a cat", instruction="Find it:")
    encoder.encode_query(["a cat", own], kind=kind)
    encoder.encode_document([picture(1), "a cat", own], kind=kind)
    await encoder.aencode_query("a cat", kind=kind)
    await encoder.aencode_document(picture(1), kind=kind)
    instruction = INSTRUCTIONS[kind]
    asked = MultimodalInput("a cat", instruction=instruction.query)
    shown = MultimodalInput(images=(picture(1),), instruction=instruction.document)
    expected = [asked, own, shown, MultimodalInput("a cat"), own, asked, shown]
    assert [r.prompt_ids for r in encoder.backend.requests] == [encoder.prompt_ids(i) for i in expected]


async def test_without_a_kind_there_is_no_instruction(scripted):
    encoder = scripted(GOOD)
    encoder.encode_query("a cat")
    encoder.encode_document(["a cat"])
    await encoder.aencode_query("a cat")
    plain = encoder.prompt_ids(MultimodalInput("a cat"))
    assert {request.prompt_ids for request in encoder.backend.requests} == {plain}
    with pytest.raises(ConfigError, match=r"'poem'.*answer, clip"):
        encoder.encode_query("a cat", kind="poem")


def test_a_failed_input_keeps_its_place_among_instructions(scripted):
    found = scripted(GOOD).encode_query(["a", {"text": ""}, "b"], kind="page", on_error="return")
    assert [isinstance(result, InputError) for result in found] == [False, True, False]


# The fingerprint


def test_the_fingerprint_says_what_the_vectors_depend_on(nano_encoder):
    found = nano_encoder.fingerprint
    assert found.keys() == {
        *("schema", "model", "revision", "weights", "preset", "protocol", "dimension", "think")
    }
    assert (found["model"], found["revision"]) == ("nano", None)
    assert load_preset(json.loads(json.dumps(found["preset"]))) == PRESETS["serving"]
    assert (found["dimension"], found["think"]) == (nano_encoder.dimension, "full")
    assert json.loads(json.dumps(found)) == found == nano_encoder.fingerprint
    assert nano_encoder.encode("x").fingerprint == digest(found)


def test_another_protocol_is_another_fingerprint(nano_encoder):
    found = nano_encoder.fingerprint
    paper = UmeR1Encoder(nano_path(), device="cpu", dtype="float32", preset="paper", think="none")
    assert paper.fingerprint == {
        **found,
        "model": "local",
        "preset": asdict(PRESETS["paper"]),
        "think": "none",
    }
    assert paper.encode("x", "gen").think == "none"
    protocols = [
        digest(with_preset(nano_encoder, **{name: value}).fingerprint)
        for name, value in (
            ("max_new_tokens", 7),
            ("blank_size", 56),
            ("num_frames", 4),
            ("image_limits", PRESETS["paper"].image_limits),
            ("frame_limits", PRESETS["mteb"].frame_limits),
            ("frames_replace_limits", True),
            ("repetition", None),
        )
    ]
    assert len({*protocols, digest(found)}) == len(protocols) + 1
    assert {f.name for f in Preset.__dataclass_fields__.values()} == {
        *("name", "blank_size", "image_limits", "frame_limits", "frames_replace_limits", "num_frames"),
        *("max_new_tokens", "repetition"),
    }


def test_the_same_weights_under_another_name_are_the_same_model(nano_encoder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(nano_path(), copy)
    moved = UmeR1Encoder(copy, device="cpu", dtype="float32")
    assert moved.fingerprint["model"] == "local"
    assert digest(moved.fingerprint) == digest(nano_encoder.fingerprint)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("processor_config.json", '"longest_edge": 50176', '"longest_edge": 25088'),
        ("chat_template.jinja", "a helpful assistant", "a careful assistant"),
    ],
)
def test_a_processor_or_a_template_of_other_values_is_another_protocol(
    nano_encoder, tmp_path, file, old, new
):
    copy = tmp_path / "copy"
    shutil.copytree(nano_path(), copy)
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new))
    changed = UmeR1Encoder(copy, device="cpu", dtype="float32")
    assert changed.fingerprint["protocol"] != nano_encoder.fingerprint["protocol"]
    assert digest(changed.fingerprint) != digest(nano_encoder.fingerprint)


def test_a_closed_encoder_refuses_and_may_be_closed_twice():
    with UmeR1Encoder("nano", device="cpu", dtype="float32") as encoder:
        pass
    encoder.close()
    with pytest.raises(BackendError, match="closed"):
        encoder.encode("x")


def test_a_think_budget_is_in_the_embeddings_fingerprint(scripted):
    encoder = scripted(GOOD, GOOD, GOOD)
    marks = {think: encoder.encode("x", "gen", think=think).fingerprint for think in ("full", "none", 200)}
    assert len(set(marks.values())) == 3
    assert marks["none"] == digest({**encoder.fingerprint, "think": "none"})


# Async


async def test_the_async_twins_give_the_same(capped, both):
    found = await capped.aencode(list(SOME), "both")
    for ours, other in zip(found, both, strict=True):
        close(ours.disc, other.disc)
        assert ours.completion_ids == other.completion_ids
        close(ours.gen, other.gen)
        assert (ours.tokens, ours.fingerprint) == (other.tokens, other.fingerprint)
    cut = await capped.aencode(SOME[0], "gen", think=1)
    close(cut.gen, capped.encode(SOME[0], "gen", think=1).gen)


async def test_the_event_loop_keeps_turning(capped):
    turns = 0

    async def turn():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    turning = asyncio.create_task(turn())
    await capped.aencode(list(SOME), "gen")
    turning.cancel()
    assert turns > 20


async def test_callers_together_decode_so_many_visuals_at_a_time(capped, monkeypatch):
    now, most, load = [], [], capped.load_media

    def noted(item):
        now.append(item)
        most.append(len(now))
        time.sleep(0.05)
        now.remove(item)
        return load(item)

    monkeypatch.setattr(capped, "load_media", noted)
    monkeypatch.setattr(capped, "_loading", threading.BoundedSemaphore(2))
    await asyncio.gather(*(capped.aencode(picture(n)) for n in range(5)))
    assert max(most) == 2


async def test_cancelling_leaves_a_usable_encoder(capped):
    task = asyncio.create_task(capped.aencode(list(SOME) * 20, "gen"))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await capped.aencode("x")).disc is not None


def test_the_twins_take_the_same_options():
    for name in ("encode", "encode_query", "encode_document"):
        ours = inspect.signature(getattr(UmeR1Encoder, name)).parameters
        twin = inspect.signature(getattr(UmeR1Encoder, f"a{name}")).parameters
        assert {*ours} - {"show_progress"} == {*twin}
        assert all(ours[key].default == twin[key].default for key in twin)


# Progress


def test_progress_is_shown_only_when_asked_for(scripted, capsys):
    scripted(GOOD).encode(["x"] * 70)
    assert capsys.readouterr().err == ""
    scripted("<think>").encode(["x"] * 3, "gen", show_progress=True)
    shown = capsys.readouterr().err
    assert "encoding" in shown
    assert "6/6" in shown  # Each of the three was mended.


def test_closing_frees_the_backend(scripted):
    encoder = scripted(GOOD)
    encoder.encode("x")
    encoder.close()
    assert encoder.backend.requests == []


def test_counts_add_up(scripted):
    found = scripted(GOOD).encode("x", "gen", num_samples=2)
    decoded = len(found.completion_ids) + 1
    assert found.tokens == TokenCounts(found.tokens.prompt, 0, 3 * decoded)
