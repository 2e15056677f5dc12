"""``ume-r1 search`` with a cheap encoder: its options, and what it shows. test_cli.py has the real one."""

import json
import os
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from ume_r1_rag.cli import model, search_input
from ume_r1_rag.cli.app import app
from ume_r1_rag.cli.filter import filters
from ume_r1_rag.errors import InputError
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.ingest import ingest
from ume_r1_rag.types import Document, MultimodalInput

EVIL = "in\x1b[31mvoice.pdf"
PAGES = {
    EVIL: ["invoice INV-2023-0117 red", "terms of payment"],
    "report.pdf": ["revenue by quarter 2023", "red circle", "blue square 2023"],
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (*(n for n in os.environ if n.startswith("UME_R1_")), "QDRANT_URL", "QDRANT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="module")
def encoder(make_encoder):
    return make_encoder(dimension=48, fail=lambda one: InputError("not that") if one.text == "bad" else None)


def documents(pages):
    for file, texts in pages.items():
        for page, text in enumerate(texts, start=1):
            yield Document(
                f"{file}#page={page}", "page", MultimodalInput(text=text), title=file, text=text, page=page,
                document=file, metadata={"year": 2023, "draft": page == 1},
            )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoder):
    """An index of five pages, one without gen, and of one page of a tenant."""
    path = tmp_path_factory.mktemp("search") / "index"
    with QdrantIndex(path, fingerprint=encoder.fingerprint) as index:
        found = list(documents(PAGES))
        modes = ["both"] * 4 + ["disc"]
        index.upsert(found, [encoder.encode_document(d.input, m) for d, m in zip(found, modes, strict=True)])
    with QdrantIndex(path, fingerprint=encoder.fingerprint, tenant="acme") as index:
        found = list(documents({"secret.pdf": ["red secret"]}))
        index.upsert(found, [encoder.encode_document(one.input, "both") for one in found])
    return path


@pytest.fixture
def run(folder, encoder, monkeypatch):
    monkeypatch.setattr(model, "encoder_for", lambda *_, **__: encoder)

    def run(*arguments):
        return CliRunner().invoke(app, ["search", "-p", str(folder), *map(str, arguments)])

    return run


def hits(done):
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)["hits"]


def test_words_are_found_without_a_model(run, monkeypatch):
    monkeypatch.setattr(model, "encoder_for", lambda *_, **__: pytest.fail("a model was loaded"))
    for arguments in (["--mode", "text"], ["--spaces", "text"]):
        done = run("inv-2023-0117", *arguments, "--json")
        first, second = hits(done)[:2]
        assert (first["document"], first["page"]) == (EVIL, 1)
        assert first["scores"] == {"text": first["score"]}
        assert first["score"] > 2 * second["score"]  # which shares a part of the number alone
        assert json.loads(done.stdout)["model"] == "m1"
    assert (
        run("inv-2023-0117", "--mode", "text").stdout.splitlines()[1].startswith("text: m1, 5 documents in")
    )


def test_the_table_has_a_score_per_space(run):
    done = run("red circle")
    lines = done.stdout.splitlines()
    assert lines[0] == "red circle"
    assert lines[1].startswith("fused (convex of disc, gen, text): m1, 5 documents in ume_r1, ")
    at = lines.index("") + 1
    assert lines[at].split() == ["#", "score", "disc", "gen", "text", "document", "page", "summary"]
    assert lines[at + 1].split()[5:7] == ["report.pdf", "2"]
    without = next(line.split() for line in lines if line.split()[5:7] == ["report.pdf", "3"])
    assert (without[3], float(without[4])) == ("-", 0)
    assert lines[-1] == "1 of 5 have no gen vector yet: judged by the rest"
    assert "\x1b" not in done.stdout
    assert max(map(len, lines)) <= 100


def test_an_estimated_place_is_told(run):
    lines = run("blue square", "--mode", "gen").stdout.splitlines()
    assert lines[1].startswith("gen: m1")
    at = lines.index("") + 1
    assert lines[at].split() == ["#", "score", "gen", "disc", "document", "page", "summary"]
    first = lines[at + 1].split()
    assert (first[2], first[4:6]) == ("-", ["report.pdf", "3"])
    assert lines[-1] == "1 of 5 have no gen vector yet: placed by an estimate from disc"


