"""Tenants: every way out of one's own corner that we could think of, tried."""

import json
import threading

import pytest
from points import FINGERPRINT, D, document, embedding, unit

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.index import QdrantIndex, alias
from ume_r1_rag.index.payload import point_id
from ume_r1_rag.types import MultimodalInput

MINE, OTHERS = "acme", ("globex", None)
KEYS = ("a", "b", "shared")
QUERY = unit(1, 1, 0, 0)


def fill(index, name):
    """Writes three documents whose every text names their owner."""
    secret = f"secret of {name}"
    documents = [
        document(
            key, kind="page", document="file", text=secret, content_hash=f"h-{key}", metadata={"owner": name}
        )
        for key in KEYS
    ]
    made = embedding((1, 0, 0, 0), (0, 1, 0, 0), reasoning=secret, summary=secret, fingerprint="f")
    index.upsert(documents, [made, made, embedding((1, 0, 0, 0), fingerprint="f")])
    index.side_collection("notes").put({"note": {"ume_owner": name}})


@pytest.fixture
def tenants(tmp_path):
    """Three corners of one collection, by name: ours, another's, and nobody's."""
    found = {name: QdrantIndex(tmp_path, fingerprint=FINGERPRINT, tenant=name) for name in (MINE, *OTHERS)}
    for name, index in found.items():
        fill(index, name)
    yield found
    for index in found.values():
        index.close()


def state(index):
    """Everything a tenant has, to see whether anyone has touched it."""
    hits = sorted((hit.id, json.dumps(hit.payload, sort_keys=True, default=str)) for hit in index.scroll())
    vectors = {space: index.nearest(QUERY, space, 99) for space in ("disc", "gen")}
    return (
        hits,
        vectors,
        index.nearest("secret", "text", 99),
        index.coverage(),
        dict(index.side_collection("notes").items()),
    )


def owners(hits):
    return {hit.payload["ume_metadata"]["owner"] for hit in hits}


def escapes():
    """Filters that would select everything, or the others alone, if they stood by themselves."""
    from qdrant_client import models

    def is_of(name):
        return models.FieldCondition(key="ume_tenant", match=models.MatchValue(value=name))

    anything = models.HasVectorCondition(has_vector="disc")
    nobodys = models.IsEmptyCondition(is_empty=models.PayloadField(key="ume_tenant"))
    ids = models.HasIdCondition(has_id=[point_id(key, name) for key in KEYS for name in OTHERS])
    return {
        "none": None,
        "empty mapping": {},
        "another tenant": {"tenant": "globex"},
        "any tenant": {"ume_tenant": ["globex", MINE]},
        "no tenant": {"tenant": None},
        "another's metadata": {"owner": "globex"},
        "all of a kind": {"kind": "page"},
        "empty": models.Filter(),
        "should": models.Filter(should=[is_of("globex"), nobodys, anything]),
        "must": models.Filter(must=[is_of("globex")]),
        "must as one condition": models.Filter(must=nobodys),
        "must_not": models.Filter(must_not=[is_of(MINE)]),
        "must_not of nested": models.Filter(must_not=[models.Filter(must=[is_of(MINE)])]),
        "doubly negated": models.Filter(must_not=[models.Filter(must_not=[anything])]),
        "min_should": models.Filter(
            min_should=models.MinShould(conditions=[is_of("globex"), nobodys, anything], min_count=1)
        ),
        "nested object": models.Filter(
            should=[
                anything,
                models.NestedCondition(
                    nested=models.Nested(key="ume_metadata", filter=models.Filter(must_not=[is_of(MINE)]))
                ),
            ]
        ),
        "filters within": models.Filter(
            should=[models.Filter(should=[models.Filter(should=[nobodys, ids])])]
        ),
        "ids": models.Filter(must=[ids]),
        "ids or anything": models.Filter(should=[ids, anything]),
        "by key": models.Filter(
            must=[models.FieldCondition(key="ume_key", match=models.MatchAny(any=list(KEYS)))]
        ),
    }


