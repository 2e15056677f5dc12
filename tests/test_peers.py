"""Other models in the same run: each kind on a tiny model that is made here, and a server of ours."""

import json
import os

import httpx
import numpy as np
import pytest
import tiny_models
from PIL import Image
from served import Served

from ume_r1_bench.peers import Peer, PeerVectors, open_peer
from ume_r1_bench.peers.encoder import EncoderPeer
from ume_r1_bench.peers.peer import encode_batches
from ume_r1_bench.peers.server import ServerPeer
from ume_r1_rag.errors import BackendError, CheckpointError, ConfigError, InputError, ServerUnavailable
from ume_r1_rag.types import MultimodalInput

RED, BLUE = Image.new("RGB", (64, 48), "red"), Image.new("RGB", (48, 64), "blue")
TEXT, PICTURE = MultimodalInput("a red circle"), MultimodalInput(images=(RED,))
MIXED = MultimodalInput("a blue square", images=(BLUE,))
CLIP = MultimodalInput(video=[RED, BLUE])
GONE = MultimodalInput(images=("gone.png",))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("peers")
    made = {"clip": tiny_models.clip, "siglip": tiny_models.siglip, "late": tiny_models.colqwen2}
    return {name: make(base / name) for name, make in made.items()}


@pytest.fixture(scope="module")
def clip(folders):
    return open_peer(f"clip:{folders['clip']}", device="cpu")


@pytest.fixture(scope="module")
def late(folders):
    return open_peer(f"late:{folders['late']}", device="cpu")


@pytest.fixture(scope="module")
def server(nano_encoder):
    from ume_r1_rag.server import create_app

    with Served(create_app(nano_encoder, api_key="a key")) as app:
        yield app


def test_clip_gives_the_towers_own_vectors(clip, folders):
    import torch
    from transformers import AutoModel, AutoProcessor

    model, processor = (kind.from_pretrained(folders["clip"]) for kind in (AutoModel, AutoProcessor))
    with torch.no_grad():
        text = model.get_text_features(**processor(text=["a red circle"], return_tensors="pt")).pooler_output
        image = model.get_image_features(**processor(images=[RED], return_tensors="pt")).pooler_output
    found = clip.encode_queries([TEXT, PICTURE])
    for row, own in zip(found.rows, (text, image), strict=True):
        assert row.shape == (1, 12)
        assert row[0] == pytest.approx(np.asarray(own[0] / own[0].norm()), abs=1e-5)
    assert isinstance(clip, Peer)
    assert clip.name == "clip:clip", "no folder of this machine"


