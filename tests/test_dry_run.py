"""Plans and estimates: what would be done, and what it would cost, without doing it."""

import pytest
from made_files import write_clip, write_pdf
from PIL import Image

from ume_r1_rag.errors import ConfigError, IndexMismatch, InputError
from ume_r1_rag.index import QdrantIndex, Storage
from ume_r1_rag.ingest import Pruned, dry_run, estimate, ingest


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "files"
    root.mkdir()
    write_pdf(root / "b.pdf", 3)
    for number in range(4):
        Image.new("RGB", (40, 30), (60 * number, 0, 0)).save(root / f"{number}.png")
    (root / "notes.md").write_text("# Notes\n")
    (root / "data.bin").write_bytes(b"\0")
    return root


@pytest.fixture
def encoder(make_encoder):
    return make_encoder()


@pytest.fixture
def index(encoder):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        yield index


def contents(index):
    """All that is stored, side collections included."""
    return {
        one.name: sorted(
            (str(point.id), str(sorted(point.payload.items())))
            for point in index.share_client().scroll(one.name, limit=10_000)[0]
        )
        for one in index.share_client().get_collections().collections
    }


def test_a_plan_is_what_is_then_done(folder, index, encoder):
    files = []
    first = dry_run(index, folder, on_file=files.append)
    assert (first.new, first.replaced, first.unchanged, first.ok) == (8, 0, 0, True)
    assert dict(first.kinds) == {"page": 3, "image": 4, "text": 1}
    assert dict(first.skipped) == {"unknown extension '.bin'": 1}
    assert [(one.title, one.new) for one in files] == [
        ("0.png", 1), ("1.png", 1), ("2.png", 1), ("3.png", 1), ("b.pdf", 3), ("notes.md", 1),
    ]  # fmt: skip
    assert ingest(encoder, index, folder).indexed == first.new

    write_pdf(folder / "b.pdf", 2, "other")
    (folder / "3.png").unlink()
    (folder / "new.txt").write_text("new")
    (folder / "broken.pdf").write_bytes(b"rubbish")
    before, called = contents(index), len(encoder.calls)
    found = dry_run(index, folder, prune=True)
    assert (contents(index), len(encoder.calls)) == (before, called), "nothing is written or encoded"
    assert (found.new, found.replaced, found.unchanged, found.removed) == (1, 2, 4, 1)
    assert (found.pruned, found.failed, found.ok) == (Pruned(1), 1, False)
    assert found.pruned.files == {"3.png": 1}
    assert found.failures[0].title == "broken.pdf"
    done = ingest(encoder, index, folder, prune=True)
    assert (done.indexed, done.replaced, done.unchanged, done.removed) == (3, 2, 4, 1)
    assert (done.pruned, done.failed) == (Pruned(1), 1)


def test_a_plan_for_other_options(folder, index, encoder):
    ingest(encoder, index, folder, "disc")
    assert dry_run(index, folder, "disc").unchanged == 8
    assert dry_run(index, folder, "both").replaced == 8
    assert dry_run(index, folder, "disc", force=True).replaced == 8
    assert dry_run(index, folder, "disc", max_page_pixels=5000).replaced == 3
    (folder / "bad.txt").write_text(" ")
    ingest(encoder, index, folder, "disc")
    again = dry_run(index, mode="disc", retry_failed=True)
    assert (again.new, again.replaced, again.unchanged) == (1, 0, 0)
    with pytest.raises(ConfigError, match="no paths"):
        dry_run(index)
    with pytest.raises(IndexMismatch):
        dry_run(index, folder, fingerprint={**encoder.fingerprint, "think": "none"})


def test_a_plan_without_an_index(folder):
    found = dry_run(None, folder, prune=True)
    assert (found.new, found.unchanged, found.pruned) == (8, 0, None)
    assert dry_run(None, retry_failed=True).new == 0


def test_memory_does_not_grow_with_the_files(tmp_path, monkeypatch):
    import tracemalloc

    from ume_r1_rag.ingest import files

    monkeypatch.setattr(files, "SORTED_NAMES", 100)

    def peak(count):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:06}.txt").write_text("text")
            (folder / f"{number:06}.xyz").touch()
        tracemalloc.start()
        found = dry_run(None, folder)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (found.new, dict(found.skipped)) == (count, {"unknown extension '.xyz'": count})
        return used

    peak(5)
    assert peak(1500) < peak(150) + 100_000


