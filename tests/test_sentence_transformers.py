"""sentence-transformers models as encoders: a text model and one that sees, both made here, offline."""

import asyncio
import json
import os
import shutil
import threading

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ume_r1_rag.cache import CachedEncoder
from ume_r1_rag.checkpoints import resolve_model, weights_digest
from ume_r1_rag.checkpoints.layout import SENTENCE_TRANSFORMERS
from ume_r1_rag.cli.app import app
from ume_r1_rag.encoder import SentenceTransformerEncoder, UmeR1Encoder
from ume_r1_rag.errors import BackendError, CheckpointError, ConfigError, EncodeErrors, InputError
from ume_r1_rag.types import Document, Embedding, Encoder, MultimodalInput

WORDS = "a red blue circle square cat dog find http host png x left of report revenue query passage".split()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bag of words with a tokenizer that was trained on WORDS, and a prompt for queries."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator([" ".join(WORDS)], trainers.WordLevelTrainer(special_tokens=["[UNK]"]))
    weights = np.random.default_rng(0).standard_normal((tokenizer.get_vocab_size(), 48)).astype(np.float32)
    weights[0] = 0
    model = SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_weights=weights)],
        prompts={"query": "query ", "find": "find "},
        device="cpu",
    )
    path = tmp_path_factory.mktemp("static") / "model"
    model.save(str(path))
    return path


@pytest.fixture(scope="module")
def encoder(folder):
    return SentenceTransformerEncoder(folder, device="cpu")


@pytest.fixture(scope="module")
def seeing(official_checkpoint, tmp_path_factory):
    """A tiny random vision-language model, its token states averaged."""
    from sentence_transformers import SentenceTransformer

    path = tmp_path_factory.mktemp("seeing") / "model"
    model = SentenceTransformer(str(official_checkpoint), device="cpu", local_files_only=True)
    model.save(str(path))
    return SentenceTransformerEncoder(path, device="cpu", max_image_pixels=120 * 120, max_video_frames=3)


def test_it_is_an_encoder_of_unit_vectors(encoder, folder):
    assert isinstance(encoder, Encoder)
    assert (encoder.dimension, encoder.spaces) == (48, ("disc",))
    assert encoder.model == f"st:{folder}"
    one = encoder.encode_document("a red circle")
    assert (one.disc.shape, one.disc.dtype, one.gen) == ((48,), np.float32, None)
    assert np.linalg.norm(one.disc) == pytest.approx(1)
    many = encoder.encode_document(["a red circle", Document("k", "text", MultimodalInput("blue"))])
    assert np.array_equal(many[0].disc, one.disc)
    assert encoder.encode_document([]) == []
    red, circles, cats = (encoder.encode_query(t).disc for t in ("red circle", "a red circle", "cat dog"))
    assert red @ circles > red @ cats


def test_vectors_are_the_models_own(encoder, folder):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    for ours, theirs in (
        (encoder.encode_query("a cat"), model.encode_query("a cat")),
        (encoder.encode_document("a cat"), model.encode_document("a cat")),
        (encoder.encode_query("a cat", kind="find"), model.encode_query("a cat", prompt_name="find")),
        (
            encoder.encode_document(MultimodalInput("cat", instruction="find a")),
            model.encode_document("find a cat"),
        ),
    ):
        assert ours.disc == pytest.approx(theirs / np.linalg.norm(theirs), abs=1e-6)
    assert not np.allclose(encoder.encode_query("a cat").disc, encoder.encode_document("a cat").disc)


def test_what_a_text_model_cannot_read_is_that_inputs_error(encoder, tmp_path):
    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(picture)
    given = [picture, "a cat", MultimodalInput("a cat", images=(picture,)), {"video": [picture]}, "", "zebra"]
    found = encoder.encode_document(given, on_error="return")
    assert [isinstance(one, Embedding) for one in found] == [False, True, False, False, False, False]
    assert "reads text, no image" in str(found[0])
    assert "reads text, no video" in str(found[3])
    assert "knows none of its words" in str(found[5])
    assert all(isinstance(one, InputError) for one in found if not isinstance(one, Embedding))
    with pytest.raises(EncodeErrors) as caught:
        encoder.encode_document(["a cat", picture])
    assert [at for at, _ in caught.value.failures] == [1]
    with pytest.raises(InputError, match="no image"):
        encoder.encode_document(picture)


