"""The next version of a collection, with another model: built, compared, swapped, rolled back."""

import json
import re
import signal
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from ume_r1_rag.cli.app import app
from ume_r1_rag.cli.model import encoder_for, load_encoder
from ume_r1_rag.encoder import digest
from ume_r1_rag.errors import BackendError, ConfigError, IndexRetired, InputError, UmeR1Error
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.index.alias import RETIRED
from ume_r1_rag.ingest import RollbackLoss, compare, enrich, ingest, reindex, rollback_loss, swap
from ume_r1_rag.ingest.agreement import rank_biased_overlap
from ume_r1_rag.ingest.patience import BROKEN_AFTER
from ume_r1_rag.retriever import Question, Retriever
from ume_r1_rag.types import Document, MultimodalInput

WORDS = ("apple", "bread", "cedar", "delta", "ember", "flint", "grape", "hazel")
GENERATED = ("ume_reasoning", "ume_summary", "ume_gen_valid", "ume_think", "ume_gen_fingerprint")


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
def old(make_encoder):
    return make_encoder()


@pytest.fixture
def new(make_encoder):
    return make_encoder(dimension=48, model="m2")


@pytest.fixture
def index(old, folder):
    with QdrantIndex(":memory:", fingerprint=old.fingerprint) as index:
        assert ingest(old, index, folder, "both").indexed == 10
        yield index


def payloads(index):
    return {hit.key: dict(hit.payload) for hit in index.scroll()}


def test_a_build_leaves_the_live_version_alone_and_is_what_indexing_would_have_made(
    index, new, folder, make_encoder
):
    before = payloads(index)
    report = reindex(index, new, "both", batch_size=3)
    assert (report.written, report.unchanged, report.missing, report.texts) == (10, 0, 0, 0)
    assert (report.points, report.tenants, report.complete) == (10, (None,), True)
    assert payloads(index) == before
    assert index.physical == "ume_r1--1"
    target = index.build_next(new.fingerprint)
    assert target.physical == report.physical == "ume_r1--2"
    other = make_encoder(dimension=48, model="m2")
    with QdrantIndex(":memory:", fingerprint=other.fingerprint) as anew:
        ingest(other, anew, folder, "both")
        assert payloads(target) == payloads(anew)
        assert target.coverage() == anew.coverage()
        query = other.encode_query("grape")
        assert target.nearest(query.disc, "disc") == pytest.approx(anew.nearest(query.disc, "disc"))


def test_an_earlier_models_texts_stay_under_its_name_until_new_ones_are_asked_for(index, old, new):
    before = payloads(index)
    report = reindex(index, new)
    assert (report.written, report.texts) == (10, 10)
    assert {mode for _, mode, _ in new.calls} == {"disc"}, "nothing is generated silently"
    target = index.build_next(new.fingerprint)
    assert target.coverage() == {"disc": 10, "gen": 0, "text": 10}
    for key, payload in payloads(target).items():
        assert {name: payload.get(name) for name in GENERATED} == {
            name: before[key].get(name) for name in GENERATED
        }
        assert payload["ume_gen_fingerprint"] == digest(old.fingerprint)
        assert payload["ume_fingerprint"] == digest(new.fingerprint)
        assert payload["ume_spaces"] == ["disc", "text"]
    # Their words are found, though the vector is gone.
    assert len(target.nearest("summary", "text")) == 10

    swap(index, new)
    assert enrich(new, index).written == 10
    assert all(p["ume_gen_fingerprint"] == digest(new.fingerprint) for p in payloads(index).values())


def test_an_earlier_models_texts_survive_indexing_again(index, old, new, folder):
    swap(index, new)
    before = payloads(index)
    assert ingest(new, index, folder, "disc").unchanged == 10
    assert ingest(new, index, folder, "disc", force=True).indexed == 10
    assert payloads(index) == before
    (folder / "apple.txt").write_text("something else")
    assert ingest(new, index, folder, "disc").replaced == 1
    (apple,) = index.retrieve([str(folder / "apple.txt")])
    assert not set(GENERATED) & set(apple.payload), "they were about another content"


