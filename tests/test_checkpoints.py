"""Where a model comes from, what is refused, and the digest of its weights."""

from __future__ import annotations

import json
import os
import struct
import sys

import huggingface_hub
import huggingface_hub.errors
import pytest

from ume_r1_rag import checkpoints
from ume_r1_rag.checkpoints import (
    DEFAULT_MODEL,
    REVISIONS,
    download,
    nano_path,
    resolve_model,
    weights_digest,
)
from ume_r1_rag.errors import CheckpointError, MissingExtra

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def no_default(monkeypatch):
    monkeypatch.delenv("UME_R1_MODEL", raising=False)


def safetensors(**tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, values in tensors.items():
        places = [len(data), len(data) + len(values)]
        header[name] = {"dtype": "U8", "shape": [len(values)], "data_offsets": places}
        data += values
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + data


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "tokenizer.json").write_text("{}")
    (path / "model.safetensors").write_bytes(safetensors(a=bytes(100_000), b=bytes(10), c=b""))
    return path


@pytest.fixture
def hub(monkeypatch, folder):
    """Stands for the hub: ``here`` is the local copy, ``there`` the remote one; calls are noted."""

    class Hub:
        here = None
        there = folder
        calls: list[tuple[str, str, bool]] = []  # noqa: RUF012 - made anew for every test
        patterns: list[str] = []  # noqa: RUF012 - the same

    def snapshot_download(model, *, revision, allow_patterns, local_files_only, cache_dir):
        Hub.calls.append((model, revision, local_files_only))
        Hub.patterns = allow_patterns
        if local_files_only and Hub.here is None:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        if isinstance(Hub.there, Exception) and not local_files_only:
            raise Hub.there
        return str(Hub.here if local_files_only else Hub.there)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return Hub


def test_nano_is_part_of_the_package():
    checkpoint = resolve_model("nano")
    assert checkpoint.path == nano_path()
    assert (checkpoint.name, checkpoint.revision) == ("nano", None)
    assert len(weights_digest(checkpoint.path)) == 64
    assert download("nano") == checkpoint


def test_nano_is_missed_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(CheckpointError, match="reinstall"):
        resolve_model("nano")


def test_a_folder_is_taken_as_it_is(folder, monkeypatch):
    for given in (folder, str(folder)):
        checkpoint = resolve_model(given)
        assert (checkpoint.name, checkpoint.revision, checkpoint.path) == (str(folder), None, folder)
    monkeypatch.chdir(folder.parent)
    assert resolve_model("model").path == folder
    monkeypatch.setenv("UME_R1_MODEL", str(folder))
    assert resolve_model().path == folder


def test_the_default_is_pinned(hub, folder):
    checkpoint = resolve_model()
    assert (checkpoint.name, checkpoint.revision) == (DEFAULT_MODEL, REVISIONS[DEFAULT_MODEL])
    assert checkpoint.path == folder
    assert [local for _, _, local in hub.calls] == [True, False], "first here, then the hub"
    assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in hub.patterns)
    assert all(len(revision) == 40 for revision in REVISIONS.values())


def test_a_local_copy_needs_no_network(hub, folder):
    hub.here, hub.there = folder, ConnectionError("no network")
    assert resolve_model("me/mine", COMMIT).path == folder
    assert hub.calls == [("me/mine", COMMIT, True)]


def test_half_a_local_copy_is_completed(hub, folder, tmp_path):
    hub.here = tmp_path / "half"
    hub.here.mkdir()
    assert resolve_model().path == folder
    assert len(hub.calls) == 2


@pytest.mark.parametrize("error", [ConnectionError("no network"), OSError("disk full"), ValueError("odd")])
def test_without_a_network_the_remedies_are_named(hub, error):
    hub.there = error
    for call in (resolve_model, download):
        with pytest.raises(CheckpointError, match=rf'{error}.*ume-r1 download {DEFAULT_MODEL}.*"nano"'):
            call(DEFAULT_MODEL)
    with pytest.raises(CheckpointError, match="not on this machine"):
        resolve_model(local_only=True)


def test_the_real_hub_client_reports_absence_as_expected(tmp_path):
    found = checkpoints._snapshot(DEFAULT_MODEL, COMMIT, local_only=True, cache_dir=tmp_path)
    assert found is None


@pytest.mark.parametrize("model", ["gpt2", "a b/c", "/no/such/folder", "x/y/z", "./missing"])
def test_neither_a_folder_nor_an_id(model):
    with pytest.raises(CheckpointError, match=r'neither a folder here nor a hub id.*"nano"'):
        resolve_model(model)


