"""Stock LlamaIndex and LangChain read what the index writes."""

import pytest
from points import CORPUS, FINGERPRINT

from ume_r1_rag.index import QdrantIndex


@pytest.fixture
def index():
    with QdrantIndex(":memory:", fingerprint=FINGERPRINT) as index:
        index.upsert(*zip(*CORPUS, strict=True))
        yield index


def test_langchain_reads_our_collection(index):
    from langchain_core.embeddings import Embeddings

    langchain_qdrant = pytest.importorskip("langchain_qdrant")

    class Words(Embeddings):
        def embed_query(self, text):
            return [1.0, 0.0, 0.0, 0.0]

        def embed_documents(self, texts):
            return [self.embed_query(text) for text in texts]

    store = langchain_qdrant.QdrantVectorStore(
        client=index.share_client(),
        collection_name=index.collection,
        embedding=Words(),
        vector_name="disc",
        validate_embeddings=False,
    )
    found, score = store.similarity_search_with_score("a", k=1)[0]
    assert found.page_content == "an a"
    assert score == pytest.approx(1.0)
    assert (found.metadata["key"], found.metadata["kind"]) == ("a.png", "image")
    from qdrant_client import models

    german = models.FieldCondition(key="metadata.lang", match=models.MatchValue(value="de"))
    (page,) = store.similarity_search("a", k=4, filter=models.Filter(must=[german]))
    assert page.metadata["page"] == 2


def test_llama_index_reads_our_points(index):
    from llama_index.core.vector_stores.utils import metadata_dict_to_node

    nodes = [metadata_dict_to_node(dict(hit.payload)) for hit in index.scroll()]
    assert {node.node_id for node in nodes} == {hit.id for hit in index.scroll()}
    assert {node.ref_doc_id for node in nodes} == {"a.png", "b.pdf", "c.mp4"}


def test_stock_filters_find_our_metadata_flat_and_nested(index):
    from qdrant_client import models

    for key in ("kind", "metadata.kind"):
        page = models.FieldCondition(key=key, match=models.MatchValue(value="page"))
        assert index.count(models.Filter(must=[page])) == 2
    assert index.count({"metadata.lang": "de"}) == 1