def test_a_model_with_disc_alone_takes_over(index, make_encoder):
    plain = make_encoder(model="m3", spaces=("disc",))
    with pytest.raises(ConfigError, match="no gen vectors"):
        reindex(index, plain, "both")
    assert swap(index, plain).texts == 10
    found = Retriever(plain, index).search("grape", mode="fused", k=1)
    assert found.hits[0].payload["ume_title"] == "grape.txt"
    assert found.hits[0].payload["ume_summary"].startswith("Summary of")


def test_a_build_that_was_broken_off_goes_on(index, new, monkeypatch):
    whole, calls = new.encode_document, []

    def encode(inputs, **options):
        calls.append(len(inputs))
        if len(calls) == 3:
            raise BackendError("gone")
        return whole(inputs, **options)

    monkeypatch.setattr(new, "encode_document", encode)
    with pytest.raises(BackendError):
        reindex(index, new, batch_size=2)
    monkeypatch.undo()
    stopped = reindex(index, new, batch_size=2, stop=iter([False, True]).__next__)
    assert (stopped.written, stopped.unchanged, stopped.complete) == (2, 4, False)
    assert stopped.physical == "ume_r1--2"
    new.calls.clear()
    report = reindex(index, new, batch_size=2)
    assert (report.written, report.unchanged, report.points, report.complete) == (4, 6, 10, True)
    assert sum(count for _, _, count in new.calls) == 4
    assert reindex(index, new).written == 0


def test_what_changes_in_the_live_version_meanwhile_is_followed(index, old, new, folder, monkeypatch):
    """Deleted, changed, new and enriched documents: within one build, and between two."""
    reindex(index, new)
    (folder / "apple.txt").unlink()
    (folder / "bread.txt").write_text("brioche")
    (folder / "new.txt").write_text("something new")
    ingest(old, index, folder, "disc", prune=True)
    whole, done = new.encode_document, []

    def encode(inputs, **options):
        if not done:
            done.append(True)
            (folder / "last.txt").write_text("at the last moment")
            ingest(old, index, folder / "last.txt", "disc")
        return whole(inputs, **options)

    monkeypatch.setattr(new, "encode_document", encode)
    report = reindex(index, new)
    assert (report.written, report.unchanged, report.removed, report.points) == (3, 8, 1, 11)
    target = index.build_next(new.fingerprint)
    assert payloads(target).keys() == payloads(index).keys()
    (bread,) = target.retrieve([str(folder / "bread.txt")])
    assert bread.payload["ume_text"] == "brioche"
    assert "ume_summary" not in bread.payload

    enrich(old, index)
    assert reindex(index, new).texts == 3
    (bread,) = target.retrieve([str(folder / "bread.txt")])
    assert "brioche" in bread.payload["ume_summary"]


def test_a_swap_takes_over_what_was_indexed_since_the_build(index, old, new, folder, monkeypatch):
    writer = index.for_tenant(None)
    reindex(index, new)
    (folder / "bread.txt").write_text("brioche")
    ingest(old, writer, folder / "bread.txt", "disc")
    whole = QdrantIndex.make_live

    def late(self, to, **options):  # between the last look and the moment itself
        (folder / "last.txt").write_text("at the last moment")
        ingest(old, writer, folder / "last.txt", "disc")
        for_a = writer.for_tenant("a")
        to.for_tenant("a").upsert(*stored_for_a)
        ingest(old, for_a, folder / "apple.txt", "disc")
        whole(self, to, **options)

    stored_for_a = made_for(new, "known")
    monkeypatch.setattr(QdrantIndex, "make_live", late)
    report = swap(index, new)
    assert (report.written, report.unchanged, report.missing) == (3, 9, 0)
    assert index.physical == report.physical == "ume_r1--2"
    found = {hit.payload["ume_title"]: hit.payload.get("ume_text") for hit in index.scroll()}
    assert (len(found), found["bread.txt"], found["last.txt"]) == (10, "brioche", "at the last moment")
    assert {hit.payload["ume_title"] for hit in index.for_tenant("a").scroll()} == {"known", "apple.txt"}
    # Nothing is confirmed that the new version would not have.
    (folder / "later.txt").write_text("too late")
    with pytest.raises(IndexRetired, match=r"retired by a reindex.*open the collection again"):
        ingest(old, writer, folder / "later.txt", "disc")


