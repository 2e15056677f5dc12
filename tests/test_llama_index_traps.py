"""What LlamaIndex does to those who trust it, as it is in 0.14, and that it does not happen through us.

Each test first shows the trap where it still is, so that a release that closes it is noticed.
"""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from llama_index.core import Settings, StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.embeddings.loading import load_embed_model
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import ImageDocument, ImageNode, MediaResource, Node, QueryBundle, TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import VectorStoreQuery
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient

from llama_index.embeddings.ume_r1 import UmeR1Embedding
from llama_index.retrievers.ume_r1 import UmeR1IndexWriter, UmeR1QueryBundle, UmeR1Reader, UmeR1Retriever
from ume_r1_rag.errors import ConfigError, InputError
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.media.fetch import Fetcher


@pytest.fixture
def embedding(recording):
    return UmeR1Embedding(encoder=recording)


@pytest.fixture
def index(nano_encoder):
    with QdrantIndex(":memory:", fingerprint=nano_encoder.fingerprint) as index:
        yield index


@pytest.fixture
def make_retriever(nano_encoder, tmp_path):
    def make(index, **options):
        options = {"mode": "disc", "k": 3, "page_images": tmp_path / "pages", **options}
        return UmeR1Retriever(index=index, embed_model=nano_encoder, **options)

    return make


def pictures(folder):
    return [ImageNode(image_path=str(folder / name), id_=name) for name in ("red.png", "blue.png")]


def of_picture(encoder, path):
    from llama_index.embeddings.ume_r1 import node_input

    return encoder.encode_document(node_input(ImageNode(image_path=str(path)))).disc


# The interface of embeddings.


async def test_trap_async_calls_block_the_loop(recording, shapes):
    class Stock(UmeR1Embedding):
        _aget_text_embedding = BaseEmbedding._aget_text_embedding

    await Stock(encoder=recording).aget_text_embedding("red")
    assert recording.threads == {threading.get_ident()}  # the model ran in the loop's own thread
    recording.threads.clear()
    embedding = UmeR1Embedding(encoder=recording)
    red, clip = str(shapes / "red.png"), str(shapes / "clip.mp4")
    await embedding.aget_text_embedding("red")
    await embedding.aget_query_embedding("red")
    await embedding.aget_image_embedding(red)
    await embedding.aget_video_embedding(clip)
    await embedding.acall(pictures(shapes))
    assert recording.threads == set()
    assert all(role.startswith("async") for role, _, _ in recording.calls[1:])


async def test_trap_pictures_are_embedded_one_by_one(embedding, recording, shapes):
    paths = [str(shapes / "red.png")] * 5
    embedding.get_image_embedding_batch(paths)
    await embedding.aget_image_embedding_batch(paths)
    assert recording.calls == [("document", "disc", 5), ("async document", "disc", 5)]


async def test_trap_num_workers_does_not_hold_for_pictures(recording, shapes):
    embedding = UmeR1Embedding(encoder=recording, num_workers=2, embed_batch_size=1)
    found = await embedding.aget_image_embedding_batch([str(shapes / "red.png")] * 6)
    assert len(found) == 6
    assert recording.most == 2
    await embedding.acall([TextNode(text=f"note {n}") for n in range(6)])
    assert recording.most == 2


def test_trap_embeddings_cache_gives_a_document_the_query_vector(recording, nano_encoder, tmp_path):
    class Stock(BaseEmbedding):
        def _get_query_embedding(self, query):
            return nano_encoder.encode_query({"text": query}, kind="page").disc.tolist()

        def _get_text_embedding(self, text):
            return nano_encoder.encode_document({"text": text}).disc.tolist()

        async def _aget_query_embedding(self, query):
            raise NotImplementedError

    stock = Stock(embeddings_cache=SimpleKVStore())
    assert stock.get_query_embedding("rent") == stock.get_text_embedding("rent")

    with pytest.raises(ConfigError, match=r"embeddings_cache is refused.*cache='embeddings\.sqlite'"):
        UmeR1Embedding(encoder=recording, embeddings_cache=SimpleKVStore())
    ours = UmeR1Embedding(encoder=recording)
    with pytest.raises(ConfigError, match="embeddings_cache is refused"):
        ours.embeddings_cache = SimpleKVStore()


