"""The retriever, with a fake encoder whose vectors are known."""

import asyncio
import logging
import threading
from dataclasses import fields
from pathlib import Path

import pytest
from fake_encoder import FakeEncoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ume_r1_rag.errors import ConfigError, EncodeErrors, IndexMismatch, InputError
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.index.payload import point_id
from ume_r1_rag.retriever import (
    Retriever,
    SearchOptions,
    convex,
    default_weights,
    distribution_based,
    reciprocal_rank,
)
from ume_r1_rag.retriever.fusion import ranked
from ume_r1_rag.retriever.options import Request
from ume_r1_rag.types import Document, Embedding, Encoder, MultimodalInput

SPACES = ("disc", "gen", "text")
WORDS = ("amber", "birch", "copper", "dew")


KEYS = [f"doc{number}" for number in range(30)]
NO_GEN = set(KEYS[::7])


def words_of(number):
    return " ".join(word for at, word in enumerate(WORDS) for _ in range((number >> at) % 3))


@pytest.fixture(scope="module")
def encoder():
    return FakeEncoder()


@pytest.fixture(scope="module")
def retriever(encoder):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        documents = [
            Document(
                key,
                "page" if number % 2 else "image",
                MultimodalInput(text=key),
                text=words_of(number),
                page=number,
                title=f"title {number % 3}",
                metadata={"lang": "en" if number < 10 else "de"},
            )
            for number, key in enumerate(KEYS)
        ]
        index.upsert(documents, [encoder.encode(k, "disc" if k in NO_GEN else "both") for k in KEYS])
        yield Retriever(encoder, index)


def exact(retriever, space, query):
    """Every document's score in one space; those of words by the index, which has its own tests."""
    if space == "text":
        return dict.fromkeys(map(point_id, KEYS), 0.0) | retriever.index.nearest(query, "text", len(KEYS))
    fake = retriever.encoder
    keys = KEYS if space == "disc" else [key for key in KEYS if key not in NO_GEN]
    return {point_id(key): float(fake.vector(space, key) @ fake.vector(space, query)) for key in keys}


@pytest.mark.parametrize("mode", ["disc", "text"])
def test_one_space(retriever, encoder, mode):
    encoder.calls.clear()
    result = retriever.search("amber birch", 5, mode)
    expected = ranked(exact(retriever, mode, "amber birch"))
    assert [hit.id for hit in result.hits] == list(expected)[:5]
    assert [hit.score for hit in result.hits] == pytest.approx(list(expected.values())[:5], abs=1e-5)
    assert all(hit.scores == {mode: hit.score} for hit in result.hits)
    assert (result.mode, result.spaces, result.fusion) == (mode, (mode,), None)
    assert [(one[0].text, *one[1:3]) for one in encoder.calls] == (
        [("amber birch", "disc", {})] if mode == "disc" else []
    )
    assert (result.query_embedding.disc is None) == (mode == "text")


FUSE = {"convex": convex, "rrf": reciprocal_rank, "dbsf": distribution_based}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    query=st.lists(st.sampled_from([*WORDS, "absent"]), min_size=1, max_size=3).map(" ".join),
    spaces=st.sampled_from([SPACES, ("disc", "gen"), ("disc", "text")]),
    weights=st.sampled_from([{}, {"disc": 0.3}, {"disc": 0.2, "text": 4}]),
    candidates=st.sampled_from([1, 4, 100]),
    fusion=st.sampled_from(list(FUSE)),
)
def test_fusion_is_exact_over_the_union_of_the_candidates(
    retriever, encoder, query, spaces, weights, candidates, fusion
):
    weights = {space: weight for space, weight in weights.items() if space in spaces}
    result = retriever.search(
        query, 3, "fused", spaces=spaces, weights=weights, candidates=candidates, fusion=fusion
    )
    scores = {space: exact(retriever, space, query) for space in spaces}
    # Of equal scores at the end of a list the store chooses.
    asked = {space: query if space == "text" else encoder.vector(space, query) for space in spaces}
    union = {
        id for space in spaces for id in retriever.index.nearest(asked[space], space, max(candidates, 3))
    }
    scores = {space: {id: v for id, v in found.items() if id in union} for space, found in scores.items()}
    expected = FUSE[fusion](scores, {**default_weights(spaces, fusion), **weights})
    assert [hit.score for hit in result.hits] == pytest.approx(list(expected.values())[:3], abs=1e-4)
    for hit in result.hits:
        assert hit.score == pytest.approx(expected[hit.id], abs=1e-4)
        assert hit.scores == pytest.approx(
            {space: found[hit.id] for space, found in scores.items() if hit.id in found}, abs=1e-5
        )
    assert result.fusion == fusion
    assert result.spaces == spaces


def test_words_are_found_by_fused_searches_of_their_own_accord(retriever):
    assert retriever.search("amber", 3, "fused").spaces == SPACES
    assert retriever.search("amber", 3, "fused", weights={"gen": 0}).spaces == ("disc", "text")
    wordless = retriever.search({"text": "amber"}, 3, "fused", text=" ")
    assert wordless.spaces == ("disc", "gen")
    other = retriever.search({"text": "amber"}, 1, "fused", text="dew", weights={"text": 100})
    assert "dew" in other.hits[0].payload["ume_text"]