def test_the_recipe_in_the_docs_loses_nothing(old, new, folder, tmp_path, monkeypatch):
    docs = Path(__file__).parents[1] / "docs" / "reindex.md"
    (recipe,) = re.findall(r"```python\n(.*?)```", docs.read_text(), re.DOTALL)
    with QdrantIndex(tmp_path / "my-index", fingerprint=old.fingerprint) as index:
        ingest(old, index, folder, "disc")

        def build(*arguments):
            report = reindex(*arguments)
            (folder / "late.txt").write_text("after the build")
            ingest(old, index, folder / "late.txt", "disc")
            return report

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("ume_r1_rag.SentenceTransformerEncoder", lambda _: new, raising=False)
        monkeypatch.setattr("ume_r1_rag.ingest.reindex", build)
        exec(recipe, {})
    with QdrantIndex(tmp_path / "my-index") as after:
        assert after.fingerprint["model"] == "m2"
        assert str(folder / "late.txt") in payloads(after)


def made_for(encoder, name):
    found = Document(key=name, kind="text", input=MultimodalInput(name), title=name)
    return [found], [encoder.encode_document(name, mode="disc")]


def test_a_swap_that_would_lose_documents_is_refused(index, new, folder):
    (folder / "apple.txt").unlink()
    with pytest.raises(ConfigError, match="would lack 1 documents"):
        swap(index, new)
    assert index.physical == "ume_r1--1"
    assert swap(index, new, allow_missing=True).missing == 1
    assert index.physical == "ume_r1--2"


def test_a_broken_encoder_ends_a_build_and_is_never_swapped_in(old, new, folder):
    for number in range(2 * BROKEN_AFTER):
        (folder / f"{number}.txt").write_text(f"number {number}")
    with QdrantIndex(":memory:", fingerprint=old.fingerprint) as index:
        # No tenant has as many documents: the encoder is the same one for all.
        for tenant in ("a", "b", "c", "d"):
            share = [folder / f"{number}.txt" for number in range(ord(tenant) % 4, 2 * BROKEN_AFTER, 4)]
            ingest(old, index.for_tenant(tenant), share, "disc")
        ingest(old, index, folder / "apple.txt", "disc")
        new._fail = lambda one: None if "apple" in (one.text or "") else BackendError("the device is gone")
        for build in (reindex, partial(swap, allow_missing=True)):
            new.seen.clear()
            with pytest.raises(BackendError, match="the device is gone"):
                build(index, new, batch_size=16)
            assert BROKEN_AFTER <= len(new.seen) <= BROKEN_AFTER + 32
        assert index.build_next(new.fingerprint).count() == 1, "what was encoded is written"
        assert index.physical == "ume_r1--1"


def test_allowing_missing_documents_does_not_cover_what_is_the_encoders_fault(index, new, folder):
    (folder / "apple.txt").unlink()
    new._fail = lambda one: BackendError("out of memory") if "bread" in (one.text or "") else None
    with pytest.raises(BackendError, match="would lack 1 documents that the encoder failed at"):
        swap(index, new, allow_missing=True)
    assert index.physical == "ume_r1--1"
    new._fail = lambda one: InputError("no") if "bread" in (one.text or "") else None
    report = swap(index, new, allow_missing=True)
    assert (report.missing, report.blameless, index.physical) == (2, 0, "ume_r1--2")