@pytest.mark.parametrize("revision", [None, "main", "0123456", COMMIT.upper()])
def test_only_full_commits(revision):
    with pytest.raises(CheckpointError, match="full commit"):
        resolve_model("me/mine", revision)


def test_an_id_may_name_its_commit(hub, folder, monkeypatch):
    named = f"me/mine@{COMMIT}"
    for checkpoint in (resolve_model(named), resolve_model(named, COMMIT), download(named)):
        assert (checkpoint.name, checkpoint.revision, checkpoint.path) == ("me/mine", COMMIT, folder)
        assert checkpoint.reference == named
    monkeypatch.setenv("UME_R1_MODEL", f"{DEFAULT_MODEL}@{COMMIT}")
    assert resolve_model().revision == COMMIT
    assert {call[:2] for call in hub.calls} == {("me/mine", COMMIT), (DEFAULT_MODEL, COMMIT)}
    assert resolve_model(DEFAULT_MODEL).reference == DEFAULT_MODEL
    assert resolve_model("nano").reference == "nano"
    hub.there = ConnectionError("no network")
    with pytest.raises(CheckpointError, match=f"ume-r1 download {named}"):
        resolve_model(named)


def test_a_commit_that_is_named_wrongly(folder, monkeypatch):
    with pytest.raises(CheckpointError, match="me/mine@COMMIT"):
        resolve_model("me/mine")
    with pytest.raises(CheckpointError, match="two commits"):
        resolve_model(f"me/mine@{COMMIT}", COMMIT[::-1])
    for wrong in ("main", "", "a@b"):
        with pytest.raises(CheckpointError, match="full commit"):
            resolve_model(f"me/mine@{wrong}")
    monkeypatch.chdir(folder.parent)
    folder.rename(folder.with_name("mine@home"))
    assert resolve_model("mine@home").revision is None


def test_without_huggingface_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"pip install 'ume-r1-rag\[transformers\]'"):
        resolve_model()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config.json", "config.json is not there"),
        ("tokenizer.json", "tokenizer.json is not there"),
        ("model.safetensors", r"no \*.safetensors"),
    ],
)
def test_what_is_missing_is_said(folder, name, words):
    (folder / name).unlink()
    for call in (resolve_model, weights_digest):
        with pytest.raises(CheckpointError, match=words):
            call(folder)


def test_pickles_adapters_and_missing_shards(folder):
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"1 weight files are not there \(model-2.safetensors\)"):
        resolve_model(folder)
    index.write_text("[]")
    with pytest.raises(CheckpointError, match="broken"):
        resolve_model(folder)
    index.unlink()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickles"):
        resolve_model(folder)
    (folder / "config.json").rename(folder / "adapter_config.json")
    with pytest.raises(CheckpointError, match="merge it"):
        resolve_model(folder)


@pytest.mark.parametrize("whole", [True, False])
def test_the_digest_follows_the_content(folder, monkeypatch, whole):
    if not whole:
        monkeypatch.setattr(checkpoints, "_WHOLE", 0)
    checkpoints._digest.cache_clear()
    seen = {weights_digest(folder)}
    weights, changed = folder / "model.safetensors", bytes(50_000) + b"\1" * 50_000
    for name, data in (
        ("model.safetensors", safetensors(a=changed, b=bytes(10), c=b"")),
        ("model.safetensors", safetensors(a=changed, b=bytes(9) + b"\1", c=b"")),
        ("model.safetensors", safetensors(a=changed, x=bytes(9) + b"\1", c=b"")),
        ("config.json", b'{"a": 1}'),
        ("tokenizer.json", b'{"a": 1}'),
        ("second.safetensors", safetensors(d=b"1")),
    ):
        (folder / name).write_bytes(data)
        seen.add(weights_digest(folder))
    assert len(seen) == 7
    (folder / "README.md").write_text("irrelevant")
    os.utime(weights, (1, 1))
    assert weights_digest(folder) in seen, "neither other files nor times matter"
    (folder / "second.safetensors").unlink()
    assert weights_digest(str(folder)) in seen


def test_the_digest_is_remembered(folder, monkeypatch):
    first = weights_digest(folder)
    monkeypatch.setattr(checkpoints, "_all_of", lambda _: pytest.fail("read again"))
    assert weights_digest(folder) == first


@pytest.mark.parametrize("data", [b"", b"12345", b"\xff" * 64, struct.pack("<Q", 2) + b"[]"])
def test_a_broken_weight_file(folder, monkeypatch, data):
    monkeypatch.setattr(checkpoints, "_WHOLE", 0)
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="broken"):
        weights_digest(folder)
