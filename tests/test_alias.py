"""Versions of a collection behind one name: built beside, swapped, rolled back, dropped."""

import gc
import subprocess
import sys

import pytest
from points import CORPUS, FINGERPRINT, D, document, embedding, unit

from ume_r1_rag.errors import ConfigError, IndexMismatch, IndexRetired, IndexUnavailable
from ume_r1_rag.index import QdrantIndex, alias

NEXT = {**FINGERPRINT, "weights": "f" * 8, "model": "next", "dimension": 2 * D}
WIDE = unit(*range(1, 2 * D + 1))


def filled(place, **options):
    index = QdrantIndex(place, fingerprint=FINGERPRINT, **options)
    index.upsert(*zip(*CORPUS, strict=True))
    return index


def built(index, documents=1):
    """Returns the next version with some documents in it."""
    after = index.build_next(NEXT)
    after.upsert([document(f"w{n}") for n in range(documents)], [embedding(WIDE)] * documents)
    return after


def test_a_name_leads_to_its_first_version(tmp_path):
    with filled(tmp_path, collection="papers") as index:
        assert (index.collection, index.physical) == ("papers", "papers--1")
        (only,) = index.versions()
        assert (only.physical, only.number, only.live, only.retired, only.points) == (
            "papers--1",
            1,
            True,
            False,
            4,
        )
        assert only.fingerprint == FINGERPRINT
    # A stock client finds the documents under the name, in this process and in another, again and again.
    stock = (
        "import sys; from qdrant_client import QdrantClient; client = QdrantClient(path=sys.argv[1]); "
        "print(client.count('papers').count, client.collection_exists('papers'), "
        "client.query_points('papers', query=[1, 0, 0, 0], using='disc').points[0].payload['ume_key']); "
        "client.close()"
    )
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", stock, str(tmp_path)], capture_output=True, text=True, check=True
        )
        assert run.stdout == "4 True a.png\n"
    with QdrantIndex(tmp_path, collection="papers") as index:
        assert index.physical == "papers--1"


def test_the_next_version_is_built_beside_the_live_one(tmp_path):
    with filled(tmp_path) as index:
        after = built(index)
        assert (after.physical, after.dimension, after.collection) == ("ume_r1--2", 2 * D, "ume_r1")
        assert index.count() == 4
        assert after.count() == 1
        assert [(v.number, v.live, v.points) for v in index.versions()] == [(1, True, 4), (2, False, 1)]
    # A process that died while it was building goes on where it was.
    with QdrantIndex(tmp_path) as index:
        assert index.physical == "ume_r1--1"
        again = index.build_next(NEXT)
        assert (again.physical, again.count()) == ("ume_r1--2", 1)
        other = index.build_next({**NEXT, "weights": "e" * 8})
        assert (other.physical, other.count()) == ("ume_r1--3", 0)
        with QdrantIndex(tmp_path, version=2) as named:
            assert (named.physical, named.fingerprint) == ("ume_r1--2", NEXT)
        for absent in (4, 0, "2"):
            with pytest.raises(ConfigError, match=r"no version .* \[1, 2, 3\]"):
                QdrantIndex(tmp_path, version=absent)
        with pytest.raises(ConfigError, match="dimension"):
            index.build_next({"weights": "x"})