def test_what_has_no_gen_at_all_is_not_reasoned_about(encoder):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        retriever = Retriever(encoder, index)
        index.upsert([Document("a", "text", MultimodalInput(text="a"))], [encoder.encode("a", "disc")])
        assert retriever.search("a", 3, "fused").spaces == ("disc", "text")
        assert encoder.calls[-1][1] == "disc"
        index.upsert([Document("b", "text", MultimodalInput(text="b"))], [encoder.encode("b", "both")])
        assert retriever.search("a", 3, "fused").spaces == SPACES
        assert encoder.calls[-1][1] == "both"


def test_an_encoder_of_one_space_searches_that_and_words(retriever, encoder):
    class Disc(FakeEncoder):
        spaces = ("disc",)

    one = Retriever(Disc(), retriever.index)
    assert one.search("amber", 3, "fused").spaces == ("disc", "text")
    with pytest.raises(ConfigError, match="no gen vectors: search by what it has"):
        one.search("amber", 3, "gen")


def test_without_an_encoder_words_and_embeddings_are_searched(retriever, encoder):
    bare = Retriever(None, retriever.index)
    assert bare.search("amber", 3, "text").hits == retriever.search("amber", 3, "text").hits
    assert bare.search("amber", 3, "fused").spaces == ("text",)
    assert (
        bare.search(encoder.encode("amber", "both"), 3, "disc").hits
        == retriever.search("amber", 3, "disc").hits
    )
    with pytest.raises(ConfigError, match="no encoder"):
        bare.search("amber", 3, "disc")


@pytest.mark.parametrize(
    ("filter", "numbers"),
    [
        ({"kind": "page"}, range(1, 30, 2)),
        ({"kind": "page", "page": [3, 4, 5]}, [3, 5]),
        ({"title": "title 2", "lang": "en"}, [2, 5, 8]),
        ({"metadata.page": 7}, [7]),
        ({"key": ["doc1", "absent"]}, [1]),
        ({"lang": None}, []),
    ],
)
@pytest.mark.parametrize("mode", ["disc", "gen", "fused"])
def test_filters_hold_in_every_mode(retriever, mode, filter, numbers):
    found = retriever.search("amber birch copper dew", 30, mode, filter=filter).hits
    assert {hit.key for hit in found} == {f"doc{number}" for number in numbers}


def test_filters_hold_for_words(retriever):
    found = retriever.search("amber birch copper dew", 30, "text", filter={"kind": "page"}).hits
    assert {hit.payload["ume_kind"] for hit in found} == {"page"}


def test_options_reach_the_encoder(retriever, encoder):
    result = retriever.search("query", 30, "fused", kind="page", think="none")
    assert encoder.calls[-1][1:3] == ("both", {"kind": "page", "think": "none"})
    assert result.query_embedding.reasoning == "about query"
    assert result.encode_s >= 0
    assert result.search_s > 0
    assert (result.enriched, result.enrich_s < result.search_s) == (0, True)


def test_an_embedding_made_before_is_used_as_it_is(retriever, encoder):
    calls = len(encoder.calls)
    embedding = encoder.encode("amber", "both")
    for mode in ("disc", "gen"):
        assert retriever.search(embedding, 3, mode).hits == retriever.search("amber", 3, mode).hits
    assert retriever.search(embedding, 3, "fused").spaces == ("disc", "gen")
    again = retriever.search(embedding, 3, "fused", text="amber")
    assert again.hits == retriever.search("amber", 3, "fused").hits
    assert len(encoder.calls) == calls + 3
    disc = encoder.encode("amber", "disc")
    assert retriever.search(disc, 3, "fused").spaces == ("disc",)
    with pytest.raises(ConfigError, match="no gen vector"):
        retriever.search(disc, 3, "fused", spaces=["disc", "gen"])
    with pytest.raises(ConfigError, match="encoded already"):
        retriever.search(embedding, think="none")


