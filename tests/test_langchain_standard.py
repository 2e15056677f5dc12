"""LangChain's own suites, as they come: nothing is overridden, skipped or expected to fail.

All of it is nano and embedded Qdrant. The suites make a new object for each test; those share one model.
"""

from __future__ import annotations

import pytest
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests

from langchain_ume_r1 import UmeR1Embeddings, UmeR1QdrantVectorStore, UmeR1Retriever
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.types import Document, MultimodalInput

NANO = {"model": "nano", "device": "cpu", "dtype": "float32"}
TEXTS = ("a red circle at north", "a blue cross at south", "a green star at east", "a pink ring at west")


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """Has the model as long as these tests run; it is given back when nobody has it."""
    embeddings = UmeR1Embeddings(**NANO)
    assert embeddings.encoder
    yield embeddings
    embeddings.close()


@pytest.mark.parametrize(
    ("suite", "tests"),
    [
        (EmbeddingsUnitTests, 3),
        (EmbeddingsIntegrationTests, 5),
        (RetrieversIntegrationTests, 5),
        (VectorStoreIntegrationTests, 25),
    ],
)
def test_the_suites_are_as_large_as_they_were(suite, tests):
    assert len([name for name in dir(suite) if name.startswith("test_")]) == tests


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self):
        return UmeR1Embeddings

    @property
    def embedding_model_params(self):
        return NANO

    @property
    def init_from_env_params(self):
        server = {"base_url": "http://localhost:8000"}
        return {"UME_R1_API_KEY": "a secret"}, server, {"api_key": "a secret", **server}


class TestModelFromEnvironment(EmbeddingsUnitTests):
    @property
    def embeddings_class(self):
        return UmeR1Embeddings

    @property
    def init_from_env_params(self):
        return {"UME_R1_MODEL": "nano"}, {}, {"model": "nano"}


class TestEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self):
        return UmeR1Embeddings

    @property
    def embedding_model_params(self):
        return NANO


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True, scope="class")
    def index(self, request, loaded):
        with QdrantIndex(":memory:", fingerprint=loaded.encoder.fingerprint) as index:
            documents = [Document(text, "text", MultimodalInput(text=text), text=text) for text in TEXTS]
            index.upsert(documents, loaded.encoder.encode_document(list(TEXTS), "both"))
            request.cls.index_of_all = index
            yield

    @property
    def retriever_constructor(self):
        return UmeR1Retriever

    @property
    def retriever_constructor_params(self):
        return {"index": self.index_of_all, "embeddings": UmeR1Embeddings(**NANO), "k": 2}

    @property
    def retriever_query_example(self):
        return "a red circle"


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self):
        store = UmeR1QdrantVectorStore(path=":memory:", embedding=UmeR1Embeddings(**NANO))
        yield store
        store.close()


class TestVectorStoreOfBothSpacesInAFolder(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path):
        # Without thinking: "foo" and "bar" are nothing that nano knows, and it would go on at length.
        embeddings = UmeR1Embeddings(**NANO, think="none")
        store = UmeR1QdrantVectorStore(
            path=tmp_path, embedding=embeddings, mode="both", vector_name="gen", tenant="a tenant"
        )
        yield store
        store.close()