def test_swap_and_rollback(tmp_path):
    from qdrant_client import QdrantClient

    with filled(tmp_path) as index, QdrantIndex(tmp_path) as reader:
        index.make_live(built(index))
        assert (index.physical, index.dimension, index.fingerprint) == ("ume_r1--2", 2 * D, NEXT)
        assert [hit.key for hit in index.search(WIDE, "disc")] == ["w0"]
        # One who had it open keeps to what was checked; one who opens it anew gets the new version.
        assert [hit.key for hit in reader.search(unit(1, 0, 0, 0), "disc", 1)] == ["a.png"]
        with QdrantIndex(tmp_path) as new, pytest.raises(IndexMismatch, match="weights"):
            new.check(FINGERPRINT)
        assert [(v.number, v.live, v.retired) for v in index.versions()] == [
            (1, False, True),
            (2, True, False),
        ]
    client = QdrantClient(path=str(tmp_path))
    assert client.count("ume_r1").count == 1
    client.close()
    with QdrantIndex(tmp_path) as index:
        assert index.rollback() == "ume_r1--1"
        assert (index.physical, index.dimension, index.count()) == ("ume_r1--1", D, 4)
        with pytest.raises(ConfigError, match="no earlier version"):
            index.rollback()
        # What was rolled back is not built on: the same encoder begins anew.
        assert index.build_next(NEXT).physical == "ume_r1--3"
        with QdrantIndex(tmp_path, version=2) as second:
            index.make_live(second)
        assert index.physical == "ume_r1--2"
        index.make_live(index)
        assert index.rollback() == "ume_r1--1"


def test_a_version_that_is_live_no_more_is_not_written(tmp_path):
    """Its writer would be told that all is well, and nobody would find what it wrote."""
    with filled(tmp_path) as index, QdrantIndex(tmp_path) as writer:
        known = writer.stored(["a.png"])["a.png"]
        index.make_live(built(index))
        for write in (
            lambda: writer.upsert([document("late")], [embedding((1, 0, 0, 0))]),
            lambda: writer.write_gen([(known, embedding(gen=(1, 0, 0, 0)))]),
            lambda: writer.delete(["a.png"]),
            lambda: writer.delete(filter={"kind": "image"}),
        ):
            with pytest.raises(IndexRetired, match=r"'ume_r1--1' was retired.*open the collection again"):
                write()
        assert (writer.count(), writer.physical) == (4, "ume_r1--1")
        index.upsert([document("new")], [embedding(WIDE)])
        with QdrantIndex(tmp_path) as left:
            index.rollback()
            writer.upsert([document("late")], [embedding((1, 0, 0, 0))])
            assert index.count() == 5
            with pytest.raises(IndexRetired, match="'ume_r1--2'"):
                left.upsert([document("new")], [embedding(WIDE)])


def test_dropping_spares_what_is_live_and_what_is_being_built(tmp_path):
    with filled(tmp_path) as index:
        index.side_collection("notes").put({"a": {}})
        assert index.drop_old() == []
        index.make_live(built(index))
        building = index.build_next(FINGERPRINT)
        with QdrantIndex(tmp_path, version=1) as old:
            assert index.drop_old() == ["ume_r1--1"]
            with pytest.raises(IndexUnavailable, match="ume_r1--1"):
                old.count()
        assert [v.physical for v in index.versions()] == ["ume_r1--2", building.physical]
        assert index.side_collection("notes").count() == 1
        with pytest.raises(ConfigError, match="was dropped"):
            index.rollback()
        assert index.count() == 1
    for closed in (index, building):
        with pytest.raises(IndexUnavailable, match="is closed"):
            closed.count()


def test_a_number_is_used_once(tmp_path):
    """Whoever still has a dropped version open must not find another model's vectors in its place."""
    with filled(tmp_path) as index:
        index.make_live(built(index))
        index.rollback()
        with QdrantIndex(tmp_path, version=2) as dropped:
            assert index.drop_old() == ["ume_r1--2"]
            assert index.build_next({**NEXT, "weights": "e" * 8}).physical == "ume_r1--3"
            with pytest.raises(IndexUnavailable, match="ume_r1--2"):
                dropped.search(WIDE, "disc")


def test_a_version_is_not_swapped_into_another_collection(tmp_path):
    with filled(tmp_path) as index, filled(tmp_path, collection="other") as other:
        with pytest.raises(ConfigError, match="no version of 'ume_r1'"):
            index.make_live(other)
        assert index.physical == "ume_r1--1"