def failing_late(folder, old, *, also=None):
    """Returns a ``make_live`` in whose last moment two files are indexed and go; ``also`` has one of them."""
    whole = QdrantIndex.make_live

    def late(self, to, **options):
        for name in ("last", "known"):
            path = folder / f"{name}.txt"
            path.write_text(f"{name} at the last moment")
            ingest(old, self.for_tenant(None), path, "disc")
            if also is not None and name == "known":
                ingest(also, to, path, "disc")
            path.unlink()
        whole(self, to, **options)

    return late


def test_what_cannot_be_taken_over_in_the_last_moment_is_told(index, old, new, folder, monkeypatch):
    (folder / "apple.txt").unlink()
    monkeypatch.setattr(QdrantIndex, "make_live", failing_late(folder, old, also=new))
    report = swap(index, new, allow_missing=True)
    assert index.physical == "ume_r1--2"
    assert (report.missing, report.blameless, report.points) == (2, 0, 10)
    assert sorted(failure.name for failure in report.failures) == ["apple.txt", "last.txt"]


def test_an_encoder_that_breaks_in_the_last_moment_is_told(index, old, new, folder, monkeypatch):
    whole = QdrantIndex.make_live

    def late(self, to, **options):
        for number in range(BROKEN_AFTER):
            (folder / f"{number}.txt").write_text(f"number {number}")
        ingest(old, self.for_tenant(None), folder, "disc")
        new._fail = lambda one: BackendError("the device is gone")
        whole(self, to, **options)

    monkeypatch.setattr(QdrantIndex, "make_live", late)
    with pytest.raises(UmeR1Error, match=r"'ume_r1--2' is live, but .* index it again \(the device is gone"):
        swap(index, new)


def test_enriching_ends_with_the_version(index, old, new, folder, monkeypatch):
    """Each document costs a reasoning: none is spent on a version that is retired."""
    writer = index.for_tenant(None)
    for name in ("one", "two", "three"):
        (folder / f"{name}.txt").write_text(name)
    ingest(old, index, folder, "disc")
    swap(index, new)
    old.calls.clear()
    with pytest.raises(IndexRetired):
        enrich(old, writer, batch_size=1)
    assert len(old.calls) < 3


def test_gone_and_changed_files_are_named_and_missing(index, new, folder):
    (folder / "apple.txt").unlink()
    (folder / "bread.txt").write_text("something else")
    (folder / "two.pdf").write_bytes(b"rubbish")
    report = reindex(index, new)
    assert (report.written, report.missing, report.points) == (6, 4, 6)
    assert sorted(failure.name for failure in report.failures) == [
        "apple.txt",
        "bread.txt",
        "two.pdf#page=1",
        "two.pdf#page=2",
    ]
    assert "is gone" in next(f.reason for f in report.failures if f.title == "apple.txt")


def test_all_tenants_are_carried_over_and_kept_apart(old, new, folder, monkeypatch):
    with QdrantIndex(":memory:", fingerprint=old.fingerprint) as index:
        parts = {"a": "apple.txt", "b": "bread.txt", None: "cedar.txt"}
        for tenant, name in parts.items():
            own = index.for_tenant(tenant)
            ingest(old, own, [folder / name, folder / "delta.txt"], "both")
        (folder / "apple.txt").unlink()
        report = reindex(index, new)
        assert (report.written, report.missing, report.tenants) == (5, 1, (None, "a", "b"))
        assert swap(index, new, allow_missing=True).missing == 1
        for tenant, name in parts.items():
            own = index.for_tenant(tenant)
            expected = {"delta.txt"} if tenant == "a" else {name, "delta.txt"}
            assert {hit.payload["ume_title"] for hit in own.scroll()} == expected
            assert {hit.payload.get("ume_tenant") for hit in own.scroll()} == {tenant}
        with pytest.raises(ConfigError, match="without tenant"):
            reindex(index.for_tenant("a"), new)