@pytest.mark.parametrize("name", list(escapes()))
def test_no_filter_leads_to_others(tenants, name):
    mine, filter = tenants[MINE], escapes()[name]
    everything = sorted(point_id(key, MINE) for key in KEYS)
    found = [
        list(mine.nearest(QUERY, "disc", 99, filter)),
        list(mine.nearest(QUERY, "gen", 99, filter)),
        list(mine.nearest("secret", "text", 99, filter)),
        list(mine.nearest(QUERY, "disc", 99, filter, missing="gen")),
        *map(list, mine.nearest_batch([(QUERY, "disc"), ("secret", "text")], 99, filter)),
        list(mine.nearest_groups(QUERY, "disc", 99, "key", 9, filter)),
        list(mine.nearest_groups("secret", "text", 99, "owner", 9, filter)),
        [hit.id for hit in mine.scroll(filter)],
        [hit.id for hit in mine.lacking("gen", filter)],
        [hit.id for hit in mine.search(QUERY, "disc", 99, filter)],
    ]
    assert all(set(ids) <= set(everything) for ids in found)
    assert mine.count(filter) == len(found[-3])
    assert owners(mine.scroll(filter)) <= {MINE}
    if filter is None:
        assert sorted(found[0]) == everything


@pytest.mark.parametrize("name", [name for name in escapes() if "empty" not in name and name != "none"])
def test_no_deletion_reaches_others(tenants, name):
    before = {other: state(tenants[other]) for other in OTHERS}
    tenants[MINE].delete(filter=escapes()[name])
    assert {other: state(tenants[other]) for other in OTHERS} == before


def test_ids_of_others_are_absent(tenants):
    mine = tenants[MINE]
    for other in OTHERS:
        ids = [hit.id for hit in tenants[other].scroll()]
        assert len(ids) == 3
        assert mine.read(dict.fromkeys(ids, 1.0)) == []
        assert mine.records(ids) == {}
        assert mine.records(ids, fields=("ume_key",), vectors=True) == {}
        for query, space in ((QUERY, "disc"), (QUERY, "gen"), ("secret", "text")):
            assert mine.scores(query, space, ids) == {}
        foreign = tenants[other].stored(KEYS)
        made = embedding((1, 0, 0, 0), (0, 0, 0, 1), fingerprint="f")
        before = state(tenants[other])
        assert mine.write_gen([(one, made) for one in foreign.values()]) == 0
        mine.delete(ids)  # as if an id were a key
        assert state(tenants[other]) == before


def test_keys_are_each_tenants_own(tenants):
    mine = tenants[MINE]
    before = {other: state(tenants[other]) for other in OTHERS}
    assert {one.id for one in mine.stored(KEYS).values()} == {point_id(key, MINE) for key in KEYS}
    assert owners(mine.retrieve(KEYS)) == {MINE}
    assert {part.id for part in mine.stored_parts("file")} == {point_id(key, MINE) for key in KEYS}
    mine.upsert([document("a", metadata={"owner": MINE})], [embedding((0, 0, 0, 1))])
    mine.delete(["b", "shared"])
    mine.delete(filter={"document": "file"})
    assert mine.count() == 1
    assert {other: state(tenants[other]) for other in OTHERS} == before


def test_a_document_cannot_write_itself_elsewhere(tenants):
    mine, before = tenants[MINE], {other: state(tenants[other]) for other in OTHERS}
    forged = {"ume_tenant": "globex", "tenant": "globex", "ume_key": "a", "owner": MINE, "metadata": "x"}
    mine.upsert([document("x", metadata=forged)], [embedding((1, 0, 0, 0))])
    mine.side_collection("notes").put({"forged": {"ume_tenant": "globex", "ume_key": "n", "ume_owner": MINE}})
    (hit,) = mine.retrieve(["x"])
    assert hit.payload["ume_tenant"] == MINE
    assert {other: state(tenants[other]) for other in OTHERS} == before