@pytest.mark.parametrize("fusion", ["convex", "rrf", "dbsf"])
def test_spaces_fusion_and_weights_reach_the_retriever(run, fusion):
    done = run("red circle", "--spaces", "text, disc", "--fusion", fusion, "--weights", "text=5", "--json")
    assert all(hit["scores"].keys() == {"disc", "text"} for hit in hits(done))
    found = json.loads(done.stdout)
    assert (found["spaces"], found["fusion"], found["mode"]) == (["disc", "text"], fusion, "fused")
    light, heavy = (
        hits(run("red circle", "--spaces", "disc,text", "--weights", f"text={w}", "--json")) for w in (0, 50)
    )
    assert light[0]["scores"].keys() == {"disc"}
    assert [one["score"] for one in heavy] != [one["score"] for one in light]


@pytest.mark.parametrize(
    ("filters", "pages"),
    [
        (["page=2"], {(EVIL, 2), ("report.pdf", 2)}),
        (["page=[2,3]", "title=report.pdf"], {("report.pdf", 2), ("report.pdf", 3)}),
        (["page=1", "page=3"], {(EVIL, 1), ("report.pdf", 1), ("report.pdf", 3)}),
        (["draft=true", "year=2023"], {(EVIL, 1), ("report.pdf", 1)}),
        (["kind=image"], set()),
    ],
)
def test_filters(run, filters, pages):
    arguments = [part for one in filters for part in ("--filter", one)]
    assert {(hit["document"], hit["page"]) for hit in hits(run("red", "--json", *arguments))} == pages


@pytest.mark.parametrize(
    ("filter", "says"),
    [
        ("yaer=2023", "no document has a field 'yaer'. Did you mean 'year'? There are kind, title,"),
        ("yaer=null", "in their metadata: draft, year"),
        ("knd=page", "Did you mean 'kind'?"),
        ("metadata.author=x", "no document has a field 'metadata.author'"),
        ("kind=pages", "no document is of kind 'pages'. Did you mean 'page'? Kinds are page,"),
        ("page=two", "a page is a whole number"),
        ("gen_valid=yes", "give true or false"),
        ("tenant=acme", "give --tenant NAME"),
        ("a\x1b[31m=1", "no document has a field 'a[31m'"),
    ],
)
@pytest.mark.parametrize("command", ["search", "enrich"])
def test_a_slip_in_a_filter_is_told(run, folder, filter, says, command):
    if command == "search":
        done = run("red", "--filter", filter)
    else:
        done = CliRunner().invoke(app, ["enrich", "-p", str(folder), "--filter", filter])
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert "\x1b" not in done.stderr


def test_a_field_of_others_is_no_field(run):
    """What fields there are is told of one's own documents alone; where there are none, nothing is told."""
    done = run("red", "--filter", "year=1", "--tenant", "acme")
    assert done.exit_code == 0, done.stderr
    assert run("red", "--filter", "nonsense=1", "--tenant", "other").exit_code == 0


def test_nothing_is_found_where_nothing_is(run, folder, tmp_path, encoder):
    said = run("red", "--tenant", "other").stdout
    assert "0 documents of tenant other in ume_r1" in said
    assert "nothing was found: tenant 'other' has no documents in ume_r1" in said
    assert "acme" not in said
    with QdrantIndex(tmp_path / "i", fingerprint=encoder.fingerprint, tenant="acme") as index:
        one = list(documents({"secret.pdf": ["red secret"]}))
        index.upsert(one, [encoder.encode_document(d.input) for d in one])
    said = CliRunner().invoke(app, ["search", "red", "-p", str(tmp_path / "i")]).stdout
    assert "nothing was found: all documents in ume_r1 belong to tenants: name one with --tenant" in said
    assert "acme" not in said


def test_explained_hits_say_everything_once(run):
    lines = run("red circle", "--explain").stdout.splitlines()
    assert lines[2:4] == ["reasoned  It shows circle red.", "summary   Summary of circle red"]
    at = lines.index(next(line for line in lines if line.startswith(" 1  ")))
    assert lines[at].endswith("  report.pdf, page 2")
    assert [line.split()[0] for line in lines[at + 1 : at + 4]] == ["scores", "reasoned", "summary"]
    assert lines[at + 4] == ""
    said = "\n".join(lines)
    assert said.count("Summary of circle red") == 2  # the question's, and the hit's that is the same
    assert "gen none" in said
    assert lines[-3:] == [
        "no reasoning is stored of 1 of 5",
        "",
        "1 of 5 have no gen vector yet: judged by the rest",
    ]
    assert "\x1b" not in said
    assert max(map(len, lines)) <= 100


