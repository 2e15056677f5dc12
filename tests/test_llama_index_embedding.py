"""UmeR1Embedding: LlamaIndex's contract, on nano."""

import asyncio
import copy
import json
import logging
import pickle
import subprocess
import sys
import warnings
from io import BytesIO

import numpy as np
import pytest
from llama_index.core import Settings
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.schema import ImageDocument, ImageNode, MediaResource, Node, TextNode
from served import Served

import llama_index.embeddings.ume_r1 as package
from llama_index.embeddings.ume_r1 import CostWarning, SizeWarning, UmeR1Embedding, node_input
from ume_r1_rag.checkpoints import DEFAULT_MODEL
from ume_r1_rag.errors import ConfigError, FetchError, InputError
from ume_r1_rag.server import create_app
from ume_r1_rag.template import INSTRUCTIONS
from ume_r1_rag.types import Embedding, MultimodalInput


@pytest.fixture
def embedding(recording):
    return UmeR1Embedding(encoder=recording)


def picture(path, kind="image"):
    return MultimodalInput(images=(path,), instruction=INSTRUCTIONS[kind].document)


def test_public_names_are_pinned_and_sorted():
    assert package.__all__ == ["EMBED_KEY", "CostWarning", "SizeWarning", "UmeR1Embedding", "node_input"]
    assert all(hasattr(package, name) for name in package.__all__)


def test_it_is_an_embedding_of_llama_index():
    names = [one.__name__ for one in UmeR1Embedding.__mro__]
    assert BaseEmbedding.__name__ in names
    assert MultiModalEmbedding.__name__ in names
    assert UmeR1Embedding.class_name() == "UmeR1Embedding"


def test_without_arguments_it_is_the_default_model_and_loads_nothing(monkeypatch):
    monkeypatch.delenv("UME_R1_MODEL", raising=False)
    made = UmeR1Embedding()
    assert (made.model_name, made.mode) == (DEFAULT_MODEL, "disc")
    assert made._lazy.made is None
    monkeypatch.setenv("UME_R1_MODEL", "nano")
    assert UmeR1Embedding().model_name == "nano"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"modle": "x"}, "modle"),
        ({"mode": "both"}, "mode"),
        ({"weights": (0, 0)}, "weights="),
        ({"num_workers": 0}, "num_workers"),
        ({"timeout_s": 3}, "timeout_s: without base_url="),
        ({"think": 0}, "think=0"),
        ({"embed_batch_size": 0}, "embed_batch_size"),
    ],
)
def test_what_cannot_work_is_refused_at_once(options, error):
    with pytest.raises(ValueError, match=error):
        UmeR1Embedding("nano", **options)


def test_a_model_is_named_as_either_framework_does_and_never_twice():
    assert UmeR1Embedding(model="nano").model_name == UmeR1Embedding("nano").model_name == "nano"
    with pytest.raises(ConfigError, match="two names of one thing: give model_name="):
        UmeR1Embedding("nano", model="nano")


