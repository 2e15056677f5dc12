"""Searches of an index in which gen is there for some documents only: none is invisible, none is favoured."""

import asyncio
import threading

import numpy as np
import pytest

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.retriever import Retriever
from ume_r1_rag.types import Document, Embedding, MultimodalInput

D = 24
COUNT = 400
KEYS = [f"doc{number:03}" for number in range(COUNT)]


def unit(vector):
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class World:
    """Documents around hidden points, and queries near one each.

    The two spaces see a hidden point through their own noise, and differ in scale: all gen cosines are high,
    around 0.8, as those of narrow embedding spaces are, and disc cosines are around 0.
    """

    def __init__(self, noise=(0.35, 0.25)):
        random = np.random.default_rng(7)
        hidden = random.standard_normal((COUNT, D))
        cone = 2.2 * np.sqrt(D) * unit(random.standard_normal(D))

        def seen(noise, shift):
            return [unit(one + noise * random.standard_normal(D) + shift) for one in hidden]

        self.documents = seen(noise[0], 0), seen(noise[1], cone)
        self.queries = seen(0.35, 0), seen(0.25, cone)

    def embedding(self, number, gen=True):
        disc, gens = self.documents
        return Embedding(disc[number], gens[number] if gen else None, reasoning="so" if gen else None)

    def query(self, number):
        return Embedding(self.queries[0][number], self.queries[1][number])

    def index(self, with_gen):
        index = QdrantIndex(":memory:", fingerprint={"dimension": D})
        documents = [Document(key, "image", MultimodalInput(text=key), text=f"word{key}") for key in KEYS]
        index.upsert(documents, [self.embedding(number, number in with_gen) for number in range(COUNT)])
        return index


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def tenth(world):
    """An index in which every tenth document has gen."""
    with world.index(set(range(0, COUNT, 10))) as index:
        yield Retriever(None, index)


@pytest.fixture(scope="module")
def full(world):
    with world.index(set(range(COUNT))) as index:
        yield Retriever(None, index)


def ranks(retriever, world, numbers, **options):
    """Returns at which rank each query finds its document."""
    found = []
    for number in numbers:
        hits = retriever.search(world.query(number), COUNT, **options).hits
        found.append([hit.key for hit in hits].index(KEYS[number]) + 1)
    return np.array(found)


WITHOUT = [number for number in range(25) if number % 10]
WITH = list(range(0, COUNT, 10))
FUSIONS = ("convex", "rrf", "dbsf")


def test_with_full_coverage_gen_is_the_plain_ranking_by_gen(full, world):
    for number in range(3):
        query = world.query(number)
        hits = full.search(query, 50, "gen").hits
        plain = full.index.nearest(query.gen, "gen", 50)
        assert {hit.id: hit.score for hit in hits} == pytest.approx(plain)
        assert [hit.id for hit in hits] == list(plain)
        assert all(hit.scores == {"gen": hit.score} for hit in hits)


def test_a_document_that_loses_its_gen_is_judged_by_disc_from_that_moment(world):
    with world.index(set(range(COUNT))) as index:
        retriever, query = Retriever(None, index), world.query(3)

        def write(gen):
            document = Document(KEYS[3], "image", MultimodalInput(text=KEYS[3]))
            index.upsert([document], [world.embedding(3, gen)])

        def found():
            return retriever.search(query, COUNT, "gen").hits

        assert index.covers("gen")
        assert all("gen" in hit.scores for hit in found())
        write(gen=False)
        assert not index.covers("gen")
        hits = found()
        assert len(hits) == COUNT
        assert [hit.key for hit in hits if "gen" not in hit.scores] == [KEYS[3]]
        index.delete([KEYS[3]])
        assert index.covers("gen")
        write(gen=True)
        done = threading.Event()

        def flicker():
            while not done.is_set():
                write(gen=False)
                write(gen=True)

        thread = threading.Thread(target=flicker)
        thread.start()
        try:
            assert all(len(found()) == COUNT for _ in range(20))
        finally:
            done.set()
            thread.join()


