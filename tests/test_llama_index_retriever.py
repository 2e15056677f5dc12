"""UmeR1Retriever and UmeR1IndexWriter: questions in, nodes out, in LlamaIndex's machinery."""

import asyncio
import logging

import numpy as np
import pytest
from llama_index.core import Settings
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import ImageNode, NodeRelationship, QueryBundle, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.vector_stores.qdrant import QdrantVectorStore

import llama_index.retrievers.ume_r1 as package
from llama_index.embeddings.ume_r1 import UmeR1Embedding
from llama_index.retrievers.ume_r1 import (
    UmeR1IndexWriter,
    UmeR1QueryBundle,
    UmeR1Reader,
    UmeR1Retriever,
    qdrant_filter,
)
from ume_r1_rag.errors import BackendError, ConfigError, IndexAbsent, InputError
from ume_r1_rag.index import QdrantIndex, to_filter
from ume_r1_rag.ingest import ingest


@pytest.fixture
def encoder(make_encoder):
    return make_encoder()


@pytest.fixture
def index(encoder):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        yield index


@pytest.fixture
def filled(index, encoder, shapes, tmp_path):
    nodes = UmeR1Reader(tmp_path / "pages", embed_model=encoder).load_nodes(shapes)
    UmeR1IndexWriter(index, encoder)(nodes)
    return index


@pytest.fixture
def make(filled, encoder, tmp_path):
    def make(**options):
        options = {"index": filled, "embed_model": encoder, "page_images": tmp_path / "pages", **options}
        return UmeR1Retriever(**options)

    return make


def test_public_names_are_pinned_and_sorted():
    assert package.__all__ == [
        "UmeR1IndexWriter",
        "UmeR1QueryBundle",
        "UmeR1Reader",
        "UmeR1Retriever",
        "qdrant_filter",
    ]
    assert all(hasattr(package, name) for name in package.__all__)


def test_a_page_comes_with_its_picture_and_all_that_is_known_of_it(make, shapes):
    best = make(k=1, filters={"kind": "page"}).retrieve("rent k4t")[0]
    node, told = best.node, best.node.metadata
    assert isinstance(node, ImageNode)
    assert node.text == "rent k4t"
    assert (told["kind"], told["title"], told["page"]) == ("page", "paper.pdf", 1)
    assert told["uri"] == str(shapes / "paper.pdf")
    assert set(told["scores"]) == {"disc", "gen", "text"}
    assert told["score"] == best.score
    assert told["reasoning"].startswith("It shows ")
    assert told["summary"].startswith("Summary of ")
    assert node.relationships[NodeRelationship.SOURCE].node_id == str(shapes / "paper.pdf")
    from PIL import Image

    with Image.open(node.image_path) as page:
        assert page.size[0] * page.size[1] > 200 * 200
        assert np.asarray(page.convert("L")).min() < 128  # something is written on it
    shown = node.get_content(metadata_mode="llm")
    assert "title: paper.pdf" in shown
    assert "page: 1" in shown
    assert "scores" not in shown


def test_pictures_clips_and_texts_come_as_what_they_are(make, shapes):
    found = {one.node.metadata["kind"]: one.node for one in make(k=10, mode="disc").retrieve("harbors")}
    assert found["image"].image_path in (str(shapes / "red.png"), str(shapes / "blue.png"))
    assert found["clip"].image_path.endswith(".jpg")  # its middle frame
    assert found["clip"].metadata["span_s"] == [0.0, 2.0]
    assert type(found["text"]) is TextNode
    assert found["text"].text == "a note about harbors\n"


def test_text_picture_clip_and_mixed_queries(make, shapes):
    disc = make(k=1, mode="disc")

    def best(query):
        return disc.retrieve(query)[0].node.metadata["title"]

    assert best("a note about harbors") == "note.txt"
    assert best(QueryBundle("", image_path=str(shapes / "blue.png"))) == "blue.png"
    assert best(UmeR1QueryBundle(video_path=shapes / "clip.mp4")) == "clip.mp4"
    assert (
        best(UmeR1QueryBundle("x", image_paths=[shapes / "blue.png", str(shapes / "blue.png")])) == "blue.png"
    )
    with pytest.raises(InputError, match="an empty query"):
        disc.retrieve("")
    with pytest.raises(InputError, match="does not exist"):
        disc.retrieve(QueryBundle("", image_path="absent.png"))


