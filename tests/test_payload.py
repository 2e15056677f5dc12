"""Payloads, as we and as stock readers see them."""

import json
import math
import uuid
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ume_r1_rag.index import payload
from ume_r1_rag.types import Document, Embedding, MultimodalInput

PAGE = Document(
    key="reports/q3.pdf#page=2",
    kind="page",
    input=MultimodalInput(images=("x.png",)),
    uri="/data/reports/q3.pdf",
    title="q3.pdf",
    text="Revenue 12",
    page=2,
    thumbnail=b"\xff\xd8thumb",
    document="reports/q3.pdf",
    content_hash="ab12",
    metadata={"author": "Ada", "caption": "a chart"},
)


def embedding(**fields):
    unit = np.array([1.0, 0.0], dtype=np.float32)
    return Embedding(**{"disc": unit, "gen": unit, "fingerprint": "f00", **fields})


def built(document=PAGE, *, tenant=None, store_reasoning=True, **fields):
    id = payload.point_id(document.key)
    return payload.build(document, embedding(**fields), id, tenant=tenant, store_reasoning=store_reasoning)


def test_our_fields_are_written_and_read_back():
    stored = built(reasoning="a page", summary="a report", gen_valid=True, think=64)
    assert stored["ume_key"] == "reports/q3.pdf#page=2"
    assert stored["ume_document"] == "reports/q3.pdf"
    assert stored["ume_content_hash"] == "ab12"
    assert stored["ume_metadata"] == {"author": "Ada", "caption": "a chart"}
    assert (stored["ume_kind"], stored["ume_page"], stored["ume_think"]) == ("page", 2, 64)
    assert (stored["ume_reasoning"], stored["ume_summary"], stored["ume_gen_valid"]) == (
        "a page",
        "a report",
        True,
    )
    assert stored["ume_text"] == "Revenue 12"
    assert (stored["ume_fingerprint"], stored["ume_gen_fingerprint"]) == ("f00", "f00")
    assert payload.thumbnail(stored) == b"\xff\xd8thumb"
    hit = payload.hit(stored, "id", 0.5, {"disc": 0.5})
    assert (hit.key, hit.score, hit.scores, hit.id) == ("reports/q3.pdf#page=2", 0.5, {"disc": 0.5}, "id")
    assert hit.payload is stored


def test_fields_without_a_value_are_left_out():
    plain = Document(key="a.txt", kind="text", input=MultimodalInput(text="x"), text="x")
    stored = built(plain, gen=None)
    ours = {name for name in stored if name.startswith("ume_")}
    assert ours == {"ume_key", "ume_kind", "ume_text", "ume_fingerprint", "ume_document"}


def test_every_field_written_has_a_short_name():
    stored = built(reasoning="r", summary="s", gen_valid=False, gen_issue="format", tenant="t")
    assert {name for name in stored if name.startswith("ume_")} <= {f"ume_{name}" for name in payload.FIELDS}


def test_llama_index_reads_a_page_as_a_text_node():
    from llama_index.core.schema import TextNode
    from llama_index.core.vector_stores.utils import metadata_dict_to_node

    node = metadata_dict_to_node(built(summary="a report"))
    assert type(node) is TextNode
    assert node.get_content() == "a report"
    assert node.node_id == payload.point_id(PAGE.key)
    assert node.ref_doc_id == "reports/q3.pdf"
    assert node.metadata["page"] == 2
    assert node.metadata["author"] == "Ada"


def test_llama_index_reads_a_picture_as_an_image_node(tmp_path):
    from llama_index.core.schema import ImageNode
    from llama_index.core.vector_stores.utils import metadata_dict_to_node
    from PIL import Image

    path = tmp_path / "red.png"
    Image.new("RGB", (4, 4), "red").save(path)
    picture = Document(
        key="red.png", kind="image", input=MultimodalInput(images=(path,)), uri=str(path), title="red.png"
    )
    node = metadata_dict_to_node(built(picture, summary="a red square"))
    assert isinstance(node, ImageNode)
    assert node.resolve_image() == str(path)
    assert node.get_content() == "a red square"
    remote = Document(key="u", kind="image", input=picture.input, uri="https://example.org/a.png")
    assert metadata_dict_to_node(built(remote)).image_url == "https://example.org/a.png"