def test_a_failing_input_does_not_take_its_batch_along(encoder, monkeypatch):
    whole = encoder._model.encode_document

    def failing(samples, **options):
        if "dog" in samples:
            raise RuntimeError("out of memory")
        return whole(samples, **options)

    monkeypatch.setattr(encoder._model, "encode_document", failing)
    cat, dog, red = encoder.encode_document(["cat", "dog", "red"], on_error="return")
    assert isinstance(dog, BackendError)
    assert "out of memory" in str(dog)
    assert isinstance(cat, Embedding)
    assert isinstance(red, Embedding)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "both"}, "disc vectors alone"),
        ({"mode": "gen"}, "disc vectors alone"),
        ({"mode": "all"}, "mode='all'"),
        ({"think": 8}, "think mean nothing"),
        ({"kind": "page"}, "which has document, find, query"),
        ({"on_error": "later"}, "on_error='later'"),
    ],
)
def test_options_that_cannot_work_are_refused(encoder, options, says):
    with pytest.raises(ConfigError, match=says):
        encoder.encode_query("a", **options)


def test_what_the_fingerprint_depends_on(encoder, folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    same = SentenceTransformerEncoder(copy, device="cpu").fingerprint
    assert same == encoder.fingerprint
    assert same["model"] == "local"
    assert json.loads(json.dumps(same)) == same
    assert SentenceTransformerEncoder(copy, device="cpu", max_image_pixels=5).fingerprint != same
    settings = copy / "config_sentence_transformers.json"
    settings.write_text(settings.read_text().replace("query ", "passage "))
    assert SentenceTransformerEncoder(copy, device="cpu").fingerprint["weights"] != same["weights"]
    (copy / "README.md").write_text("for people")
    digest = weights_digest(copy, SENTENCE_TRANSFORMERS)
    (copy / "README.md").write_text("for other people")
    assert weights_digest(copy, SENTENCE_TRANSFORMERS) == digest


def test_models_that_are_refused(folder, tmp_path):
    pickled = tmp_path / "pickled"
    shutil.copytree(folder, pickled)
    (pickled / "1_Dense").mkdir()
    (pickled / "1_Dense" / "pytorch_model.bin").write_bytes(b"")
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"rubbish")
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, says in (
        (pickled, "1_Dense are pickles"),
        (empty, "modules.json is not there"),
        (broken, "cannot load"),
        ("absent", "neither a folder here nor a hub id"),
        ("owner/name", "at a full commit"),
    ):
        with pytest.raises(CheckpointError, match=says):
            SentenceTransformerEncoder(path)
    with pytest.raises(CheckpointError, match="use SentenceTransformerEncoder"):
        UmeR1Encoder(f"st:{folder}")
    with pytest.raises(ConfigError, match="batch_size=0"):
        SentenceTransformerEncoder(folder, batch_size=0)


def test_a_closed_one_says_so(folder):
    with SentenceTransformerEncoder(folder, device="cpu") as closed:
        pass
    with pytest.raises(BackendError, match="was closed"):
        closed.encode_query("a")


async def test_async_twins_do_not_block(encoder, monkeypatch):
    entered, go_on = threading.Event(), threading.Event()
    whole = encoder._model.encode_query

    def waiting(*arguments, **options):
        entered.set()
        assert go_on.wait(20)
        return whole(*arguments, **options)

    monkeypatch.setattr(encoder._model, "encode_query", waiting)
    task = asyncio.create_task(encoder.aencode_query("a cat"))
    assert await asyncio.to_thread(entered.wait, 20)
    go_on.set()
    assert np.array_equal((await task).disc, encoder.encode_query("a cat").disc)
    assert np.array_equal((await encoder.aencode_document("a")).disc, encoder.encode_document("a").disc)


def test_a_model_that_sees_takes_all_kinds_whatever_stands_beside_them(seeing, tmp_path):
    red, blue = Image.new("RGB", (56, 56), "red"), Image.new("RGB", (84, 56), "blue")
    red.save(tmp_path / "red.png")
    given = [
        "a cat",
        tmp_path / "red.png",
        MultimodalInput("a cat", images=(red, blue)),
        MultimodalInput(video=[red, blue, red, red]),
        MultimodalInput(images=(red,), instruction="Represent it."),
        "http://host/x.png",
    ]
    given[-1] = {"text": given[-1]}
    together = seeing.encode_document(given)
    for item, one in zip(given, together, strict=True):
        assert one.disc == pytest.approx(seeing.encode_document(item).disc, abs=1e-4)
    assert np.allclose(together[1].disc, together[4].disc, atol=1e-4), "no place for an instruction"
    distinct = [one.disc for one in (*together[:4], together[5])]
    for at, one in enumerate(distinct):
        assert all(not np.allclose(one, other, atol=1e-3) for other in distinct[:at])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"rubbish")
    first, second = seeing.encode_document([broken, red], on_error="return")
    assert isinstance(first, InputError)
    assert isinstance(second, Embedding)


def test_large_pictures_are_scaled_down_first(seeing, monkeypatch):
    sizes = []
    whole = seeing._model.encode_document

    def noting(samples, **options):
        sizes.extend(sample["image"].size for sample in samples)
        return whole(samples, **options)

    monkeypatch.setattr(seeing._model, "encode_document", noting)
    seeing.encode_document([Image.new("RGB", (480, 120)), Image.new("RGB", (60, 60))])
    assert sizes == [(240, 60), (60, 60)]