@pytest.mark.parametrize("moment", ["metadata", "alias", "retired"])
@pytest.mark.parametrize("step", ["swap", "rollback"])
def test_a_crash_within_a_step_leaves_one_of_the_two(tmp_path, monkeypatch, step, moment):
    from qdrant_client import QdrantClient

    with filled(tmp_path) as index:
        index.make_live(built(index)) if step == "rollback" else built(index)
    calls = {"metadata": 0, "alias": 1, "retired": 2}[moment]
    monkeypatch.setattr(
        QdrantClient, "update_collection", dying(QdrantClient.update_collection, counter := [calls])
    )
    monkeypatch.setattr(
        QdrantClient, "update_collection_aliases", dying(QdrantClient.update_collection_aliases, counter)
    )
    index = QdrantIndex(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        index.rollback() if step == "rollback" else index.make_live(QdrantIndex(tmp_path, version=2))
    monkeypatch.undo()
    index.close()
    gc.collect()
    with QdrantIndex(tmp_path) as index:
        moved = moment == "retired"
        assert index.physical == ("ume_r1--2" if moved == (step == "swap") else "ume_r1--1")
        if step == "swap":
            assert index.drop_old() == (["ume_r1--1"] if moved else [])


@pytest.mark.parametrize(
    "step", [lambda one: one.make_live(one), lambda one: one.build_next({**NEXT, "weights": "e" * 8})]
)
def test_what_a_crash_left_takes_no_writes_once_the_collection_is_seen_to(tmp_path, monkeypatch, step):
    from qdrant_client import QdrantClient

    with filled(tmp_path) as index, QdrantIndex(tmp_path) as writer:
        after = built(index)
        monkeypatch.setattr(QdrantClient, "update_collection", dying(QdrantClient.update_collection, [1]))
        with pytest.raises(KeyboardInterrupt):
            index.make_live(after)
        monkeypatch.undo()
        with QdrantIndex(tmp_path) as again:
            assert again.physical == "ume_r1--2"
            step(again)
            assert [version.retired for version in again.versions()][:2] == [True, False]
        with pytest.raises(IndexRetired, match="'ume_r1--1'"):
            writer.upsert([document("lost")], [embedding((1, 0, 0, 0))])


def dying(method, left):
    """Returns a method whose process is interrupted instead of its call number ``left[0]``."""

    def call(*args, **kwargs):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return method(*args, **kwargs)

    return call


def test_a_first_version_without_its_name_is_named_by_the_next_writer(tmp_path, monkeypatch):
    monkeypatch.setattr(alias, "point_to", dying(alias.point_to, [0]))
    with pytest.raises(KeyboardInterrupt):
        QdrantIndex(tmp_path, fingerprint=FINGERPRINT)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="index something first"):
        QdrantIndex(tmp_path)
    with QdrantIndex(tmp_path, fingerprint=FINGERPRINT) as index:
        assert index.physical == "ume_r1--1"
        built(index)
        index.share_client().update_collection_aliases([delete_alias("ume_r1")])
    with pytest.raises(IndexMismatch, match="which of ume_r1--1, ume_r1--2"):
        QdrantIndex(tmp_path, fingerprint=FINGERPRINT)


def delete_alias(name):
    from qdrant_client import models

    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a--1", "a--failures", "a/b", "a\\b", "a:b", "a\x00", "a\n", "x" * 201]
)
def test_impossible_names_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be a name"):
        QdrantIndex(tmp_path, collection=name, fingerprint=FINGERPRINT)
    assert not list(tmp_path.iterdir())


def test_odd_names_are_told_apart(tmp_path):
    names = ["a", "a.", "a.b", "a-1", "a-", "ä", "a b", "(a)", "[a]", "a+"]
    for name in names:
        with QdrantIndex(tmp_path, collection=name, fingerprint=FINGERPRINT) as index:
            index.upsert([document(name)], [embedding((1, 0, 0, 0))])
    for name in names:
        with QdrantIndex(tmp_path, collection=name) as index:
            assert [hit.key for hit in index.scroll()] == [name]
            assert len(index.versions()) == 1