def test_words_in_a_query_never_open_a_file(make, encoder, shapes):
    make(mode="disc").retrieve(str(shapes / "red.png"))
    assert encoder.seen[-1].text == str(shapes / "red.png")
    assert encoder.seen[-1].images == ()


def test_several_texts_are_their_mean_as_in_llama_index(make, encoder):
    found = make(mode="disc").search(QueryBundle("q", custom_embedding_strs=["red note", "blue note"]))
    parts = [encoder.encode_query(text).disc for text in ("red note", "blue note")]
    mean = np.mean(parts, axis=0)
    assert found.query_embedding.disc == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    fused = make(kind="page", think=8).search(
        QueryBundle("harbors", custom_embedding_strs=["red note", "blue note"])
    )
    assert fused.spaces == ("disc", "gen", "text")


def test_a_vector_alone_needs_a_space(make, encoder):
    vector = encoder.encode_query("a note about harbors").disc.tolist()
    best = make(mode="disc", k=1).retrieve(QueryBundle("", embedding=vector))[0]
    assert best.node.metadata["title"] == "note.txt"
    with pytest.raises(ConfigError, match="does not say of which space"):
        make().retrieve(QueryBundle("", embedding=vector))
    with pytest.raises(ConfigError, match=r"shape \(3,\)"):
        make(mode="gen").retrieve(QueryBundle("", embedding=[1, 2, 3]))


def test_any_fusion_of_the_spaces(make):
    assert make().search("harbors").spaces == ("disc", "gen", "text")
    assert make(spaces=["disc", "text"], weights={"text": 2.0}).search("harbors").spaces == ("disc", "text")
    assert make(mode="gen").search("harbors").spaces == ("gen",)
    assert make(mode="text", embed_model=None).retrieve("harbors")[0].node.metadata["title"] == "note.txt"
    grouped = make(group_by="document", group_size=2, k=1, filters={"kind": "page"}).retrieve("rent")
    assert [one.node.metadata["page"] for one in grouped] in ([1, 2], [2, 1])
    retriever = make(k=2)
    retriever.similarity_top_k = 1
    assert len(retriever.retrieve("harbors")) == 1
    assert len(retriever.search("harbors", k=3).hits) == 3


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"spaecs": ["disc"]}, "spaecs is no option of a search"),
        ({"filter": {}}, "its name is filters="),
        ({"mode": "both"}, "mode='both'"),
        ({"k": 0}, "k=0"),
        ({"path": "x"}, "an open one is given"),
    ],
)
def test_what_cannot_work_is_refused_at_once(make, options, why):
    with pytest.raises(ConfigError, match=why):
        make(**options)


def test_an_absent_index_is_told_when_it_is_asked(tmp_path):
    retriever = UmeR1Retriever(tmp_path / "absent")
    with pytest.raises((IndexAbsent, ConfigError)):
        retriever.retrieve("x")


def test_the_index_says_which_model_asks_it(nano_encoder, tmp_path):
    with QdrantIndex(tmp_path / "ix", fingerprint=nano_encoder.fingerprint) as index:
        UmeR1IndexWriter(index, nano_encoder, mode="disc")([TextNode(text="a note")])
    with UmeR1Retriever(tmp_path / "ix", mode="disc") as retriever:
        assert retriever.retrieve("a note")[0].score == pytest.approx(1.0, abs=1e-2)
        encoder = retriever._retriever().encoder
        assert encoder.model == "nano"
    with pytest.raises(BackendError, match="closed"):
        encoder.encode("x")


async def test_tenants_see_their_own(encoder, tmp_path):
    for tenant in ("a", "b"):
        with QdrantIndex(tmp_path / "ix", fingerprint=encoder.fingerprint, tenant=tenant) as index:
            await UmeR1IndexWriter(index, encoder).acall([TextNode(text=f"of {tenant}", id_=f"of {tenant}")])
    with UmeR1Retriever(tmp_path / "ix", tenant="b", embed_model=encoder) as ours:
        assert [one.node.node_id for one in await ours.aretrieve("of")] == ["of b"]
        other = UmeR1Retriever(index=ours.index, tenant="a", embed_model=encoder)
        assert [one.node.text for one in other.retrieve("of")] == ["of a"]


def test_the_same_answer_without_blocking_the_loop(make):
    retriever = make(k=3)

    async def both():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        found = await retriever.aretrieve("harbors")
        ticking.cancel()
        return found, ticks

    found, ticks = asyncio.run(both())
    assert [one.node_id for one in found] == [one.node_id for one in retriever.retrieve("harbors")]
    assert ticks > 10


