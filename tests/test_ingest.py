"""Ingestion: what is encoded and written, what is left alone, what is reported; with a cheap encoder."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from made_files import text_pdf, write_clip, write_pdf
from PIL import Image

from ume_r1_rag.encoder.fingerprint import digest
from ume_r1_rag.errors import BackendError, ConfigError, IndexMismatch, IndexUnavailable, InputError
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.ingest import DeadLetters, Failure, Progress, ingest, opened, windows
from ume_r1_rag.types import Embedding


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "files"
    (root / "sub").mkdir(parents=True)
    write_pdf(root / "b.pdf", 3)
    Image.new("RGB", (40, 30), "red").save(root / "a.png")
    Image.new("RGB", (40, 30), "blue").save(root / "sub" / "z.jpg")
    write_clip(root / "sub" / "clip.mp4")
    (root / "notes.md").write_text("# Notes\n", encoding="utf-8")
    (root / "data.bin").write_bytes(b"\0")
    return root


@pytest.fixture
def encoder(make_encoder):
    return make_encoder()


@pytest.fixture
def index(encoder):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        yield index


def titles(index, **fields):
    return sorted(
        f"{hit.payload['ume_title']}{hit.key.partition('#')[1]}{hit.key.partition('#')[2]}"
        for hit in index.scroll(fields or None)
    )


def encoded(encoder):
    """How many documents were encoded since it was asked last."""
    count = sum(number for _, _, number in encoder.calls)
    encoder.calls.clear()
    return count


def test_ingest_writes_all_that_can_be_and_reports_the_rest(folder, make_encoder):
    (folder / "bad.png").write_bytes(b"rubbish")
    (folder / "refused.txt").write_text("refuse me")
    (folder / "nan.txt").write_text("nan")

    class Encoder(make_encoder):
        def _one(self, one, wanted, think):
            made = super()._one(one, wanted, think)
            return Embedding(made.disc * np.nan, made.gen) if one.text == "nan" else made

    encoder = Encoder(fail=lambda one: InputError("refused") if one.text == "refuse me" else None)
    seen = []
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        report = ingest(encoder, index, folder, batch_size=4, progress=seen.append)
        assert report.indexed == index.count() == 7
        assert dict(report.kinds) == {"page": 3, "image": 2, "clip": 1, "text": 1}
        assert (report.failed, report.ok) == (3, False)
        assert sorted((one.name, one.error) for one in report.failures) == [
            ("bad.png", "InputError"), ("nan.txt", "InputError"), ("refused.txt", "InputError"),
        ]  # fmt: skip
        assert dict(report.skipped) == {"unknown extension '.bin'": 1}
        assert index.coverage() == {"disc": 7, "gen": 7, "text": 7}
        assert seen[-1] == Progress(7, 0, 3, 1, f"{folder.resolve()}/sub/z.jpg")
        assert [one.indexed for one in seen] == sorted(one.indexed for one in seen)
        assert max(number for _, _, number in encoder.calls) == 4
        assert 0 < report.encode_s < report.seconds
        (hit,) = index.retrieve([f"{folder.resolve()}/b.pdf#page=2"])
        assert (hit.payload["ume_document"], hit.payload["ume_page"]) == (f"{folder.resolve()}/b.pdf", 2)


def test_pages_are_rendered_and_videos_sampled_as_the_encoder_can_see(folder, encoder, index):
    ingest(encoder, index, folder, "disc")
    assert index.coverage()["gen"] == 0
    pages = [one for one in encoder.seen if (one.instruction or "").endswith("document image.")]
    assert len(pages) == 3
    for one in pages:
        assert one.images[0].width * one.images[0].height <= encoder.max_image_pixels
    (clip,) = [one for one in encoder.seen if one.video is not None]
    assert len(clip.video) == encoder.max_video_frames


def test_what_is_unchanged_is_left_alone(folder, encoder, index):
    assert ingest(encoder, index, folder).indexed == encoded(encoder) == 7
    report = ingest(encoder, index, folder)
    assert (report.indexed, report.unchanged, report.ok, encoded(encoder)) == (0, 7, True, 0)
    forced = ingest(encoder, index, folder, force=True)
    assert (forced.indexed, forced.replaced, forced.unchanged, encoded(encoder)) == (7, 7, 0, 7)


def test_a_touched_file_is_unchanged_and_a_changed_one_is_replaced(folder, encoder, index):
    ingest(encoder, index, folder)
    encoded(encoder)
    (folder / "a.png").touch()
    (folder / "notes.md").write_text("# Other notes\n")
    report = ingest(encoder, index, folder)
    assert (report.indexed, report.replaced, report.unchanged, encoded(encoder)) == (1, 1, 6, 1)
    (hit,) = index.scroll({"kind": "text"})
    assert hit.payload["ume_text"] == "# Other notes\n"


def test_a_shorter_file_loses_its_stale_parts_before_its_new_ones_are_written(folder, encoder, index):
    ingest(encoder, index, folder)
    write_pdf(folder / "b.pdf", 2, "other")
    seen = []
    upsert = index.upsert
    index.upsert = lambda *of, **options: seen.append(titles(index, kind="page")) or upsert(*of, **options)
    report = ingest(encoder, index, folder, batch_size=1)
    assert (report.replaced, report.removed) == (2, 1)
    assert seen[0] == ["b.pdf#page=1", "b.pdf#page=2"]
    assert titles(index, kind="page") == ["b.pdf#page=1", "b.pdf#page=2"]
    assert index.count() == 6


@pytest.mark.parametrize(("first", "then"), [(9, 2), (2, 9)])
def test_a_video_that_is_cut_otherwise_leaves_no_old_segments(tmp_path, encoder, index, first, then):
    write_clip(tmp_path / "talk.mp4", frames=6, rate=1)
    ingest(encoder, index, tmp_path, "disc", segment_s=first)
    report = ingest(encoder, index, tmp_path, "disc", segment_s=then)
    parts = {2: [f"talk.mp4#clip={number}" for number in (1, 2, 3)], 9: ["talk.mp4"]}
    assert titles(index) == parts[then]
    assert report.removed == len(parts[first])


def test_stale_parts_are_found_though_the_first_part_never_was_stored(tmp_path, index, make_encoder):
    """A page that fails stands among the failures, and so tells that there is more."""
    pages = [Image.new("RGB", (100, 100), colour) for colour in ("red", "white", "white")]
    pages[0].save(tmp_path / "x.pdf", save_all=True, append_images=pages[1:])

    def refuses(one):
        red = one.images and one.images[0].getpixel((50, 50))[1] < 100
        return InputError("too red") if red else None

    strict = make_encoder(fail=refuses)
    report = ingest(strict, index, tmp_path)
    assert (report.indexed, [one.name for one in report.failures]) == (2, ["x.pdf#page=1"])
    pages[0].save(tmp_path / "x.pdf")
    assert ingest(strict, index, tmp_path).removed == 2
    assert titles(index) == [], "pages 2 and 3 are no more, and page 1 fails still"


def test_vectors_that_are_wanted_besides_are_added_and_others_kept(folder, encoder, index):
    ingest(encoder, index, folder, "disc")
    assert ingest(encoder, index, folder, "disc").indexed == 0
    report = ingest(encoder, index, folder, "both")
    assert (report.indexed, report.replaced, report.removed) == (7, 7, 0)
    assert index.coverage() == {"disc": 7, "gen": 7, "text": 7}
    assert ingest(encoder, index, folder, "disc").indexed == 0
    assert index.coverage()["gen"] == 7


def test_an_upgrade_does_not_search_the_whole_index_for_stale_parts(folder, encoder, index, monkeypatch):
    """That costs a scan of an embedded collection for each file, and is for changed files alone."""
    asked = []
    stored_parts = QdrantIndex.stored_parts
    monkeypatch.setattr(
        QdrantIndex, "stored_parts", lambda self, key: asked.append(Path(key).name) or stored_parts(self, key)
    )
    ingest(encoder, index, folder, "disc")
    ingest(encoder, index, folder, "both")
    ingest(encoder, index, folder, "both", force=True)
    assert asked == []
    write_pdf(folder / "b.pdf", 2, "other")
    (folder / "notes.md").write_text("other")
    ingest(encoder, index, folder, "both")
    assert asked == ["b.pdf"]


def test_an_outdated_part_whose_new_version_fails_is_found_no_more(tmp_path, make_encoder):
    class Encoder(make_encoder):
        def _one(self, one, wanted, think):
            made = super()._one(one, wanted, think)
            return Embedding(made.disc * np.nan, made.gen) if one.text == "new nan" else made

    encoder = Encoder(fail=lambda one: InputError("refused") if one.text == "new refused" else None)
    for name in ("good", "refused", "nan", "unreadable"):
        (tmp_path / f"{name}.txt").write_text(f"old {name}")
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        assert ingest(encoder, index, tmp_path).indexed == 4
        for name in ("good", "refused", "nan"):
            (tmp_path / f"{name}.txt").write_text(f"new {name}")
        (tmp_path / "unreadable.txt").write_text("  ")
        report = ingest(encoder, index, tmp_path)
        assert (report.indexed, report.replaced, report.removed, report.failed) == (1, 1, 3, 3)
        assert titles(index) == ["good.txt"]


def test_a_part_that_fails_though_its_file_is_the_same_stays(tmp_path, index, make_encoder, encoder):
    (tmp_path / "x.txt").write_text("x")
    ingest(encoder, index, tmp_path, "disc")
    refusing = make_encoder(fail=lambda one: InputError("refused"))
    assert ingest(refusing, index, tmp_path, "both").failed == 1
    assert ingest(refusing, index, tmp_path, "disc", force=True).failed == 1
    assert titles(index) == ["x.txt"]


def test_a_file_that_cannot_be_opened_keeps_what_is_stored_of_it(tmp_path, index, encoder):
    """Perhaps it is being written, or may not be read for a while: what it holds is not known."""
    write_pdf(tmp_path / "x.pdf", 2)
    ingest(encoder, index, tmp_path)
    (tmp_path / "x.pdf").write_bytes(b"rubbish")
    assert ingest(encoder, index, tmp_path).failed == 1
    assert titles(index) == ["x.pdf#page=1", "x.pdf#page=2"]


def test_a_broken_off_file_goes_on_where_it_was(tmp_path, make_encoder):
    write_pdf(tmp_path / "x.pdf", 6)
    encoder = make_encoder()

    class Dies(make_encoder):
        def encode_document(self, inputs, mode="disc", **options):
            if len(self.calls) == 2:
                raise RuntimeError("out of memory")
            return super().encode_document(inputs, mode, **options)

    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        with pytest.raises(RuntimeError, match="out of memory"):
            ingest(Dies(), index, tmp_path, batch_size=2)
        assert index.count() == 4, "what was encoded is written"
        report = ingest(encoder, index, tmp_path, batch_size=2)
        assert (report.indexed, report.replaced, report.unchanged) == (2, 0, 4)


def test_another_encoders_vectors_do_not_count_as_up_to_date(folder, make_encoder):
    encoder = make_encoder()
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        ingest(encoder, index, folder / "a.png")
        (hit,) = index.scroll()
        stored = index.stored([hit.key])[hit.key]
        assert (stored.fingerprint, stored.gen_fingerprint) == (digest(encoder.fingerprint),) * 2
        for field in ("ume_fingerprint", "ume_gen_fingerprint"):
            index.share_client().set_payload(index.physical, {field: "of another"}, points=[hit.id])
            assert ingest(encoder, index, folder / "a.png").replaced == 1
        assert ingest(encoder, index, folder / "a.png").unchanged == 1


def test_reasoning_that_is_not_to_be_stored_is_nowhere(folder, encoder, index):
    import json

    def everything():
        return json.dumps([hit.payload for hit in index.scroll()])

    index = QdrantIndex(":memory:", fingerprint=encoder.fingerprint, store_reasoning=False)
    ingest(encoder, index, folder, "both")
    assert encoder.seen
    assert index.coverage()["gen"] == 7
    assert "It shows" not in everything(), "every reasoning of this encoder begins so"
    words = [index.nearest("shows", "text", 10)]
    assert words == [{}]
    ingest(encoder, index, folder, "both", force=True)
    assert "It shows" not in everything()


def test_what_cannot_work_is_refused_at_once(folder, index, make_encoder, encoder):
    for wrong, says in (
        ({"batch_size": 0}, "batch_size=0"),
        ({"mode": "all"}, "mode='all'"),
        ({"segment_s": 0}, "segment_s=0"),
        ({"max_page_pixels": 0}, "max_page_pixels=0"),
    ):
        with pytest.raises(ConfigError, match=says):
            ingest(encoder, index, folder, **wrong)
    with pytest.raises(ConfigError, match="no paths are given"):
        ingest(encoder, index)
    with pytest.raises(ConfigError, match="has no gen vectors"):
        ingest(make_encoder(spaces=["disc"]), index, folder, "both")
    with pytest.raises(IndexMismatch, match="think"):
        ingest(make_encoder(think="none"), index, folder)
    assert encoder.calls == []
    assert index.count() == 0


# Threads


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def test_reading_encoding_and_writing_overlap(tmp_path, index, encoder, monkeypatch):
    """Each takes its time; together they take that of one, and a bit."""
    for number in range(12):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    pause, spans = 0.05, {"read": [], "encode": [], "write": []}

    def slow(function, stage, pause=pause):
        def slowed(*of, **options):
            began = time.monotonic()
            time.sleep(pause)
            result = function(*of, **options)
            spans[stage].append((began, time.monotonic(), threading.current_thread().name))
            return result

        return slowed

    monkeypatch.setattr(opened._Text, "read", slow(opened._Text.read, "read"))
    encoder.encode_document = slow(encoder.encode_document, "encode", 2 * pause)
    index.upsert = slow(index.upsert, "write")
    ingest(encoder, index, tmp_path, "disc", batch_size=1)
    assert {thread for *_, thread in spans["read"]} == {"ume-r1 reading"}
    assert {thread for *_, thread in spans["encode"]} == {"ume-r1 encoding 1", "ume-r1 encoding 2"}
    assert {thread for *_, thread in spans["write"]} == {"ume-r1 writing"}

    def overlapping(one, other):
        return sum(a[0] < b[1] and b[0] < a[1] for a in spans[one] for b in spans[other])

    assert overlapping("read", "encode") >= 6
    assert overlapping("encode", "write") >= 6
    assert overlapping("read", "write") >= 6
    assert overlapping("encode", "encode") >= 12 + 6, "each overlaps with itself, too"
    wait_until(lambda: not [one for one in threading.enumerate() if one.name.startswith("ume-r1")])


def test_gen_is_encoded_in_the_callers_thread_where_an_interrupt_ends_it(tmp_path, index, encoder):
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    threads, encode = [], encoder.encode_document

    def watched(*of, **options):
        threads.append(threading.current_thread())
        return encode(*of, **options)

    encoder.encode_document = watched
    ingest(encoder, index, tmp_path, "both", batch_size=1)
    assert set(threads) == {threading.main_thread()}


def test_no_more_than_a_few_windows_are_held(tmp_path, index, encoder, monkeypatch):
    from ume_r1_rag.media import PdfPages

    write_pdf(tmp_path / "x.pdf", 40)
    rendered, ahead = [], []
    render = PdfPages.render
    monkeypatch.setattr(
        PdfPages,
        "render",
        lambda self, page, pixels: rendered.append(page) or render(self, page, pixels),
    )
    encode = encoder.encode_document

    def slow(inputs, **options):
        time.sleep(0.05)
        ahead.append(max(rendered) - sum(number for *_, number in encoder.calls))
        return encode(inputs, **options)

    encoder.encode_document = slow
    ingest(encoder, index, tmp_path, "disc", batch_size=4)
    assert 8 <= max(ahead) <= 16, "two in the encoder, one waiting, one in the making"


def test_large_pictures_close_a_window_early(tmp_path, index, encoder, monkeypatch):
    monkeypatch.setattr(windows, "MAX_PIXELS", 5000)
    for number in range(5):
        Image.new("RGB", (50, 50), (number, 0, 0)).save(tmp_path / f"{number}.png")
    ingest(encoder, index, tmp_path, "disc")
    assert [number for *_, number in encoder.calls] == [2, 2, 1]


def test_ctrl_c_ends_all_threads_and_keeps_what_was_encoded(tmp_path, index, encoder):
    for number in range(50):
        (tmp_path / f"{number:02}.txt").write_text(f"text {number}")
    encode = encoder.encode_document

    def interrupted(inputs, **options):
        if len(encoder.calls) == 3:
            raise KeyboardInterrupt
        return encode(inputs, **options)

    encoder.encode_document = interrupted
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        ingest(encoder, index, tmp_path, "disc", batch_size=5)
    wait_until(lambda: set(threading.enumerate()) <= before)
    assert index.count() == 15
    encoder.encode_document = encode
    assert ingest(encoder, index, tmp_path, "disc").indexed == 35


def test_an_encoder_that_fails_at_everything_ends_the_run(tmp_path, make_encoder):
    """A lost device fails every document by itself; a million of them are no list to work through."""
    for number in range(200):
        (tmp_path / f"{number:03}.txt").write_text(f"text {number}")
    # Lost from the 21st on: by the document, as two windows are encoded at a time.
    lost = [True]

    def fail(one):
        return BackendError("the device is lost") if lost[0] and int(one.text.split()[-1]) >= 20 else None

    encoder = make_encoder(fail=fail)
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        with pytest.raises(BackendError, match="the device is lost"):
            ingest(encoder, index, tmp_path, "disc", batch_size=10)
        assert index.count() == 20
        assert len(DeadLetters(index)) == 70, "64, and the rest of their window"
        lost[0] = False
        assert ingest(encoder, index, tmp_path, "disc").indexed == 180
        assert len(DeadLetters(index)) == 0


def test_documents_that_are_to_blame_themselves_never_end_the_run(tmp_path, make_encoder):
    for number in range(100):
        (tmp_path / f"{number:03}.txt").write_text(f"text {number}")
    encoder = make_encoder(fail=lambda one: InputError("refused"))
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        assert ingest(encoder, index, tmp_path, "disc").failed == 100


def test_an_index_that_fails_ends_the_run_with_its_error(tmp_path, index, encoder):
    for number in range(50):
        (tmp_path / f"{number:02}.txt").write_text(f"text {number}")

    def gone(*of, **options):
        raise IndexUnavailable("disk full")

    before = set(threading.enumerate())
    stored = index.stored
    for method in ("upsert", "stored"):
        setattr(index, method, gone)
        with pytest.raises(IndexUnavailable, match="disk full"):
            ingest(encoder, index, tmp_path, "disc", batch_size=5)
        wait_until(lambda: set(threading.enumerate()) <= before)
        index.stored = stored
    assert len(encoder.calls) <= 4, "not all of it was encoded for nothing"


def test_a_progress_that_fails_ends_the_run(folder, index, encoder):
    def fails(progress):
        raise ZeroDivisionError

    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError):
        ingest(encoder, index, folder, progress=fails)
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_many_files_without_work_show_progress_too(tmp_path, index, encoder, monkeypatch):
    monkeypatch.setattr(windows, "MAX_NOTES", 10)
    for number in range(35):
        (tmp_path / f"{number}.bin").touch()
    seen = []
    ingest(encoder, index, tmp_path, progress=seen.append)
    assert [one.skipped for one in seen] == [10, 20, 30, 35]


def test_a_report_holds_a_bounded_number_of_failures_and_reasons(tmp_path, index, encoder, monkeypatch):
    from ume_r1_rag.ingest import pipeline, report

    monkeypatch.setattr(pipeline, "MOST_FAILURES", 3)
    monkeypatch.setattr(report, "MOST_REASONS", 4)
    for number in range(9):
        (tmp_path / f"{number}.png").write_bytes(b"rubbish")
        (tmp_path / f"{number}.x{number}").touch()
    found = ingest(encoder, index, tmp_path, batch_size=2)
    assert (found.failed, len(found.failures)) == (9, 3)
    assert all(isinstance(one, Failure) for one in found.failures)
    assert sum(found.skipped.values()) == 9
    assert len(found.skipped) == 5
    assert found.skipped["other reasons"] == 5


# Tenants


def test_a_tenants_files_are_its_own(folder, encoder):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint, tenant="a") as mine:
        others = mine.for_tenant("b")
        (folder / "bad.png").write_bytes(b"rubbish")
        assert ingest(encoder, mine, folder).indexed == 7
        assert others.count() == 0
        report = ingest(encoder, others, folder)
        assert (report.indexed, report.unchanged) == (7, 0)
        assert [one.attempts for one in report.failures] == [1]
        assert mine.count() == others.count() == 7


def test_text_pdfs_bear_their_text(tmp_path, index, encoder):
    (tmp_path / "x.pdf").write_bytes(text_pdf(["Revenue 42", "Costs 17"]))
    ingest(encoder, index, tmp_path, "disc")
    assert len(index.nearest("revenue 42", "text", 5)) == 1