def test_coverage_is_told_apart_by_space_and_whatever_tenant_lacks_it(world):
    with world.index({0, 1}) as index:
        assert index.covers("disc")
        assert not index.covers("gen")
        index.delete(KEYS[2:])
        assert index.covers("gen")
        index.for_tenant("acme").upsert(
            [Document("a", "text", MultimodalInput(text="a"))], [world.embedding(5, False)]
        )
        assert not index.covers("gen")


def test_with_a_tenth_of_coverage_relevant_documents_without_gen_come_up_in_gen(tenth, full, world):
    found = ranks(tenth, world, WITHOUT, mode="gen")
    assert (found <= 3).mean() >= 0.9
    assert np.median(found) == 1
    # No worse than disc, by which they are judged, finds them among all.
    assert np.median(found) <= np.median(ranks(full, world, WITHOUT, mode="disc"))


def test_they_do_not_push_out_relevant_documents_with_gen(tenth, world):
    found = ranks(tenth, world, WITH, mode="gen")
    assert (found <= 3).mean() >= 0.9
    assert np.median(found) == 1


def test_the_scales_differ_so_that_raw_scores_would_hide_them(tenth, world):
    """What the two tests above would show without equating."""
    number = WITHOUT[0]
    hits = tenth.search(world.query(number), COUNT, "gen").hits
    lowest_gen = min(hit.scores["gen"] for hit in hits if "gen" in hit.scores)
    disc = [hit.scores["disc"] for hit in hits if "gen" not in hit.scores and hit.key != KEYS[number]]
    assert np.mean(np.array(disc) < lowest_gen) > 0.95


def test_neither_side_is_favoured_where_the_spaces_hardly_agree():
    """Which documents have gen is chance here, so the first hits lack it as often as the others do.

    With a reference from the first by gen alone it would be 38 % of the hits rather than 20 %.
    """
    world = World(noise=(1.5, 1.5))
    without = set(range(0, COUNT, 5))
    with world.index(set(range(COUNT)) - without) as index:
        retriever = Retriever(None, index)
        hits = [
            hit
            for number in range(40)
            for hit in retriever.search(world.query(number), 20, "gen", candidates=40).hits
        ]
    assert np.mean(["gen" not in hit.scores for hit in hits]) == pytest.approx(0.2, abs=0.06)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fused_searches_find_them_too(tenth, world, fusion):
    for spaces in (["disc", "gen"], ["gen"]):
        found = ranks(tenth, world, WITHOUT, mode="fused", fusion=fusion, spaces=spaces)
        assert (found <= 3).mean() >= 0.9
    assert (ranks(tenth, world, WITH[:15], mode="fused", fusion=fusion) <= 3).mean() >= 0.9


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "gen"},
        {"mode": "fused"},
        {"mode": "fused", "spaces": ["gen", "text"], "text": "worddoc007"},
        {"mode": "gen", "group_by": "document"},
        {"mode": "gen", "filter": {"key": KEYS[:50]}},
    ],
)
def test_no_document_is_invisible(tenth, world, options):
    hits = tenth.search(world.query(3), COUNT, **options).hits
    expected = options.get("filter", {}).get("key", KEYS)
    assert sorted(hit.key for hit in hits) == expected
    for hit in hits:
        assert ("gen" in hit.scores) == (hit.key in {KEYS[number] for number in WITH})
        assert "disc" in hit.scores or "gen" in hit.scores
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_words_are_judged_beside_gen_that_is_estimated(tenth, world):
    query, other = world.query(1), KEYS[2]
    options = {"mode": "fused", "spaces": ["gen", "text"], "weights": {"text": 9}}
    hits = tenth.search(query, 2, text=f"word{other}", **options).hits
    assert [hit.key for hit in hits] == [other, KEYS[1]]
    assert hits[0].scores.keys() == {"disc", "text"}


def test_among_themselves_documents_without_gen_stand_as_disc_ranks_them(tenth, world):
    hits = [h for h in tenth.search(world.query(5), COUNT, "gen").hits if "gen" not in h.scores]
    assert [h.scores["disc"] for h in hits] == sorted((h.scores["disc"] for h in hits), reverse=True)


def test_with_no_gen_at_all_gen_ranks_by_disc(world):
    with world.index(set()) as index:
        retriever = Retriever(None, index)
        query = world.query(0)
        assert [h.id for h in retriever.search(query, 9, "gen").hits] == [
            h.id for h in retriever.search(query, 9, "disc").hits
        ]


