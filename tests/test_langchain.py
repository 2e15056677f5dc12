"""The LangChain classes, mostly with an encoder without a model; LangChain's own suites have their own file.

Each trap that the frameworks set (``test_trap_…``) was met in stock classes with real data.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from made_files import text_pdf, write_clip
from PIL import Image
from pydantic import ValidationError

import langchain_ume_r1
from langchain_ume_r1 import UmeR1Embeddings, UmeR1QdrantVectorStore, UmeR1Retriever, cite, content_blocks
from ume_r1_rag.errors import ConfigError, IndexMismatch, InputError, UmeR1Error
from ume_r1_rag.frameworks import CostWarning
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.ingest import ingest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def encoder(make_encoder):
    return make_encoder()


@pytest.fixture
def embeddings(encoder):
    return UmeR1Embeddings.from_encoder(encoder)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (64, 64), colour).save(folder / f"{colour}.png")
    return folder


@pytest.fixture
def store(embeddings):
    store = UmeR1QdrantVectorStore(path=":memory:", embedding=embeddings, mode="both")
    yield store
    store.close()


@pytest.fixture
def index(encoder, tmp_path, pictures):
    """A collection that the command line would have written: a PDF with words, three pictures, a clip."""
    (pictures / "report.pdf").write_bytes(text_pdf(["harbor one", "harbor two"]))
    write_clip(pictures / "clip.mp4")
    with QdrantIndex(tmp_path / "index", fingerprint=encoder.fingerprint) as index:
        assert not ingest(encoder, index, pictures).failures
        yield index


def ids_of(documents):
    return [document.id for document in documents]


# The package


def test_public_names_are_pinned():
    assert langchain_ume_r1.__all__ == [
        "UmeR1Embeddings",
        "UmeR1QdrantVectorStore",
        "UmeR1Retriever",
        "cite",
        "content_blocks",
    ]
    assert set(langchain_ume_r1.__all__) == set(langchain_ume_r1._LAZY) <= set(dir(langchain_ume_r1))
    with pytest.raises(AttributeError, match="no attribute 'UmeEmbeddings'"):
        langchain_ume_r1.UmeEmbeddings  # noqa: B018


def test_the_import_costs_neither_torch_nor_the_other_framework():
    code = (
        "import json, sys, langchain_ume_r1\n"
        "light = {name.partition('.')[0] for name in sys.modules}\n"
        "from langchain_ume_r1 import *\n"
        "UmeR1Embeddings(model='nano'); UmeR1Retriever(path='x'); UmeR1QdrantVectorStore(path='x')\n"
        "print(json.dumps([sorted(light), sorted({name.partition('.')[0] for name in sys.modules})]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    light, used = map(set, json.loads(done.stdout))
    heavy = {"torch", "transformers", "vllm", "llama_index", "sentence_transformers", "fastapi"}
    assert not heavy & used
    assert not {"langchain_core", "qdrant_client", "numpy", "pydantic"} & light


# Embeddings


def test_zero_arguments_name_the_default_model_and_load_nothing(monkeypatch):
    monkeypatch.delenv("UME_R1_MODEL", raising=False)
    embeddings = UmeR1Embeddings()
    assert (embeddings.model, embeddings.mode, embeddings.loaded) == ("zhibinlan/UME-R1-2B", "disc", False)
    monkeypatch.setenv("UME_R1_MODEL", "nano")
    assert UmeR1Embeddings().model == "nano"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"modle": "nano"}, "modle"),
        ({"mode": "both"}, "mode"),
        ({"think": True}, "is no budget"),
        ({"think": 0}, "is no budget"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"api_key": "a secret"}, "give base_url"),
        ({"timeout_s": 3}, "without base_url"),
        ({"base_url": "http://x", "device": "cpu"}, "the server at base_url decides"),
        ({"base_url": "http://user:a secret@x"}, "pass the key as api_key"),
    ],
)
def test_impossible_options_are_refused_without_telling_secrets(fields, why):
    with pytest.raises(ValidationError, match=why) as caught:
        UmeR1Embeddings(**fields)
    assert "a secret" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_no_secret_is_shown_or_serialised():
    embeddings = UmeR1Embeddings(base_url="http://localhost:8000", api_key="a secret")
    shown = [repr(embeddings), str(embeddings), embeddings.model_dump_json(), repr(embeddings.model_dump())]
    retriever = UmeR1Retriever(url="http://u:a secret@x", qdrant_api_key="a secret", embeddings=embeddings)
    shown += [repr(retriever), str(retriever.to_json()), str(retriever.get_name())]
    assert not [text for text in shown if "a secret" in text]
    assert embeddings.api_key.get_secret_value() == "a secret"


def test_vectors_are_the_encoders(encoder, embeddings, pictures):
    red, clip = str(pictures / "red.png"), str(write_clip(pictures / "c.mp4"))
    disc = encoder.encode_document("red circle").disc
    assert embeddings.embed_documents(["red circle", "x"])[0] == pytest.approx(disc.tolist())
    assert embeddings.embed_documents([]) == []
    assert embeddings.embed_query("red circle") == pytest.approx(disc.tolist())
    assert encoder.calls[-1] == ("query", "disc", 1)
    assert all(type(x) is float for x in embeddings.embed_query("red circle"))
    both = embeddings.embed_content(["red circle", {"image": red}])
    assert np.linalg.norm(both) == pytest.approx(1, abs=1e-5)
    assert both != embeddings.embed_image(red)
    assert embeddings.embed_video(clip) == embeddings.embed_videos([clip])[0]
    assert embeddings.in_mode("gen").embed_query("red circle") != embeddings.embed_query("red circle")
    assert embeddings.in_mode("disc") is embeddings


def test_a_call_of_many_is_one_call_of_the_encoder(encoder, embeddings, pictures):
    embeddings.embed_documents([f"text {n}" for n in range(100)])
    embeddings.embed_images([pictures / "red.png", pictures / "blue.png"])
    assert encoder.calls == [("document", "disc", 100), ("document", "disc", 2)]


async def test_async_twins_give_the_same(encoder, embeddings, pictures):
    red = pictures / "red.png"
    clip = write_clip(pictures / "c.mp4")
    assert await embeddings.aembed_documents(["a", "b"]) == embeddings.embed_documents(["a", "b"])
    assert await embeddings.aembed_query("a") == embeddings.embed_query("a")
    assert await embeddings.aembed_image(red) == embeddings.embed_image(red)
    assert await embeddings.aembed_images([red]) == embeddings.embed_images([red])
    assert await embeddings.aembed_video(clip) == embeddings.embed_video(clip)
    assert await embeddings.aembed_videos([clip]) == embeddings.embed_videos([clip])
    parts = [{"type": "text", "text": "a"}, {"image": red}]
    assert await embeddings.aembed_content(parts) == embeddings.embed_content(parts)
    assert await embeddings.aembed_documents([]) == []


async def test_no_more_async_calls_run_than_allowed(make_encoder):
    class Counting(type(make_encoder())):
        running = most = 0

        async def aencode_query(self, *args, **options):
            Counting.running += 1
            Counting.most = max(Counting.most, Counting.running)
            await asyncio.sleep(0.01)
            Counting.running -= 1
            return await super().aencode_query(*args, **options)

    embeddings = UmeR1Embeddings.from_encoder(Counting(), max_concurrency=3)
    found = await asyncio.gather(*(embeddings.aembed_query(f"text {n}") for n in range(12)))
    assert Counting.most == 3
    assert found[5] == embeddings.embed_query("text 5")


@pytest.mark.parametrize(
    "parts",
    [
        [{"type": "text", "text": "what"}, {"type": "image", "base64": "DATA", "mime_type": "image/png"}],
        [
            {"type": "text", "text": "what"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,DATA"}},
        ],
        ["what", {"type": "image", "source_type": "base64", "data": "DATA", "mime_type": "image/png"}],
        ["what", {"type": "image", "url": "data:image/png;base64,DATA"}],
    ],
)
def test_content_blocks_of_every_shape_are_embedded(embeddings, pictures, parts):
    import base64

    data = base64.b64encode((pictures / "red.png").read_bytes()).decode()
    filled = json.loads(json.dumps(parts).replace("DATA", data))
    assert embeddings.embed_content(filled) == embeddings.embed_content(["what", pictures / "red.png"])


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([{"type": "audio", "base64": "x"}], "part 0: a content block of type 'audio' cannot be embedded"),
        (["a", {"type": "image"}], "part 1: the image block names no source"),
        ([{"type": "image", "url": "/etc/passwd.png"}], "part 0: .* is no URL"),
        ([{"type": "image_url", "image_url": {"url": "file:///etc/x.png"}}], "is no URL"),
        ([], "holds nothing|empty"),
        ([{"video": "a.mp4"}, {"video": "b.mp4"}], "2 videos"),
    ],
)
def test_content_that_cannot_be_embedded_is_named(embeddings, parts, why):
    with pytest.raises(InputError, match=why):
        embeddings.embed_content(parts)


def test_gen_tells_once_what_it_costs(encoder, embeddings):
    gen = embeddings.in_mode("gen")
    with pytest.warns(CostWarning, match=r"the first 2 took \d+\.\d\d s here \(.* and 1 tokens each"):
        gen.embed_documents(["one", "two"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gen.embed_documents(["one"])
        embeddings.embed_documents(["one"])


def test_a_mended_generation_is_told(make_encoder, caplog):
    class Mended(type(make_encoder())):
        def _one(self, one, wanted, think):
            return replace(super()._one(one, wanted, think), gen_valid=False, gen_issue="token limit")

    with pytest.warns(CostWarning):
        UmeR1Embeddings.from_encoder(Mended(), mode="gen").embed_documents(["one", "two"])
    assert "2 of 2 gen vectors are of a generation that was mended (token limit)" in caplog.text


def test_a_model_is_named_as_either_framework_does_and_never_twice():
    assert UmeR1Embeddings("nano") == UmeR1Embeddings(model="nano") == UmeR1Embeddings(model_name="nano")
    with pytest.raises(ConfigError, match="two names of one thing: give model="):
        UmeR1Embeddings("nano", model_name="nano")


def test_pickled_embeddings_load_where_they_arrive():
    embeddings = UmeR1Embeddings(model="nano", mode="gen", think=3, base_url=None, cache="x.sqlite")
    assert embeddings.loaded is False
    copy = pickle.loads(pickle.dumps(embeddings))
    assert copy == embeddings
    assert copy.model_dump() == embeddings.model_dump()
    assert embeddings.model_copy(deep=True) == embeddings
    secret = pickle.loads(pickle.dumps(UmeR1Embeddings(base_url="http://x", api_key="a secret")))
    assert secret.api_key.get_secret_value() == "a secret"


def test_embeddings_around_an_object_say_that_they_cannot_travel(embeddings):
    with pytest.raises(ConfigError, match="cannot be pickled: make it from options"):
        pickle.dumps(embeddings)
    with pytest.raises(ConfigError, match="device: the encoder has decided that"):
        UmeR1Embeddings.from_encoder(embeddings.encoder, device="cpu")


def test_embeddings_of_one_model_share_it_until_the_last_is_closed(nano_encoder):
    first = UmeR1Embeddings(model="nano", device="cpu", dtype="float32")
    second = UmeR1Embeddings(model="nano", device="cpu", dtype="float32", mode="gen", think="full")
    other = UmeR1Embeddings(model="nano", device="cpu", dtype="float32", batch_size=3)
    assert first.encoder is second.encoder
    assert other.encoder is not first.encoder
    vector = first.embed_query("a red circle")
    assert vector == pytest.approx(nano_encoder.encode_query("a red circle").disc.tolist(), abs=1e-5)
    first.close()
    assert second.embed_query("a red circle")
    shared = second.encoder
    second.close()
    with pytest.raises(UmeR1Error):
        shared.encode("closed")
    assert first.embed_query("a red circle") == pytest.approx(vector, abs=1e-6), "loaded anew"
    first.close()
    other.close()


def test_a_copy_with_another_model_has_that_model(tmp_path):
    nano = {"model": "nano", "device": "cpu", "dtype": "float32"}
    first = UmeR1Embeddings(**nano, kind="page")
    plain, gen = first.model_copy(), first.in_mode("gen")
    assert first.encoder is plain.encoder is gen.encoder
    assert first.model_copy(update={"model": "nano", "kind": "text"}).encoder is first.encoder
    short = first.model_copy(update={"think": "none"})
    assert (short.kind, short.loaded) == ("page", False)
    assert short.encoder.fingerprint["think"] == "none"
    assert first.encoder.fingerprint["think"] == "full"
    other = first.model_copy(update={"model": str(tmp_path / "no-such-model")})
    with pytest.raises(UmeR1Error, match="no-such-model"):
        other.embed_query("a red circle")
    assert first.model_copy(update={"cache": tmp_path / "kept.sqlite"}).encoder.encoder is first.encoder
    with pytest.raises(ValidationError, match="is no budget"):
        first.model_copy(update={"think": 0})
    short.close()
    assert first.embed_query("a red circle")
    first.close()


def test_a_copy_of_embeddings_around_an_object_stays_around_it(embeddings, encoder, tmp_path):
    copied = embeddings.model_copy(update={"cache": tmp_path / "kept.sqlite", "mode": "gen"})
    assert (copied.encoder.encoder, copied.mode, copied.model) == (encoder, "gen", "m1")
    copied.close()
    for update, why in (({"model": "m2"}, "model: the encoder has decided"), ({"think": 3}, "think=3, but")):
        with pytest.raises(ConfigError, match=why):
            embeddings.model_copy(update=update)


def test_a_string_where_a_list_is_meant_is_refused(nano_encoder):
    store = UmeR1QdrantVectorStore(path=":memory:", embedding=UmeR1Embeddings.from_encoder(nano_encoder))
    store.add_texts(["hello"], ids=["n1"])
    for call in (store.delete, store.get_by_ids, store.add_texts):
        with pytest.raises(ConfigError, match=r"'n1' is one, and \w+ is a list"):
            call("n1")
    assert len(store.get_by_ids(["n1"])) == 1
    store.close()


def test_packed_vectors_rank_as_the_weighted_sum_in_any_store(nano_encoder):
    texts = ["a red circle at north", "a blue ring at south", "a green star"]
    packed = UmeR1Embeddings(
        model="nano",
        device="cpu",
        dtype="float32",
        mode="packed",
        think="none",
        weights=(0.25, 0.75),
    )
    documents, query = packed.embed_documents(texts), packed.embed_query("a red thing")
    plain = nano_encoder.encode_document(texts, mode="both", think="none")
    asked = nano_encoder.encode_query("a red thing", mode="both", think="none")
    sums = [0.25 * float(one.disc @ asked.disc) + 0.75 * float(one.gen @ asked.gen) for one in plain]
    assert [float(np.dot(one, query)) for one in documents] == pytest.approx(sums, abs=1e-5)
    store = InMemoryVectorStore(packed)
    store.add_texts(texts)
    best = texts[int(np.argmax(sums))]
    assert store.similarity_search("a red thing", k=1)[0].page_content == best
    with pytest.raises(ConfigError, match="this one keeps two"):
        UmeR1QdrantVectorStore(path=":memory:", embedding=packed)
    packed.close()


def test_a_think_budget_is_the_encoders_and_marks_what_is_written(nano_encoder, tmp_path):
    nano = {"model": "nano", "device": "cpu", "dtype": "float32"}
    short, full = (
        UmeR1Embeddings(**nano, mode="gen", think="none"),
        UmeR1Embeddings.from_encoder(nano_encoder),
    )
    store = UmeR1QdrantVectorStore(path=tmp_path, embedding=short, mode="both")
    store.add_texts(["a red circle"], ids=["r"])
    assert store.index.fingerprint["think"] == "none"
    (hit,) = store.index.retrieve(["r"])
    assert hit.payload["ume_think"] == "none"
    with pytest.raises(IndexMismatch, match="think"):
        UmeR1QdrantVectorStore(path=tmp_path, embedding=full, mode="both").add_texts(["a blue ring"])
    with pytest.raises(IndexMismatch, match="think"):
        UmeR1QdrantVectorStore(index=store.index, embedding=full, mode="both").add_texts(["a blue ring"])
    # A query's budget is that of its embeddings, in the retriever, too.
    found = UmeR1Retriever(index=store.index, embeddings=short, mode="gen").search("a red circle")
    assert found.query_embedding.think == "none"
    store.close()
    short.close()


@pytest.mark.parametrize("think", ["none", 5])
def test_embeddings_around_an_object_have_its_think_budget(embeddings, encoder, think):
    assert UmeR1Embeddings.from_encoder(encoder, think="full").embed_query("a")
    with pytest.raises(ConfigError, match=f"think={think!r}, but the encoder's is 'full'"):
        UmeR1Embeddings.from_encoder(encoder, think=think)


def test_a_server_is_used_like_a_model(nano_encoder):
    from served import Served

    from ume_r1_rag.server import create_app

    with Served(create_app(nano_encoder)) as server:
        embeddings = UmeR1Embeddings(base_url=server.url)
        here = nano_encoder.encode_query("a red circle").disc.tolist()
        assert embeddings.embed_query("a red circle") == pytest.approx(here, abs=1e-5)
        assert asyncio.run(embeddings.aembed_query("a red circle")) == pytest.approx(here, abs=1e-5)
        embeddings.close()
        short = UmeR1Embeddings(base_url=server.url, think="none", mode="gen")
        assert short.encoder.fingerprint["think"] == "none"
        expected = nano_encoder.encode_query("a red circle", mode="gen", think="none").gen
        assert short.embed_query("a red circle") == pytest.approx(expected.tolist(), abs=1e-5)
        short.close()


# Traps of embeddings


def test_trap_embed_image_by_both_conventions(embeddings, pictures):
    """OpenCLIP's is given a list and returns one; Bedrock's a picture and returns a vector."""
    red, blue = str(pictures / "red.png"), str(pictures / "blue.png")
    assert [len(v) for v in embeddings.embed_image(uris=[red, blue])] == [32, 32]
    assert embeddings.embed_image(uris=[red])[0] == embeddings.embed_image(red)
    assert embeddings.embed_image(Image.open(red)) == pytest.approx(embeddings.embed_image(red))
    with pytest.raises(ConfigError, match="embed_images takes a list: for one of them use embed_image"):
        embeddings.embed_images(red)


def test_trap_a_text_that_names_a_file_stays_a_text(embeddings, encoder, pictures, monkeypatch):
    """A question or a chunk of text may look like a path or a URL: it must not open one."""
    monkeypatch.chdir(pictures)
    embeddings.embed_documents(["red.png", "http://localhost/x.png"])
    embeddings.embed_query("red.png")
    assert [(one.text, one.images) for one in encoder.seen] == [
        ("red.png", ()),
        ("http://localhost/x.png", ()),
        ("red.png", ()),
    ]
    with pytest.raises(InputError, match=r"input 0: .*red\.png.* is no text \(embed_image"):
        embeddings.embed_documents([pictures / "red.png"])


def test_trap_a_cache_keeps_queries_and_documents_apart(make_encoder, tmp_path):
    """LangChain's and LlamaIndex's caches know a text by its words alone, whatever it was embedded for."""
    embeddings = UmeR1Embeddings.from_encoder(make_encoder(), cache=tmp_path / "kept.sqlite")
    embeddings.embed_query("a red circle")
    embeddings.embed_documents(["a red circle"])
    embeddings.in_mode("gen").embed_query("a red circle")
    asked = embeddings.encoder.encoder.calls
    assert asked == [("query", "disc", 1), ("document", "disc", 1), ("query", "gen", 1)]
    embeddings.embed_query("a red circle")
    embeddings.embed_documents(["a red circle"])
    assert len(asked) == 3, "read, and not encoded again"
    embeddings.close()


@pytest.mark.parametrize("method", ["aembed_query", "aembed_documents", "aembed_image", "aembed_content"])
async def test_trap_async_methods_do_not_block_the_loop(make_encoder, pictures, method):
    """A default ``aembed_…`` that calls the sync one stops every other request while a model works."""
    working, done = threading.Event(), threading.Event()

    def slow(one):
        working.set()
        assert done.wait(20), "the loop could not go on"

    embeddings = UmeR1Embeddings.from_encoder(make_encoder(fail=slow))
    given = {"aembed_documents": ["a"], "aembed_image": pictures / "red.png"}.get(method, "a")
    task = asyncio.create_task(getattr(embeddings, method)(given))
    # Waited for in a thread: were the loop stopped, this would be, too.
    assert await asyncio.to_thread(working.wait, 20)
    done.set()
    assert await task


def test_trap_a_stores_dense_vectors_have_one_space(embeddings):
    """Stock stores hold one vector a document: it must be of the same space for every call."""
    store = InMemoryVectorStore(embeddings.in_mode("gen"))
    with pytest.warns(UserWarning, match="gen embeddings are reasoned"):
        store.add_texts(["a red circle", "a blue cross"], ids=["r", "b"])
    (found,) = store.similarity_search("a red circle", k=1)
    assert found.id == "r"
    with pytest.raises(ValidationError, match="frozen"):
        embeddings.mode = "gen"


# Vector store


def test_both_vectors_and_the_words_of_a_document_are_in_one_point(store):
    store.add_texts(["a red circle", "a blue cross"], [{"n": 1}, {"n": 2}], ids=["r", "b"])
    assert store.index.coverage() == {"disc": 2, "gen": 2, "text": 2}
    assert store.similarity_search("a red circle", k=1) == [
        Document("a red circle", id="r", metadata={"n": 1})
    ]
    (hit,) = UmeR1Retriever(index=store.index, embeddings=store.embeddings, k=1).invoke("a blue cross")
    assert hit.id == "b"
    assert set(hit.metadata["scores"]) == {"disc", "gen", "text"}


def test_pictures_and_clips_are_added_and_found(store, pictures):
    clip = write_clip(pictures / "clip.mp4")
    names = ["red.png", "green.png", "blue.png"]
    ids = store.add_images([str(pictures / name) for name in names], [{"n": n} for n in range(3)])
    assert ids == [(pictures / name).as_posix() for name in names]
    assert store.add_images([pictures / "red.png"]) == ids[:1], "a second time in its own place"
    assert store.add_videos([clip], ids=["clip"]) == ["clip"]
    assert store.index.coverage()["gen"] == 4
    (found,) = store.similarity_search_by_image(str(pictures / "blue.png"), k=1)
    assert (found.metadata["uri"], found.metadata["kind"]) == (ids[2], "image")
    assert found.metadata["mime_type"] == "image/png"
    assert store.similarity_search_by_video(clip, k=1)[0].id == "clip"
    (found,) = store.similarity_search_by_image(Image.open(pictures / "red.png"), k=1)
    assert found.id == ids[0]
    [(_, score)] = store.similarity_search_by_image_with_score(pictures / "red.png", k=1)
    assert score == pytest.approx(1, abs=1e-5)


async def test_the_stores_async_methods_give_the_same(store, pictures):
    (red,) = await store.aadd_images([pictures / "red.png"])
    await store.aadd_videos([write_clip(pictures / "c.mp4")], ids=["c"])
    await store.aadd_texts(["a red circle"], ids=["t"])
    assert {d.id for d in await store.aget_by_ids(["t", "c", red, "gone"])} == {"t", "c", red}
    assert (await store.asimilarity_search_by_image(pictures / "red.png", k=1))[0].id == red
    assert (await store.asimilarity_search("a red circle", k=1))[0].id == "t"
    assert (await store.as_retriever(search_type="mmr").ainvoke("a red circle"))[0].id == "t"


def test_filters_are_qdrants_or_plain(store):
    from qdrant_client import models

    store.add_texts(["a red circle", "a red cross"], [{"lang": "de"}, {"lang": "en"}], ids=["1", "2"])
    english = models.FieldCondition(key="metadata.lang", match=models.MatchValue(value="en"))
    for filter in (models.Filter(must=[english]), {"lang": "en"}):
        assert [d.id for d in store.similarity_search("a red circle", filter=filter)] == ["2"]
        assert [d.id for d in store.max_marginal_relevance_search("a red circle", filter=filter)] == ["2"]


def test_the_space_that_ranks_is_asked_for_its_own_vectors(encoder):
    embeddings = UmeR1Embeddings.from_encoder(encoder)
    store = UmeR1QdrantVectorStore(path=":memory:", embedding=embeddings, mode="both", vector_name="gen")
    store.add_texts(["a red circle"], ids=["r"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        [(_, score)] = store.similarity_search_with_score("a red circle")
    assert store.embeddings.mode == "gen"
    assert encoder.calls[-1] == ("query", "gen", 1)
    assert score == pytest.approx(1, abs=1e-5)
    with pytest.raises(ConfigError, match="writes no such vector"):
        UmeR1QdrantVectorStore(path=":memory:", embedding=embeddings, mode="disc", vector_name="gen")


def test_what_was_indexed_by_the_command_line_is_read(index, embeddings, pictures):
    store = UmeR1QdrantVectorStore(index=index, embedding=embeddings)
    (page,) = store.get_by_ids([f"{(pictures / 'report.pdf').as_posix()}#page=2"])
    assert (page.metadata["page"], page.metadata["kind"]) == (2, "page")
    assert store.similarity_search_by_image(pictures / "green.png", k=1)[0].metadata["title"] == "green.png"


def test_another_encoders_collection_is_refused(index, make_encoder):
    other = UmeR1Embeddings.from_encoder(make_encoder(model="m2"))
    with pytest.raises(IndexMismatch):
        UmeR1Retriever(index=index, embeddings=other).invoke("a")
    store = UmeR1QdrantVectorStore(index=index, embedding=other)
    with pytest.raises(IndexMismatch):
        store.add_texts(["a"])
    store.close()
    assert index.count() == 6, "it is open still: it was not the store's to close"


@pytest.mark.parametrize("method", ["from_texts", "from_documents"])
def test_a_store_is_made_from_texts(embeddings, tmp_path, method):
    given = ["a red circle"] if method == "from_texts" else [Document("a red circle", id="r")]
    make = getattr(UmeR1QdrantVectorStore, method)
    store = make(given, embeddings, path=tmp_path / "i", collection_name="c")
    (first,) = store.similarity_search("circle")
    assert first.page_content == "a red circle"
    store.close()
    again = UmeR1QdrantVectorStore.from_existing_collection("c", embeddings, path=tmp_path / "i")
    assert again.similarity_search("circle") == [first]
    again.close()


def test_other_embeddings_are_refused():
    from langchain_core.embeddings import DeterministicFakeEmbedding

    with pytest.raises(ConfigError, match="DeterministicFakeEmbedding: a collection of two spaces needs"):
        UmeR1QdrantVectorStore(path=":memory:", embedding=DeterministicFakeEmbedding(size=3))


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda s: s.add_texts(["a"], [{}, {}]), "2 metadatas for 1 items"),
        (lambda s: s.add_texts(["a"], ids=["1", "2"]), "2 ids for 1 items"),
        (lambda s: s.add_texts(["a"], wait=False), "wait: this store knows no such option"),
        (lambda s: s.add_texts(["a"], batch_size=0), "batch_size=0"),
        (lambda s: s.add_images("red.png"), "uris is a list"),
        (lambda s: s.similarity_search("a", hybrid_fusion=1), "UmeR1Retriever"),
    ],
)
def test_the_store_refuses_what_cannot_work(store, call, why):
    with pytest.raises(ConfigError, match=why):
        call(store)


def test_tenants_do_not_see_each_other(embeddings, tmp_path):
    stores = {
        name: UmeR1QdrantVectorStore(path=tmp_path, embedding=embeddings, tenant=name)
        for name in ("ann", "bob", None)
    }
    for name, store in stores.items():
        store.add_texts([f"a text of {name}"], ids=["same"])
    for name, store in stores.items():
        assert [d.page_content for d in store.similarity_search("text")] == [f"a text of {name}"]
        assert [d.page_content for d in store.max_marginal_relevance_search("text")] == [f"a text of {name}"]
        assert [d.page_content for d in store.get_by_ids(["same"])] == [f"a text of {name}"]
        own = UmeR1Retriever(path=tmp_path, tenant=name, embeddings=embeddings, mode="disc")
        assert [d.page_content for d in own.invoke("text")] == [f"a text of {name}"]
        own.close()
    stores["ann"].delete()
    assert stores["ann"].similarity_search("text") == []
    assert len(stores["bob"].similarity_search("text")) == 1
    for store in stores.values():
        store.close()


# Traps of the vector store


def test_trap_ids_need_not_be_uuids(store):
    """Qdrant takes UUIDs and whole numbers alone, LangChain's users have names and paths."""
    ids = ["1", "a/b.pdf#page=2", "ü", 7]
    assert store.add_texts(["a", "b", "c", "d"], ids=ids) == ["1", "a/b.pdf#page=2", "ü", "7"]
    assert [d.id for d in store.get_by_ids(["ü", "1", 7])] == ["ü", "1", "7"]
    store.delete(["1", "nobody's"])
    assert {d.id for d in store.similarity_search("a", k=9)} == {"a/b.pdf#page=2", "ü", "7"}


