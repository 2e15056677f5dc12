"""Crashes: an ingestion that is killed at any moment is finished by running it again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ume_r1_rag.errors import IndexUnavailable
from ume_r1_rag.index import QdrantIndex

DRIVER = Path(__file__).with_name("killed_ingest.py")


def killed(folder, kills, texts, seed):
    """Runs the driver, which kills one ingestion again and again; returns what it found."""
    command = [sys.executable, str(DRIVER), str(folder), str(kills), str(seed), str(texts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(found, kills):
    assert found["kills"] == kills
    assert found["wrong"] == []
    assert found["acknowledged"] > 0
    assert found["keys"] == found["expected"], "every document exactly once, and nothing else"
    assert found["failures"] == ["broken.pdf", "broken.png", "pages.pdf#page=1"]
    # What was acknowledged is not encoded again.
    first, second = found["first"], found["second"]
    assert first["unchanged"] >= found["acknowledged"]
    assert first["indexed"] + first["unchanged"] == len(found["expected"])
    assert (second["indexed"], second["unchanged"]) == (0, len(found["expected"]))
    assert first["failed"] == second["failed"] == 3


def test_an_ingestion_that_is_killed_five_times_loses_nothing(tmp_path):
    check(killed(tmp_path, kills=5, texts=50, seed=3), 5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2])
def test_an_ingestion_that_is_killed_twenty_times_loses_nothing(tmp_path, seed):
    """One check after each kill, and one at the end; at random moments, with old, new and broken files."""
    check(killed(tmp_path, kills=20, texts=190, seed=seed), 20)


@pytest.mark.parametrize("torn", ["", '{"collect'])
def test_a_folder_whose_maker_was_killed_at_once_can_be_used(tmp_path, make_encoder, torn):
    (tmp_path / "meta.json").write_text(torn)
    encoder = make_encoder()
    with QdrantIndex(tmp_path, fingerprint=encoder.fingerprint) as index:
        assert index.count() == 0


def test_a_torn_file_of_a_folder_with_collections_is_never_thrown_away(tmp_path, make_encoder):
    encoder = make_encoder()
    QdrantIndex(tmp_path, fingerprint=encoder.fingerprint).close()
    (tmp_path / "meta.json").write_text("")
    with pytest.raises(IndexUnavailable, match="move it away"):
        QdrantIndex(tmp_path, fingerprint=encoder.fingerprint)
    assert (tmp_path / "meta.json").exists()
