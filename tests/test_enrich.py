"""Gen vectors for what was indexed without: in one go, in parts, on demand."""

import itertools
import logging
import signal
import threading

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ume_r1_rag.cli.app import app
from ume_r1_rag.errors import BackendError, ConfigError, IndexMismatch, InputError
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.ingest import Enricher, enrich, ingest
from ume_r1_rag.ingest.patience import BROKEN_AFTER
from ume_r1_rag.retriever import Retriever

WORDS = ("apple", "bread", "cedar", "delta", "ember", "flint", "grape", "hazel", "ivory", "jewel")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "files"
    path.mkdir()
    for word in WORDS:
        (path / f"{word}.txt").write_text(f"{word} and nothing else")
    pages = [Image.new("RGB", (100, 140), colour) for colour in ("red", "blue")]
    pages[0].save(path / "two.pdf", save_all=True, append_images=pages[1:])
    return path


@pytest.fixture
def encoder(make_encoder):
    return make_encoder()


@pytest.fixture
def index(encoder, folder):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        report = ingest(encoder, index, folder, "disc")
        assert (report.indexed, index.coverage()["gen"]) == (12, 0)
        encoder.calls.clear()
        encoder.seen.clear()
        yield index


def snapshot(index):
    """Everything that is stored, vectors included."""
    records, _ = index.share_client().scroll(index.physical, limit=1000, with_vectors=True)
    return {str(record.id): (record.payload, record.vector) for record in records}


def assert_same(found, expected):
    """To six digits, as writing a vector again normalises it again."""
    assert found.keys() == expected.keys()
    for id, (payload, vectors) in found.items():
        assert payload == expected[id][0]
        assert vectors.keys() == expected[id][1].keys()
        for space, vector in vectors.items():
            ours, theirs = numbers(vector), numbers(expected[id][1][space])
            assert ours == pytest.approx(theirs, abs=1e-6)


def numbers(vector):
    return vector if isinstance(vector, list) else [*vector.indices, *vector.values]


def test_enriching_gives_what_indexing_both_would_have(index, encoder, folder):
    report = enrich(encoder, index, batch_size=5)
    assert (report.written, report.failed, report.outdated, report.stopped) == (12, 0, 0, "done")
    assert (report.points, report.covered) == (12, 12)
    assert [call[1:] for call in encoder.calls] == [("gen", 5), ("gen", 5), ("gen", 2)]
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as at_once:
        ingest(encoder, at_once, folder, "both")
        assert_same(snapshot(index), snapshot(at_once))


def test_a_broken_encoder_ends_the_run(index, encoder, folder):
    for number in range(2 * BROKEN_AFTER):
        (folder / f"{number}.txt").write_text(f"number {number}")
    ingest(encoder, index, folder, "disc")
    encoder.seen.clear()
    encoder._fail = lambda one: BackendError("the device is gone") if len(encoder.seen) > 5 else None
    with pytest.raises(BackendError, match="the device is gone"):
        enrich(encoder, index, batch_size=1)
    assert len(encoder.seen) == 5 + BROKEN_AFTER
    assert index.coverage()["gen"] == 5


def test_enriching_again_does_nothing(index, encoder):
    enrich(encoder, index)
    before = snapshot(index)
    encoder.calls.clear()
    report = enrich(encoder, index)
    assert (report.written, report.covered, report.stopped) == (0, 12, "done")
    assert encoder.calls == []
    assert snapshot(index) == before


def test_a_filter_and_a_limit_say_which_and_how_many(index, encoder):
    pages = enrich(encoder, index, filter={"kind": "page"})
    assert (pages.written, pages.points, pages.covered) == (2, 2, 2)
    assert all(one.images for one in encoder.seen)
    few = enrich(encoder, index, limit=3, batch_size=2)
    assert (few.written, few.stopped, few.covered) == (3, "limit", 5)
    rest = enrich(encoder, index, limit=100)
    assert (rest.written, rest.stopped, rest.covered) == (7, "done", 12)


