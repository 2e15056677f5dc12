"""By what nodes are known in an index, and what is said to who passes something else than was meant."""

import asyncio
from pathlib import Path

import pytest
from llama_index.core import Document
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import ImageNode, TextNode

from llama_index.embeddings.ume_r1 import UmeR1Embedding
from llama_index.retrievers.ume_r1 import UmeR1IndexWriter, UmeR1Reader, UmeR1Retriever
from ume_r1_rag.errors import ConfigError, InputError, UmeR1Error
from ume_r1_rag.index import QdrantIndex

TEXT = " ".join(f"Sentence number {n} speaks of the harbor." for n in range(60))


@pytest.fixture
def encoder(make_encoder):
    return make_encoder()


@pytest.fixture
def index(encoder):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        yield index


def split(text=TEXT, **fields):
    """Returns chunks, with the random ids that a splitter draws anew each time."""
    document = Document(text=text, metadata={"file_path": "harbor.md", "file_size": len(text)}, **fields)
    return SentenceSplitter(chunk_size=64, chunk_overlap=0)([document])


def test_trap_a_splitter_draws_new_ids_in_every_run(index, encoder):
    assert {node.node_id for node in split()}.isdisjoint(node.node_id for node in split())
    pipeline = IngestionPipeline(transformations=[UmeR1IndexWriter(index, encoder)])
    chunks = pipeline.run(nodes=split())
    count, calls = index.count(), len(encoder.calls)
    assert count == len(chunks) > 3
    pipeline.run(nodes=split())
    asyncio.run(pipeline.arun(nodes=split()))
    assert (index.count(), len(encoder.calls)) == (count, calls), "nothing is added, nothing is encoded"
    # More text in the same file: what was there stays what it is.
    pipeline.run(nodes=split(f"{TEXT} {TEXT}"))
    whole = len(split(f"{TEXT} {TEXT}"))
    assert count < whole <= index.count() <= whole + 1, "the last chunk was another one"
    assert {hit.document for hit in index.scroll()} == {"harbor.md"}, "parts of one file, in whichever run"


def test_a_source_with_an_id_of_its_own_is_told_from_another(index, encoder):
    writer = UmeR1IndexWriter(index, encoder)
    for _ in range(2):
        writer(split(id_="a.md"))
        writer(split(id_="b.md"))
    assert index.count() == 2 * len(split())


def test_nodes_that_are_alike_in_all_are_all_kept(index, encoder, shapes):
    def alike():
        text = [TextNode(text="a note") for _ in range(3)]
        return [*text, *(ImageNode(image_path=str(shapes / "red.png")) for _ in range(2))]

    for _ in range(2):
        UmeR1IndexWriter(index, encoder, batch_size=2)(alike())
    assert index.count() == 5
    UmeR1IndexWriter(index, encoder)([TextNode(text="a note", metadata={"author": "another"})])
    assert index.count() == 6


def test_random_ids_that_are_kept_can_be_what_counts(index, encoder):
    node = TextNode(text="a note")
    writer = UmeR1IndexWriter(index, encoder, key_by="id")
    writer([node])
    node.set_content("another note")
    writer([node])
    (hit,) = index.scroll()
    assert (hit.key, hit.text) == (node.node_id, "another note")


# What is said to who passes something else


@pytest.mark.parametrize("query", [Path("a.png"), {"text": "a"}, None])
async def test_a_query_of_another_kind_is_told_how_to_ask(index, encoder, query):
    retriever = UmeR1Retriever(index=index, embed_model=encoder)
    for call in (retriever.retrieve, retriever.search):
        with pytest.raises(InputError, match=r"is neither text nor a QueryBundle: ask with a picture as"):
            call(query)
    for acall in (retriever.aretrieve, retriever.asearch):
        with pytest.raises(InputError, match="is neither text nor a QueryBundle"):
            await acall(query)


def test_an_index_is_an_open_one(encoder):
    with pytest.raises(ConfigError, match="index=my-index is no open index: open it first"):
        UmeR1IndexWriter("my-index", encoder)
    with pytest.raises(ConfigError, match="index=my-index is no open index: say path=my-index"):
        UmeR1Retriever(index="my-index")


def test_a_models_name_is_an_embed_model_everywhere(tmp_path, shapes):
    nodes = UmeR1Reader(tmp_path / "pages", embed_model="nano").load_nodes(shapes / "red.png")
    embedding = UmeR1Embedding("nano")
    with QdrantIndex(":memory:", fingerprint=embedding.encoder.fingerprint) as index:
        UmeR1IndexWriter(index, "nano", mode="disc")(nodes)
        retriever = UmeR1Retriever(index=index, embed_model="nano", mode="disc", similarity_top_k=1)
        assert [one.metadata["title"] for one in retriever.retrieve("red")] == ["red.png"]
        retriever.close()
    embedding.close()


def test_another_makers_embedding_is_refused(index):
    for make in (
        lambda model: UmeR1Reader(embed_model=model),
        lambda model: UmeR1IndexWriter(index, model),
        lambda model: UmeR1Retriever(index=index, embed_model=model),
    ):
        with pytest.raises(ConfigError, match="embed_model is a MockEmbedding: pages, pictures"):
            make(MockEmbedding(embed_dim=8))


def test_a_mistyped_folder_is_an_error_before_anything_is_read(shapes, tmp_path):
    with pytest.raises(InputError, match=r"shaeps.* does not exist"):
        UmeR1Reader().load_nodes([shapes, tmp_path / "shaeps"])


def test_hits_are_counted_by_one_name(index, encoder):
    assert UmeR1Retriever(index=index, embed_model=encoder, similarity_top_k=3).k == 3
    assert UmeR1Retriever(index=index, embed_model=encoder).similarity_top_k == 10
    with pytest.raises(ConfigError, match="two names of one thing: give k="):
        UmeR1Retriever(index=index, k=3, similarity_top_k=3)


# What outlives what


def test_trap_a_retriever_outlives_the_model_of_a_closed_embedding():
    embedding = UmeR1Embedding("nano", device="cpu", dtype="float32", max_new_tokens=51)
    with QdrantIndex(":memory:", fingerprint=embedding.encoder.fingerprint) as index:
        UmeR1IndexWriter(index, embedding, mode="disc")([TextNode(text="a red circle")])
        retriever = UmeR1Retriever(index=index, embed_model=embedding, mode="disc")
        (first,) = retriever.retrieve("a red thing")
        old = embedding.encoder
        embedding.close()
        with pytest.raises(UmeR1Error):
            old.encode("closed")
        (again,) = retriever.retrieve("a red thing")
        assert again.score == pytest.approx(first.score, abs=1e-6)
        embedding.close()


async def test_gen_of_an_index_without_any_is_told_to_be_disc(index, encoder, caplog):
    UmeR1IndexWriter(index, encoder, mode="disc")([TextNode(text="a red circle"), TextNode(text="a ring")])
    retriever = UmeR1Retriever(index=index, embed_model=encoder, mode="gen")
    for found in (retriever.retrieve("a red thing"), await retriever.aretrieve("a red thing")):
        assert [list(one.metadata["scores"]) for one in found] == [["disc"], ["disc"]]
    told = [one.getMessage() for one in caplog.records if "have no gen vector" in one.getMessage()]
    assert len(told) == 2
    assert "2 of 2 found have no gen vector and are ranked by disc" in told[0]