def test_clip_takes_the_mean_of_what_mixes_and_a_batch_changes_nothing(clip):
    parts = clip.encode_documents(
        [MultimodalInput("a blue square"), MultimodalInput(images=(BLUE,)), PICTURE]
    )
    text, blue, red = (row[0] for row in parts.rows)
    mixed, film, again = clip.encode_documents([MIXED, CLIP, PICTURE]).rows
    for row, mean in ((mixed, text + blue), (film, red + blue)):
        assert row[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert again[0] == pytest.approx(red, abs=1e-5)


def test_siglip_pads_texts_to_full_length(folders):
    import torch
    from transformers import AutoModel, AutoProcessor

    peer = open_peer(f"clip:{folders['siglip']}", device="cpu")
    model, processor = (kind.from_pretrained(folders["siglip"]) for kind in (AutoModel, AutoProcessor))
    texts = ["a red circle", "a " * 40]
    given = processor(text=texts, padding="max_length", truncation=True, max_length=16, return_tensors="pt")
    with torch.no_grad():
        own = model.get_text_features(**given).pooler_output
    for text, vector in zip(texts, own, strict=True):
        (row,) = peer.encode_queries([MultimodalInput(text)]).rows
        assert row[0] == pytest.approx(np.asarray(vector / vector.norm()), abs=1e-5)


def test_late_scores_are_the_processors_own(late, folders):
    import torch
    from transformers import ColQwen2ForRetrieval, ColQwen2Processor

    model = ColQwen2ForRetrieval.from_pretrained(folders["late"], dtype=torch.float32)
    processor = ColQwen2Processor.from_pretrained(folders["late"])
    texts = ["a red circle", "blue"]
    with torch.no_grad():
        queries = model(**processor.process_queries(texts)).embeddings
        # One at a time: what is padded must not count.
        pages = [model(**processor.process_images([page])).embeddings[0] for page in (RED, BLUE)]
    own = processor.score_retrieval([one[one.norm(dim=1) > 0] for one in queries], pages)
    asked = late.encode_queries([MultimodalInput(text) for text in texts])
    found = late.encode_documents([MultimodalInput(images=(page,)) for page in (RED, BLUE)])
    assert asked.rows[0].shape[0] > 1
    assert found.dimension == 24
    scores = late.score(asked, found)
    assert scores.dtype == np.float32
    assert scores == pytest.approx(own.float().numpy(), abs=2e-3)
    by_hand = [[(q @ p.T).max(1).sum() for p in found.rows] for q in asked.rows]
    assert scores == pytest.approx(np.array(by_hand), abs=1e-4)


def test_late_refuses_what_it_cannot_read_and_goes_on(late):
    two = MultimodalInput(images=(RED, BLUE))
    found = late.encode_documents([PICTURE, two, CLIP, GONE, PICTURE])
    assert [row is None for row in found.rows] == [False, True, True, True, False]
    assert [at for at, _ in found.failures] == [1, 2, 3]
    assert "reads one text or one image, not 2 pictures" in str(found.failures[0][1])
    assert "a video" in str(found.failures[1][1])
    assert all(isinstance(error, InputError) for _, error in found.failures)
    scores = late.score(late.encode_queries([TEXT, CLIP]), found)
    assert np.isfinite(scores[0]).tolist() == [True, False, False, False, True]
    assert np.isneginf(scores[0, 1:4]).all(), "what failed is last"
    assert np.isnan(scores[1]).all(), "a failed query has no ranking"


def test_late_reads_the_picture_of_what_has_a_text_too_and_says_so(late, caplog):
    mixed, alone = late.encode_documents([MIXED, MultimodalInput(images=(BLUE,))]).rows
    assert mixed == pytest.approx(alone, abs=1e-5)
    assert "of 1 inputs it is left out" in caplog.text
    assert late.fingerprint["mixed"] == "picture alone"


def test_a_bad_input_takes_nothing_along(clip):
    found = clip.encode_documents([TEXT, GONE, PICTURE])
    assert [at for at, _ in found.failures] == [1]
    assert "gone.png" in str(found.failures[0][1])
    whole = clip.encode_documents([TEXT, PICTURE])
    assert found.rows[2] == pytest.approx(whole.rows[1], abs=1e-5)


def test_any_encoder_of_ours_is_a_peer(nano_encoder):
    peer = EncoderPeer(nano_encoder, "nano")
    assert isinstance(peer, Peer)
    found = peer.encode_queries([TEXT, GONE, PICTURE])
    assert [at for at, _ in found.failures] == [1]
    assert found.rows[0][0] == pytest.approx(nano_encoder.encode_query(TEXT).disc, abs=1e-5)
    assert peer.score(found, found)[0, 0] == pytest.approx(1, abs=1e-5)


def test_a_sentence_transformers_model_that_sees(folders):
    from sentence_transformers import SentenceTransformer

    path = folders["clip"].parent / "st"
    SentenceTransformer(str(folders["clip"]), device="cpu", local_files_only=True).save(str(path))
    peer, own = open_peer(f"st:{path}", device="cpu"), open_peer(f"clip:{folders['clip']}", device="cpu")
    assert peer.name == "st:st"
    theirs, ours = peer.encode_documents([TEXT, PICTURE]), own.encode_documents([TEXT, PICTURE])
    for left, right in zip(theirs.rows, ours.rows, strict=True):
        assert left == pytest.approx(right, abs=1e-4)
    json.dumps({**peer.fingerprint, **own.fingerprint})


def test_a_server_gives_the_vectors_of_the_model_behind_it(server, nano_encoder):
    peer = ServerPeer(f"{server.url}/v1", "nano", api_key="a key", batch_size=2, concurrency=2)
    assert isinstance(peer, Peer)
    items = [
        TEXT,
        MultimodalInput("blue"),
        PICTURE,
        MIXED,
        MultimodalInput("green", instruction="Find"),
        GONE,
    ]
    found = peer.encode_documents(items)
    assert [at for at, _ in found.failures] == [5]
    for row, item in zip(found.rows[:4], items[:4], strict=True):
        assert row[0] == pytest.approx(nano_encoder.encode_document(item).disc, abs=1e-5)
    assert found.rows[4][0] == pytest.approx(nano_encoder.encode("Find green").disc, abs=1e-5)
    film = peer.encode_documents([CLIP])  # frames travel as JPEG
    assert float(film.rows[0][0] @ nano_encoder.encode_document(CLIP).disc) > 0.99
    assert server.url not in json.dumps(dict(peer.fingerprint))
    peer.close()


def test_what_a_server_cannot_give_is_told(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="refuses the key"):
        ServerPeer(f"{server.url}/v1", "nano").encode_queries([TEXT])
    with pytest.raises(ConfigError, match="no such model or path"):
        ServerPeer(server.url + "/v2", "nano", api_key="a key").encode_queries([TEXT])
    with pytest.raises(ServerUnavailable, match="is it running"):
        ServerPeer("http://127.0.0.1:9/v1", "nano", timeout_s=0.2).encode_queries([TEXT])


def answering(status, body):
    def answer(request):
        return httpx.Response(status, json=body)

    client = httpx.Client(transport=httpx.MockTransport(answer))
    return ServerPeer("http://server/v1", "m", http_client=client, batch_size=2)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"data": [{"index": 0, "embedding": [1.0, 0.0]}]}, "1 vectors for 2 inputs"),
        ({"oops": 1}, "no list of embeddings"),
        ([1], "no list of embeddings"),
    ],
)
def test_an_answer_that_is_none_is_those_inputs_error(body, says):
    peer = answering(200, body)
    with pytest.raises(BackendError, match=says):
        peer._ask([TEXT, TEXT])