def test_files_instead_of_pages(run):
    assert [hit["document"] for hit in hits(run("red circle", "--group-by", "document", "--json"))] == [
        "report.pdf",
        EVIL,
    ]
    found = hits(run("red circle", "--group-by", "document", "--group-size", 2, "-k", 1, "--json"))
    assert [hit["document"] for hit in found] == ["report.pdf"] * 2
    for k in (1, 2):  # counts files, whatever --group-size is
        found = hits(run("red", "--group-by", "document", "--group-size", 3, "-k", k, "--json"))
        assert len({hit["document"] for hit in found}) == k


def test_a_tenant_sees_its_own(run):
    assert {hit["document"] for hit in hits(run("red", "--json"))} == set(PAGES)
    assert {hit["document"] for hit in hits(run("red", "--json", "--tenant", "acme"))} == {"secret.pdf"}
    assert hits(run("red", "--json", "--tenant", "other")) == []


def test_a_file_of_questions(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30), "red").save("red.png")
    lines = ["red circle", "", json.dumps({"text": "blue", "image": "red.png"}), "  revenue 2023  "]
    (tmp_path / "asked.txt").write_text("\n".join(lines), encoding="utf-8")
    done = run("--queries", "asked.txt", "--json", "--html", "page.html", "-k", 2)
    found = json.loads(done.stdout)
    assert [one["query"] for one in found] == ["red circle", "blue + red.png", "revenue 2023"]
    assert [len(one["hits"]) for one in found] == [2, 2, 2]
    assert found[2]["hits"][0]["page"] == 1
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count('<section class="query"') == 3
    text = run("--queries", "asked.txt", "-k", 2).stdout
    assert [line for line in text.splitlines() if line in ("red circle", "blue + red.png", "revenue 2023")]
    assert text.count("fused (convex") == 3


def test_a_query_is_text_and_files_have_options(run, tmp_path, monkeypatch, encoder):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30), "red").save("red.png")
    asked = []
    encode = encoder.encode_query

    def spy(inputs, *args, **options):
        asked.append(inputs)
        return encode(inputs, *args, **options)

    monkeypatch.setattr(encoder, "encode_query", spy)
    (tmp_path / "asked.txt").write_text("red.png\n", encoding="utf-8")
    absolute = str(tmp_path / "red.png")
    for arguments, text in (
        (["red.png"], "red.png"),
        ([absolute], absolute),
        (["absent/red.png"], "absent/red.png"),
        (["--queries", "asked.txt"], "red.png"),
    ):
        done = run(*arguments)
        assert done.exit_code == 0, done.stderr
        assert (asked[-1].text, asked[-1].images) == (text, ())
    hits(run("--image", "red.png", "--json"))
    assert (asked[-1].text, asked[-1].images) == (None, (Path("red.png"),))


def test_a_page_shows_the_words_score(run, tmp_path):
    page = tmp_path / "page.html"
    assert run("red circle", "--html", page).exit_code == 0
    html = page.read_text(encoding="utf-8")
    assert html.count('class="text-fill"') == 1 + 5  # the legend's, and one for each hit
    assert "\x1b" not in html


def test_questions_that_fail_are_named_and_nothing_is_searched(run, tmp_path):
    (tmp_path / "asked.txt").write_text("red\nbad\n", encoding="utf-8")
    done = run("--queries", tmp_path / "asked.txt")
    assert done.exit_code == 1
    assert done.stderr == "error: 1 of 2 questions failed: bad: not that\n"
    assert done.stdout == ""