def test_it_works_in_a_query_engine_with_postprocessors(make, monkeypatch):
    monkeypatch.setattr(Settings, "_llm", MockLLM())
    engine = RetrieverQueryEngine(
        make(mode="disc", k=5),
        response_synthesizer=get_response_synthesizer(response_mode="no_text", llm=MockLLM()),
        node_postprocessors=[SimilarityPostprocessor(similarity_cutoff=0.9)],
    )
    response = engine.query("a note about harbors")
    assert [one.node.metadata["title"] for one in response.source_nodes] == ["note.txt"]
    again = asyncio.run(engine.aquery("a note about harbors"))
    assert [one.node_id for one in again.source_nodes] == [one.node_id for one in response.source_nodes]


def test_a_page_that_has_changed_is_not_shown(make, filled, encoder, shapes, tmp_path, caplog):
    from made_files import text_pdf

    (tmp_path / "x.pdf").write_bytes(text_pdf(["first"]))
    UmeR1IndexWriter(filled, encoder)(UmeR1Reader(tmp_path / "other").load_nodes(tmp_path / "x.pdf"))
    (tmp_path / "x.pdf").write_bytes(text_pdf(["second"]))
    with caplog.at_level(logging.WARNING):
        (found,) = make(k=1, filters={"title": "x.pdf"}).retrieve("first")
    assert type(found.node) is TextNode
    assert "has changed since it was indexed" in found.node.metadata["image_error"]
    assert "no picture of" in caplog.text


def test_of_a_file_that_is_gone_or_another_there_is_no_picture(make, filled, encoder, shapes, tmp_path):
    from made_files import text_pdf
    from PIL import Image

    page, picture = tmp_path / "x.pdf", tmp_path / "x.png"
    page.write_bytes(text_pdf(["first"]))
    Image.new("RGB", (84, 84), "green").save(picture)
    nodes = UmeR1Reader(tmp_path / "pages", embed_model=encoder).load_nodes([page, picture])
    UmeR1IndexWriter(filled, encoder)(nodes)
    ours = {"title": ["x.pdf", "x.png"]}

    def found():
        return [one.node for one in make(k=5, filters=ours).retrieve("first")]

    assert [type(node) for node in found()] == [ImageNode, ImageNode]  # and now the page is rendered
    before = {path: path.read_bytes() for path in (page, picture)}
    page.write_bytes(text_pdf(["second"]))
    Image.new("RGB", (84, 84), "black").save(picture)
    assert [type(node) for node in found()] == [TextNode, TextNode]
    assert all("has changed since it was indexed" in node.metadata["image_error"] for node in found())
    for path, data in before.items():
        path.write_bytes(data)
    assert [type(node) for node in found()] == [ImageNode, ImageNode]
    page.unlink()
    picture.unlink()
    assert [type(node) for node in found()] == [TextNode, TextNode]


# Filters.


def all_of(*filters, condition=FilterCondition.AND):
    return MetadataFilters(filters=list(filters), condition=condition)


def one(key, value, operator="=="):
    return MetadataFilter(key=key, value=value, operator=FilterOperator(operator))


@pytest.mark.parametrize(
    ("filter", "wanted"),
    [
        (one("kind", "page"), {"paper.pdf#1", "paper.pdf#2"}),
        (all_of(one("kind", "page"), one("page", 2)), {"paper.pdf#2"}),
        (all_of(one("page", 1, ">"), one("page", 9, "<=")), {"paper.pdf#2"}),
        (all_of(one("kind", "page"), one("title", "red.png"), condition=FilterCondition.OR),
         {"paper.pdf#1", "paper.pdf#2", "red.png"}),
        (all_of(one("kind", "page"), condition=FilterCondition.NOT),
         {"red.png", "blue.png", "clip.mp4", "note.txt"}),
        (one("kind", ["page", "clip"], "in"), {"paper.pdf#1", "paper.pdf#2", "clip.mp4"}),
        (one("kind", ["page", "image", "text"], "nin"), {"clip.mp4"}),
        (one("kind", "page", "!="), {"red.png", "blue.png", "clip.mp4", "note.txt"}),
        (one("page", None, "is_empty"), {"red.png", "blue.png", "clip.mp4", "note.txt"}),
        (all_of(one("title", "note.txt"), all_of(one("kind", "text"))), {"note.txt"}),
        ({"kind": "clip"}, {"clip.mp4"}),
        (to_filter({"kind": "clip"}), {"clip.mp4"}),
    ],
)  # fmt: skip
def test_filters_of_every_kind(make, filter, wanted):
    found = make(k=20, mode="disc", filters=filter).retrieve("harbors")
    names = [one.node.metadata for one in found]
    assert {f"{m['title']}#{m['page']}" if "page" in m else m["title"] for m in names} == wanted