def test_the_node_keys_are_those_llama_index_writes_itself():
    from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

    stored = built(summary="a report")
    theirs = node_to_metadata_dict(metadata_dict_to_node(stored))
    flat = {"_node_type", "doc_id", "document_id", "ref_doc_id"}
    assert {name: theirs[name] for name in flat} == {name: stored[name] for name in flat}
    written, complete = json.loads(stored["_node_content"]), json.loads(theirs["_node_content"])
    assert written.keys() <= complete.keys()


@pytest.mark.parametrize(
    ("fields", "summary", "expected"),
    [
        ({"kind": "page", "text": "layer", "title": "t"}, "summary", "summary"),
        ({"kind": "page", "text": "layer", "title": "t"}, " ", "layer"),
        ({"kind": "image", "metadata": {"caption": "c"}, "title": "t"}, None, "c"),
        ({"kind": "image", "title": "t"}, None, "t"),
        ({"kind": "image"}, None, "k"),
        ({"kind": "text", "text": "the text"}, "summary", "the text"),
    ],
)
def test_page_content_is_the_best_text_there_is(fields, summary, expected):
    document = Document(key="k", input=MultimodalInput(text="input"), **fields)
    assert built(document, summary=summary)["page_content"] == expected


def test_metadata_stands_flat_where_llama_index_filters_and_displaces_nothing():
    from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

    stored = built(summary="a report")
    theirs = node_to_metadata_dict(metadata_dict_to_node(stored), flat_metadata=False)
    assert theirs.items() - {("_node_content", theirs["_node_content"])} <= {
        (name, value) for name, value in stored.items() if not isinstance(value, dict)
    }
    bad = dict.fromkeys(
        ("ume_key", "ume_new", "_node_type", "_node_content", "_node_x", "doc_id", "document_id",
         "ref_doc_id", "page_content", "metadata"), "forged"
    )  # fmt: skip
    forged = built(replace(PAGE, metadata={**PAGE.metadata, **bad}), summary="a report")
    plain = {
        name: value
        for name, value in stored.items()
        if name not in ("ume_metadata", "metadata", "_node_content")
    }
    assert {name: forged.get(name) for name in plain} == plain
    assert forged.keys() == stored.keys()
    assert forged["metadata"]["ume_key"] == "forged"


def test_own_metadata_cannot_displace_ours():
    document = Document(
        key="k", kind="image", input=PAGE.input, uri="/u", metadata={"uri": "x", "key": "y", "page": 9}
    )
    stored = built(document)
    assert (stored["metadata"]["uri"], stored["metadata"]["key"]) == ("/u", "k")
    assert stored["ume_metadata"] == {"uri": "x", "key": "y", "page": 9}


def test_point_ids_are_stable_uuids_and_apart_by_tenant():
    # Stored points are found again only as long as this value stands.
    assert payload.point_id("a.pdf#page=1") == "c4cd561d-584c-5667-8c87-02033ef726b3"
    assert uuid.UUID(payload.point_id("a")).version == 5
    ids = {payload.point_id(k, t) for k in ("a", "b", "t:a", "\x00a") for t in (None, "", "t", "t:a", "a")}
    assert len(ids) == 20


@given(st.text(st.characters(), max_size=20), st.text(st.characters(), max_size=20))
def test_any_text_is_stored_as_well_formed_unicode(key, text):
    document = Document(
        key=key or "k", kind="image", input=PAGE.input, title=text, metadata={"a" + text: [text, (text,)]}
    )
    stored = built(document, reasoning=text, summary=text)
    json.dumps(stored, ensure_ascii=False, allow_nan=False).encode()
    uuid.UUID(payload.point_id(key, text))


