"""The result page: whole, harmless whatever the text, and true to the scores."""

import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ume_r1_rag.index.payload import build
from ume_r1_rag.results_page import Section, render_results
from ume_r1_rag.retriever import SearchResult
from ume_r1_rag.types import Document, Embedding, Hit, MultimodalInput

EVIL = [
    '"><script>alert(1)</script>',
    "' onerror='alert(1)",
    "<img src=x onerror=alert(1)>",
    "</bdi></style></title><script>alert(1)</script><!--",
    "javascript:alert(1)",
    "&lt;script&gt; $title ${style}",
]
VOID = {"meta", "link", "img", "rect", "br"}


def jpeg(width=40, height=30, kind="JPEG"):
    out = BytesIO()
    Image.new("RGB", (width, height), "red").save(out, kind)
    return out.getvalue()


def hit(key="a.png", scores=None, score=0.5, **fields):
    metadata = {"reasoning": fields.pop("reasoning", None), "summary": fields.pop("summary", None)}
    metadata["gen_issue"] = fields.pop("gen_issue", None)
    document = Document(
        key=key, **{"kind": "image", "input": MultimodalInput(text="x"), "title": key, **fields}
    )
    vector = np.ones(2, np.float32)
    payload = build(document, Embedding(vector, vector, **metadata), "0")
    return Hit(key, score, {"disc": 0.25, "gen": 0.75} if scores is None else scores, payload)


