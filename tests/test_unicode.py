"""The one rule for text that is no Unicode, at every border that it crosses."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from points import FINGERPRINT, document, embedding

from ume_r1_rag.describe import printable, shorten
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.inputs import to_query
from ume_r1_rag.unicode import unicode_text

ANY = st.text(st.characters(exclude_categories=()))


@given(ANY)
def test_what_comes_out_is_well_formed_and_stays_so(text):
    once = unicode_text(text)
    assert once.encode().decode() == once
    assert unicode_text(once) == once
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert once == text


@given(st.lists(st.binary(max_size=4), min_size=2, max_size=2, unique=True))
def test_two_file_names_stay_two(names):
    one, other = (name.replace(b"\\", b"/").decode("utf-8", "surrogateescape") for name in names)
    assert (unicode_text(one) == unicode_text(other)) == (one == other)


def test_a_name_is_found_by_filter_word_and_key_as_it_came_from_the_disc():
    name = "b\udcffd.pdf"
    with QdrantIndex(":memory:", fingerprint=FINGERPRINT) as index:
        shelf = {"shelf": "x\udcfe"}
        index.upsert([document(name, document=name, metadata=shelf)], [embedding((1, 0, 0, 0))])
        index.upsert([document("other.pdf")], [embedding((1, 0, 0, 0))])
        (hit,) = index.retrieve([name])
        assert hit.key == hit.title == r"b\udcffd.pdf"
        assert json.dumps(hit.payload, ensure_ascii=False).encode()
        for filter in ({"document": name}, {"document": ["nobody", name]}, shelf):
            assert [one.key for one in index.scroll(filter)] == [hit.key]
        for words in (name, to_query(name).text, hit.title):
            assert next(iter(index.nearest(words, "text"))) == hit.id


@pytest.mark.parametrize("tenant", ["a\udcff", "\ud83d\ude00"])
def test_a_tenant_has_one_spelling(tenant):
    with pytest.raises(ConfigError, match="well-formed"):
        QdrantIndex(":memory:", fingerprint=FINGERPRINT, tenant=tenant)


def test_messages_spell_it_alike():
    assert printable("a\udcff") == shorten("a\udcff") == r"a\udcff"