def test_trap_metadata_comes_back_as_it_was(store):
    """langchain-qdrant puts ``_id`` and ``_collection_name`` into it, and another point's id is lost."""
    given = {"_id": "mine", "kind": "invoice", "uri": "ftp://x", "nested": {"a": [1, 2.5, None]}, "page": 3}
    store.add_texts(["a text"], [given], ids=["t"])
    (found,) = store.similarity_search("a text")
    assert found == Document("a text", id="t", metadata=given)
    assert store.get_by_ids(["t"])[0].metadata == given
    store.add_texts(["another"], ids=["u"])
    assert store.get_by_ids(["u"])[0].metadata == {}


def test_trap_making_a_store_loads_and_embeds_nothing(encoder, embeddings):
    """langchain-qdrant embeds a dummy text when it is made, and again for every search by a vector or MMR."""
    lazy = UmeR1Embeddings(model="nano")
    store = UmeR1QdrantVectorStore(path=":memory:", embedding=lazy)
    assert store.as_retriever().tags == ["UmeR1QdrantVectorStore", "UmeR1Embeddings"]
    assert not lazy.loaded
    store = UmeR1QdrantVectorStore(path=":memory:", embedding=embeddings)
    store.add_texts(["a", "b"])
    store.similarity_search_by_vector([1.0] + [0.0] * 31)
    store.max_marginal_relevance_search("a")
    assert encoder.calls == [("document", "disc", 2), ("query", "disc", 1)]