def test_what_a_server_refuses_is_that_inputs_error():
    found = answering(400, {"error": {"message": "too long"}}).encode_queries([TEXT, TEXT])
    assert [at for at, _ in found.failures] == [0, 1]
    for _, error in found.failures:
        assert isinstance(error, InputError)
        assert "too long" in str(error)


def test_vectors_that_cannot_be_are_told():
    def run(vectors):
        return encode_batches("m", [TEXT] * len(vectors), lambda batch: vectors, batch_size=9)

    found = run([[3.0, 4.0], [0.0, 0.0], [np.nan, 1.0], []])
    assert found.rows[0] == pytest.approx(np.array([[0.6, 0.8]]))
    assert [at for at, _ in found.failures] == [1, 2, 3]
    with pytest.raises(BackendError, match="2 and 3 numbers"):
        run([[3.0, 4.0], [1.0, 0.0, 0.0]])
    two, three = (PeerVectors((np.ones((1, n), np.float32),)) for n in (2, 3))
    with pytest.raises(ConfigError, match="two models"):
        EncoderPeer.score(None, two, three)


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("nano", ConfigError, "names no model"),
        ("clip:", ConfigError, "names no model"),
        ("bm25:x", ConfigError, "openai:NAME@URL"),
        ("openai:model", ConfigError, "openai:NAME@http"),
        ("openai:model@host", ConfigError, "is no address"),
        ("clip:openai/clip-vit-base-patch32", CheckpointError, "full commit"),
        ("late:no-such-folder", CheckpointError, "neither a folder here nor a hub id"),
        ("st:no-such-folder", CheckpointError, "neither a folder here nor a hub id"),
    ],
)
def test_a_word_that_names_no_model_is_refused(spec, error, says):
    with pytest.raises(error, match=says):
        open_peer(spec)