@pytest.mark.parametrize(
    "filter", [all_of(), one("page", "a", ">"), one("kind", "page", "in"), one("kind", 3, "text_match")]
)
def test_a_filter_that_means_nothing_is_refused(filter):
    with pytest.raises(ConfigError):
        qdrant_filter(filter)


# The writer.


def test_what_is_written_is_what_ingest_writes(nano_encoder, shapes, tmp_path):
    stored = []
    for name in ("ours", "theirs"):
        with QdrantIndex(":memory:", fingerprint=nano_encoder.fingerprint) as index:
            if name == "ours":
                reader = UmeR1Reader(tmp_path / "pages", embed_model=nano_encoder)
                UmeR1IndexWriter(index, nano_encoder, mode="disc")(reader.load_nodes(shapes))
            else:
                ingest(nano_encoder, index, [shapes], mode="disc")
            client = index.share_client()
            points, _ = client.scroll(index.physical, limit=50, with_vectors=["disc"], with_payload=True)
            stored.append({point.id: point for point in points})
    ours, theirs = stored
    assert ours.keys() == theirs.keys()
    for id, point in ours.items():
        assert point.vector["disc"] == pytest.approx(theirs[id].vector["disc"], abs=1e-3)
        for field in ("ume_key", "ume_kind", "ume_title", "ume_page", "ume_text", "ume_content_hash"):
            assert point.payload.get(field) == theirs[id].payload.get(field), field


def test_what_is_stored_is_not_encoded_again(filled, encoder, shapes, tmp_path):
    before = len(encoder.seen)
    nodes = UmeR1Reader(tmp_path / "pages", embed_model=encoder).load_nodes(shapes)
    UmeR1IndexWriter(filled, encoder)(nodes)
    assert len(encoder.seen) == before
    foreign = [TextNode(text="mine", id_="n1", metadata={"lang": "en"})]
    writer = UmeR1IndexWriter(filled, encoder)
    writer(foreign)
    writer(foreign)
    assert len(encoder.seen) == before + 1
    foreign[0].metadata["lang"] = "de"
    writer(foreign)
    assert len(encoder.seen) == before + 2
    assert filled.count({"lang": "de"}) == 1


def test_nodes_that_share_a_key_do_not_overwrite_each_other(index, encoder, shapes, tmp_path):
    from llama_index.core.node_parser import SentenceSplitter

    (tmp_path / "long.txt").write_text("".join(f"This is sentence number {n} of them. " for n in range(60)))
    nodes = UmeR1Reader(tmp_path / "pages").load_nodes(tmp_path / "long.txt")
    chunks = SentenceSplitter(chunk_size=128, chunk_overlap=0)(nodes)
    assert len(chunks) > 3
    assert len({node.metadata["key"] for node in chunks}) == 1
    writer = UmeR1IndexWriter(index, encoder)
    writer(nodes)
    writer(chunks)
    assert index.count() == 1 + len(chunks)
    writer([TextNode(text=text, id_=text, metadata={"key": "same", "content_hash": "same"}) for text in "ab"])
    assert index.count() == 3 + len(chunks)
    seen = len(encoder.seen)
    writer([*nodes, *chunks])
    assert len(encoder.seen) == seen
    writer([TextNode(text="c", id_="b", metadata={"key": "same", "content_hash": "same"})])
    assert index.retrieve(["b"])[0].payload["ume_text"] == "c"


def test_changed_metadata_and_text_of_a_file_that_has_not_are_written(filled, encoder, shapes, tmp_path):
    def nodes():
        return UmeR1Reader(tmp_path / "pages", embed_model=encoder).load_nodes(shapes)

    writer = UmeR1IndexWriter(filled, encoder)
    tagged = nodes()
    for node in tagged:
        node.metadata |= {"acl": ("alice", "bob"), "score": np.float32(0.5)}
    before = len(encoder.seen)
    writer(tagged)
    assert len(encoder.seen) == before + len(tagged)
    assert filled.count({"acl": "alice"}) == len(tagged)
    writer(tagged)
    assert len(encoder.seen) == before + len(tagged)
    page = next(node for node in tagged if node.metadata.get("page") == 2)
    page.set_content("read by a better reader")
    writer(tagged)
    assert len(encoder.seen) == before + len(tagged) + 1
    assert filled.retrieve([page.metadata["key"]])[0].payload["ume_text"] == "read by a better reader"
    writer(nodes())  # what is taken away, too
    assert filled.count({"acl": "alice"}) == 0
    done = len(encoder.seen)
    report = ingest(encoder, filled, [shapes])
    assert len(encoder.seen) == done, report