def test_trap_a_second_add_loses_no_vector(embeddings):
    """An upsert replaces a whole point: adding gen must not erase disc, nor a text's repetition its gen."""
    with QdrantIndex(":memory:", fingerprint=embeddings.encoder.fingerprint) as index:
        for mode in ("disc", "gen", "disc"):
            store = UmeR1QdrantVectorStore(index=index, embedding=embeddings.in_mode(mode))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                store.add_texts(["a red circle"], ids=["r"])
        assert index.coverage() == {"disc": 1, "gen": 1, "text": 1}
        UmeR1QdrantVectorStore(index=index, embedding=embeddings).add_texts(["another text"], ids=["r"])
        assert index.coverage()["gen"] == 0, "of another text, it would be wrong"


def test_trap_stock_stores_read_what_ours_writes(store):
    """A named vector on a fresh stock store is ignored; ours are there under their names."""
    from langchain_qdrant import QdrantVectorStore

    store.add_texts(["a red circle", "a blue cross"], [{"n": 1}, {"n": 2}], ids=["r", "b"])
    for space in ("disc", "gen"):
        stock = QdrantVectorStore(
            store.client,
            store.collection_name,
            store.embeddings.in_mode(space),
            vector_name=space,
            validate_embeddings=False,
        )
        (found,) = stock.similarity_search("a red circle", k=1)
        assert found.page_content == "a red circle"
        assert found.metadata["n"] == 1