def test_trap_third_parties_cannot_be_loaded_by_name(embedding, recording):
    with pytest.raises(ValueError, match="Invalid Embedding name"):
        load_embed_model(embedding.to_dict())
    again = UmeR1Embedding.from_dict(embedding.to_dict(), encoder=recording)
    assert isinstance(again, UmeR1Embedding)


def test_trap_an_index_replaces_the_callbacks(embedding, shapes, monkeypatch):
    counter = TokenCountingHandler(tokenizer=str.split)
    monkeypatch.setattr(Settings, "_callback_manager", CallbackManager([counter]))
    VectorStoreIndex([TextNode(text="a note")], embed_model=embedding)
    assert embedding.callback_manager is Settings.callback_manager
    before = counter.total_embedding_token_count
    embedding.get_image_embedding(str(shapes / "red.png"))
    assert counter.total_embedding_token_count > before  # told of pictures, to whomever it is now


# Indexes and pipelines.


def test_trap_pipelines_embed_pictures_as_text(embedding, recording, nano_encoder, shapes):
    nodes = [ImageNode(image_path=str(shapes / "red.png"), text="red"), TextNode(text="red")]
    BaseEmbedding.__call__(embedding, nodes)
    assert nodes[0].embedding == pytest.approx(nodes[1].embedding, abs=1e-5)
    assert all(item.images == () for item in recording.inputs)

    nodes = IngestionPipeline(transformations=[embedding]).run(
        nodes=[*pictures(shapes), TextNode(text="red")]
    )
    for node, name in zip(nodes, ("red.png", "blue.png"), strict=False):
        assert node.embedding == pytest.approx(of_picture(nano_encoder, shapes / name).tolist(), abs=1e-5)


async def test_trap_pipelines_give_one_picture_the_vector_of_another(embedding, shapes):
    class Stock(UmeR1Embedding):
        def to_dict(self, **kwargs):
            return {"class_name": "Stock"}

    red, blue = pictures(shapes)
    stock = IngestionPipeline(transformations=[Stock(encoder=embedding.encoder)])
    stock.run(nodes=[red])
    (wrong,) = stock.run(nodes=[blue])
    assert wrong.node_id == "red.png"  # the cache knows the nodes by their text, of which there is none

    ours = IngestionPipeline(transformations=[embedding])
    ours.run(nodes=[red])
    (right,) = ours.run(nodes=[blue])
    assert right.node_id == "blue.png"
    (right,) = await ours.arun(nodes=[red])
    assert right.node_id == "red.png"


def test_trap_picture_nodes_without_text_are_dropped(embedding, shapes):
    nodes = pictures(shapes)
    for stock in (
        VectorStoreIndex(nodes, embed_model=embedding),
        MultiModalVectorStoreIndex(nodes, embed_model=embedding, image_embed_model=embedding),
    ):
        assert not stock.index_struct.nodes_dict
    ours = VectorStoreIndex([], embed_model=embedding)
    ours.insert_nodes(embedding(nodes))
    assert len(ours.index_struct.nodes_dict) == 2


@pytest.mark.parametrize("field", ["image_resource", "video_resource"])
def test_trap_nodes_with_resources_are_dropped(embedding, index, make_retriever, shapes, field):
    file = "red.png" if field == "image_resource" else "clip.mp4"
    node = Node(**{field: MediaResource(path=shapes / file)})
    assert not VectorStoreIndex([node], embed_model=embedding).index_struct.nodes_dict

    UmeR1IndexWriter(index, embedding, mode="disc")([node])
    (found,) = make_retriever(index).retrieve("red")
    assert found.node.node_id == node.node_id
    assert found.node.metadata["uri"] == str(shapes / file)