def test_a_tenant_that_left_does_not_come_back(old, new, folder):
    with QdrantIndex(":memory:", fingerprint=old.fingerprint) as index:
        for tenant in ("acme", "globex", None):
            ingest(old, index.for_tenant(tenant), folder / "apple.txt", "disc")
        reindex(index, new)
        index.for_tenant("acme").delete([str(folder / "apple.txt")])
        index.for_tenant(None).delete([str(folder / "apple.txt")])
        assert index.tenants() == ["globex"]
        # Nor by whoever moves the name by hand.
        with pytest.raises(ConfigError, match=r"'ume_r1--1' has no documents of 1 tenants .*'acme'"):
            index.make_live(index.build_next(new.fingerprint))
        assert index.physical == "ume_r1--1"
        report = swap(index, new)
        assert (report.removed, report.points, report.tenants) == (2, 1, ("globex",))
        assert index.physical == "ume_r1--2"
        assert index.tenants() == ["globex"]
        assert [index.for_tenant(tenant).count() for tenant in ("acme", None)] == [0, 0]


def test_a_tenant_of_whom_nothing_is_left_does_not_hold_up_a_swap(old, new, folder):
    with QdrantIndex(":memory:", fingerprint=old.fingerprint) as index:
        ingest(old, index.for_tenant("acme"), folder / "apple.txt", "disc")
        ingest(old, index.for_tenant("globex"), folder / "bread.txt", "disc")
        (folder / "apple.txt").unlink()
        with pytest.raises(ConfigError, match="would lack 1 documents"):
            swap(index, new)
        assert index.physical == "ume_r1--1"
        report = swap(index, new, allow_missing=True)
        assert (report.missing, [one.name for one in report.failures]) == (1, ["apple.txt"])
        assert (index.physical, index.tenants()) == ("ume_r1--2", ["globex"])
        # Nothing is gone for good: the version before has it.
        index.rollback()
        assert index.tenants() == ["acme", "globex"]


def test_rolling_back_brings_the_old_version_and_its_gen_back(index, old, new):
    before, covered = payloads(index), index.coverage()
    swap(index, new)
    assert index.fingerprint["model"] == "m2"
    assert index.rollback() == "ume_r1--1"
    index.check(old.fingerprint)
    assert (payloads(index), index.coverage()) == (before, covered)


def test_what_a_rollback_loses_and_brings_back_is_counted(old, new, folder):
    with QdrantIndex(":memory:", fingerprint=old.fingerprint) as index:
        for tenant in ("a", "b", None):
            ingest(old, index.for_tenant(tenant), folder / "apple.txt", "disc")
        with pytest.raises(ConfigError, match="no earlier version"):
            rollback_loss(index)
        swap(index, new)
        assert rollback_loss(index) == RollbackLoss(0, 0)
        ingest(new, index, [folder / "bread.txt", folder / "cedar.txt"], "disc")
        (folder / "apple.txt").write_text("pear")
        ingest(new, index.for_tenant("b"), folder / "apple.txt", "disc")
        ingest(new, index.for_tenant("c"), folder / "apple.txt", "disc")
        index.for_tenant("a").delete([str(folder / "apple.txt")])
        assert rollback_loss(index) == RollbackLoss(newer=4, deleted=1)
        with pytest.raises(ConfigError, match="without tenant="):
            rollback_loss(index.for_tenant("b"))


def test_the_command_does_not_go_back_silently(command, new, folder):
    assert command("--to", "new", "--yes").exit_code == 0
    (folder / "new.txt").write_text("something new")
    with QdrantIndex(command.path) as index:
        ingest(new, index, folder / "new.txt", "disc")
        index.delete([str(folder / "apple.txt"), str(folder / "bread.txt")])
    refused = command("--rollback")
    assert refused.exit_code == 1
    assert refused.stdout == (
        "loses      1 newer document is left behind, 2 deleted ones come back\n"
        "not changed: the same command with --yes goes back\n"
    )
    assert live(command)[0] == "ume_r1--2"
    done = command("--rollback", "--yes")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (
        0,
        "live       ume_r1 is ume_r1--1 again, with model m1",
    )
    assert live(command)[0] == "ume_r1--1"