def test_an_estimate_counts_everything_and_tries_a_sample(tmp_path, index, encoder):
    for number in range(60):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    for number in range(30):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / f"{number}.png")
    write_pdf(tmp_path / "b.pdf", 10)
    write_clip(tmp_path / "c.mp4", frames=6, rate=1)
    (tmp_path / "odd.xyz").touch()
    (tmp_path / "broken.pdf").write_bytes(b"rubbish")
    ingest(encoder, index, tmp_path / "0.txt")
    encoder.calls.clear()
    before = contents(index)
    found = estimate(encoder, index, tmp_path, segment_s=2)
    assert contents(index) == before
    assert dict(found.items) == {"page": 10, "image": 30, "clip": 3, "text": 59}
    assert dict(found.sampled) == {"page": 2, "image": 6, "clip": 1, "text": 12}
    assert (found.unchanged, found.skipped, found.failed, found.sample_failures) == (1, 1, 1, ())
    assert sum(number for *_, number in encoder.calls) == 22, "the sample, and one to warm up"
    assert [failure.title for failure in found.failures] == ["broken.pdf"]
    assert found.generated_tokens > 0
    assert found.visual_tokens == 40, "this encoder counts one an image, none for videos"
    assert found.seconds == max(found.read_s, found.encode_s, found.write_s) > 0
    assert found.hours == found.seconds / 3600
    assert all(one > 0 for one in (found.read_s, found.encode_s, found.write_s))


def test_bytes_are_those_of_the_store(tmp_path, encoder):
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"text {number} " * 40)
    found = estimate(encoder, None, tmp_path)
    folder = tmp_path / ".index"
    with QdrantIndex(folder, fingerprint=encoder.fingerprint) as index:
        ingest(encoder, index, tmp_path)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert found.bytes == pytest.approx(size, rel=0.3)


def test_times_are_scaled_from_the_sample(tmp_path, encoder, monkeypatch):
    """A clock that stands still but while something is encoded: 2 s for a text, 10 s for a picture."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    encode = encoder.encode_document

    def timed(inputs, **options):
        now[0] += sum(10 if one.images else 2 for one in inputs)
        return encode(inputs, **options)

    encoder.encode_document = timed
    for number in range(100):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    for number in range(50):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / f"{number}.png")
    found = estimate(encoder, None, tmp_path)
    assert found.encode_s == 100 * 2 + 50 * 10


def test_a_server_is_estimated_by_how_it_keeps_vectors(tmp_path, encoder):
    for number in range(10):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    plain = estimate(encoder, None, tmp_path, server=Storage())
    half = estimate(encoder, None, tmp_path, server=Storage(datatype="float16"))
    one = estimate(encoder, None, tmp_path, "disc", server=Storage())
    assert plain.bytes - half.bytes == 10 * 2 * encoder.dimension * 2
    assert one.bytes < plain.bytes - 10 * encoder.dimension * 4
    assert plain.write_s == 0


def test_an_estimate_of_what_fails_or_of_nothing(tmp_path, encoder, index, make_encoder):
    found = estimate(encoder, None, tmp_path)
    assert (dict(found.items), found.seconds, found.bytes, found.visual_tokens) == ({}, 0, 0, 0)
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(b"rubbish")
    with pytest.raises(
        InputError, match=r"none of the sample could be encoded, e\.g\. image .* no known format"
    ):
        estimate(encoder, None, tmp_path)
    (tmp_path / "good.txt").write_text("good")
    found = estimate(encoder, None, tmp_path)
    assert len(found.sample_failures) == 4
    assert dict(found.items) == {"image": 4, "text": 1}
    with pytest.raises(ConfigError, match="sample=0"):
        estimate(encoder, None, tmp_path, sample=0)
    with pytest.raises(IndexMismatch):
        estimate(make_encoder(think="none"), index, tmp_path)


def test_the_sample_is_spread_over_all_files(tmp_path, encoder):
    """Not the first twenty: a corpus is often sorted, and its first file of another kind."""
    for number in range(200):
        (tmp_path / f"{number:03}.txt").write_text(f"text {number:03}")
    estimate(encoder, None, tmp_path)
    drawn = {one.text for one in encoder.seen}
    assert len(drawn) == 20
    assert sum(text >= "text 100" for text in drawn) in range(4, 17)