async def test_trap_one_folder_serves_sync_async_store_and_retriever(embeddings, tmp_path):
    """A sync and an async Qdrant client on one folder lock each other out."""
    store = UmeR1QdrantVectorStore(path=tmp_path, embedding=embeddings)
    await store.aadd_texts(["a red circle"], ids=["r"])
    retriever = UmeR1Retriever(path=tmp_path, embeddings=embeddings)
    assert (await retriever.ainvoke("circle"))[0].id == retriever.invoke("circle")[0].id == "r"
    assert store.similarity_search("circle")[0].id == "r"
    retriever.close()
    store.close()


def test_trap_a_collection_of_pictures_alone_is_opened_again(embeddings, pictures, tmp_path):
    """Frameworks that think in texts lose, or fail on, a corpus without any."""
    store = UmeR1QdrantVectorStore(path=tmp_path / "i", embedding=embeddings)
    store.add_images([pictures / "red.png", pictures / "blue.png"])
    store.close()
    again = UmeR1QdrantVectorStore(path=tmp_path / "i", embedding=embeddings)
    assert again.similarity_search_by_image(pictures / "red.png", k=1)[0].metadata["title"] == "red.png"
    assert len(again.similarity_search("anything", k=4)) == 2
    again.close()


def test_trap_no_picture_is_stored_or_returned_as_base64(store, pictures):
    """Chroma puts a picture's base64 into ``page_content``; a page of it is 2 MB, and a prompt's end."""
    import base64

    data = base64.b64encode((pictures / "red.png").read_bytes()).decode()
    (id,) = store.add_images([f"data:image/png;base64,{data}"])
    store.add_images([pictures / "blue.png"])
    stored = json.dumps([dict(hit.payload) | {"ume_thumbnail": ""} for hit in store.index.scroll()])
    assert data[:60] not in stored
    assert len(id) == 32
    found = store.similarity_search_by_image(pictures / "blue.png")
    assert not [d for d in found if "base64" in repr(d) or data[:60] in repr(d)]