class Page(HTMLParser):
    """Elements with their attributes, and the text outside of style."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        assert len(dict(attributes)) == len(attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style" and data.strip():
            self.texts.append(data)

    def attributes(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return "\n".join(self.texts)


def assert_harmless(page):
    for tag, attributes in page.elements:
        assert tag in {
            "html", "head", "meta", "title", "link", "style", "body", "main", "header", "h1", "p", "span",
            "svg", "rect", "ol", "li", "a", "b", "bdi", "section", "div", "img", "h2", "h3", "dl", "dt", "dd",
            "details", "summary", "footer", "mark",
        }  # fmt: skip
        assert not {name for name in attributes if name.startswith("on") or name in ("style", "srcset")}
        assert re.fullmatch(
            r"(#query-\d+|data:,|(file:///|https?://)[^\s\"<>]+)?", attributes.get("href", "")
        )
        assert re.fullmatch(
            r"(data:image/(jpeg|png|gif|webp);base64,[A-Za-z0-9+/=]+)?", attributes.get("src", "")
        )


@pytest.mark.parametrize("evil", EVIL)
def test_text_from_files_and_models_stays_text(evil):
    one = hit(key=evil, reasoning=evil, summary=evil, text=evil, gen_issue=evil, metadata={"x": evil},
              thumbnail=jpeg(), page=2)  # fmt: skip
    bare = hit(key="b/" + evil, title=evil, text=evil)
    section = Section(evil, [one, bare], jpeg(), evil, evil, {evil}, evil, (evil,), None, 1.0)
    page = Page(render_results([section, section], evil, evil))
    assert_harmless(page)
    assert page.text.count(evil) >= 18
    assert "".join(page.texts).count(evil.replace("\n", " ")) >= 20
    assert evil in {image["alt"] for image in page.attributes("img")}
    assert page.attributes("title") == [{}]


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(), max_size=30))
def test_any_text_keeps_the_page_whole(text):
    one = hit(key=text, title=text, reasoning=text, summary=text, text=text, thumbnail=jpeg())
    page = render_results([Section(text, [one], None, text, text, [text], "gen")], text, text)
    page.encode()
    assert_harmless(Page(page))


def test_characters_that_turn_the_direction_or_ring_the_bell_are_shown_as_such():
    page = Page(render_results([Section("a\u202egpj.exe\x07", [])]))
    assert "a\ufffdgpj.exe\ufffd" in page.texts


def test_the_policy_allows_this_style_and_nothing_else():
    raw = render_results([Section("q", [hit()])])
    page = Page(raw)
    (policy,) = [m["content"] for m in page.attributes("meta") if m.get("http-equiv")]
    style = re.search("<style>(.*)</style>", raw, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "url(" not in style
    assert "@import" not in style
    assert "http" not in re.sub("http-equiv", "", raw)


def test_right_and_wrong_are_told_where_gold_is_known():
    hits = [hit("a"), hit("b")]
    page = Page(render_results([Section("q", hits, gold={"b"})]))
    badges = [e["class"] for e in page.attributes("span") if "badge" in e.get("class", "")]
    assert badges == ["badge later", "badge wrong", "badge right"]
    assert "right at rank 2" in page.texts
    assert [e["class"] for e in page.attributes("li")] == ["card", "card right"]
    assert "not found" in Page(render_results([Section("q", hits, gold=[])])).texts
    below = Page(render_results([Section("q", hits, gold={"b"}, most=1)]))
    assert "right at rank 2, below these" in below.texts
    assert [e["class"] for e in below.attributes("li")] == ["card"]
    unknown = Page(render_results([Section("q", hits)]))
    assert not [e for e in unknown.attributes("span") if "badge" in e.get("class", "")]


def bars(page):
    return [
        (r["class"], r["width"]) for r in page.attributes("rect") if r["width"] != "100%" or "rx" in r
    ]  # those of the legend have no radius


def test_bars_and_numbers_are_the_scores():
    one = hit(scores={"disc": -0.25, "gen": 0.75}, score=0.5)
    page = Page(render_results([Section("q", [one], mode="fused", fusion="convex")]))
    assert bars(page) == [("rank-fill", "50.0%"), ("disc-fill", "0.0%"), ("gen-fill", "75.0%")]
    for label in ("fused", "disc", "gen", "0.500", "-0.250", "0.750", "fused · convex"):
        assert label in page.texts


def test_reciprocal_ranks_are_measured_by_the_best():
    hits = [hit("a", score=0.032), hit("b", score=0.016, scores={"disc": 0.5})]
    for fusion in ("rrf", "dbsf"):
        section = Section("q", hits, mode="fused", fusion=fusion, spaces=("disc", "gen"))
        page = Page(render_results([section]))
        assert [width for kind, width in bars(page) if kind == "rank-fill"] == ["100.0%", "50.0%"]
    page = Page(render_results([Section("q", hits, mode="fused", fusion="rrf", spaces=("disc", "gen"))]))
    assert "0.0160" in page.texts
    assert "no vector" in page.texts


def test_one_space_has_one_bar():
    page = Page(render_results([Section("q", [hit(scores={"gen": 0.5})], mode="gen")]))
    assert bars(page) == [("gen-fill", "50.0%")]


def test_words_are_measured_by_the_best_and_have_their_place_in_the_legend():
    hits = [hit("a", scores={"disc": 0.5, "text": 4.0}), hit("b", scores={"disc": 0.5, "text": 12.5}),
            hit("c", scores={"disc": 0.5, "text": 0.0})]  # fmt: skip
    page = Page(render_results([Section("q", hits, mode="fused", fusion="convex", spaces=("disc", "text"))]))
    assert [width for kind, width in bars(page) if kind == "text-fill"] == ["32.0%", "100.0%", "0.0%"]
    assert {"4.00", "12.50", "0.00"} <= set(page.texts)
    assert any(text.startswith("text: words in common (BM25)") for text in page.texts)
    assert not any(text.startswith("gen:") for text in page.texts)


def test_a_score_that_was_estimated_from_another_space_says_so():
    hits = [hit("a", scores={"gen": 0.5}, score=0.5), hit("b", scores={"disc": 0.75}, score=0.4375)]
    page = Page(render_results([Section("q", hits, mode="gen", spaces=("gen",))]))
    assert bars(page) == [("gen-fill", "50.0%"), ("disc-fill", "75.0%")]
    at = page.texts.index("no vector")
    assert page.texts[at - 1 : at + 6] == [
        "gen",
        "no vector",
        "estimate",
        "by disc",
        "0.438",
        "disc",
        "0.750",
    ]


@pytest.mark.parametrize(
    ("size", "shown", "sharp"),
    [((20, 10), (320, 160), True), ((40, 30), (200, 150), True), ((112, 112), (176, 176), False),
     ((640, 320), (320, 160), False), ((100, 2000), (9, 176), False)],
)  # fmt: skip
def test_small_pictures_are_enlarged_sharply_by_whole_factors(size, shown, sharp):
    page = Page(render_results([Section("q", [hit(thumbnail=jpeg(*size))])]))
    (image,) = page.attributes("img")
    assert (int(image["width"]), int(image["height"])) == shown
    assert (image.get("class") == "pixel") is sharp


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_pictures_travel_in_the_page(kind):
    encoded = jpeg(kind=kind)
    page = Page(render_results([Section("q", [], encoded)]))
    (image,) = page.attributes("img")
    header, _, data = image["src"].partition(",")
    assert header == f"data:image/{kind.lower()};base64"
    assert base64.b64decode(data) == encoded


@pytest.mark.parametrize("broken", [b"", b"rubbish", b"<svg onload='alert(1)'/>", jpeg()[:60]])
def test_what_is_no_picture_is_left_out_and_its_text_stands_in(broken):
    page = Page(render_results([Section("q", [hit(thumbnail=broken, text="the text layer")], broken)]))
    assert page.attributes("img") == []
    assert "the text layer" in page.texts


def test_where_a_document_is():
    page = Page(
        render_results(
            [
                Section(
                    "q",
                    [
                        hit("r/q3.pdf#page=2", document="r/q3.pdf", kind="page", page=2, title="q3.pdf"),
                        hit("c.mp4", kind="clip", span_s=(1.0, 2.5), title="c.mp4"),
                        hit("r/x.png", title=""),
                    ],
                )
            ]
        )
    )
    assert "page 2 · " in page.texts
    assert "r/" in page.texts
    assert "clip · 1.0 to 2.5 s" in page.texts


def test_a_search_result_becomes_a_section():
    embedding = Embedding(None, None, reasoning="thought", summary="gist")
    result = SearchResult(
        (hit(),), embedding, "fused", ("disc", "gen"), "rrf", encode_s=0.75, search_s=0.25, enrich_s=0.25
    )
    section = Section.of("q", result, gold={"a.png"})
    assert (section.reasoning, section.summary, section.rank, section.seconds) == ("thought", "gist", 1, 1.25)
    page = Page(render_results([section]))
    assert {"thought", "gist", "1.25 s", "right at rank 1"} <= set(page.texts)


def test_nothing_asked_and_nothing_found_are_pages_too():
    assert_harmless(Page(render_results([])))
    assert "Nothing was found." in Page(render_results([Section("q", [])])).texts


def test_importing_loads_nothing_heavy():
    code = "import sys, ume_r1_rag.ingest, ume_r1_rag.results_page\n"
    code += (
        "print(*sorted({'qdrant_client', 'numpy', 'PIL', 'llama_index', 'tqdm', 'av'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def links(page):
    return [a["href"] for a in page.attributes("a") if not a["href"].startswith("#")]


def test_a_hit_links_to_its_file_at_the_page_or_the_second():
    hits = [
        hit("a", uri="/over there/100% #1.pdf", page=3),
        hit("b", uri="/clips/b.mp4", kind="clip", span_s=(30.0, 61.5)),
        hit("c", uri="https://example.org/c.pdf?x=1", page=2),
        hit("d", uri="https://example.org/d#part"),
    ]
    assert links(Page(render_results([Section("q", hits)]))) == [
        "file:///over%20there/100%25%20%231.pdf#page=3",
        "file:///clips/b.mp4#t=30,61.5",
        "https://example.org/c.pdf?x=1#page=2",
        "https://example.org/d#part",
    ]


@pytest.mark.parametrize(
    "uri",
    [*EVIL, "", "relative.pdf", "data:text/html,x", "JavaScript:alert(1)", "file:///etc/passwd", "ftp://a/b",
     "http://", "https://[", "/a\x1b[31m", "/a\\udcff.png", "//evil\u202e/x", "\tjavascript:alert(1)"],
)  # fmt: skip
def test_nothing_else_is_linked(uri):
    assert links(Page(render_results([Section("q", [hit(uri=uri)])]))) == []


def test_a_link_holds_nothing_but_an_address():
    page = Page(render_results([Section("q", [hit(uri="https://a/\"><script>x</script>'")])]))
    assert_harmless(page)
    assert links(page) == ["https://a/%22%3E%3Cscript%3Ex%3C/script%3E'"]


def test_the_text_layer_is_shown_around_the_words_of_the_question():
    text = "Lorem ipsum. " * 40 + "The net income of 2023 was 5 million. " + "Dolor sit. " * 40
    page = Page(render_results([Section("Net income 2023 of", [hit(text=text, thumbnail=jpeg())])]))
    joined = "".join(page.texts).replace(" ", "")
    assert "Thenetincomeof2023was5million." in joined
    assert joined.count("Lorem") < 8
    marked = [name for name, _ in page.elements if name == "mark"]
    assert len(marked) == 3  # not "of", which says nothing
    assert "mark" not in {name for name, _ in Page(render_results([Section("q", [hit(text=text)])])).elements}