def test_what_is_found_is_reasoned_about_once(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(model, "encoder_for", lambda *_, **__: encoder)
    files = tmp_path / "files"
    files.mkdir()
    for name in ("red circle", "blue square", "green line"):
        (files / f"{name.split()[0]}.txt").write_text(name)
    place = {"path": tmp_path / "index", "store_reasoning": False}
    with QdrantIndex(**place, fingerprint=encoder.fingerprint) as index:
        assert ingest(encoder, index, files, "disc").indexed == 3

    def run(*more):
        arguments = ["search", "red circle", "-p", str(tmp_path / "index"), *more]
        return CliRunner().invoke(app, arguments)

    first = run("--lazy-gen", "1", "--json")
    assert json.loads(first.stdout)["enriched"] == 1
    best, *others = hits(first)
    assert (best["title"], best["scores"]["gen"]) == ("red.txt", pytest.approx(1))
    assert (best["summary"], best["reasoning"]) == ("Summary of circle red", None)
    assert all("gen" not in one["scores"] for one in others)
    again = run("--lazy-gen", "3")
    assert "wrote 2 gen vectors in " in again.stdout
    assert "wrote" not in run("--lazy-gen", "3").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["red", "--spaces", "disc,colour"], "disc, gen, text"),
        (["red", "--spaces", ","], "disc, gen, text"),
        (["red", "--weights", "disc"], "disc=1,gen=2"),
        (["red", "--weights", "disc=much"], "disc=1,gen=2"),
        (["red", "--filter", "kind"], "KEY=VALUE"),
        (["red", "--filter", "=page"], "KEY=VALUE"),
        (["red", "--fusion", "mean"], "mean"),
        (["red", "--group-by", "page"], "page"),
        (["red", "--lazy-gen", "3", "--mode", "text"], "rank by gen"),
        (["red", "--lazy-gen", "3", "--spaces", "disc,text"], "rank by gen"),
        (["red", "--queries", "asked.txt"], "leave QUERY"),
        (["--queries", "absent.txt"], "absent.txt"),
        (["--queries", "empty.txt"], "there is no question"),
        (["--queries", "broken.txt"], "line 2 of broken.txt"),
        (["--queries", "strange.txt"], "line 1 of strange.txt: there is nothing to ask"),
        (["--queries", "latin.txt"], "UTF-8"),
    ],
)
def test_a_wrong_call_exits_with_2(run, arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in (
        ("asked", "red"),
        ("empty", "\n \n"),
        ("broken", 'red\n{"text": \n'),
        ("strange", '{"colour": 1}'),
    ):
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    done = run(*arguments)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["red", "--weights", "disc=-1"], "at least 0"),
        (["red", "--spaces", "disc", "--weights", "gen=1"], "'gen' is not one of the spaces disc"),
        (["red", "--mode", "disc", "--spaces", "disc"], 'use mode="fused"'),
        (["red", "--group-size", "2"], "group_by"),
    ],
)
def test_impossible_combinations_are_our_errors(run, arguments, says):
    done = run(*arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr


@pytest.mark.parametrize(
    ("pairs", "filter"),
    [
        ([], None),
        (None, None),
        (["kind=page", "page=3"], {"kind": "page", "page": 3}),
        (["title=a=b", "ratio=0.5"], {"title": "a=b", "ratio": 0.5}),
        (['title="3"', "part=007", "x=NaN"], {"title": "3", "part": "007", "x": "NaN"}),
        (
            ["title=2023", 'document=[1,"b"]', "key=null"],
            {"title": "2023", "document": ["1", "b"], "key": None},
        ),
        (["lang=null", "draft=false"], {"lang": None, "draft": False}),
        (['page=[1,"x"]'], {"page": [1, "x"]}),
        (["a=1", "a=[2,3]", "a=x"], {"a": [1, 2, 3, "x"]}),
        (['a={"b": 1}', "b="], {"a": '{"b": 1}', "b": ""}),
    ],
)
def test_filters_are_read_as_json_where_they_are_such(pairs, filter):
    assert filters(pairs) == filter


def test_weights_and_spaces_are_read():
    assert search_input.weights("disc=1, gen=2.5") == {"disc": 1, "gen": 2.5}
    assert search_input.spaces("text,disc") == ["disc", "text"]
    assert search_input.weights(None) is search_input.spaces(None) is None
    with pytest.raises(typer.BadParameter):
        search_input.weights("")


def test_a_query_that_names_a_picture_is_text_and_says_how_to_ask_with_the_file(tmp_path, capsys):
    picture = tmp_path / "a.png"
    Image.new("RGB", (28, 28)).save(picture)
    asked = search_input.question(str(picture), None, None)
    assert (asked.input.text, asked.input.images) == (str(picture), ())
    assert "--image" in capsys.readouterr().err
    search_input.question("what is in a.png?", None, None)
    assert not capsys.readouterr().err
