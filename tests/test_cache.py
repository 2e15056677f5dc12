"""The embedding cache: what is the same, what never is, and what becomes of a broken file."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import fields, replace
from io import BytesIO
from pathlib import Path

import hash_encoder
import numpy as np
import pytest
from PIL import Image

from ume_r1_rag.cache import CachedEncoder
from ume_r1_rag.cache.content import content_digest
from ume_r1_rag.errors import CacheUnavailable, ConfigError, EncodeErrors, InputError
from ume_r1_rag.inputs import to_input
from ume_r1_rag.types import Embedding, Encoder, MultimodalInput


class RoleEncoder(hash_encoder.HashEncoder):
    """Vectors differ by all that an encoder may make a difference of."""

    def _encode(self, role, inputs, mode, **options):
        self.salt = json.dumps([role, sorted((k, v) for k, v in options.items() if k != "on_error")])
        return super()._encode(role, inputs, mode, **options)

    def _one(self, one, wanted, think):
        if one.instruction:
            one = replace(one, text=f"{one.instruction} {one.text or ''}")
        return super()._one(one, wanted, think)

    def _vector(self, space, bag):
        return super()._vector(space, bag | type(bag)({self.salt: 1}))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "below" / "cache.sqlite"


def same(one, other):
    for field in fields(Embedding):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(ours, np.ndarray):
            assert ours.dtype == np.float32
            assert np.array_equal(ours, theirs), field.name
        else:
            assert ours == theirs, field.name


def counts(cached):
    info = cached.info()
    return info.hits, info.misses, info.uncached


def test_it_is_an_encoder_and_gives_what_the_encoder_gives(path):
    plain = RoleEncoder()
    with CachedEncoder(RoleEncoder(), path) as cached:
        assert isinstance(cached, Encoder)
        assert (cached.dimension, cached.spaces) == (32, ("disc", "gen"))
        assert cached.fingerprint == plain.fingerprint
        assert cached.max_image_pixels == plain.max_image_pixels
        assert cached.max_video_frames == plain.max_video_frames
        for _ in range(2):
            for mode in ("disc", "gen", "both"):
                same(cached.encode_query("a cat", mode), plain.encode_query("a cat", mode))
                found = cached.encode_document(["a cat", "dogs", "a cat"], mode)
                for one, other in zip(found, plain.encode_document(["a cat", "dogs", "a cat"], mode)):  # noqa: B905
                    same(one, other)
        assert cached.encode_document([]) == []


@pytest.mark.parametrize("first", ["both", "gen", "disc"])
def test_what_is_there_is_not_encoded_again(path, first):
    encoder = RoleEncoder()
    cached = CachedEncoder(encoder, path)
    cached.encode_query("a cat", first)
    cached.encode_query("a cat", "both")
    lacking = {"both": [], "gen": ["disc"], "disc": ["gen"]}[first]
    assert [mode for _, mode, _ in encoder.calls] == [first, *lacking]
    cached.encode_query("a cat", "disc")
    cached.encode_query("a cat", "gen")
    cached.encode_query("a cat", "both")
    assert len(encoder.calls) == 1 + len(lacking)
    assert counts(cached) == (4 - len(lacking), 1 + len(lacking), 0)
    assert cached.info().entries == 2


def test_duplicates_within_a_call_are_encoded_once_and_keep_their_order(path):
    encoder = RoleEncoder()
    cached = CachedEncoder(encoder, path)
    cached.encode_document("b")
    found = cached.encode_document(["a", "b", "a", "c", "b"])
    assert encoder.calls[1:] == [("document", "disc", 2)]
    assert [one.text for one in encoder.seen] == ["b", "a", "c"]
    for text, one in zip("abacb", found, strict=True):
        assert np.array_equal(one.disc, RoleEncoder().encode_document(text).disc)
    found[0].disc[:] = 0
    assert found[2].disc.any(), "no two results share an array"
    assert counts(cached) == (3, 3, 0)


def test_nothing_that_makes_a_difference_collides(path):
    """One cache for all of them: each finds its own vector, both when it is encoded and when it is read."""
    ways = [
        (role, option, given)
        for role in ("encode_query", "encode_document")
        for option in ({}, {"think": "none"}, {"think": 64}, {"kind": "page"})
        for given in ("red", MultimodalInput("red", instruction="find"), MultimodalInput("find red"))
    ]
    for turn in range(2):
        for changed in ({}, {"model": "m2"}, {"revision": "r2"}, {"protocol": "p2"}):
            for tenant in (None, "", "a"):
                encoder, plain = RoleEncoder(**changed), RoleEncoder(**changed)
                with CachedEncoder(encoder, path, tenant) as cached:
                    for role, option, given in ways:
                        found = getattr(cached, role)(given, "both", **option)
                        same(found, getattr(plain, role)(given, "both", **option))
                assert len(encoder.calls) == (len(ways) if turn == 0 else 0)


def test_the_default_think_budget_is_the_encoders(path):
    encoder = RoleEncoder()
    cached = CachedEncoder(encoder, path)
    cached.encode_query("a", "gen")
    cached.encode_query("a", "gen", think="full")
    cached.encode_query("a", "gen", kind=None)
    assert len(encoder.calls) == 1
    CachedEncoder(RoleEncoder(think=9), path).encode_query("a", "gen", think="full")
    assert cached.info().entries == 1
    CachedEncoder(RoleEncoder(think=9), path).encode_query("a", "gen")
    assert cached.info().entries == 2


def test_a_file_counts_by_its_bytes(path, tmp_path):
    encoder = RoleEncoder()
    cached = CachedEncoder(encoder, path)
    first, copy = tmp_path / "a.png", tmp_path / "b.png"
    Image.new("RGB", (40, 40), "red").save(first)
    copy.write_bytes(first.read_bytes())
    red = cached.encode_document(first)
    for again in (str(first), copy, first.read_bytes(), {"image": copy}):
        same(cached.encode_document(again), red)
    assert len(encoder.calls) == 1
    Image.new("RGB", (40, 40), "blue").save(first)
    blue = cached.encode_document(first)
    assert not np.allclose(blue.disc, red.disc)
    assert len(encoder.calls) == 2


def test_pictures_in_memory_count_by_their_pixels():
    def digest(image):
        return content_digest(to_input(image))

    red = Image.new("RGB", (4, 6), "red")
    assert digest(red) == digest(Image.new("RGBA", (4, 6), "red"))
    assert digest(red) != digest(Image.new("RGB", (6, 4), "red"))
    turned = red.copy()
    turned.putpixel((0, 0), (0, 0, 0))
    mirrored = turned.copy()
    mirrored.getexif()[0x0112] = 2
    assert len({digest(red), digest(turned), digest(mirrored)}) == 3
    buffer = BytesIO()
    red.save(buffer, "PNG")
    video = {
        content_digest(MultimodalInput(video=v)) for v in ([red], [red, red], [red, turned], [turned, red])
    }
    assert len(video) == 4
    assert content_digest(MultimodalInput(video=[red])) != content_digest(MultimodalInput(images=(red,)))
    assert content_digest(MultimodalInput(images=(red, turned))) != content_digest(
        MultimodalInput(images=(turned, red))
    )


def test_what_only_the_encoder_can_know_is_not_kept(path, tmp_path):
    encoder = RoleEncoder()
    cached = CachedEncoder(encoder, path)
    gone = MultimodalInput(images=(tmp_path / "gone.png",))
    for item in (gone, MultimodalInput("x", images=("http://host/a.png",))):
        with pytest.raises(InputError):
            cached.encode_document(item)
    assert len(encoder.seen) == 2
    assert cached.info().entries == 0
    assert content_digest(MultimodalInput("x", video=["http://host/a.png"])) is None


def test_a_file_that_changes_while_it_is_encoded_is_not_kept(path, tmp_path):
    file = tmp_path / "a.png"
    Image.new("RGB", (40, 40), "red").save(file)

    class Slow(RoleEncoder):
        def _one(self, one, *rest):
            Image.new("RGB", (40, 40), "blue").save(file)
            return super()._one(one, *rest)

    cached = CachedEncoder(Slow(), path)
    cached.encode_document(file)
    assert counts(cached) == (0, 0, 1)
    assert cached.info().entries == 0


def test_failures_are_not_kept_and_do_not_touch_the_others(path):
    bad = {"bad"}
    encoder = RoleEncoder(fail=lambda one: InputError("no") if one.text in bad else None)
    cached = CachedEncoder(encoder, path)
    found = cached.encode_document(["a", "bad", "", "b", "bad"], on_error="return")
    assert [isinstance(one, Embedding) for one in found] == [True, False, False, True, False]
    assert counts(cached) == (0, 2, 3)
    with pytest.raises(EncodeErrors) as caught:
        cached.encode_document(["a", "bad"])
    assert [at for at, _ in caught.value.failures] == [1]
    same(caught.value.results[0], found[0])
    with pytest.raises(InputError, match="no"):
        cached.encode_document("bad")
    bad.clear()
    assert isinstance(cached.encode_document("bad"), Embedding)


def test_options_that_cannot_be_told_apart_are_refused(path):
    cached = CachedEncoder(RoleEncoder(), path)
    with pytest.raises(ConfigError, match="kind"):
        cached.encode_query("a", kind=object())
    with pytest.raises(ConfigError, match="on_error='later'"):
        cached.encode_query("a", on_error="later")
    with pytest.raises(ConfigError, match="mode"):
        cached.encode_query("a", "all")


def test_all_of_a_generation_is_kept(path, nano_encoder):
    """The real encoder: samples, token ids and texts come back as they were."""
    options = {"num_samples": 2, "seed": 3, "think": 4}
    picture = Image.new("RGB", (56, 56), "red")
    for _ in range(2):
        with CachedEncoder(nano_encoder, path) as cached:
            made = cached.encode_document(picture, "both", **options)
    assert counts(cached) == (1, 0, 0)
    same(made, nano_encoder.encode_document(picture, "both", **options))
    assert made.gen_samples.shape == (2, nano_encoder.dimension)
    assert made.completion_ids
    assert len(made.sample_texts) == 2
    assert made.fingerprint != nano_encoder.encode_document(picture).fingerprint, "think is in it"


async def test_async_twins_do_not_block(path):
    class Waiting(RoleEncoder):
        def _encode(self, *arguments, **options):
            time.sleep(0.2)
            return super()._encode(*arguments, **options)

    cached = CachedEncoder(Waiting(), path)
    locked = threading.Event()

    def hold():
        with cached._store._lock:
            locked.set()
            time.sleep(0.2)

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait()
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    both = await asyncio.gather(cached.aencode_query("a", "both"), cached.aencode_document(["a", "b"]))
    ticking.cancel()
    holder.join()
    assert ticks > 10
    same(both[0], cached.encode_query("a", "both"))
    same(both[1][1], cached.encode_document("b"))


def test_a_tenant_clears_its_own_entries_alone(path):
    ours, theirs = (CachedEncoder(RoleEncoder(), path, tenant) for tenant in ("ours", "theirs"))
    for cached in (ours, theirs):
        cached.encode_query(["a", "b"], "both")
    assert ours.clear() == 4
    assert ours.info().entries == 4
    theirs.encode_query(["a", "b"], "both")
    assert counts(theirs) == (2, 2, 0)


def test_the_file_stays_below_its_bound_and_keeps_what_was_used_last(path, monkeypatch):
    monkeypatch.setattr("ume_r1_rag.cache.store._TOUCH_S", -1)
    clock = iter(range(10**6))
    monkeypatch.setattr("ume_r1_rag.cache.store.time.time", lambda: next(clock))
    bound = 1 << 20
    cached = CachedEncoder(RoleEncoder(dimension=1024), path, max_bytes=bound)
    cached.encode_document("favourite")
    for start in range(0, 1000, 50):
        cached.encode_document([f"text {n}" for n in range(start, start + 50)])
        cached.encode_document("favourite")
    info = cached.info()
    assert info.bytes <= bound
    assert 100 < info.entries < 250
    assert info.misses == 1001, "the favourite was never encoded again"
    _, first = cached.encode_document(["text 999", "text 0"])
    assert counts(cached)[1] == 1002, "the last one was there, the first one had gone"
    assert np.array_equal(first.disc, RoleEncoder(dimension=1024).encode_document("text 0").disc)
    cached.close()
    assert path.stat().st_size <= bound + 65536
    with pytest.raises(ConfigError, match="max_bytes=5"):
        CachedEncoder(RoleEncoder(), path, max_bytes=5)


def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path):
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"no database, but long enough to be taken for one" * 100)
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE theirs (x)")
    later = tmp_path / "later.sqlite"
    CachedEncoder(RoleEncoder(), later).close()
    with sqlite3.connect(later) as database:
        database.execute("PRAGMA user_version = 9")
    for file, says in ((garbage, "cannot be used"), (foreign, "another program's"), (later, "format 9")):
        before = file.read_bytes()
        with pytest.raises(CacheUnavailable, match=says):
            CachedEncoder(RoleEncoder(), file)
        assert file.read_bytes() == before
    with pytest.raises(CacheUnavailable, match="cannot be used"):
        CachedEncoder(RoleEncoder(), tmp_path)


def test_a_flipped_bit_never_gives_a_wrong_vector(path):
    """One bit of the file flipped, at 300 places: an error or a miss, or it did not matter."""
    texts = [f"text {n}" for n in range(20)]
    plain = RoleEncoder().encode_document(texts, "both")
    with CachedEncoder(RoleEncoder(), path) as cached:
        cached.encode_document(texts, "both")
    sound = path.read_bytes()
    random = np.random.default_rng(0)
    refused = encoded = 0
    for at in random.choice(len(sound), 300, replace=False):
        broken = bytearray(sound)
        broken[at] ^= 1 << int(random.integers(8))
        for file in path.parent.iterdir():
            file.unlink()
        path.write_bytes(broken)
        try:
            with CachedEncoder(RoleEncoder(), path) as cached:
                found = cached.encode_document(texts, "both")
        except CacheUnavailable as error:
            assert "delete it" in str(error) or "another" in str(error)  # noqa: PT017
            refused += 1
            continue
        for one, other in zip(found, plain, strict=True):
            same(one, other)
        encoded += cached._misses > 0
    assert refused > 30, (refused, encoded)


PROCESS = """
import sys
sys.path.append(sys.argv[1])
from hash_encoder import HashEncoder
from ume_r1_rag.cache import CachedEncoder
plain = HashEncoder()
with CachedEncoder(HashEncoder(), sys.argv[2]) as cached:
    for n in range(60):
        found = cached.encode_document([f"text {n}", f"other {n % 7}"], "both")
        for text, one in zip([f"text {n}", f"other {n % 7}"], found):
            assert (one.gen == plain.encode_document(text, "gen").gen).all()
            assert one.summary == plain.encode_document(text, "gen").summary
    print(cached.info().misses)
"""


def test_processes_share_one_file(path):
    """Three at once, which also make the file at once; then a fourth, for which nothing is left to do."""
    command = [sys.executable, "-c", PROCESS, str(Path(__file__).parent), str(path)]
    together = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    for process in together:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors.decode()
    last = subprocess.run(command, capture_output=True, text=True, check=True)
    assert last.stdout == "0\n"
    with CachedEncoder(hash_encoder.HashEncoder(), path) as cached:
        assert cached.info().entries == 2 * 67
