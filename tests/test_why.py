"""The page of questions that one space finds and the other misses."""

import re

import pytest

from ume_r1_bench import why
from ume_r1_bench.world import read_queries
from ume_r1_bench.world.corpus import CORPUS, QUERIES, CorpusWriter
from ume_r1_bench.world.pool import make_pools
from ume_r1_bench.world.shelf import Shelf
from ume_r1_bench.world.split import make_rng
from ume_r1_bench.world.write import write_lines
from ume_r1_rag.errors import ConfigError


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The first pools of two families of the test split: the whole of it takes long to draw."""
    folder = tmp_path_factory.mktemp("world")
    pools = {}
    for pool in make_pools("test", 0):
        family = pool.pairs[0].family
        if family in ("picture_find", "page_find"):
            pools.setdefault(family, pool)
        if len(pools) == 2:
            break
    writer = CorpusWriter(Shelf(folder, keep=True), make_rng("order", "test", 0))
    for pool in pools.values():
        writer.add(pool)
    write_lines(folder / CORPUS, writer.documents)
    write_lines(folder / QUERIES, writer.queries)
    return folder


@pytest.fixture(scope="module")
def asked(world, nano_encoder):
    return why.ask_why(nano_encoder, world, limit=6)


def test_questions_are_chosen_without_knowing_the_answers(world):
    chosen = why.choose(read_queries(world), 3)
    families = [query.family for query in chosen]
    assert all(families.count(family) == 3 for family in set(families))
    for family in set(families):
        own = [query for query in chosen if query.family == family]
        assert len({frozenset(query.candidates) for query in own}) == 1
        assert [query.id for query in own] == sorted(query.id for query in own)


def test_every_question_is_counted_once_and_ranked_in_both_spaces(asked):
    assert len(asked.asked) == sum(asked.counts.values()) == 12
    for one in asked.asked:
        assert len(one.hits["disc"]) == len(one.hits["gen"]) == 64
        for space in ("disc", "gen"):
            scores = [hit.scores[space] for hit in one.hits[space]]
            assert scores == sorted(scores, reverse=True)
            assert one.right[space] == (one.hits[space][0].key == one.query.gold and scores[0] > scores[1])
    disc = sum(one.right["disc"] for one in asked.asked)
    assert asked.counts["both"] + asked.counts["disc alone"] == disc
    assert f"Disc alone answers {disc}" in asked.summary
    assert asked.table().splitlines()[-1].split()[1:] == [str(asked.counts[case]) for case in why.CASES]


def test_the_page_shows_the_first_of_each_family_and_case(asked):
    page = asked.page()
    expected = asked.shown("gen alone") + asked.shown("disc alone")
    assert page.count('<section class="query"') == 2 * len(expected)
    for one in expected:
        assert one.case in ("gen alone", "disc alone")
        of_case = [other for other in asked.asked if other.case == one.case]
        assert one is next(other for other in of_case if other.query.family == one.query.family)
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="https?:', page), "it is complete in itself"
    if expected:
        assert "<details open>" in page


def test_a_limit_that_is_none_is_refused(nano_encoder):
    with pytest.raises(ConfigError, match="limit=0"):
        why.ask_why(nano_encoder, limit=0)