# Retriever


def test_documents_say_what_they_are_and_where_from(index, embeddings, pictures):
    retriever = UmeR1Retriever(index=index, embeddings=embeddings, k=9)
    found = {d.metadata["title"] + str(d.metadata.get("page", "")): d for d in retriever.invoke("harbor")}
    page, red, clip = found["report.pdf2"], found["red.png"], found["clip.mp4"]
    assert page.id == f"{(pictures / 'report.pdf').as_posix()}#page=2"
    assert page.page_content == "harbor two", "the page's own text"
    assert red.page_content == red.metadata["summary"]
    assert red.metadata["reasoning"].startswith("It shows")
    assert page.metadata["mime_type"] == "application/pdf"
    assert page.metadata["source"] == page.metadata["uri"] == str(pictures / "report.pdf")
    assert (page.metadata["kind"], clip.metadata["kind"]) == ("page", "clip")
    assert len(clip.metadata["span_s"]) == 2
    for one in found.values():
        json.dumps(one.metadata)
        assert set(one.metadata["scores"]) <= {"disc", "gen", "text"}
        assert isinstance(one.metadata["score"], float)


def test_pictures_videos_and_mixes_are_asked_with(index, embeddings, pictures):
    retriever = UmeR1Retriever(index=index, embeddings=embeddings, k=1, mode="disc")
    by = {"image": pictures / "green.png"}
    assert retriever.invoke("", **by)[0].metadata["title"] == "green.png"
    assert retriever.invoke("green", **by)[0].metadata["title"] == "green.png"
    assert retriever.invoke("", video=pictures / "clip.mp4")[0].metadata["title"] == "clip.mp4"
    assert retriever.bind(**by).invoke("")[0].metadata["title"] == "green.png"
    fixed = UmeR1Retriever(index=index, embeddings=embeddings, k=1, image=str(pictures / "blue.png"))
    assert fixed.invoke("")[0].metadata["title"] == "blue.png"
    with pytest.raises(InputError, match="the query holds nothing"):
        retriever.invoke(" ")