def test_a_budget_ends_the_run_before_the_window_that_would_not_fit(index, encoder, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    slowly = encoder.encode_document

    def encode(inputs, **options):
        clock[0] += 10
        return slowly(inputs, **options)

    monkeypatch.setattr(encoder, "encode_document", encode)
    report = enrich(encoder, index, budget_s=35, batch_size=2)
    assert (report.written, report.stopped, report.seconds) == (6, "budget", 30)
    first = enrich(encoder, index, budget_s=1, batch_size=2)
    assert (first.written, first.stopped) == (2, "budget"), "the first window is always begun"
    assert enrich(encoder, index).covered == 12


def test_it_stops_when_it_is_told_to(index, encoder):
    answers = iter([False, True])
    report = enrich(encoder, index, batch_size=4, stop=lambda: next(answers))
    assert (report.written, report.stopped, report.covered) == (4, "asked", 4)


@pytest.mark.parametrize("error", [BackendError("gone"), KeyboardInterrupt()])
def test_what_was_written_stays_however_the_run_ends(index, encoder, monkeypatch, error):
    whole, calls = encoder.encode_document, itertools.count()

    def encode(inputs, **options):
        if next(calls) == 2:
            raise error
        return whole(inputs, **options)

    monkeypatch.setattr(encoder, "encode_document", encode)
    with pytest.raises(type(error)):
        enrich(encoder, index, batch_size=3)
    assert index.coverage()["gen"] == 6
    monkeypatch.undo()
    report = enrich(encoder, index, batch_size=3)
    assert (report.written, report.covered) == (6, 12)


def test_gone_changed_and_refused_documents_are_failures_and_stay_as_they_are(
    index, encoder, folder, make_encoder
):
    (folder / "apple.txt").unlink()
    (folder / "bread.txt").write_text("something else")
    nan = "cedar"

    class Odd(make_encoder):
        def _vector(self, space, bag):
            vector = super()._vector(space, bag)
            return vector * np.nan if nan in bag else vector

    odd = Odd(fail=lambda one: InputError("refused") if one.text and "delta" in one.text else None)
    before = snapshot(index)
    report = enrich(odd, index, batch_size=4)
    assert (report.written, report.failed, report.covered) == (8, 4, 8)
    reasons = {failure.title: failure.reason for failure in report.failures}
    assert "is gone" in reasons["apple.txt"]
    assert "has changed since it was indexed" in reasons["bread.txt"]
    assert "NaN" in reasons["cedar.txt"]
    assert reasons["delta.txt"] == "refused"
    untouched = [id for id, (payload, _) in snapshot(index).items() if "ume_summary" not in payload]
    assert len(untouched) == 4
    assert all(snapshot(index)[id] == before[id] for id in untouched)


def test_a_document_that_changes_in_the_index_meanwhile_is_left_alone(index, encoder, folder, monkeypatch):
    whole = encoder.encode_document

    def encode(inputs, mode, **options):
        found = whole(inputs, mode=mode, **options)
        if mode == "gen":
            (folder / "apple.txt").write_text("pear")
            monkeypatch.undo()
            ingest(encoder, index, folder / "apple.txt", "disc")
        return found

    monkeypatch.setattr(encoder, "encode_document", encode)
    report = enrich(encoder, index)
    assert (report.written, report.outdated, report.failed) == (11, 1, 0)
    (apple,) = index.retrieve([str(folder / "apple.txt")])
    assert apple.payload["ume_text"] == "pear"
    assert "ume_summary" not in apple.payload
    assert enrich(encoder, index).written == 1


def test_only_the_tenants_own_documents_are_enriched(encoder, folder):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as nobodys:
        ours, theirs = (nobodys.for_tenant(t) for t in "ab")
        for index in (nobodys, ours, theirs):
            ingest(encoder, index, folder / "apple.txt", "disc")
        assert enrich(encoder, ours).points == 1
        assert [index.coverage()["gen"] for index in (nobodys, ours, theirs)] == [0, 1, 0]


def test_what_cannot_be_enriched_is_refused(index, make_encoder, encoder):
    with pytest.raises(ConfigError, match="disc vectors alone"):
        enrich(make_encoder(spaces=("disc",)), index)
    with pytest.raises(IndexMismatch, match="weights"):
        enrich(make_encoder(model="m2"), index)
    with pytest.raises(IndexMismatch, match="think"):
        Enricher(make_encoder(think=8), index)
    for options in ({"limit": 0}, {"budget_s": -1}, {"batch_size": 0}):
        with pytest.raises(ConfigError, match="must be positive"):
            enrich(encoder, index, **options)


def test_reasoning_need_not_be_stored(folder, encoder):
    index = QdrantIndex(":memory:", fingerprint=encoder.fingerprint, store_reasoning=False)
    ingest(encoder, index, folder, "disc")
    enrich(encoder, index)
    stored = [hit.payload for hit in index.scroll()]
    assert all("ume_summary" in one and "ume_reasoning" not in one for one in stored)


def test_a_search_writes_gen_for_what_it_finds_once(index, encoder):
    retriever = Retriever(encoder, index, Enricher(encoder, index))
    first = retriever.search("grape jewel", k=4, mode="fused")
    assert first.enriched == 4
    assert all("gen" in hit.scores for hit in first.hits)
    assert index.coverage()["gen"] == 4
    again = retriever.search("grape jewel", k=4, mode="fused")
    assert index.coverage()["gen"] == 4 + again.enriched
    for _ in range(3):
        last = retriever.search("grape jewel", k=4, mode="fused")
    assert last.enriched == 0
    assert retriever.enricher.written == index.coverage()["gen"]


def test_concurrent_searches_pay_once_and_a_failure_only_once(index, make_encoder):
    broken = make_encoder(
        fail=lambda one: InputError("refused") if one.text and "apple" in one.text else None
    )
    enricher = Enricher(broken, index)
    hits = list(index.scroll())
    written = []
    threads = [threading.Thread(target=lambda: written.append(enricher.enrich(hits))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(written) == [0, 0, 0, 11]
    assert len(broken.seen) == 12
    assert [failure.title for failure in enricher.failures.values()] == ["apple.txt"]
    assert index.coverage()["gen"] == 11


def test_a_failure_is_counted_in_the_log_and_named_for_debugging_alone(tmp_path, make_encoder, caplog):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a\x1b]0;x\x07\u061c.txt").write_text("apple")
    encoder = make_encoder(fail=lambda one: InputError("re\x1b[2Jfused"))
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        ingest(make_encoder(), index, [folder], "disc")
        caplog.set_level(logging.DEBUG, "ume_r1_rag")
        assert Enricher(encoder, index).enrich(list(index.scroll())) == 0
    said = {record.levelname: record.getMessage() for record in caplog.records}
    assert said == {
        "WARNING": "1 hits were given no gen vector, see Enricher.failures",
        "DEBUG": "no gen vector: a]0;x.txt: re[2Jfused",
    }


def test_a_search_does_not_fail_for_its_enricher(index, make_encoder, encoder, caplog):
    class Broken(make_encoder):
        def encode_document(self, inputs, mode="disc", **options):
            raise BackendError("no memory")

    found = Retriever(encoder, index, Enricher(Broken(), index)).search("grape", k=2, mode="fused")
    assert len(found.hits) == 2
    assert found.enriched == 0
    assert "no memory" in caplog.text


@pytest.fixture
def command(tmp_path, folder, encoder, monkeypatch):
    """Runs ``ume-r1 enrich`` on a folder of its own, indexed with disc alone."""
    for name in ("QDRANT_URL", "UME_R1_PATH", "UME_R1_COLLECTION", "UME_R1_TENANT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("ume_r1_rag.cli.model.encoder_for", lambda *_, **__: encoder)
    path = tmp_path / "index"
    with QdrantIndex(path, fingerprint=encoder.fingerprint) as index:
        ingest(encoder, index, folder, "disc")

    def run(*arguments):
        return CliRunner().invoke(app, ["enrich", "--path", str(path), *map(str, arguments)])

    return run


def test_the_command_says_what_it_did(command):
    done = command("--mode", "gen", "--filter", "kind=page")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].startswith("enriched   2 documents in ")
    assert done.stdout.splitlines()[1:] == [
        "gen        2 of 2 documents now have it",
        "stopped    nothing is left to do",
    ]
    few = command("--limit", 4, "--batch-size", 3)
    assert few.exit_code == 0
    assert "gen        6 of 12 documents now have it\nstopped    the limit is reached" in few.stdout
    assert "gen        12 of 12" in command("--budget", "1h").stdout


def test_the_command_names_what_failed(command, folder):
    (folder / "apple.txt").unlink()
    (folder / "bread.txt").rename(folder / "moved.txt")
    done = command()
    assert done.exit_code == 1
    assert "gen        10 of 12 documents" in done.stdout
    lines = done.stdout.splitlines()
    failed = lines[lines.index("failed     2") + 1 :]
    assert sorted(line.split()[0] for line in failed) == ["apple.txt", "bread.txt"]
    assert all("is gone" in line for line in failed)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_finishes_the_batch_first_and_obeys_when_it_comes_again(command, encoder, monkeypatch, times):
    whole = encoder.encode_document

    def encode(*arguments, **options):
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        return whole(*arguments, **options)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(encoder, "encode_document", encode)
    done = command("--batch-size", 5)
    assert done.exit_code == 130
    assert "stopping after this batch" in done.stderr
    assert ("gen        5 of 12" in done.stdout) == (times == 1)
    assert ("what was written stays" in done.stderr) == (times == 2)
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setattr(encoder, "encode_document", whole)
    assert "gen        12 of 12" in command().stdout


@pytest.mark.parametrize("budget", ["soon", "0m", "-1h", "3w", ""])
def test_a_budget_is_a_time(command, budget):
    done = command("--budget", budget)
    assert done.exit_code == 2
    assert "'--budget'" in done.stderr


def test_times_are_read():
    from ume_r1_rag.cli.enrich import _seconds

    assert [_seconds(text) for text in ("90", "90s", "30m", "1.5h", "2d")] == [90, 90, 1800, 5400, 172800]
