"""The retriever, with a fake encoder whose vectors are known."""

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ume_r1_rag.errors import ConfigError, IndexMismatch
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.index.payload import point_id
from ume_r1_rag.retriever import Retriever
from ume_r1_rag.retriever.fusion import convex, reciprocal_rank
from ume_r1_rag.types import Document, Embedding, Encoder, MultimodalInput

D = 8


class FakeEncoder:
    """Vectors are random, seeded by space and text."""

    dimension = D
    spaces = ("disc", "gen")
    max_image_pixels = 64 * 64

    def __init__(self, **fields):
        self.fingerprint = {"weights": "fake", "dimension": D, "think": "full", **fields}
        self.calls = []

    def encode_query(self, inputs, mode="disc", **options):
        self.calls.append((inputs, mode, options))
        return self.encode(inputs, mode)

    encode_document = encode_query

    async def aencode_query(self, inputs, mode="disc", **options):
        return self.encode_query(inputs, mode, **options)

    aencode_document = aencode_query

    def encode(self, text, mode):
        if isinstance(text, list):
            return [self.encode(one, mode) for one in text]
        return Embedding(
            disc=self.vector("disc", text) if mode != "gen" else None,
            gen=self.vector("gen", text) if mode != "disc" else None,
            reasoning=f"about {text}",
        )

    def vector(self, space, text):
        seed = np.random.default_rng([ord(letter) for letter in space + text])
        vector = seed.standard_normal(D).astype(np.float32)
        return vector / np.linalg.norm(vector)


KEYS = [f"doc{number}" for number in range(30)]
NO_GEN = set(KEYS[::7])


@pytest.fixture(scope="module")
def encoder():
    return FakeEncoder()


@pytest.fixture(scope="module")
def retriever(encoder):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        documents = [
            Document(key=key, kind="page" if number % 2 else "image", input=MultimodalInput(text=key))
            for number, key in enumerate(KEYS)
        ]
        index.upsert(documents, [encoder.encode(k, "disc" if k in NO_GEN else "both") for k in KEYS])
        yield Retriever(encoder, index)


def cosines(encoder, space, query):
    keys = KEYS if space == "disc" else [key for key in KEYS if key not in NO_GEN]
    return {point_id(key): float(encoder.vector(space, key) @ encoder.vector(space, query)) for key in keys}


@pytest.mark.parametrize("mode", ["disc", "gen"])
def test_one_space(retriever, encoder, mode):
    result = retriever.search("query", 5, mode)
    expected = convex({mode: cosines(encoder, mode, "query")})
    assert [hit.id for hit in result.hits] == list(expected)[:5]
    assert [hit.score for hit in result.hits] == pytest.approx(list(expected.values())[:5], abs=1e-5)
    assert all(hit.scores == {mode: hit.score} for hit in result.hits)
    assert (result.mode, result.fusion) == (mode, None)
    assert encoder.calls[-1] == ("query", mode, {})


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    query=st.text("abc", min_size=1, max_size=4),
    weights=st.sampled_from([None, {"disc": 1, "gen": 3}, {"disc": 0.2, "gen": 0.1}]),
    candidates=st.sampled_from([1, 4, 100]),
)
def test_convex_is_exact_over_the_union_of_the_candidates(retriever, encoder, query, weights, candidates):
    result = retriever.search(query, 3, "fused", weights=weights, candidates=candidates)
    exact = {space: cosines(encoder, space, query) for space in ("disc", "gen")}
    union = {id for space in exact for id in list(convex({space: exact[space]}))[: max(candidates, 3)]}
    expected = convex({s: {id: v for id, v in exact[s].items() if id in union} for s in exact}, weights)
    assert [hit.id for hit in result.hits] == list(expected)[:3]
    for hit in result.hits:
        assert hit.score == pytest.approx(expected[hit.id], abs=1e-5)
        assert hit.scores == pytest.approx(
            {space: exact[space][hit.id] for space in exact if hit.id in exact[space]}, abs=1e-5
        )


def test_rrf_fuses_the_ranks(retriever, encoder):
    result = retriever.search("query", 4, "fused", fusion="rrf", weights={"disc": 1, "gen": 2}, candidates=10)
    rankings = {s: list(convex({s: cosines(encoder, s, "query")}))[:10] for s in ("disc", "gen")}
    expected = reciprocal_rank(rankings, {"disc": 1, "gen": 2})
    assert [hit.id for hit in result.hits] == list(expected)[:4]
    assert [hit.score for hit in result.hits] == pytest.approx(list(expected.values())[:4])
    assert result.fusion == "rrf"