def test_it_can_be_cached(encoder, tmp_path):
    for misses in (1, 0):
        with CachedEncoder(encoder, tmp_path / "cache") as cached:
            assert np.array_equal(cached.encode_query("a cat").disc, encoder.encode_query("a cat").disc)
            assert cached.info().misses == misses
            with pytest.raises(ConfigError, match="disc vectors alone"):
                cached.encode_query("a cat", "both")


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    """The model in a Hugging Face cache, under an id."""
    import huggingface_hub.constants

    snapshot = tmp_path / "hub" / "models--me--static" / "snapshots" / COMMIT
    shutil.copytree(folder, snapshot)
    refs = tmp_path / "hub" / "models--me--static" / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return f"st:me/static@{COMMIT}"


def test_a_model_from_the_hub_is_named_in_its_fingerprint(hub, encoder):
    checkpoint = resolve_model(hub, local_only=True)
    assert (checkpoint.name, checkpoint.revision, checkpoint.reference) == ("st:me/static", COMMIT, hub)
    found = SentenceTransformerEncoder(hub, device="cpu").fingerprint
    assert (found["model"], found["revision"]) == ("st:me/static", COMMIT)
    assert found["weights"] == encoder.fingerprint["weights"]
    assert os.path.isdir(checkpoint.path)


@pytest.fixture
def command(tmp_path, monkeypatch):
    for name in (*(n for n in os.environ if n.startswith("UME_R1_")), "QDRANT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    files = tmp_path / "files"
    files.mkdir()
    (files / "circles.txt").write_text("a red circle left of a blue square")
    (files / "pets.txt").write_text("a cat and a dog")

    def run(name, *arguments):
        return CliRunner().invoke(app, [name, "--path", str(tmp_path / "index"), *map(str, arguments)])

    run.files = files
    return run


def test_from_files_to_hits_on_the_command_line(command, folder):
    """Index, search and info with a model that is not UME-R1; what only UME-R1 has is refused."""
    done = command("index", command.files, "--model", f"st:{folder}")
    assert done.exit_code == 0, done.output
    assert "which now holds 2: 2 with disc, 0 with gen" in done.stdout
    Image.new("RGB", (8, 8)).save(command.files / "a.png")
    mixed = command("index", command.files, "--model", f"st:{folder}")
    assert mixed.exit_code == 1
    assert "reads text, no image" in mixed.stdout

    unnamed = command("search", "red circle")
    assert unnamed.exit_code == 1
    assert "pass --model st:DIR" in unnamed.stderr
    for query, title in (("red circle", "circles.txt"), ("dog", "pets.txt")):
        found = command("search", query, "--model", f"st:{folder}", "--json")
        assert found.exit_code == 0, found.output
        hits = json.loads(found.stdout)["hits"]
        assert (hits[0]["title"], hits[0]["scores"].keys()) == (title, {"disc", "text"})
    for arguments, says in (
        (["search", "dog", "--mode", "gen"], "no gen vectors"),
        (["search", "dog", "--kind", "page"], "kind='page' is no prompt"),
        (["search", "dog", "--think", "8"], "--think 8 means nothing"),
        (["enrich"], "nothing to enrich with"),
        (["index", command.files, "--mode", "both"], "no gen vectors"),
        (["index", command.files, "--preset", "paper"], "--preset paper means nothing"),
    ):
        refused = command(*arguments, "--model", f"st:{folder}")
        assert refused.exit_code == 1, (arguments, refused.output)
        assert says in refused.stderr
    other = command("search", "dog", "--model", "nano")
    assert other.exit_code == 1
    assert "written by another encoder" in other.stderr


def test_a_collection_names_its_hub_model(command, hub):
    assert command("index", command.files, "--model", hub).exit_code == 0
    found = command("search", "dog", "--json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["model"] == "st:me/static"
    assert json.loads(found.stdout)["hits"][0]["title"] == "pets.txt"
    assert "st:me/static at 0123" in command("info").stdout


def test_embed_shows_what_there_is(folder, monkeypatch):
    done = CliRunner().invoke(app, ["embed", "a red circle", "--model", f"st:{folder}"])
    assert done.exit_code == 0, done.output
    assert "disc 48 dimensions" in done.stdout
    assert "tokens" not in done.stdout


def test_media_beyond_the_limits_are_refused(seeing, monkeypatch):
    """As a server sets them; through the command line's own way to an encoder."""
    from ume_r1_rag.cli.model import load_encoder
    from ume_r1_rag.media import MediaLimits

    picture = Image.new("RGB", (64, 64))
    limits = MediaLimits(max_pixels=64 * 63)
    with load_encoder(seeing.model, media_limits=limits) as encoder:
        [found] = encoder.encode_document([picture], on_error="return")
        assert isinstance(found, InputError)
        assert encoder.encode_document(Image.new("RGB", (64, 63))).disc is not None