def test_an_unchanged_document_takes_nothing_from_others(tenants):
    """A vector that is kept from an earlier version is one's own, though key, hash and encoder agree."""
    fresh = tenants[MINE].for_tenant("new")
    fresh.upsert([document("a", content_hash="h-a")], [embedding((1, 0, 0, 0), fingerprint="f")])
    assert fresh.coverage() == {"disc": 1, "gen": 0, "text": 1}
    assert "ume_reasoning" not in fresh.retrieve(["a"])[0].payload


def test_how_rare_a_word_is_tells_nothing_of_others(tenants):
    mine = tenants[MINE]
    mine.upsert([document("w", text="unobtainium")], [embedding((1, 0, 0, 0))])
    before = mine.nearest("unobtainium", "text"), mine.scores("unobtainium", "text", [point_id("w", MINE)])
    grouped = mine.nearest_groups("unobtainium", "text"), mine.nearest_batch([("unobtainium", "text")])
    for other in OTHERS:
        many = [document(f"m{n}", text="unobtainium") for n in range(20)]
        tenants[other].upsert(many, [embedding((1, 0, 0, 0))] * 20)
    assert before == (
        mine.nearest("unobtainium", "text"), mine.scores("unobtainium", "text", [point_id("w", MINE)])
    )  # fmt: skip
    assert grouped == (
        mine.nearest_groups("unobtainium", "text"),
        mine.nearest_batch([("unobtainium", "text")]),
    )
    assert before[0].values()


def test_a_vector_cannot_be_borrowed_by_its_id(tenants):
    """Qdrant takes an id for a query, and would search by that point's vector, whosever it is."""
    other = next(tenants["globex"].scroll()).id
    for query in (other, [other] * D):
        with pytest.raises(ConfigError):
            tenants[MINE].nearest(query, "disc")


def test_counts_and_coverage_are_ones_own(tenants):
    for name, index in tenants.items():
        assert index.count() == 3
        assert index.coverage() == {"disc": 3, "gen": 2, "text": 3}
        info = index.info()
        assert (info.points, info.tenant) == (3, name)
        assert [version.points for version in index.versions()] == [3]
        assert "globex" not in repr(tenants[MINE].info())


def test_side_collections_are_ones_own(tenants):
    for name, index in tenants.items():
        side = index.side_collection("notes")
        assert list(side.items()) == [("note", {"ume_owner": name})]
        assert side.count() == side.count({"ume_owner": name}) == 1
        assert side.get(["note", point_id("note", "globex")]) == {"note": {"ume_owner": name}}
    for filter in escapes().values():
        assert dict(tenants[MINE].side_collection("notes").items(filter)).keys() <= {"note"}
    tenants[MINE].side_collection("notes").delete(["note"])
    assert [tenants[name].side_collection("notes").count() for name in (MINE, *OTHERS)] == [0, 1, 1]


def test_a_tenant_decides_nothing_for_others(tenants):
    mine = tenants[MINE]
    after = mine.build_next({**FINGERPRINT, "weights": "f" * 8})
    assert after.tenant == MINE
    for change in (lambda: mine.make_live(after), mine.rollback, mine.drop_old):
        with pytest.raises(ConfigError, match="without tenant="):
            change()
    # Nor is anybody left behind by whoever decides for all.
    fill(after, MINE)
    whole = tenants[None]
    with pytest.raises(ConfigError, match=r"no documents of 1 tenants .*'globex'"):
        whole.make_live(whole.build_next({**FINGERPRINT, "weights": "f" * 8}))
    assert whole.physical == "ume_r1--1"


def test_more_tenants_than_are_listed_are_not_left_behind(tenants, monkeypatch):
    index = tenants[None]
    after = index.build_next({**FINGERPRINT, "weights": "f" * 8})
    monkeypatch.setattr(alias, "MOST_TENANTS", 2)
    assert index.tenants() == ["acme", "globex"]
    monkeypatch.setattr(alias, "MOST_TENANTS", 1)
    for step in (index.tenants, lambda: index.make_live(after)):
        with pytest.raises(ConfigError, match="more than 1 tenants, too many to be listed"):
            step()
    assert index.physical == "ume_r1--1"