def test_a_single_document_with_gen_has_its_place(world):
    with world.index({4}) as index:
        retriever = Retriever(None, index)
        assert ranks(retriever, world, [4], mode="gen")[0] <= 3
        assert (ranks(retriever, world, [1, 2, 3], mode="gen") <= 3).all()


def test_a_query_without_disc_is_refused_where_it_would_hide_documents(tenth, full, world):
    query = Embedding(None, world.queries[1][0])
    with pytest.raises(ConfigError, match="no disc vector"):
        tenth.search(query, 5, "gen")
    assert [hit.key for hit in full.search(query, 1, "gen").hits] == [KEYS[0]]
    found = tenth.search(query, 5, "gen", filter={"key": [KEYS[n] for n in WITH]}).hits
    assert found[0].key == KEYS[0]


class Writer:
    """Gives gen vectors to all but what it fails on, and keeps what it was asked for."""

    def __init__(self, index, world, failing=()):
        self.index, self.world, self.failing, self.asked = index, world, failing, []

    def enrich(self, hits):
        self.asked.append([hit.key for hit in hits])
        good = [hit.key for hit in hits if hit.key not in self.failing]
        stored = self.index.stored(good)
        return self.index.write_gen((stored[key], self.world.embedding(KEYS.index(key))) for key in good)


def test_what_is_found_without_gen_is_enriched_and_ranked_again(world, full):
    with world.index(set(range(0, COUNT, 10))) as index:
        writer = Writer(index, world)
        retriever = Retriever(None, index, writer)
        query = world.query(3)
        before = Retriever(None, index).search(query, 10, "gen")
        result = retriever.search(query, 10, "gen")
        lacking = [hit.key for hit in before.hits if "gen" not in hit.scores]
        assert writer.asked == [lacking]
        assert (before.enriched, result.enriched) == (0, len(lacking))
        assert result.enrich_s > 0
        gen = full.index.nearest(query.gen, "gen", COUNT)
        for hit in result.hits:
            if hit.key in lacking:
                assert hit.scores == pytest.approx({"gen": gen[hit.id]})
        assert result.hits[0].key == KEYS[3]
        # Only what has come up anew is left for the next search.
        left = [hit.key for hit in result.hits if "gen" not in hit.scores]
        assert len(left) < len(lacking)
        assert retriever.search(query, 10, "gen").enriched == len(left)
        assert writer.asked == [lacking, *([left] if left else [])]


def test_only_as_many_as_wanted_and_only_where_gen_ranks(world):
    with world.index(set()) as index:
        writer = Writer(index, world)
        retriever = Retriever(None, index, writer)
        query = world.query(3)
        for options in ({"mode": "disc"}, {"mode": "gen", "lazy_gen": 0}, {"mode": "fused", "lazy_gen": 0}):
            assert retriever.search(query, 5, **options).enriched == 0
        assert retriever.search(world.query(3), 5, "text", text="worddoc001").enriched == 0
        assert writer.asked == []
        assert retriever.search(query, 5, "fused", lazy_gen=2).enriched == 2
        assert [len(keys) for keys in writer.asked] == [2]
        assert index.coverage()["gen"] == 2


def test_what_cannot_be_enriched_is_a_hit_all_the_same(world):
    with world.index(set()) as index:
        retriever = Retriever(None, index, Writer(index, world, failing=KEYS))
        result = retriever.search(world.query(3), 5, "gen")
        assert (result.enriched, len(result.hits)) == (0, 5)


def test_a_batch_is_enriched_at_once_and_each_document_once(world):
    with world.index(set()) as index:
        writer = Writer(index, world)
        retriever = Retriever(None, index, writer)
        queries = [world.query(3), world.query(3), world.query(4)]
        results = asyncio.run(retriever.asearch_batch(queries, 5, "gen"))
        (asked,) = writer.asked
        assert len(asked) == len(set(asked)) == index.coverage()["gen"]
        assert {result.enriched for result in results} == {len(asked)}
        assert [result.hits[0].key for result in results] == [KEYS[3], KEYS[3], KEYS[4]]
