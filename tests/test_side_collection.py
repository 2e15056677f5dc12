"""Side collections: records beside an index."""

import pytest
from points import FINGERPRINT

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.index import QdrantIndex


@pytest.fixture
def index(tmp_path):
    with QdrantIndex(tmp_path, fingerprint=FINGERPRINT) as index:
        yield index


def names(index):
    return {one.name for one in index.share_client().get_collections().collections}


def test_records_are_kept_by_key(index, tmp_path):
    side = index.side_collection("failures")
    records = {f"k{n}": {"reason": f"r{n}", "ume_n": n, "nested": {"a": [1, None]}} for n in range(600)}
    side.put(records)
    assert side.count() == 600
    assert dict(side.items()) == records
    assert side.get(["k5", "absent"]) == {"k5": records["k5"]}
    side.put({"k5": {"reason": "new"}})
    assert side.get(["k5"]) == {"k5": {"reason": "new"}}
    assert [key for key, _ in side.items({"ume_n": 7})] == ["k7"]
    side.delete([f"k{n}" for n in range(1, 600)])
    side.delete(["absent"])
    index.close()
    with QdrantIndex(tmp_path) as again:
        assert dict(again.side_collection("failures").items()) == {"k0": records["k0"]}
        assert again.count() == 0


def test_nothing_is_made_until_something_is_written(index):
    side = index.side_collection("failures")
    side.put({})
    side.delete(["a"])
    assert (list(side.items()), side.count(), side.get(["a"])) == ([], 0, {})
    assert names(index) == {"ume_r1--1"}
    side.put({"a": {}})
    assert names(index) == {"ume_r1--1", "ume_r1--failures"}
    assert [version.number for version in index.versions()] == [1]


def test_it_belongs_to_the_name_and_not_to_a_version(index):
    index.side_collection("failures").put({"a": {"x": 1}})
    after = index.build_next({**FINGERPRINT, "weights": "f" * 8})
    assert after.side_collection("failures").get(["a"]) == {"a": {"x": 1}}
    index.make_live(after)
    index.drop_old()
    assert index.side_collection("failures").count() == 1


def test_any_key_and_value_is_stored_as_json(index):
    side = index.side_collection("failures")
    side.put({"a\udcff/…\x00": {"nan": float("nan"), "set": {2, 1}, 3: "three"}})
    assert list(side.items()) == [("a\\udcff/…\x00", {"nan": None, "set": [1, 2], "3": "three"})]


@pytest.mark.parametrize("suffix", ["", "1", "a1", "A", "a-b", "a/b", "ä", "x" * 41])
def test_odd_suffixes_are_refused(index, suffix):
    with pytest.raises(ConfigError, match="suffix="):
        index.side_collection(suffix)