@pytest.mark.parametrize(
    "options",
    [{"k": 0}, {"mode": "both"}, {"mode": "fused", "fusion": "mean"},
     {"mode": "disc", "weights": {"disc": 1, "gen": 1}},
     {"mode": "fused", "weights": {"disc": -1}}, {"mode": "fused", "weights": dict.fromkeys(SPACES, 0)},
     {"mode": "fused", "weights": {"colour": 1}}, {"mode": "fused", "weights": {"disc": float("nan")}},
     {"mode": "fused", "spaces": ["disc"], "weights": {"gen": 1}}, {"mode": "gen", "spaces": ["disc"]},
     {"mode": "fused", "spaces": []}, {"mode": "fused", "spaces": "disc"}, {"mode": "fused", "spaces": ["x"]},
     {"candidates": 0}, {"group_by": "page"}, {"group_size": 2}, {"group_by": "document", "group_size": 0},
     {"lazy_gen": -1}, {"lazy_gen": 1}, {"query": Path("red.png"), "mode": "text"},
     {"query": ["a", "b"]}, {"query": Path("red.png"), "mode": "fused", "spaces": ["text"]}],
)  # fmt: skip
def test_impossible_options_are_refused_before_anything_is_encoded(
    retriever, encoder, options, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("red.png").write_bytes(b"never read")
    calls = len(encoder.calls)
    with pytest.raises(ConfigError):
        retriever.search(**{"query": "query", **options})
    assert len(encoder.calls) == calls


def test_by_default_all_spaces_rank(retriever):
    assert retriever.search("amber", 3).spaces == SPACES
    assert retriever.search_batch(["amber"], 3)[0].spaces == SPACES


def test_an_option_that_is_none_is_refused(retriever):
    with pytest.raises(TypeError, match="candidate"):
        retriever.search("query", candidate=3)


def test_the_options_are_those_that_are_checked():
    assert {field.name for field in fields(Request)} - {"k", "mode"} == SearchOptions.__annotations__.keys()


def same(one, other):
    assert [hit.id for hit in one.hits] == [hit.id for hit in other.hits]
    assert [hit.score for hit in one.hits] == pytest.approx([hit.score for hit in other.hits], abs=1e-6)
    assert (one.mode, one.spaces, one.fusion) == (other.mode, other.spaces, other.fusion)


@pytest.mark.parametrize("options", [("disc", {}), ("gen", {}), ("text", {}), ("fused", {"fusion": "rrf"})])
def test_a_batch_is_its_queries_one_by_one(retriever, encoder, options):
    mode, more = options
    queries = ["amber", {"text": "dew birch"}, encoder.encode("copper", "both"), "absent"]
    more = {**more, "filter": {"kind": "page"}}
    queries = [q for q in queries if mode != "text" or not isinstance(q, Embedding)]
    encoder.calls.clear()
    batch = retriever.search_batch(queries, 4, mode, **more)
    assert len(encoder.calls) == (0 if mode == "text" else 1)
    for one, query in zip(batch, queries, strict=True):
        same(one, retriever.search(query, 4, mode, **more))
    assert retriever.search_batch([], 4, mode) == []


def test_a_batch_that_is_none_and_words_for_several_are_refused(retriever):
    with pytest.raises(ConfigError, match="takes a list"):
        retriever.search_batch("amber")
    with pytest.raises(ConfigError, match="text= goes with"):
        retriever.search_batch(["amber", "dew"], mode="fused", text="birch")
    with pytest.raises(InputError, match=r"query 1: .*absent"):
        retriever.search_batch(["amber", Path("absent.png")])


def test_what_cannot_be_encoded_fails_the_batch_before_any_search(make_encoder):
    encoder = make_encoder(fail=lambda one: InputError("not this") if one.text == "bad" else None)
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        with pytest.raises(EncodeErrors, match="input 1: not this"):
            Retriever(encoder, index).search_batch(["good", "bad"])
        with pytest.raises(InputError, match=r"^not this$"):
            Retriever(encoder, index).search("bad")


def test_the_async_twins_answer_alike_and_leave_the_loop_free(retriever, encoder, monkeypatch):
    read = retriever.index.read
    threads = []

    def slow(*given):
        threads.append(threading.get_ident())
        ticking.wait(10)
        return read(*given)

    ticking = threading.Event()
    expected = retriever.search("amber", 3, "fused"), retriever.search_batch(["dew", "birch"], 3)
    monkeypatch.setattr(retriever.index, "read", slow)

    async def main():
        both = asyncio.gather(
            retriever.asearch("amber", 3, "fused"), retriever.asearch_batch(["dew", "birch"], 3)
        )
        while len(threads) < 1:  # noqa: ASYNC110 -- a thread is waited for, which no event of the loop tells
            await asyncio.sleep(0.001)
        # The index is at work and waits for this very line, which a blocked loop would never reach.
        ticking.set()
        return await both

    one, batch = asyncio.run(main())
    same(one, expected[0])
    for mine, other in zip(batch, expected[1], strict=True):
        same(mine, other)
    assert threading.get_ident() not in threads
    with pytest.raises(ConfigError):
        asyncio.run(retriever.asearch("amber", 0))


def test_another_encoder_is_refused_and_another_think_budget_is_not(retriever):
    with pytest.raises(IndexMismatch, match="weights: stored 'fake', this encoder 'other'"):
        Retriever(FakeEncoder(weights="other"), retriever.index)
    Retriever(FakeEncoder(think="none"), retriever.index)


def test_a_search_for_what_was_never_made_says_so(encoder, caplog):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        retriever = Retriever(encoder, index)
        assert retriever.search("query", mode="disc").hits == ()
        assert caplog.records == []
        index.upsert([Document("a", "text", MultimodalInput(text="a"))], [encoder.encode("a", "gen")])
        with caplog.at_level(logging.WARNING):
            assert retriever.search("query", mode="disc").hits == ()
        assert "none of the 1 documents has a disc vector" in caplog.text


def test_the_fake_is_an_encoder(encoder):
    assert isinstance(encoder, Encoder)