def test_reasoning_need_not_be_carried_over(index, new):
    reindex(index, new, store_reasoning=False)
    stored = payloads(index.build_next(new.fingerprint)).values()
    assert all("ume_summary" in one and "ume_reasoning" not in one for one in stored)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("abc", "abc", 1.0),
        ("abc", "def", 0.0),
        # By hand, p = 0.9: A = 0, 1, 2/3; 2/3 * 0.729 + 1/9 * (0 + 0.81 + 2/3 * 0.729).
        ("abc", "bad", 0.63),
        ("", "", 1.0),
        ("a", "", 0.0),
    ],
)
def test_rank_biased_overlap(one, other, expected):
    assert rank_biased_overlap(one, other) == pytest.approx(expected)


def test_two_versions_are_compared_each_with_its_own_encoder(index, old, new, folder):
    reindex(index, new)
    before, after = Retriever(old, index), Retriever(new, index.build_next(new.fingerprint))
    questions = [Question(MultimodalInput(word), gold=f"{word}.txt") for word in WORDS]
    same = compare(before, before, questions, k=3)
    assert (same.questions, same.overlap, same.rbo, same.same_first) == (8, 1.0, pytest.approx(1), 8)
    found = compare(before, after, [*questions, Question(MultimodalInput("and nothing"))], k=3)
    assert (found.questions, found.space, found.k, found.gold) == (9, "disc", 3, 8)
    assert (found.hit_before, found.hit_after) == (8, 8)
    assert found.same_first >= 8
    assert 0 < found.overlap < 1
    assert 0 < found.rbo < 1
    old._fail = lambda one: InputError("no") if one.images else None
    picture = Question(MultimodalInput(images=(Image.new("RGB", (9, 9)),)))
    assert compare(before, after, [*questions, picture]).left_out == 1
    with pytest.raises(ConfigError, match="1 were left out"):
        compare(before, after, [picture])