@pytest.mark.parametrize(
    "bad", ["", " ", "\n\t", "\u3000", "x" * 201, "\ud800", "a\udcff", 1, b"a", ["a"], True]
)
def test_names_that_name_nobody_are_refused(tmp_path, bad):
    with pytest.raises(ConfigError, match="tenant="):
        QdrantIndex(tmp_path, fingerprint=FINGERPRINT, tenant=bad)
    assert not list(tmp_path.iterdir())


def test_names_that_look_alike_are_different_tenants(tmp_path):
    names = [
        "a", "A", " a", "a ", "á", "a\u0301", "a\x00", "a\u200b", "a*", "a'", 'a"', "a\\udcff", "None",
        "null", "true", "0", "[]", "{}", "a/b", "../a", "tenant:a", "\U0001f600", "a\n", "ａ", "аcme", None,
    ]  # fmt: skip
    indexes = [QdrantIndex(tmp_path, fingerprint=FINGERPRINT, tenant=name) for name in names]
    for index in indexes:
        index.upsert([document("k", metadata={"owner": str(index.tenant)})], [embedding((1, 0, 0, 0))])
    for index in indexes:
        assert index.count() == 1
        assert owners(index.scroll()) == owners(index.retrieve(["k"])) == {str(index.tenant)}
        index.close()
    with QdrantIndex(tmp_path, tenant="a") as index:
        assert owners(index.scroll()) == {"a"}


def test_nobody_sees_the_first_tenant_even_while_it_is_written(tmp_path):
    """Without tenants an embedded collection is read without a filter; the first one changes that at once."""
    nobody = QdrantIndex(tmp_path, fingerprint=FINGERPRINT)
    nobody.upsert([document(f"n{n}") for n in range(8)], [embedding((1, 0, 0, 0))] * 8)
    assert nobody.where(None) is None
    seen, stop = set(), threading.Event()

    def watch():
        while not stop.is_set():
            seen.update(nobody.nearest(QUERY, "disc", 99))
            seen.update(hit.id for hit in nobody.scroll())
            seen.add(nobody.count())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with QdrantIndex(tmp_path, tenant="first") as first:
        for n in range(30):
            first.upsert([document(f"t{n}")], [embedding((1, 1, 0, 0))])
        stop.set()
        watcher.join()
        assert first.count() == 30
    assert seen == {8, *(point_id(f"n{n}") for n in range(8))}
    nobody.close()
    with QdrantIndex(tmp_path) as nobody:
        assert nobody.count() == 8
        assert nobody.where(None) is not None


def test_a_scroll_under_way_does_not_run_into_a_new_tenant(tmp_path, monkeypatch):
    from ume_r1_rag.index import reading

    monkeypatch.setattr(reading, "EMBEDDED_PAGE", 2)
    with QdrantIndex(tmp_path, fingerprint=FINGERPRINT) as nobody:
        nobody.upsert([document(f"n{n}") for n in range(6)], [embedding((1, 0, 0, 0))] * 6)
        scroll = nobody.scroll()
        found = [next(scroll).id]
        with QdrantIndex(tmp_path, tenant="first") as first:
            first.upsert([document(f"t{n}") for n in range(20)], [embedding((1, 0, 0, 0))] * 20)
        found += [hit.id for hit in scroll]
        assert sorted(found) == sorted(point_id(f"n{n}") for n in range(6))


def test_a_tenants_input_is_no_one_elses(tenants):
    texts = [document("t", kind="text", input=MultimodalInput(text="private"), text="private")]
    tenants[MINE].upsert(texts, [embedding((1, 0, 0, 0))])
    assert [tenants[name].nearest("private", "text") for name in OTHERS] == [{}, {}]
    assert len(tenants[MINE].nearest("private", "text")) == 1