async def test_a_pipeline_writes_every_time(index, encoder, shapes):
    pipeline = IngestionPipeline(transformations=[UmeR1IndexWriter(index, encoder)])
    pipeline.run(nodes=[ImageNode(image_path=str(shapes / "red.png"), id_="a")])
    await pipeline.arun(nodes=[ImageNode(image_path=str(shapes / "blue.png"), id_="b")])
    assert index.count() == 2
    with pytest.raises(ConfigError, match="several processes"):
        UmeR1IndexWriter(index, encoder).__getstate__()


def test_a_node_that_cannot_be_encoded_is_named(index, encoder, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    node = ImageNode(image_path=str(tmp_path / "broken.png"), id_="n1")
    for write in (
        UmeR1IndexWriter(index, encoder),
        lambda n: asyncio.run(UmeR1IndexWriter(index, encoder).acall(n)),
    ):
        with pytest.raises(InputError, match="node n1: "):
            write([node])


def test_one_bad_node_costs_no_other(index, encoder, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    bad = [ImageNode(image_path=str(tmp_path / "broken.png"), id_="n1"), TextNode(text=" ", id_="n2")]
    for turn, write in enumerate(
        (
            UmeR1IndexWriter(index, encoder, batch_size=3),
            lambda n: asyncio.run(UmeR1IndexWriter(index, encoder, batch_size=3).acall(n)),
        )
    ):
        good = [TextNode(text=f"note {turn} {number}", id_=f"{turn} {number}") for number in range(5)]
        with pytest.raises(
            InputError, match=r"(?s)node n1: .*2 of 7 nodes failed; the others are written"
        ) as e:
            write([good[0], *bad, *good[1:]])
        assert "node n2: it has neither text" in str(e.value)
        assert index.count() == 5 * (turn + 1)
        assert all(node.embedding is not None for node in good)
        before = len(encoder.seen)
        write(good)
        assert len(encoder.seen) == before


def test_an_index_of_another_encoder_is_refused(index, make_encoder):
    from ume_r1_rag.errors import IndexMismatch

    with pytest.raises(IndexMismatch):
        UmeR1IndexWriter(index, make_encoder(model="m2"))([TextNode(text="x")])


def test_the_writer_keeps_canaries_and_refuses_an_encoder_that_has_drifted(nano_encoder):
    from ume_r1_rag.errors import IndexMismatch

    with QdrantIndex(":memory:", fingerprint=nano_encoder.fingerprint) as index:
        UmeR1IndexWriter(index, nano_encoder, mode="disc")([TextNode(text="x")])
        kept = index.canaries()
        assert kept.keys() == nano_encoder.canaries().keys()
        index.keep_canaries({name: -one for name, one in kept.items()})
        with pytest.raises(IndexMismatch, match="gives another vector than it did then"):
            UmeR1IndexWriter(index, nano_encoder, mode="disc")([TextNode(text="y")])
        assert index.count() == 1


async def test_a_stock_store_reads_our_collection(filled, encoder):
    stock = QdrantVectorStore(
        client=filled.share_client(),
        aclient=filled.share_aclient(),
        collection_name=filled.physical,
        dense_vector_name="gen",
    )
    vector = encoder.encode_query("a note about harbors", "gen").gen.tolist()
    asked = VectorStoreQuery(query_embedding=vector, similarity_top_k=1)
    for found in (stock.query(asked), await stock.aquery(asked)):
        assert found.nodes[0].metadata["title"] == "note.txt"
        assert found.similarities[0] == pytest.approx(1.0, abs=1e-4)
    embedding = UmeR1Embedding(encoder=encoder)
    from llama_index.core import VectorStoreIndex

    stock = QdrantVectorStore(
        client=filled.share_client(), collection_name=filled.physical, dense_vector_name="disc"
    )
    only = MetadataFilters(filters=[MetadataFilter(key="kind", value="image")])
    retriever = VectorStoreIndex.from_vector_store(stock, embed_model=embedding).as_retriever(
        similarity_top_k=5, filters=only
    )
    assert {node.node.metadata["title"] for node in retriever.retrieve("red")} == {"red.png", "blue.png"}
