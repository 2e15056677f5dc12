"""Words: exact names and numbers are found, in any script, with BM25's scores."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from points import FINGERPRINT, document, embedding

from ume_r1_rag.index import QdrantIndex, sparse
from ume_r1_rag.index.payload import point_id


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Invoice AB-123", "invoice ab 123 ab-123 ab123"),
        ("AB123 Q3", "ab123 ab 123 q3 q 3"),
        ("3.14 and 1,234.56", "3 14 3.14 314 and 1 234 56 1,234.56 123456"),
        ("5kg, 5 kg.", "5kg 5 kg 5 kg"),
        ("q3_report.pdf", "q3 q 3 report pdf q3_report.pdf q3reportpdf"),
        ("ada@example.org", "ada example org ada@example.org adaexampleorg"),
        ("Straße MÜLLER Łódź", "strasse müller muller łódź lodz"),
        ("e\u0301te\u0301", "été ete"),
        ("ﬁle ① ⅷ", "file 1 viii"),
        ("--x-- … 'y'", "x y"),
        ("東京都 abc東京", "東京 京都 abc 東京"),
        ("木", "木"),
        ("안녕하세요 세계", "안녕 녕하 하세 세요 세계"),
        ("ไทยแลนด์", "ไท ทย ยแ แล ลน นด ด์"),
        ("हिन्दी में", "हिन्दी में"),
        ("العربية", "العربية"),
        ("١٢٣", "١٢٣ 123"),
        ("", ""),
        (" \n\t…–— ", ""),
    ],
)
def test_terms(text, expected):
    assert list(sparse.terms(text)) == expected.split()


def test_a_long_compound_is_found_by_its_parts():
    url = "https://example.org/" + "/".join(f"part{n}" for n in range(40))
    found = list(sparse.terms(url))
    assert "part39" in found
    assert max(map(len, found)) <= 100


def test_ids_are_the_same_for_ever():
    # Stored vectors hold these; another way of making them would orphan every word in every index.
    expected = {"invoice": 2846348124, "ab-123": 2112580865, "東京": 1168149181}
    assert {term: sparse.term_id(term) for term in expected} == expected


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_gives_a_vector_that_a_store_takes(text):
    for vector in (sparse.document_vector(text), sparse.query_vector(text)):
        terms = list(sparse.terms(text))
        assert (vector is None) == (not terms)
        if vector is not None:
            assert vector.indices == sorted(set(vector.indices))
            assert all(0 <= index < 2**32 for index in vector.indices)
            assert all(value > 0 and math.isfinite(value) for value in vector.values)


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_case_and_composition_make_no_difference(left, right):
    import unicodedata

    text = f"{left} {right}"
    plain = list(sparse.terms(text))
    assert list(sparse.terms(unicodedata.normalize("NFKC", text))) == plain
    assert Counter(sparse.terms(f"{right}\n{left}")) == Counter([*sparse.terms(right), *sparse.terms(left)])


TEXTS = {
    "a": "Invoice AB-123 of 3 May, total 1,234.56 EUR, to Zoë Müller",
    "b": "Invoice AB-124 of 4 May, total 1,234.57 EUR, to Zoë Maier",
    "c": "invoice invoice invoice, all about invoices in general and nothing in particular",
    "d": "東京タワーの高さは333メートル",
}


@pytest.fixture(scope="module")
def index():
    with QdrantIndex(":memory:", fingerprint=FINGERPRINT) as index:
        for key, text in TEXTS.items():
            index.upsert([document(key, kind="text", text=text)], [embedding((1, 0, 0, 0))])
        scan = embedding((1, 0, 0, 0), (1, 0, 0, 0), reasoning="a lighthouse stands", summary="a coast")
        index.upsert([document("scan", kind="page", title="scan-0007.pdf")], [scan])
        yield index


@pytest.mark.parametrize(
    ("query", "first", "others"),
    [
        ("AB-123", "a", "b"),  # "ab" is in both
        ("ab123", "a", ""),
        ("1,234.57", "b", "a"),
        ("Zoe Muller", "a", "b"),
        ("MAIER", "b", ""),
        ("invoice", "c", "ab"),
        ("東京タワー", "d", ""),
        ("333", "d", ""),
        ("lighthouse", "scan", ""),
        ("coast", "scan", ""),
        ("scan-0007", "scan", ""),
        ("scan 0007", "scan", ""),
        ("unheard words…", None, ""),
        ("?!", None, ""),
    ],
)
def test_exact_names_and_numbers_are_found(index, query, first, others):
    hits = index.search(query, "text")
    assert [hit.key for hit in hits[:1]] == ([first] if first else [])
    assert {hit.key for hit in hits[1:]} >= set(others)
    assert all(hit.score > 0 for hit in hits)


def test_scores_are_bm25(index):
    """By the book, with the constant average length: Robertson's weights times the smoothed IDF."""
    texts = {
        **{key: f"{key}\n{text}" for key, text in TEXTS.items()},
        "scan": "scan-0007.pdf\na coast\na lighthouse stands",
    }
    counts = {key: Counter(sparse.terms(text)) for key, text in texts.items()}
    # Words by hand: compounds count by their parts, unspaced runs as one.
    lengths = {"a": 15, "b": 15, "c": 13, "d": 4, "scan": 8}
    query = "invoice ab-123 coast"
    expected = {}
    for key, count in counts.items():
        total = 0.0
        for term in set(sparse.terms(query)):
            df = sum(term in other for other in counts.values())
            idf = math.log((len(counts) - df + 0.5) / (df + 0.5) + 1)
            tf = count[term]
            total += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * lengths[key] / 256))
        if total:
            expected[point_id(key)] = total
    assert index.nearest(query, "text") == pytest.approx(expected, rel=1e-5)


def test_exact_scores_cover_every_document(index):
    ids = [point_id(key) for key in (*TEXTS, "absent")]
    found = index.scores("AB-123", "text", ids)
    assert found == {**dict.fromkeys(ids[:4], 0.0), **index.nearest("AB-123", "text")}
    assert index.scores("...", "text", ids) == dict.fromkeys(ids[:4], 0.0)


def test_a_new_version_of_a_text_is_found_by_its_own_words_alone():
    with QdrantIndex(":memory:", fingerprint=FINGERPRINT) as index:
        index.upsert([document("x", text="apple")], [embedding((1, 0, 0, 0))])
        before = index.nearest("apple", "text")
        index.upsert([document("x", text="pear")], [embedding((1, 0, 0, 0))])
        assert index.nearest("apple", "text") == {}
        assert index.nearest("pear", "text") == before
        index.delete(["x"])
        assert index.nearest("pear", "text") == {}
        assert index.coverage()["text"] == 0