@pytest.fixture
def command(tmp_path, folder, old, new, monkeypatch):
    """Runs ``ume-r1`` on an index in a folder, made with the old encoder; the new one is called ``new``."""
    for name in ("QDRANT_URL", "UME_R1_PATH", "UME_R1_COLLECTION", "UME_R1_TENANT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("ume_r1_rag.cli.model.load_encoder", lambda *_, **__: new)
    monkeypatch.setattr("ume_r1_rag.cli.model.encoder_for", lambda *_, **__: old)
    path = tmp_path / "index"
    with QdrantIndex(path, fingerprint=old.fingerprint) as index:
        ingest(old, index, folder, "both")

    def run(*arguments, input=None):
        return CliRunner().invoke(app, ["reindex", "--path", str(path), *map(str, arguments)], input=input)

    run.path = path
    return run


def live(command):
    with QdrantIndex(command.path) as index:
        return index.physical, len(index.versions())


def test_the_command_builds_compares_swaps_and_goes_back(command, tmp_path):
    questions = tmp_path / "questions.jsonl"
    lines = [json.dumps({"text": word, "gold": f"{word}.txt", "kind": "page"}) for word in WORDS]
    questions.write_text("\n".join(lines))
    done = command("--to", "new", "--queries", questions)
    assert done.exit_code == 0, done.output
    shown = done.stdout.splitlines()
    assert shown[0] == "built      ume_r1--2: 10 documents"
    assert shown[1].startswith("written    10 in ")
    assert shown[2].startswith("kept       reasoning and summary of 10 documents, the earlier model's")
    assert shown[3].startswith(
        "gen        10 documents have a gen vector now, 0 in the new version: `--mode both`"
    )
    assert shown[4] == "compared   8 questions by disc"
    assert shown[8] == "  hit@1       8 of 8 now, 8 after"
    assert shown[9] == "not swapped: the same command with --yes makes ume_r1--2 live"
    assert live(command) == ("ume_r1--1", 2)

    done = command("--to", "new", "--yes")
    assert done.exit_code == 0
    assert "written    0 in " in done.stdout
    assert ", 10 were there" in done.stdout
    assert "live       ume_r1 is ume_r1--2 now, with model m2" in done.stdout
    assert live(command) == ("ume_r1--2", 2)
    assert command("--rollback").stdout == "live       ume_r1 is ume_r1--1 again, with model m1\n"
    again = command("--rollback")
    assert again.exit_code == 1
    assert "no earlier version" in again.stderr
    assert live(command) == ("ume_r1--1", 2)

    assert command("--drop-old", input="n\n").exit_code == 1
    assert live(command)[1] == 2
    assert command("--drop-old", "--yes").stdout == "dropped    ume_r1--2\n"
    assert command("--drop-old").stdout.startswith("nothing to drop")
    assert live(command) == ("ume_r1--1", 1)


def test_the_command_finishes_a_swap_that_was_killed(command):
    assert command("--to", "new", "--yes").exit_code == 0
    with QdrantIndex(command.path) as index:
        index.share_client().update_collection("ume_r1--1", metadata={RETIRED: False})
    assert "very encoder" in command("--to", "new", "--yes").stderr
    with QdrantIndex(command.path) as index:
        assert [(one.live, one.retired) for one in index.versions()] == [(False, True), (True, False)]


def test_the_command_refuses_the_encoder_that_is_there(command, old, monkeypatch):
    monkeypatch.setattr("ume_r1_rag.cli.model.load_encoder", lambda *_, **__: old)
    refused = command("--to", "old", "--yes")
    assert refused.exit_code == 1
    assert "very encoder" in refused.stderr
    assert live(command) == ("ume_r1--1", 1)


def test_the_command_does_not_swap_what_lacks_documents_unless_told_to(command, folder):
    (folder / "apple.txt").unlink()
    done = command("--to", "new", "--yes")
    assert done.exit_code == 1
    assert "failed     1 and would be missing\n  apple.txt" in done.stdout
    assert "not swapped: 1 document would be missing" in done.stdout
    assert live(command)[0] == "ume_r1--1"
    done = command("--to", "new", "--yes", "--allow-missing")
    assert done.exit_code == 1, "the loss is still said"
    assert live(command)[0] == "ume_r1--2"


def test_the_command_never_swaps_in_what_the_new_model_failed_at(command, new):
    new._fail = lambda one: BackendError("gone") if "bread" in (one.text or "") else None
    done = command("--to", "new", "--yes", "--allow-missing")
    assert done.exit_code == 1
    assert "not swapped: the new model failed at 1 document by no fault of its own" in done.stdout
    assert live(command)[0] == "ume_r1--1"


def test_the_command_tells_what_was_lost_in_the_last_moment(command, folder, old, monkeypatch):
    monkeypatch.setattr(QdrantIndex, "make_live", failing_late(folder, old))
    done = command("--to", "new", "--yes")
    assert done.exit_code == 1
    assert "failed     2 and are missing\n" in done.stdout
    assert "  the file of last.txt is gone" in done.stdout
    assert live(command)[0] == "ume_r1--2"


def test_the_command_asks_for_tenants_questions_in_their_own_part(command, folder, old, tmp_path):
    with QdrantIndex(command.path, tenant="a") as own:
        ingest(old, own, folder / "apple.txt", "disc")
    questions = tmp_path / "questions.txt"
    questions.write_text("apple\nbread\n")
    done = command("--to", "new", "--queries", questions, "--tenant", "a", "--yes")
    assert done.exit_code == 0, done.output
    assert "tenants    1\n" in done.stdout
    assert "overlap@10  1.00" in done.stdout, "a tenant with one document"
    with QdrantIndex(command.path, tenant="a") as own:
        assert (own.physical, own.count()) == ("ume_r1--2", 1)


def test_a_present_model_that_is_not_there_is_refused_before_the_build(command, new, tmp_path, monkeypatch):
    monkeypatch.setattr("ume_r1_rag.cli.model.encoder_for", encoder_for)
    monkeypatch.setattr("ume_r1_rag.cli.model.load_encoder", load_encoder)
    questions = tmp_path / "questions.txt"
    questions.write_text("apple\n")
    refused = command("--to", "new", "--queries", questions, "--model", "./nowhere")
    assert refused.exit_code == 1
    assert "nowhere" in refused.stderr
    assert (new.calls, live(command)) == ([], ("ume_r1--1", 1))
    refused = command("--to", "new", "--queries", questions, "--tenant", "nobody")
    assert "no disc vectors to compare with" in refused.stderr
    assert (new.calls, live(command)) == ([], ("ume_r1--1", 1))


@pytest.mark.parametrize("fields", [{"preset": {}}, {}])
def test_the_present_model_is_run_like_the_new_one_and_closed_before_it(
    command, new, folder, tmp_path, make_encoder, monkeypatch, fields
):
    happened = []
    present = make_encoder(**fields)
    monkeypatch.setattr(present, "close", lambda: happened.append("closed"))

    def load_present(*_, run, batch_size, **__):
        happened.append(("present", run and run.backend, batch_size))
        return present

    monkeypatch.setattr("ume_r1_rag.cli.model.encoder_for", load_present)
    monkeypatch.setattr("ume_r1_rag.cli.model.load_encoder", lambda *_, **__: happened.append("new") or new)
    with QdrantIndex(command.path, collection="other", fingerprint=present.fingerprint) as index:
        ingest(present, index, folder, "disc")
    questions = tmp_path / "questions.txt"
    questions.write_text("apple\n")
    done = command(
        *("--to", "new", "--queries", questions, "--collection", "other"),
        *("--backend", "transformers", "--batch-size", 3),
    )
    assert done.exit_code == 0, done.output
    assert "compared   1 questions" in done.stdout
    assert happened == [("present", "transformers" if fields else None, 3), "closed", "new"]


def test_ctrl_c_stops_a_build_that_goes_on_later(command, new, monkeypatch):
    whole = new.encode_document

    def encode(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return whole(*arguments, **options)

    monkeypatch.setattr(new, "encode_document", encode)
    done = command("--to", "new", "--batch-size", 4, "--yes")
    assert done.exit_code == 130
    assert "built      ume_r1--2: 4 documents so far" in done.stdout
    assert live(command)[0] == "ume_r1--1"
    monkeypatch.undo()


def test_a_build_that_is_given_up_can_be_dropped(command, new, monkeypatch):
    assert "has no version that was begun only" in command("--drop-build").stdout
    assert command("--to", "new").exit_code == 0
    assert [name for name, *_ in versions(command)] == ["ume_r1--1", "ume_r1--2"]
    # Not without a word, and never what is live or was.
    assert command("--drop-build").exit_code == 1
    assert len(versions(command)) == 2
    assert "nothing to drop" in command("--drop-old", "--yes").stdout
    assert command("--drop-build", "--yes").stdout == "dropped    ume_r1--2\n"
    assert versions(command) == [("ume_r1--1", True, False)]
    # Its number is used up: whoever has it open must not find another in its place.
    assert command("--to", "new", "--yes").exit_code == 0
    assert live(command)[0] == "ume_r1--3"
    assert "has no version that was begun only" in command("--drop-build", "--yes").stdout
    assert versions(command) == [("ume_r1--1", False, True), ("ume_r1--3", True, False)]


def versions(command):
    with QdrantIndex(command.path) as index:
        return [(one.physical, one.live, one.retired) for one in index.versions()]


@pytest.mark.parametrize("arguments", [[], ["--rollback", "--drop-old"], ["--to", "x", "--rollback"]])
def test_the_command_does_one_thing(command, arguments):
    done = command(*arguments)
    assert done.exit_code == 2
    assert "give one of" in done.stderr