def test_trap_a_vector_store_index_never_sees_pictures(embedding, recording, nano_encoder, shapes):
    node = ImageNode(image_path=str(shapes / "red.png"), text="a caption")
    VectorStoreIndex([node], embed_model=embedding)
    assert [item.images for item in recording.inputs] == [()]

    recording.inputs.clear()
    ours = VectorStoreIndex([], embed_model=embedding)
    ours.insert_nodes(embedding(pictures(shapes)))
    assert all(item.images for item in recording.inputs)
    best = ours.as_retriever(similarity_top_k=1).retrieve(
        QueryBundle("", embedding=of_picture(nano_encoder, shapes / "blue.png").tolist())
    )
    assert best[0].node.node_id == "blue.png"


def test_trap_a_query_with_a_picture_alone_is_an_error(embedding, index, make_retriever, shapes):
    UmeR1IndexWriter(index, embedding, mode="disc")(pictures(shapes))
    stock = MultiModalVectorStoreIndex([], embed_model=embedding, image_embed_model=embedding)
    stock.insert_nodes([TextNode(text="x"), *pictures(shapes)])
    query = QueryBundle("", image_path=str(shapes / "blue.png"))
    with pytest.raises((ValueError, TypeError)):  # which one depends on the store
        stock.as_retriever().retrieve(query)
    found = make_retriever(index).retrieve(query)
    assert found[0].node.node_id == "blue.png"
    assert found[0].score == pytest.approx(1.0, abs=1e-3)


def test_trap_with_words_the_picture_of_a_query_is_ignored(embedding, recording, index, shapes, tmp_path):
    UmeR1IndexWriter(index, embedding, mode="disc")(pictures(shapes))
    query = QueryBundle("like this", image_path=str(shapes / "blue.png"))
    VectorStoreIndex([TextNode(text="x")], embed_model=embedding).as_retriever().retrieve(query)
    assert recording.inputs[-1].images == ()
    assert query.embedding is not None  # and its vector, of the words alone, is left in the bundle
    ours = UmeR1Retriever(index=index, embed_model=recording, mode="disc", page_images=tmp_path)
    ours.retrieve(query)
    assert (recording.inputs[-1].text, len(recording.inputs[-1].images)) == ("like this", 1)


def test_trap_texts_and_pictures_are_put_in_line_and_not_ranked(embedding, index, make_retriever, shapes):
    nodes = [
        ImageNode(image_path=str(shapes / "red.png"), text="red"),
        TextNode(text="harbors"),
        TextNode(text="x"),
    ]
    UmeR1IndexWriter(index, embedding, mode="disc")(nodes)
    found = make_retriever(index).retrieve(QueryBundle("", image_path=str(shapes / "red.png")))
    assert len(found) == 3
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_trap_an_index_of_pictures_alone_cannot_be_opened_again(embedding, recording, shapes, tmp_path):
    client = QdrantClient(":memory:")
    texts, images = (QdrantVectorStore(client=client, collection_name=name) for name in ("t", "i"))
    context = StorageContext.from_defaults(vector_store=texts, image_store=images)
    stock = MultiModalVectorStoreIndex(
        [], storage_context=context, embed_model=embedding, image_embed_model=embedding
    )
    stock.insert_nodes([ImageNode(image_path=str(shapes / "red.png"))])
    again = MultiModalVectorStoreIndex.from_vector_store(
        texts, image_vector_store=images, embed_model=embedding, image_embed_model=embedding
    )
    with pytest.raises(ValueError, match="Collection t not found"):
        again.as_retriever().retrieve("red")

    with QdrantIndex(tmp_path / "ours", fingerprint=recording.fingerprint) as index:
        UmeR1IndexWriter(index, recording, mode="disc")(pictures(shapes))
    with UmeR1Retriever(tmp_path / "ours", embed_model=recording, mode="disc", page_images=tmp_path) as ours:
        assert {one.node.node_id for one in ours.retrieve("red")} == {"red.png", "blue.png"}