def test_an_import_costs_no_torch_and_nothing_of_langchain():
    code = (
        "import sys, llama_index.embeddings.ume_r1\n"
        "import llama_index.retrievers.ume_r1\n"
        "llama_index.embeddings.ume_r1.UmeR1Embedding()\n"
        "found = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(found & {'torch', 'transformers', 'vllm', 'fastapi', 'langchain', 'langchain_core',"
        " 'langchain_qdrant', 'langchain_ume_r1'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_texts_queries_pictures_and_clips_get_the_encoders_vectors(embedding, nano_encoder, shapes):
    text = embedding.get_text_embedding("a red circle")
    assert text == pytest.approx(
        nano_encoder.encode_document({"text": "a red circle"}).disc.tolist(), abs=1e-5
    )
    query = embedding.get_query_embedding("a red circle")
    assert query == pytest.approx(nano_encoder.encode_query({"text": "a red circle"}).disc.tolist(), abs=1e-5)
    image = embedding.get_image_embedding(str(shapes / "red.png"))
    assert image == pytest.approx(nano_encoder.encode(picture(shapes / "red.png")).disc.tolist(), abs=1e-5)
    clip = MultimodalInput(video=shapes / "clip.mp4", instruction=INSTRUCTIONS["clip"].document)
    found = embedding.get_video_embedding(str(shapes / "clip.mp4"))
    assert found == pytest.approx(nano_encoder.encode(clip).disc.tolist(), abs=1e-5)
    assert all(type(number) is float for number in found)


def test_a_query_may_have_an_instruction(recording, nano_encoder):
    found = UmeR1Embedding(encoder=recording, query_kind="page").get_query_embedding("rent")
    wanted = nano_encoder.encode_query({"text": "rent"}, kind="page").disc
    assert found == pytest.approx(wanted.tolist(), abs=1e-5)


def test_trap_a_picture_comes_in_many_shapes_and_as_a_stream_that_was_read(embedding, shapes):
    data = (shapes / "red.png").read_bytes()
    read = BytesIO(data)
    read.seek(10)  # somebody looked into it
    wanted = embedding.get_image_embedding(str(shapes / "red.png"))
    assert embedding.get_image_embedding(read) == pytest.approx(wanted, abs=1e-5)
    assert embedding.get_image_embedding(shapes / "red.png") == pytest.approx(wanted, abs=1e-5)
    assert embedding.get_image_embedding(data) == pytest.approx(wanted, abs=1e-5)


async def test_async_twins_give_the_same(embedding, shapes):
    red, clip = str(shapes / "red.png"), str(shapes / "clip.mp4")
    for sync, twin, one in [
        (embedding.get_query_embedding, embedding.aget_query_embedding, "a note"),
        (embedding.get_text_embedding, embedding.aget_text_embedding, "a note"),
        (embedding.get_image_embedding, embedding.aget_image_embedding, red),
        (embedding.get_video_embedding, embedding.aget_video_embedding, clip),
        (embedding.get_text_embedding_batch, embedding.aget_text_embedding_batch, ["a", "b"]),
        (embedding.get_image_embedding_batch, embedding.aget_image_embedding_batch, [red, red]),
        (embedding.get_video_embeddings, embedding.aget_video_embeddings, [clip]),
    ]:
        assert np.allclose(sync(one), await twin(one), atol=1e-5)


def test_of_a_stranger_text_no_file_is_opened(embedding, recording, shapes):
    embedding.get_query_embedding(str(shapes / "red.png"))
    embedding.get_text_embedding(str(shapes / "red.png"))
    assert all(one.images == () for one in recording.inputs)


def test_a_url_is_refused_unless_fetching_is_on(embedding):
    with pytest.raises((InputError, FetchError), match="fetching is off"):
        embedding.get_image_embedding("https://example.com/a.png")
    with pytest.raises((InputError, FetchError), match="fetching is off"):
        embedding([ImageNode(image_url="https://example.com/a.png")])


def test_packed_vectors_rank_by_the_weighted_sum(nano_encoder, shapes):
    made = UmeR1Embedding(
        "nano", device="cpu", dtype="float32", mode="packed", weights=(0.3, 0.7), think="none"
    )
    with pytest.warns(CostWarning):
        query = np.array(made.get_query_embedding("red"))
    document = np.array(made.get_image_embedding(str(shapes / "red.png")))
    asked = nano_encoder.encode_query({"text": "red"}, "both", think="none")
    shown = nano_encoder.encode_document(picture(shapes / "red.png"), "both", think="none")
    wanted = 0.3 * asked.disc @ shown.disc + 0.7 * asked.gen @ shown.gen
    assert query @ document == pytest.approx(wanted, abs=1e-4)
    assert len(query) == made.dimension == 2 * nano_encoder.dimension


def test_gen_says_once_what_it_costs_and_disc_nothing(nano_encoder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        UmeR1Embedding(encoder=nano_encoder).get_query_embedding("red")
    made = UmeR1Embedding("nano", mode="gen", think=4)
    with pytest.warns(
        CostWarning, match=r"the first 1 took \d+\.\d\d s here \(\d+\.\d\d s and \d+ tokens each,"
    ):
        made.get_query_embedding("red")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.get_query_embedding("blue")


def test_a_packed_vector_that_some_stores_do_not_take_is_said_to_be_one(make_encoder):
    made = UmeR1Embedding(encoder=make_encoder(dimension=1536), mode="packed")
    with pytest.warns(SizeWarning, match="3072 dimensions: pgvector.*takes 2000"):
        made.get_query_embedding("red")


def test_gen_that_cannot_be_had_is_an_error_and_never_disc(make_encoder):
    made = UmeR1Embedding(encoder=make_encoder(spaces=("disc",)), mode="gen")
    with pytest.raises(ConfigError, match="no gen vectors"):
        made.get_query_embedding("red")


def test_a_mended_generation_is_flagged(make_encoder, caplog):
    class Mended(type(make_encoder())):
        def _one(self, one, wanted, think):
            found = super()._one(one, wanted, think)
            return Embedding(disc=found.disc, gen=found.gen, gen_valid=False, gen_issue="token limit")

    made = UmeR1Embedding(encoder=Mended(), mode="gen")
    with pytest.warns(CostWarning), caplog.at_level(logging.WARNING):
        (node,) = made([TextNode(text="red")])
    assert node.metadata["gen_issue"] == "token limit"
    assert len(node.embedding) == made.dimension
    assert "1 of 1 gen vectors are of a generation that was mended (token limit)" in caplog.text


def test_it_survives_serialisation_without_its_secret():
    made = UmeR1Embedding("nano", mode="gen", think=32, weights=(1, 2), base_url="http://host", api_key="key")
    told = made.to_dict()
    assert "key" not in json.dumps(told).replace("api_key", "")
    assert "'key'" not in repr(made)
    again = UmeR1Embedding.from_dict(json.loads(json.dumps(told)), api_key="key")
    assert again.model_dump(exclude={"api_key"}) == made.model_dump(exclude={"api_key"})
    assert UmeR1Embedding.from_json(made.to_json()).think == 32


@pytest.mark.parametrize(
    "options",
    [
        {"apikey": "sk-SECRET"},
        {"api_key": ["sk-SECRET"]},
        {"base_url": "http://user:sk-SECRET@host:8000"},
        {"base_url": "user:sk-SECRET@host"},
    ],
)
def test_an_error_does_not_show_a_secret(options):
    with pytest.raises(ValueError, match=next(iter(options))) as caught:
        UmeR1Embedding("nano", **options)
    assert "SECRET" not in str(caught.value)


def test_trap_pickling_drops_what_it_cannot_carry(shapes):
    made = UmeR1Embedding("nano", dtype="float32", device="cpu")
    before = made.get_query_embedding("red")
    data = pickle.dumps(made)
    assert len(data) < 10_000  # no weights
    again = pickle.loads(data)
    assert again._lazy.made is None
    assert again.get_query_embedding("red") == pytest.approx(before, abs=1e-5)
    again.close()
    assert again._lazy.made is None
    assert copy.deepcopy(made).encoder is made.encoder


def test_around_an_encoder_it_tells_that_it_cannot_travel(embedding, recording):
    with pytest.raises(ConfigError, match="cannot be pickled"):
        pickle.dumps(embedding)
    with pytest.raises(ConfigError, match="encoder=…"):
        UmeR1Embedding.from_dict(embedding.to_dict())
    assert UmeR1Embedding.from_dict(embedding.to_dict(), encoder=recording).encoder is recording
    assert UmeR1Embedding(encoder=recording, think="full").think == "full"
    for think in (4, "none"):
        with pytest.raises(ConfigError, match=f"think={think!r}, but the encoder that is given has think='f"):
            UmeR1Embedding(encoder=recording, think=think)
    with pytest.raises(ConfigError, match="device says how an encoder is made"):
        UmeR1Embedding(encoder=recording, device="cpu")


def test_what_decides_vectors_cannot_be_changed_afterwards(embedding):
    for name, value in [("mode", "gen"), ("model_name", "other"), ("think", 3)]:
        with pytest.raises(ConfigError, match=f"{name} decides the vectors"):
            setattr(embedding, name, value)
        with pytest.raises(ConfigError, match=f"{name} decides the vectors"):
            embedding.model_copy(update={name: value})
    copied = embedding.model_copy(update={"embed_batch_size": 7}, deep=True)
    assert (copied.embed_batch_size, copied.encoder) == (7, embedding.encoder)
    embedding.embed_batch_size = 3
    assert embedding.embed_batch_size == 3


def test_a_server_encodes_as_well(nano_encoder, shapes):
    with Served(create_app(nano_encoder)) as server:
        made = UmeR1Embedding(base_url=server.url)
        assert made.model_name == ""
        found = made.get_image_embedding(str(shapes / "red.png"))
        assert made.to_payload()["model_name"] == made.encoder.model
        made.encoder.close()
    assert found == pytest.approx(nano_encoder.encode(picture(shapes / "red.png")).disc.tolist(), abs=1e-4)


def test_our_cache_keeps_queries_and_documents_apart(tmp_path):
    made = UmeR1Embedding(
        "nano", device="cpu", dtype="float32", cache=str(tmp_path / "c.sqlite"), query_kind="page"
    )
    query = made.get_query_embedding("rent")
    assert made.get_text_embedding("rent") != pytest.approx(query, abs=1e-3)
    assert made.get_query_embedding("rent") == query
    assert made.encoder.info().hits == 1
    made.close()
    assert made.get_query_embedding("rent") == query  # open again, and still there
    made.close()


class Events(BaseEventHandler):
    seen: list = []  # noqa: RUF012 -- a pydantic field

    def handle(self, event, **kwargs):
        if "Embedding" in event.class_name():
            self.seen.append(event)


@pytest.fixture
def events():
    handler = Events(seen=[])
    get_dispatcher().add_event_handler(handler)
    yield handler.seen
    get_dispatcher().event_handlers.remove(handler)


async def test_trap_handlers_are_not_told_of_pictures_and_choke_on_streams(embedding, shapes, events):
    counter = TokenCountingHandler(tokenizer=str.split)  # takes every chunk for a text
    embedding.callback_manager = CallbackManager([counter])
    embedding.get_image_embedding(BytesIO((shapes / "red.png").read_bytes()))
    await embedding.aget_image_embedding_batch([str(shapes / "red.png")])
    embedding.get_video_embeddings([str(shapes / "clip.mp4")])
    embedding([TextNode(text="a note"), ImageNode(image_path=str(shapes / "red.png"))])
    ended = [event for event in events if event.class_name() == "EmbeddingEndEvent"]
    assert len(events) == 2 * len(ended) == 8
    assert [len(event.embeddings) for event in ended] == [1, 1, 1, 2]
    assert ended[0].chunks[0].startswith("[image: ")
    assert ended[3].chunks[0] == "a note"
    assert counter.total_embedding_token_count > 0
    assert all(event.model_dict["mode"] == "disc" for event in events if hasattr(event, "model_dict"))


def test_trap_a_rate_limiter_does_not_hold_for_pictures(embedding, shapes):
    class Limiter:
        taken = 0

        def acquire(self):
            self.taken += 1

        async def async_acquire(self):
            self.taken += 1

    embedding.rate_limiter = Limiter()
    embedding.get_image_embedding_batch([str(shapes / "red.png")])
    asyncio.run(embedding.aget_video_embedding(str(shapes / "clip.mp4")))
    assert embedding.rate_limiter.taken == 2


def test_it_can_be_the_setting_of_all(embedding, monkeypatch):
    monkeypatch.setattr(Settings, "_embed_model", None)
    Settings.embed_model = embedding
    assert Settings.embed_model is embedding


NODES = {
    "text": lambda folder: TextNode(text="a note", metadata={"lang": "en"}),
    "picture": lambda folder: ImageNode(
        image_path=str(folder / "red.png"), metadata={"file_name": "red.png"}
    ),
    "page": lambda folder: ImageNode(image_path=str(folder / "red.png"), metadata={"kind": "page"}),
    "captioned": lambda folder: ImageNode(text="a caption", image_path=str(folder / "red.png")),
    "media alone": lambda folder: ImageNode(
        text="a layer", image_path=str(folder / "red.png"), metadata={"ume_embed": "media"}
    ),
    "document": lambda folder: ImageDocument(image_path=str(folder / "red.png")),
    "resource": lambda folder: Node(image_resource=MediaResource(path=folder / "red.png")),
    "data": lambda folder: Node(image_resource=MediaResource(data=(folder / "red.png").read_bytes())),
    "clip": lambda folder: Node(video_resource=MediaResource(path=folder / "clip.mp4")),
    "part": lambda folder: Node(
        video_resource=MediaResource(path=folder / "clip.mp4"), metadata={"span_s": [0.0, 1.0]}
    ),
    "mix": lambda folder: Node(
        text_resource=MediaResource(text="both"),
        image_resource=MediaResource(path=folder / "red.png"),
        video_resource=MediaResource(path=folder / "clip.mp4"),
    ),
}


@pytest.mark.parametrize("kind", NODES)
def test_a_node_reaches_the_encoder_as_what_it_is(kind, embedding, recording, shapes):
    embedding([NODES[kind](shapes)])
    (item,) = recording.inputs
    text = {"text": "lang: en\n\na note", "captioned": "a caption", "mix": "both"}.get(kind)
    assert item.text == text
    assert bool(item.images) == (kind not in ("text", "clip", "part"))
    assert (item.video is not None) == (kind in ("clip", "part", "mix"))
    if kind == "part":
        assert len(item.video) == 3  # frames of the first second
    instruction = {"page": "page", "clip": "clip", "part": "clip"}.get(kind, "image")
    assert item.instruction == (None if text else INSTRUCTIONS[instruction].document)


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (TextNode(text="  ", id_="n1"), "node n1: it has neither text nor picture nor clip"),
        (Node(id_="n2"), "node n2: it has neither"),
        (ImageNode(image_path="/absent/a.png", id_="n3"), "node n3: .*does not exist"),
        (Node(audio_resource=MediaResource(data=b"x"), id_="n4"), "node n4: it holds sound"),
        (Node(image_resource=MediaResource(text="alt"), id_="n5"), "node n5: its image_resource has neither"),
        (TextNode(text="x", metadata={"ume_embed": "some"}, id_="n6"), "node n6: ume_embed='some'"),
    ],
)
def test_a_node_that_cannot_be_embedded_is_named(embedding, recording, node, why):
    whole = TextNode(text="whole")
    with pytest.raises(InputError, match=why):
        embedding([whole, node])
    assert whole.embedding is not None
    assert len(recording.calls) == 1


def test_a_broken_picture_is_named_by_its_node_and_costs_no_other(embedding, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    for call in (embedding, lambda nodes: asyncio.run(embedding.acall(nodes))):
        broken = ImageNode(image_path=str(tmp_path / "broken.png"), id_="n1")
        nodes = [TextNode(text="whole"), broken, TextNode(text=" ", id_="n2"), TextNode(text="sound")]
        with pytest.raises(InputError, match=r"(?s)node n1: image .*broken\.png") as caught:
            call(nodes)
        assert "node n2: it has neither" in str(caught.value)
        assert "2 of 4 nodes failed; the others are embedded" in str(caught.value)
        assert nodes[0].embedding == pytest.approx(embedding.get_text_embedding("whole"), abs=1e-4)
        assert nodes[3].embedding == pytest.approx(embedding.get_text_embedding("sound"), abs=1e-4)
        assert nodes[1].embedding is None


def test_a_node_input_stands_alone(shapes):
    assert node_input(TextNode(text="a note")) == MultimodalInput(text="a note")