def test_every_option_can_be_a_field_or_come_with_a_call(index, embeddings):
    options = {
        "k": 2,
        "mode": "fused",
        "spaces": ("disc", "text"),
        "weights": {"disc": 0.5},
        "fusion": "rrf",
        "candidates": 7,
        "group_by": "document",
        "group_size": 2,
        "filter": {"kind": "page"},
        "kind": "page",
        "think": 3,
    }
    by_field = UmeR1Retriever(index=index, embeddings=embeddings, **options)
    by_call = UmeR1Retriever(index=index, embeddings=embeddings)
    assert ids_of(by_field.invoke("harbor")) == ids_of(by_call.invoke("harbor", **options))
    assert [d.metadata["page"] for d in by_field.invoke("harbor")] in ([1, 2], [2, 1])
    assert by_call.search("harbor", **options).fusion == "rrf"


async def test_async_and_batch_give_what_single_calls_give(index, embeddings, pictures):
    retriever = UmeR1Retriever(index=index, embeddings=embeddings)
    queries = ["harbor", "colour300", "colour030"]
    singly = [ids_of(retriever.invoke(query)) for query in queries]
    assert len(set(map(tuple, singly))) == 3
    assert [ids_of(found) for found in retriever.batch(queries)] == singly
    assert [ids_of(found) for found in await retriever.abatch(queries)] == singly
    assert [ids_of(await retriever.ainvoke(query)) for query in queries] == singly
    by_picture = await retriever.ainvoke("", image=pictures / "red.png")
    assert ids_of(by_picture) == ids_of(retriever.invoke("", image=pictures / "red.png"))


async def test_trap_the_retrievers_async_call_is_the_encoders(index, make_encoder):
    """LangChain's default runs the sync call in a thread: it cannot be cancelled, nor share a batch."""
    encoder = make_encoder()
    called = []
    own = encoder.aencode_query

    async def noted(*args, **options):
        called.append(threading.current_thread() is threading.main_thread())
        return await own(*args, **options)

    encoder.aencode_query = noted
    await UmeR1Retriever(index=index, embeddings=UmeR1Embeddings.from_encoder(encoder)).ainvoke("harbor")
    assert called == [True]


def test_trap_a_misspelt_option_is_an_error(index, embeddings):
    """LangChain's retrievers pass over what they do not know."""
    retriever = UmeR1Retriever(index=index, embeddings=embeddings)
    with pytest.raises(ConfigError, match=r"fliter: a call knows no such option; it takes k, image"):
        retriever.invoke("harbor", fliter={"kind": "page"})
    with pytest.raises(ValidationError, match="fliter"):
        UmeR1Retriever(index=index, embeddings=embeddings, fliter={"kind": "page"})
    with pytest.raises(ValidationError, match="index and path are each a place"):
        UmeR1Retriever(index=index, path="x")


def test_trap_scores_are_told_for_each_space(index, embeddings):
    """One opaque fused number is what people complain about."""
    (best, *_) = UmeR1Retriever(index=index, embeddings=embeddings).search("harbor").hits
    document = UmeR1Retriever(index=index, embeddings=embeddings).invoke("harbor")[0]
    assert document.metadata["score"] == pytest.approx(best.score, abs=1e-5)
    assert document.metadata["scores"] == pytest.approx(dict(best.scores), abs=1e-5)
    assert {"disc", "gen", "text"} == set(best.scores)