def test_any_metadata_is_stored_as_json():
    from datetime import date
    from pathlib import Path

    odd = {"n": np.float32(0.5), "i": np.int64(3), "nan": math.nan, "d": date(2026, 1, 2), "p": Path("/a"),
           "s": {"b", "a"}, "t": (1, None, True), 3: {"deep": {"x": math.inf}}}  # fmt: skip
    assert payload.jsonable(odd) == {
        "n": 0.5, "i": 3, "nan": None, "d": "2026-01-02", "p": "/a", "s": ["a", "b"], "t": [1, None, True],
        "3": {"deep": {"x": None}},
    }  # fmt: skip


@pytest.mark.parametrize("stored", [None, "", 3, "no base64!", "é", "abc"])
def test_a_broken_thumbnail_is_none(stored):
    assert payload.thumbnail({"ume_thumbnail": stored}) is None


def test_keys_are_not_parsed_for_the_file_behind_them():
    odd = Document(key="odd#page=2", kind="page", input=PAGE.input, page=2)
    assert built(odd)["ume_document"] == "odd#page=2"
    part = replace(odd, document="odd")
    stored = built(part)
    assert stored["ume_document"] == stored["ref_doc_id"] == stored["metadata"]["document"] == "odd"


def test_a_foreign_point_goes_by_its_id():
    assert payload.hit({"other": 1}, "the-id").key == "the-id"


def test_a_tenant_is_written_where_it_is_looked_for():
    from ume_r1_rag.index import tenant

    assert tenant.FIELD not in built()
    for name in ("acme", "\x00", "None"):
        stored = built(tenant=name)
        assert stored[tenant.FIELD] == name
        assert "tenant" not in stored["metadata"]
        assert tenant.owns(name, stored)
        assert not tenant.owns(None, stored)
        assert not tenant.owns("globex", stored)
    assert tenant.owns(None, built())
    assert tenant.owns(None, None)
    assert not tenant.owns("acme", None)


def test_reasoning_is_left_out_on_request_and_the_summary_is_not():
    stored = built(reasoning="a page", summary="a report", store_reasoning=False)
    assert "a page" not in json.dumps(stored)
    assert stored["ume_summary"] == "a report"


GENERATED = {
    "summary": "a new one",
    "reasoning": "newly",
    "gen_valid": True,
    "think": 9,
    "fingerprint": "f00",
}


@pytest.mark.parametrize("store_reasoning", [True, False])
@pytest.mark.parametrize(
    "document",
    [PAGE, replace(PAGE, kind="image", uri="a.png", text=""), replace(PAGE, kind="text", page=None)],
    ids=["page", "image", "text"],
)
def test_a_generation_added_later_makes_the_payload_of_one_made_at_once(document, store_reasoning):
    earlier = built(document, gen=None, tenant="t")
    at_once = built(document, **GENERATED, tenant="t", store_reasoning=store_reasoning)
    added = payload.with_generation(earlier, embedding(**GENERATED), store_reasoning)
    assert added == at_once
    # Nor does anything of an earlier generation stay behind.
    old = built(document, reasoning="old", summary="old", gen_valid=False, gen_issue="format", tenant="t")
    assert payload.with_generation(old, embedding(**GENERATED), store_reasoning) == at_once
    assert earlier == built(document, gen=None, tenant="t")


def test_a_generation_without_a_summary_leaves_the_content_as_it_is():
    stored = payload.with_generation(built(gen=None), embedding(summary=" ", gen_issue="token limit"))
    assert stored["page_content"] == "Revenue 12"
    assert stored["ume_gen_issue"] == "token limit"


def test_metadata_of_the_same_name_survives_a_generation():
    document = replace(PAGE, metadata={"summary": "mine", "think": "too"})
    stored = payload.with_generation(built(document, gen=None), embedding(**GENERATED))
    assert (stored["summary"], stored["think"]) == ("mine", "too")


def test_a_foreign_node_does_not_stop_a_generation():
    for node in ("no json", 3, "[]", None):
        stored = {**built(gen=None), "_node_content": node}
        assert payload.with_generation(stored, embedding(**GENERATED))["page_content"] == "a new one"