def test_a_document_without_gen_is_never_invisible_to_a_fused_search(retriever):
    found = retriever.search("query", len(KEYS), "fused").hits
    assert {hit.key for hit in found} == set(KEYS)
    assert all(set(hit.scores) == ({"disc"} if hit.key in NO_GEN else {"disc", "gen"}) for hit in found)


def test_options_reach_the_encoder_and_the_index(retriever, encoder):
    result = retriever.search("query", 30, "fused", kind="page", think="none", filter={"kind": "page"})
    assert encoder.calls[-1] == ("query", "both", {"kind": "page", "think": "none"})
    assert {hit.payload["ume_kind"] for hit in result.hits} == {"page"}
    assert len(result.hits) == 15
    assert result.query_embedding.reasoning == "about query"
    assert result.encode_s >= 0
    assert result.search_s > 0


def test_an_embedding_made_before_is_used_as_it_is(retriever, encoder):
    calls = len(encoder.calls)
    embedding = encoder.encode("query", "both")
    for mode in ("disc", "gen", "fused"):
        assert retriever.search(embedding, 3, mode).hits == retriever.search("query", 3, mode).hits
    assert len(encoder.calls) == calls + 3
    with pytest.raises(ConfigError, match="no gen vector"):
        retriever.search(encoder.encode("query", "disc"), mode="fused")
    with pytest.raises(ConfigError, match="encoded already"):
        retriever.search(embedding, think="none")


@pytest.mark.parametrize(
    "options",
    [{"k": 0}, {"mode": "both"}, {"fusion": "dbsf"}, {"weights": {"disc": 1, "gen": 1}},
     {"mode": "fused", "weights": {"disc": 1}}, {"mode": "fused", "weights": {"disc": 0, "gen": 0}}],
)  # fmt: skip
def test_impossible_options_are_refused_before_anything_is_encoded(retriever, encoder, options):
    calls = len(encoder.calls)
    with pytest.raises(ConfigError):
        retriever.search("query", **options)
    assert len(encoder.calls) == calls


@pytest.mark.parametrize(
    ("query", "instruction"),
    [
        (Path("red.png"), "Represent the given image."),
        ({"image": "red.png", "text": " "}, "Represent the given image."),
        (MultimodalInput(video="a.mp4"), "Understand the content of the provided video."),
        (MultimodalInput(images=("red.png",), instruction="Mine."), "Mine."),
    ],
)
def test_a_picture_alone_is_encoded_as_the_documents_were(encoder, query, instruction, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("red.png", "a.mp4"):
        (tmp_path / name).write_bytes(b"never read")
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        monkeypatch.setattr(encoder, "encode", lambda *_: FakeEncoder.encode(encoder, "query", "both"))
        retriever = Retriever(encoder, index)
        retriever.search(query)
        assert encoder.calls[-1][0].instruction == instruction
        for untouched in ({"image": "red.png", "text": "like this"}, "words"):
            retriever.search(untouched)
            assert encoder.calls[-1][0] is untouched
        retriever.search(query, kind="image")
        assert encoder.calls[-1][0] is query


def test_several_queries_at_once_are_refused(retriever):
    with pytest.raises(ConfigError, match="one query"):
        retriever.search(["a", "b"])


def test_another_encoder_is_refused_and_another_think_budget_is_not(retriever):
    with pytest.raises(IndexMismatch, match="weights: stored 'fake', this encoder 'other'"):
        Retriever(FakeEncoder(weights="other"), retriever.index)
    Retriever(FakeEncoder(think="none"), retriever.index)


def test_a_search_for_what_was_never_made_says_so(encoder, caplog):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        retriever = Retriever(encoder, index)
        assert retriever.search("query", mode="gen").hits == ()
        assert caplog.records == []
        index.upsert([Document("a", "text", MultimodalInput(text="a"))], [encoder.encode("a", "disc")])
        with caplog.at_level(logging.WARNING):
            assert retriever.search("query", mode="gen").hits == ()
        assert "none of the 1 documents has a gen vector" in caplog.text


def test_the_fake_is_an_encoder(encoder):
    assert isinstance(encoder, Encoder)