def test_a_tenants_index_stays_that_tenants(index, embeddings):
    own = index.for_tenant("ann")
    with pytest.raises(ValidationError, match="the index belongs to another tenant"):
        UmeR1Retriever(index=own, tenant="bob")
    assert (
        UmeR1Retriever(index=index, tenant="ann", embeddings=embeddings, mode="disc").invoke("harbor") == []
    )


@pytest.fixture
def tenants(embeddings, tmp_path):
    """A folder with a text of ann's, a text of bob's, and one of nobody's in another collection."""
    for name, collection in (("ann", "ume_r1"), ("bob", "ume_r1"), (None, "other")):
        store = UmeR1QdrantVectorStore(
            path=tmp_path / "tenants", collection_name=collection, embedding=embeddings, tenant=name
        )
        store.add_texts([f"a text of {name}"], ids=["same"])
        store.close()
    return tmp_path / "tenants"


def said(retriever):
    return [document.page_content for document in retriever.invoke("text")]


def test_a_retriever_whose_tenant_is_assigned_answers_as_that_tenant(tenants, embeddings):
    retriever = UmeR1Retriever(path=tenants, tenant="ann", embeddings=embeddings, mode="disc")
    assert said(retriever) == ["a text of ann"]
    retriever.tenant = "bob"
    assert said(retriever) == ["a text of bob"]
    retriever.tenant, retriever.collection = None, "other"
    assert said(retriever) == ["a text of None"]
    retriever.collection, retriever.tenant = "ume_r1", "carol"
    assert said(retriever) == []
    retriever.close()


@pytest.mark.parametrize("deep", [False, True])
def test_a_copy_of_another_tenant_shares_nothing_that_is_open(tenants, embeddings, deep):
    ann = UmeR1Retriever(path=tenants, tenant="ann", embeddings=embeddings, mode="disc")
    assert said(ann) == ["a text of ann"]
    bob = ann.model_copy(update={"tenant": "bob"}, deep=deep)
    assert said(bob) == ["a text of bob"]
    assert said(ann) == ["a text of ann"]
    same = ann.model_copy(deep=deep)
    assert said(same) == ["a text of ann"]
    kept = bob._ready()
    ann.close()
    same.close()
    assert said(bob) == ["a text of bob"]
    assert bob._ready() is kept, "closing one does not close another"
    bob.close()


async def test_a_configured_tenant_is_that_of_the_call(tenants, embeddings):
    from langchain_core.runnables import ConfigurableField

    ann = UmeR1Retriever(path=tenants, tenant="ann", embeddings=embeddings, mode="disc")
    open_to_all = ann.configurable_fields(tenant=ConfigurableField(id="tenant"))
    as_bob = {"configurable": {"tenant": "bob"}}
    assert said(open_to_all) == ["a text of ann"]
    assert [d.page_content for d in open_to_all.invoke("text", as_bob)] == ["a text of bob"]
    assert [d.page_content for d in await open_to_all.ainvoke("text", as_bob)] == ["a text of bob"]
    assert said(open_to_all) == ["a text of ann"]
    ann.close()


def test_what_is_assigned_cannot_widen_a_tenants_index(index, embeddings, make_encoder):
    retriever = UmeR1Retriever(index=index.for_tenant("ann"), embeddings=embeddings, mode="disc")
    assert said(retriever) == []
    retriever.tenant = "bob"
    with pytest.raises(ConfigError, match="the index belongs to another tenant"):
        retriever.invoke("text")
    with pytest.raises(ConfigError, match="the index belongs to another tenant"):
        retriever.model_copy().invoke("text")
    retriever.tenant, retriever.index = None, index
    assert len(said(retriever)) == 4
    retriever.embeddings = UmeR1Embeddings.from_encoder(make_encoder(model="m2"))
    with pytest.raises(IndexMismatch):
        retriever.invoke("text")
    retriever.close()
    assert index.count() == 6, "the caller's is left open"


def test_a_collection_finds_its_own_model(nano_encoder, tmp_path):
    with QdrantIndex(tmp_path, fingerprint=nano_encoder.fingerprint) as index:
        from ume_r1_rag.types import Document as Entry
        from ume_r1_rag.types import MultimodalInput

        entry = Entry("r", "text", MultimodalInput(text="a red circle"), text="a red circle")
        index.upsert([entry], [nano_encoder.encode_document("a red circle")])
    retriever = UmeR1Retriever(path=tmp_path, mode="disc")
    assert retriever.invoke("a red circle")[0].id == "r"
    retriever.close()
    words = UmeR1Retriever(path=tmp_path, mode="text")
    assert words.invoke("circle")[0].id == "r", "needs no model at all"
    words.close()


# What a chat model sees


@pytest.mark.parametrize("query", [Path("a.png"), {"question": "a"}, None])
def test_a_query_that_is_no_text_is_told_how_to_ask(index, embeddings, query):
    retriever = UmeR1Retriever(index=index, embeddings=embeddings)
    with pytest.raises(InputError, match=r"is no text: ask with files as invoke\(\"\", image="):
        retriever.invoke(query)


def test_a_retriever_takes_the_name_that_stores_have_and_never_both(index, embeddings):
    assert UmeR1Retriever(index=index, embedding=embeddings).embeddings is embeddings
    with pytest.raises(ValidationError, match="two names of one thing: give embeddings="):
        UmeR1Retriever(index=index, embedding=embeddings, embeddings=embeddings)
    store = UmeR1QdrantVectorStore(index=index, embeddings=embeddings)
    assert store.embeddings == embeddings.in_mode("disc")


def test_a_place_and_a_models_name_are_taken_as_they_are_said():
    retriever = UmeR1Retriever(Path("my-index"), embeddings="nano")
    assert (retriever.path, retriever.embeddings) == ("my-index", UmeR1Embeddings("nano"))
    assert UmeR1QdrantVectorStore(path=":memory:", embedding="nano").embeddings == UmeR1Embeddings("nano")
    with pytest.raises(ValidationError, match="index=my-index is no open index: say path=my-index"):
        UmeR1Retriever(index="my-index")


def test_trap_a_retriever_outlives_the_model_of_closed_embeddings(nano_encoder, tmp_path):
    nano = {"device": "cpu", "dtype": "float32", "batch_size": 5}
    embeddings = UmeR1Embeddings("nano", **nano)
    with QdrantIndex(tmp_path / "ix", fingerprint=embeddings.encoder.fingerprint) as index:
        UmeR1QdrantVectorStore(index=index, embedding=embeddings).add_texts(["a red circle"])
        retriever = UmeR1Retriever(index=index, embeddings=embeddings, mode="disc")
        (first,) = retriever.invoke("a red thing")
        old = embeddings.encoder
        embeddings.close()
        with pytest.raises(UmeR1Error):
            old.encode("closed")
        (again,) = retriever.invoke("a red thing")
        assert again.metadata["score"] == pytest.approx(first.metadata["score"], abs=1e-6)
        embeddings.close()