def test_trap_is_image_to_text_replaces_the_picture_model(embedding):
    stock = MultiModalVectorStoreIndex(
        [], embed_model=embedding, image_embed_model=embedding, is_image_to_text=True
    )
    assert stock._image_embed_model is embedding  # the same one sees both


def test_trap_base64_pictures_swell_every_point(embedding, index, shapes, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    from PIL import Image

    Image.fromarray(noise).save(tmp_path / "noise.png")
    import base64

    inside = ImageNode(image=base64.b64encode((tmp_path / "noise.png").read_bytes()).decode())
    assert len(json.dumps(node_to_metadata_dict(inside))) > 500_000
    nodes = UmeR1Reader(tmp_path / "pages").load_nodes([tmp_path / "noise.png", shapes])
    assert all(len(json.dumps(node_to_metadata_dict(node))) < 8_000 for node in nodes)
    UmeR1IndexWriter(index, embedding, mode="disc")([inside])
    assert all(len(json.dumps(dict(hit.payload))) < 8_000 for hit in index.scroll())


def test_trap_a_picture_given_as_data_of_a_resource_is_lost(embedding, shapes):
    lost = ImageNode(text="x", image_resource=MediaResource(data=(shapes / "red.png").read_bytes()))
    assert lost.image is None
    with pytest.raises(InputError, match="an ImageNode without a picture"):
        embedding([lost])


def test_trap_any_url_in_a_node_is_fetched(embedding, shapes):
    class Neighbour(BaseHTTPRequestHandler):
        asked = 0

        def do_GET(self):
            type(self).asked += 1
            self.send_response(200)
            self.end_headers()
            self.wfile.write((shapes / "red.png").read_bytes())

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Neighbour)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    node = ImageNode(image_url=f"http://127.0.0.1:{server.server_port}/a.png")
    node.resolve_image()
    assert Neighbour.asked == 1  # this machine's own network was asked
    with pytest.raises(InputError, match="fetching is off"):
        embedding([node])
    open_to_the_world = UmeR1Embedding("nano", device="cpu", fetcher=Fetcher(enabled=True))
    with pytest.raises(InputError, match="not a public address"):
        open_to_the_world([node])
    trusting = UmeR1Embedding("nano", device="cpu", fetcher=Fetcher(enabled=True, allow_private=True))
    assert len(trusting([node])[0].embedding) == trusting.dimension
    assert Neighbour.asked == 2
    server.shutdown()
    server.server_close()


def test_trap_documents_lose_their_picture_in_a_store(shapes, tmp_path):
    stored = node_to_metadata_dict(ImageDocument(image_path=str(shapes / "red.png"), text="red"))
    assert type(metadata_dict_to_node(stored)) is TextNode
    for node in UmeR1Reader(tmp_path).load_nodes(shapes):
        again = metadata_dict_to_node(node_to_metadata_dict(node))
        assert type(again) is type(node)
        assert getattr(again, "image_path", None) == getattr(node, "image_path", None)
        assert getattr(again, "video_resource", None) == getattr(node, "video_resource", None)


def test_trap_a_bundle_has_one_picture_and_no_clip(recording, index, embedding, shapes, tmp_path):
    UmeR1IndexWriter(index, embedding, mode="disc")(pictures(shapes))
    ours = UmeR1Retriever(index=index, embed_model=recording, mode="disc", page_images=tmp_path)
    red, blue = shapes / "red.png", str(shapes / "blue.png")
    ours.retrieve(UmeR1QueryBundle("both", image_paths=[red, blue], video_path=shapes / "clip.mp4"))
    asked = recording.inputs[-1]
    assert (asked.text, len(asked.images), asked.video) == ("both", 2, shapes / "clip.mp4")


# Qdrant.


def test_trap_a_fresh_store_ignores_the_name_of_its_vector(embedding, index, shapes):
    client = QdrantClient(":memory:")
    stock = QdrantVectorStore(client=client, collection_name="c", dense_vector_name="disc")
    stock.add([TextNode(text="x", embedding=[1.0, 0.0])])
    assert "disc" not in (client.get_collection("c").config.params.vectors or {})

    UmeR1IndexWriter(index, embedding, mode="disc")(pictures(shapes))
    vectors = index.share_client().get_collection(index.physical).config.params.vectors
    assert {"disc", "gen"} <= set(vectors)