def test_a_model_of_another_kind_is_refused(folders):
    with pytest.raises(CheckpointError, match="no towers"):
        open_peer("clip:nano", device="cpu")
    with pytest.raises(CheckpointError, match="as CLIP and SigLIP have") as caught:
        open_peer(f"clip:{folders['late']}", device="cpu")
    assert len(str(caught.value)) < 600
    with pytest.raises(CheckpointError, match="no multi-vector model"):
        open_peer(f"late:{folders['clip']}", device="cpu")
    (folders["clip"].parent / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json is not there"):
        open_peer(f"late:{folders['clip'].parent / 'empty'}")


def test_a_pickle_is_never_loaded(folders, tmp_path):
    for file in folders["clip"].iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"not to be opened")
    with pytest.raises(CheckpointError, match="pickles, which are not loaded"):
        open_peer(f"clip:{tmp_path}")


@pytest.fixture(scope="module")
def world_rows(tmp_path_factory):
    from ume_r1_bench.world.mmeb import write_mmeb

    folder = tmp_path_factory.mktemp("mmeb") / "data"
    write_mmeb(folder, rows=3, tasks=["VOC2007", "MSVD", "ViDoRe_docvqa"], progress=False)
    return folder


def test_models_are_compared_in_one_run(world_rows, folders, tmp_path):
    from typer.testing import CliRunner

    from ume_r1_rag.cli.app import app

    out = tmp_path / "peers.json"
    models = ["disc:nano", "gen:nano", f"clip:{folders['clip']}", f"late:{folders['late']}"]
    words = ["bench", "peers", *models, "--data", str(world_rows), "--think", "none", "--out", str(out)]
    done = CliRunner().invoke(app, [*words, "--tasks", "VOC2007,MSVD,ViDoRe_docvqa"])
    assert done.exit_code == 1, "ColQwen2 reads no videos"
    assert "late:late reads one text or one image, not a video" in done.output
    record = json.loads(out.read_text(encoding="utf-8"))
    names = ["disc:nano", "gen:nano@none", "clip:clip", "late:late"]
    assert list(record["fingerprints"]) == names
    assert record["protocol"]["name"] == "v2.1"
    rows = {(row["task"], row["peer"]): row for row in record["rows"]}
    assert len(rows) == 12
    for (task, _), row in rows.items():
        assert row["why"] == ""
        assert row["queries"] == 3
        assert row["low"] <= row["value"] <= row["high"]
        assert row["metric"] == ("ndcg_linear@5" if task == "ViDoRe_docvqa" else "hit@1")
        assert (row["failed"] > 0) == (row["peer"] == "late:late" and task == "MSVD")
    assert rows["MSVD", "late:late"]["value"] == 0, "clips that cannot be read are not found"
    assert rows["VOC2007", "disc:nano"]["value"] == 1
    assert str(tmp_path) not in out.read_text(encoding="utf-8")


def test_a_task_that_is_not_there_has_its_reason_and_the_others_go_on(world_rows, nano_encoder):
    from ume_r1_bench.mmeb.load import load_task
    from ume_r1_bench.mmeb.protocol import find_protocol
    from ume_r1_bench.mmeb.task import find_task
    from ume_r1_bench.peers.compare import compare, table

    def load(name):
        return load_task(find_task(name), world_rows, find_protocol("v2.1"), online=False)

    peers = [EncoderPeer(nano_encoder, "nano"), ServerPeer("http://127.0.0.1:9/v1", "m", timeout_s=0.2)]
    rows = list(compare(peers, load, {"CIRR": "hit@1", "VOC2007": "hit@1"}))
    assert ["no rows" in row.why for row in rows] == [True, True, False, False]
    assert rows[2].value == 1
    assert "cannot be reached" in rows[3].why
    assert table(rows).count("not measured") == 3


def test_fingerprints_name_weights_and_no_folder(clip, late):
    for peer in (clip, late):
        mark = dict(peer.fingerprint)
        assert len(mark["weights"]) == 64
        assert os.sep not in json.dumps({**mark, "weights": ""})