async def test_gen_of_an_index_without_any_is_told_to_be_disc(embeddings, caplog):
    store = UmeR1QdrantVectorStore(path=":memory:", embedding=embeddings)
    store.add_texts(["a red circle", "a blue ring"])
    retriever = UmeR1Retriever(index=store.index, embeddings=embeddings, mode="gen")
    for found in (retriever.invoke("a red thing"), await retriever.ainvoke("a red thing")):
        assert [sorted(one.metadata["scores"]) for one in found] == [["disc"], ["disc"]]
    told = [one.getMessage() for one in caplog.records if "have no gen vector" in one.getMessage()]
    assert len(told) == 2
    assert told[0].startswith(
        "2 of 2 found have no gen vector and are ranked by disc: index with mode='both'"
    )
    caplog.clear()
    retriever.invoke("a red thing", mode="fused")
    assert not caplog.records, "who asks for all that there is gets it"
    ranking_by_gen = UmeR1QdrantVectorStore(
        index=store.index, embedding=embeddings, mode="both", vector_name="gen"
    )
    with pytest.warns(CostWarning):
        assert ranking_by_gen.similarity_search("a red thing") == []
    assert "none of the 2 documents has a gen vector, by which this store ranks" in caplog.text
    store.close()


def test_documents_become_blocks_with_their_pictures(index, embeddings, pictures):
    found = UmeR1Retriever(index=index, embeddings=embeddings, k=9).invoke("harbor")
    blocks = content_blocks(found, frames=2, max_pixels=64 * 64)
    labels = [b["text"].splitlines()[0] for b in blocks if b["type"] == "text"]
    assert labels == [f"[{n}] {cite(document)}" for n, document in enumerate(found, start=1)]
    assert {"report.pdf, page 2", "red.png"} <= {cite(document) for document in found}
    assert next(cite(d) for d in found if d.metadata["kind"] == "clip").startswith("clip.mp4, 0.0 to ")
    # Two pages, three pictures, two frames.
    images = [block for block in blocks if block["type"] == "image"]
    assert len(images) == 7
    from ume_r1_rag.media import load_image

    for block in images:
        shown = load_image(f"data:{block['mime_type']};base64,{block['base64']}")
        assert shown.width * shown.height <= 64 * 64
    bare = content_blocks(found, texts=False)
    assert [b["text"] for b in bare if b["type"] == "text"] == labels


def test_a_picture_that_is_gone_is_told_of(index, embeddings, pictures, caplog):
    retriever = UmeR1Retriever(index=index, embeddings=embeddings, k=1, filter={"title": "red.png"})
    (found,) = retriever.invoke("red")
    (pictures / "red.png").unlink()
    (block,) = content_blocks([found])
    assert block["text"].startswith("[1] red.png\n")
    assert "its picture cannot be shown" in block["text"]
    assert "cannot be shown" in caplog.text
    (plain,) = content_blocks([Document("words")])
    assert plain == {"type": "text", "text": "[1] untitled\nwords"}
    with pytest.raises(ConfigError, match="frames=0"):
        content_blocks([], frames=0)


def test_a_page_that_has_changed_is_told_of(index, embeddings, pictures, tmp_path):
    (found,) = UmeR1Retriever(index=index, embeddings=embeddings, k=1, filter={"page": 2}).invoke("harbor")
    folder = tmp_path / "drawn"
    assert [one["type"] for one in content_blocks([found], page_images=folder)] == ["text", "image"]
    assert len(list(folder.iterdir())) == 1
    (pictures / "report.pdf").write_bytes(text_pdf(["another", "another"]))
    (block,) = content_blocks([found], page_images=folder)
    assert "has changed since it was indexed" in block["text"]


def test_pages_are_shown_where_no_folder_can_be_written(index, embeddings, tmp_path):
    (tmp_path / "file").write_text("no folder")
    (found,) = UmeR1Retriever(index=index, embeddings=embeddings, k=1, filter={"page": 1}).invoke("harbor")
    shown = content_blocks([found], page_images=tmp_path / "file")
    assert [one["type"] for one in shown] == ["text", "image"]


@pytest.mark.parametrize("kind", ["image", "page", "clip", "text"])
@pytest.mark.parametrize("forged", [{}, {"ume_mark": "0" * 64}, {"ume_mark": ["x"]}, {"ume_mark": "ü"}])
def test_trap_a_strangers_metadata_opens_no_file(store, embeddings, tmp_path, kind, forged):
    """What a document says of itself is somebody's text: it must not name files for a chat model to see."""
    secret = tmp_path / {"page": "s.pdf", "clip": "s.mp4"}.get(kind, "s.png")
    if kind == "page":
        secret.write_bytes(text_pdf(["secret"]))
    elif kind == "clip":
        write_clip(secret)
    else:
        Image.new("RGB", (64, 64), "red").save(secret)
    given = {"kind": kind, "uri": str(secret), "page": 1, "span_s": [0.0, 1.0], **forged}
    store.add_texts(["hello"], [given], ids=["t"])
    retriever = UmeR1Retriever(index=store.index, embeddings=embeddings, mode="disc")
    found = [*store.similarity_search("hello"), *store.get_by_ids(["t"]), *retriever.invoke("hello")]
    elsewhere = InMemoryVectorStore(embeddings)
    elsewhere.add_texts(["hello"], [given])
    found += elsewhere.similarity_search("hello")
    assert len(found) == 4
    assert {block["type"] for block in content_blocks(found)} == {"text"}


def test_a_file_is_shown_where_the_index_says_and_nowhere_else(store, embeddings, pictures):
    store.add_images([pictures / "red.png"], [{"page": 7, "span_s": [1, 2], "ume_mark": "x"}], ids=["r"])
    retriever = UmeR1Retriever(index=store.index, embeddings=embeddings, mode="disc")
    for found in (*store.get_by_ids(["r"]), *retriever.invoke("red")):
        assert [one["type"] for one in content_blocks([found])] == ["text", "image"]
        kept = Document(**json.loads(json.dumps(found.model_dump(include={"page_content", "metadata"}))))
        assert [one["type"] for one in content_blocks([kept])] == ["text", "image"], "copied, it still is"
        found.metadata["uri"] = str(pictures / "blue.png")
        (block,) = content_blocks([found])
        assert "its place was changed since: search again" in block["text"]