def test_trap_a_second_add_erases_the_first_vector(nano_encoder, index, shapes):
    UmeR1IndexWriter(index, nano_encoder, mode="both")([])
    client = index.share_client()
    node = TextNode(text="x")
    for name in ("disc", "gen"):
        store = QdrantVectorStore(client=client, collection_name=index.physical, dense_vector_name=name)
        store.add([TextNode(text="x", id_=node.node_id, embedding=[1.0] * nano_encoder.dimension)])
    (point,) = client.retrieve(index.physical, [node.node_id], with_vectors=True)
    assert set(point.vector) == {"gen"}
    client.delete(index.physical, [node.node_id])

    nodes = [TextNode(text="a note about harbors")]
    UmeR1IndexWriter(index, nano_encoder, mode="disc")(nodes)
    UmeR1IndexWriter(index, nano_encoder, mode="gen")(nodes)
    assert dict(index.coverage()) == {"disc": 1, "gen": 1, "text": 1}


async def test_trap_a_folder_admits_one_client(embedding, recording, shapes, tmp_path):
    from qdrant_client import AsyncQdrantClient

    with QdrantIndex(tmp_path / "ours", fingerprint=recording.fingerprint) as index:
        UmeR1IndexWriter(index, embedding, mode="disc")(pictures(shapes))
        with pytest.raises(RuntimeError, match="already accessed"):
            AsyncQdrantClient(path=str(tmp_path / "ours"))
        # Two retrievers of one process, and a stock store on a loop, share it.
        kinds = {"embed_model": recording, "mode": "disc", "page_images": tmp_path}
        with (
            UmeR1Retriever(tmp_path / "ours", **kinds) as one,
            UmeR1Retriever(tmp_path / "ours", **kinds) as two,
        ):
            assert len(await asyncio.gather(one.aretrieve("red"), two.aretrieve("blue"))) == 2
        stock = QdrantVectorStore(
            client=index.share_client(),
            aclient=index.share_aclient(),
            collection_name=index.physical,
            dense_vector_name="disc",
        )
        vector = await embedding.aget_query_embedding("red")
        found = await stock.aquery(VectorStoreQuery(query_embedding=vector, similarity_top_k=5))
        assert len(found.nodes) == 2


def test_trap_node_ids_must_be_uuids(embedding, index, make_retriever, shapes):
    stock = QdrantVectorStore(client=QdrantClient(":memory:"), collection_name="c")
    with pytest.raises(ValueError, match="n1"):
        stock.add([TextNode(text="x", id_="n1", embedding=[1.0])])
    UmeR1IndexWriter(index, embedding, mode="disc")([TextNode(text="x", id_="n1")])
    assert [one.node.node_id for one in make_retriever(index).retrieve("x")] == ["n1"]


def test_trap_one_vector_a_query_and_none_of_the_other_space(nano_encoder, index, make_retriever):
    UmeR1IndexWriter(index, nano_encoder, mode="both")(
        [TextNode(text="a red circle"), TextNode(text="a blue cross")]
    )
    found = make_retriever(index, mode="fused").retrieve("a red circle")
    assert all(set(one.node.metadata["scores"]) >= {"disc", "gen"} for one in found)


def test_trap_a_simple_store_keeps_what_it_was_given(embedding, shapes):
    # The in-memory store of LlamaIndex compares by cosine: the packed form ranks there as well.
    packed = UmeR1Embedding("nano", mode="packed", think="none")
    store = SimpleVectorStore()
    with pytest.warns(UserWarning, match="are reasoned"):
        store.add(list(packed(pictures(shapes))))
    blue = packed.get_image_embedding(str(shapes / "blue.png"))
    assert store.query(VectorStoreQuery(query_embedding=blue, similarity_top_k=1)).ids == ["blue.png"]
