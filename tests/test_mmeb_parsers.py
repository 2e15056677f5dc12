from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from ume_r1_bench.mmeb.errors import DataMissing, MmebError
from ume_r1_bench.mmeb.frames import list_frames, sample_frames
from ume_r1_bench.mmeb.load import load_task
from ume_r1_bench.mmeb.parsers.video_qa import SUBSETS
from ume_r1_bench.mmeb.protocol import PROTOCOLS
from ume_r1_bench.mmeb.task import TASKS

V21 = PROTOCOLS["v2.1"]
ASK = (
    "Given a video and a question, select the most accurate answer from the provided candidates. "
    "Return only the exact text of your chosen answer. Question:  "
)


def write(path: Path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def touch(*paths: Path):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def film(folder: Path, count=3, pattern="frame_{:04d}.jpg"):
    touch(*(folder / pattern.format(number) for number in range(1, count + 1)))


def load(name, data, protocol=V21, **options):
    return load_task(TASKS[name], data, protocol, online=False, **options)


def image_row(inst, text="", picture="", target="", texts=("",), pictures=("",)):
    return {
        "qry_inst": inst,
        "qry_text": text,
        "qry_img_path": picture,
        "tgt_inst": target,
        "tgt_text": list(texts),
        "tgt_img_path": list(pictures),
    }


def image_task(tmp_path, name, *rows):
    write(tmp_path / "image-tasks" / name / "test.jsonl", rows)
    for row in rows:
        for picture in filter(None, [row["qry_img_path"], *row["tgt_img_path"]]):
            touch(tmp_path / "image-tasks" / picture)
    return load(name, tmp_path)


def test_a_classified_picture(tmp_path):
    row = image_row(
        "<|image_1|>\nRepresent the given news image with the following caption for domain classification:",
        "A  strike \nbegins",
        "N24News/1.jpg",
        texts=["Economy", "Sports", "Economy"],
    )
    data = image_task(tmp_path, "N24News", row)
    (query,) = data.queries
    # The space before the text's own line's end goes as well: so the evaluator has it.
    assert query.item.rendered == (
        "<|image_pad|>\nRepresent the given news image with the following caption for domain classification: "
        "A  strike\nbegins\n"
    )
    assert query.item.text == query.item.rendered.removeprefix("<|image_pad|>").strip()
    assert query.item.images == (tmp_path / "image-tasks/N24News/1.jpg",)
    assert query.candidates == ("Economy", "Sports")
    assert query.relevance == {"Economy": 1.0}
    assert data.candidates["Sports"].text == "Sports"
    assert (data.rows, data.total, data.duplication) == (3, 1, 1.5)


def test_a_question_about_a_picture(tmp_path):
    row = image_row(
        "<|image_1|> Represent the given image with the following question: ",
        "Why?",
        "OK-VQA/1.jpg",
        texts=["a"],
    )
    (query,) = image_task(tmp_path, "OK-VQA", row).queries
    assert query.item.rendered == (
        "<|image_pad|>\nRepresent the given image with the following question: Why?\n"
    )


def test_a_caption_and_its_picture(tmp_path):
    row = image_row(
        "Find me an everyday image that matches the given caption:",
        "a dog",
        target="<|image_1|>\nRepresent the given image.",
        texts=["", ""],
        pictures=["MSCOCO_t2i/2.jpg", "MSCOCO_t2i/1.jpg"],
    )
    data = image_task(tmp_path, "MSCOCO_t2i", row)
    (query,) = data.queries
    assert query.item.rendered == "Find me an everyday image that matches the given caption: a dog\n"
    assert query.item.images == ()
    assert list(data.candidates) == ["MSCOCO_t2i/2.jpg", "MSCOCO_t2i/1.jpg"]
    assert data.candidates["MSCOCO_t2i/1.jpg"].rendered == "<|image_pad|>\nRepresent the given image.\n"
    assert query.relevance == {"MSCOCO_t2i/2.jpg": 1.0}


def test_a_dialogue_ends_with_two_lines_ends(tmp_path):
    row = image_row("Dialogue:", "hello", target="T", pictures=["VisDial/1.jpg"])
    (query,) = image_task(tmp_path, "VisDial", row).queries
    assert query.item.rendered == "Dialogue: hello\n\n"


def test_of_one_picture_with_two_captions_the_first_counts(tmp_path):
    target = "<|image_1|>\nRepresent the given Wikipedia image with related text information:"
    query = "<|image_1|>\nFind a Wikipedia image that answers this question:"
    rows = [
        image_row(
            query, "one?", target=target, texts=["first", "x"], pictures=["WebQA/1.jpg", "WebQA/2.jpg"]
        ),
        image_row(
            query, "two?", target=target, texts=["y", "second"], pictures=["WebQA/2.jpg", "WebQA/1.jpg"]
        ),
    ]
    data = image_task(tmp_path, "WebQA", *rows)
    assert [item.text for item in data.candidates.values()] == [
        "Represent the given Wikipedia image with related text information: first",
        "Represent the given Wikipedia image with related text information: x",
    ]
    assert (len(data.candidates), data.rows) == (2, 4)
    # The token of an image that is not there stays in VLM2Vec's string, and is taken out for UME-R1.
    assert data.queries[1].item.rendered == (
        "<|image_pad|>\nFind a Wikipedia image that answers this question: two?\n"
    )
    assert data.queries[1].item.text == "Find a Wikipedia image that answers this question: two?"
    assert data.queries[1].relevance == {"WebQA/2.jpg": 1.0}


def test_parts_of_one_picture_are_candidates_of_their_own(tmp_path):
    inst = "<|image_1|>\nSelect the portion of the image that follows the language expressions:"
    row = image_row(
        inst,
        '"a man"',
        "RefCOCO-Matching/1.jpg",
        inst,
        ['"left man"', '"right man"'],
        ["RefCOCO-Matching/1.jpg"] * 2,
    )
    data = image_task(tmp_path, "RefCOCO-Matching", row)
    assert list(data.candidates) == ["RefCOCO-Matching/1.jpg:left man", "RefCOCO-Matching/1.jpg:right man"]
    assert data.candidates["RefCOCO-Matching/1.jpg:right man"].rendered == (
        '<|image_pad|>\nSelect the portion of the image that follows the language expressions: "right man"\n'
    )
    assert data.queries[0].relevance == {"RefCOCO-Matching/1.jpg:left man": 1.0}


def test_a_cut_out_has_no_line_s_end(tmp_path):
    row = image_row(
        "<|image_1|>\nCrop the image to to isolate the object labeled as",
        '"dog"',
        "MSCOCO/1.jpg",
        "<|image_1|>\nRepresent the given cropped image of the object",
        ["", ""],
        ["MSCOCO/2.jpg", "MSCOCO/3.jpg"],
    )
    data = image_task(tmp_path, "MSCOCO", row)
    assert data.queries[0].item.rendered == (
        '<|image_pad|>\nCrop the image to to isolate the object labeled as "dog"\n'
    )
    assert data.candidates["MSCOCO/3.jpg:"].rendered == (
        "<|image_pad|>\nRepresent the given cropped image of the object"
    )


def test_pictures_and_captions_must_be_as_many(tmp_path):
    row = image_row("i", "t", "OVEN/1.jpg", "t", ["one"], ["OVEN/2.jpg", "OVEN/3.jpg"])
    with pytest.raises(MmebError, match="OVEN: 2 pictures have 1 captions"):
        image_task(tmp_path, "OVEN", row)


def test_video_classes_are_those_of_the_rows_then_all_others(tmp_path):
    rows = [{"video_id": "a", "pos_text": "tea"}, {"video_id": "b", "pos_text": "dancing"}]
    write(tmp_path / "video-tasks/Breakfast/test.jsonl", rows)
    for name in "ab":
        film(tmp_path / "video-tasks/frames/video_cls/Breakfast" / name)
    data = load("Breakfast", tmp_path)
    assert list(data.candidates)[:3] == ["tea", "dancing", "pancake"]
    assert (len(data.candidates), data.rows) == (11, 12)
    query = data.queries[0]
    # The instruction itself ends with a space.
    assert query.item.rendered == (
        "<|video_pad|> Recognize the breakfast type that the person is cooking in the video. "
    )
    assert query.item.text == "Recognize the breakfast type that the person is cooking in the video."
    assert query.candidates is None
    assert [path.name for path in query.item.frames] == [f"frame_000{n}.jpg" for n in (1, 2, 3)]


def test_something_something_lists_its_labels_and_counts_a_thousand_rows(tmp_path):
    row = {"video_id": 7, "pos_text": "Moving up", "neg_text": ["Bending", "Moving up", "Bending"]}
    write(tmp_path / "video-tasks/SmthSmthV2/test.jsonl", [row] * 1003)
    film(tmp_path / "video-tasks/frames/video_cls/SSv2/7")
    data = load("SmthSmthV2", tmp_path)
    assert (len(data.queries), data.total) == (1000, 1000)
    assert data.queries[0].candidates == ("Bending", "Moving up")
    assert data.queries[0].relevance == {"Moving up": 1.0}


def test_mvbench_keeps_the_letters(tmp_path):
    for subset in SUBSETS:
        row = {"video": "v.mp4", "question": f"{subset}?", "candidates": ["no", "yes"], "answer": "yes"}
        write(tmp_path / "video-tasks/MVBench" / f"{subset}/train.jsonl", [row])
        film(tmp_path / "video-tasks/frames/video_qa/MVBench" / subset / "v.mp4", pattern="{:04d}.jpeg")
    data = load("MVBench", tmp_path)
    assert len(data.queries) == 20
    query = data.queries[1]
    assert query.item.rendered == f"<|video_pad|> {ASK}action_sequence?\nOptions:\n(A) no\n(B) yes"
    assert query.candidates == ("(A) no", "(B) yes")
    assert query.relevance == {"(B) yes": 1.0}
    assert data.candidates["(B) yes"].text == "(B) yes"


def test_a_missing_configuration_of_mvbench_is_named(tmp_path):
    write(tmp_path / f"video-tasks/MVBench/{SUBSETS[0]}/train.jsonl", [{}])
    with pytest.raises(DataMissing, match="19 of 20 configurations are missing") as caught:
        load("MVBench", tmp_path)
    assert caught.value.tables[0] == tmp_path / f"video-tasks/MVBench/{SUBSETS[1]}/train.parquet"


def test_video_mme_keys_by_the_option_and_embeds_it_without_its_letter(tmp_path):
    row = {
        "videoID": "x",
        "question": "Who?",
        "options": ["A. Tom.", "B. Ann. S.", "C.Joe", "D. "],
        "answer": "B",
    }
    write(tmp_path / "video-tasks/Video-MME/test.jsonl", [row])
    film(tmp_path / "video-tasks/frames/video_qa/Video-MME/x")
    data = load("Video-MME", tmp_path)
    query = data.queries[0]
    assert query.item.rendered == f"<|video_pad|> {ASK}Who?\nA. Tom.\nB. Ann. S.\nC.Joe\nD. "
    assert query.relevance == {"B. Ann. S.": 1.0}
    texts = {key: item.text for key, item in data.candidates.items()}
    # "C.Joe" is the official slip: without ". " its last character is all that is embedded.
    assert texts == {"A. Tom.": "Tom", "B. Ann. S.": "Ann. S", "C.Joe": "e", "D. ": None}


def test_nextqa_has_five_columns_of_options(tmp_path):
    row = {"video": 4740, "question": "why", "answer": 2, "qid": 1, "type": "CW"}
    write(tmp_path / "video-tasks/NExTQA/MC/test.jsonl", [row | {f"a{n}": f"o{n}" for n in range(5)}])
    film(tmp_path / "video-tasks/frames/video_qa/NExTQA/4740")
    (query,) = load("NExTQA", tmp_path).queries
    assert query.item.rendered == (
        f"<|video_pad|> {ASK}why\nOptions:\n(A) o0\n(B) o1\n(C) o2\n(D) o3\n(E) o4"
    )
    assert query.candidates == ("o0", "o1", "o2", "o3", "o4")
    assert query.relevance == {"o2": 1.0}


def test_egoschema_joins_the_options_to_the_question(tmp_path):
    options = ["A. He cooks.", "B. He eats."]
    row = {"video_idx": "e", "question_idx": "1", "question": "What?", "option": options, "answer": "1"}
    write(tmp_path / "video-tasks/EgoSchema/Subset/test.jsonl", [row])
    film(tmp_path / "video-tasks/frames/video_qa/EgoSchema/e")
    data = load("EgoSchema", tmp_path)
    assert data.queries[0].item.rendered == f"<|video_pad|> {ASK}What?A. He cooks. B. He eats."
    assert data.queries[0].relevance == {"B. He eats.": 1.0}
    assert data.candidates["B. He eats."].text == "He eats"


def test_activitynetqa_is_yes_or_no(tmp_path):
    row = {"video_name": "k", "question": "is he old", "answer": "no", "question_id": "k_1"}
    write(tmp_path / "video-tasks/ActivityNetQA/test.jsonl", [row])
    film(tmp_path / "video-tasks/frames/video_qa/ActivityNetQA/v_k")
    (query,) = load("ActivityNetQA", tmp_path).queries
    assert query.item.rendered == f"<|video_pad|> {ASK}is he old? (A) yes; (B) no."
    assert (query.candidates, query.relevance) == (("yes", "no"), {"no": 1.0})
    write(tmp_path / "video-tasks/ActivityNetQA/test.jsonl", [row | {"answer": "maybe"}])
    with pytest.raises(MmebError, match="ActivityNetQA: the answer is no option of"):
        load("ActivityNetQA", tmp_path)


@pytest.mark.parametrize(
    ("name", "table", "row", "text"),
    [
        ("DiDeMo", "DiDeMo/test.jsonl", {"video": "clips/v1.mp4", "caption": "a b"}, "a b"),
        ("MSR-VTT", "MSR-VTT/test_1k/test.jsonl", {"video_id": "v1", "caption": "c"}, "c"),
        ("MSVD", "MSVD/test.jsonl", {"video_id": "v1", "caption": ["one", "two"]}, "one"),
        ("VATEX", "VATEX/test.jsonl", {"videoID": "v1", "enCap": ["one", "two"]}, "one"),
        ("YouCook2", "YouCook2/val.jsonl", {"id": "v1", "sentence": "stir"}, "stir"),
    ],
)
def test_captions_ask_for_clips_by_name(tmp_path, name, table, row, text):
    write(tmp_path / "video-tasks" / table, [row])
    film(tmp_path / TASKS[name].root / "v1", 17)
    data = load(name, tmp_path)
    assert data.queries[0].item.rendered == f"{TASKS[name].instruction_query} {text}"
    assert data.queries[0].relevance == {"v1": 1.0}
    candidate = data.candidates["v1"]
    assert candidate.rendered == "<|video_pad|> Understand the content of the provided video."
    # linspace(0, 16, 8), cut down to whole numbers
    assert [int(path.stem[-4:]) - 1 for path in candidate.frames] == [0, 2, 4, 6, 9, 11, 13, 16]


def test_moments_are_the_folders_beside_the_query(tmp_path):
    root = tmp_path / "video-tasks/frames/video_mret/Charades_STA"
    write(tmp_path / "video-tasks/Charades-STA/test.jsonl", [{"query": "he sits", "video_path": "x/AB1.mp4"}])
    for folder in ("query", "negative_10", "negative_9", "positive_1", "positive_2"):
        film(root / "AB1" / folder)
    touch(root / "AB1" / "notes.txt")
    data = load("Charades-STA", tmp_path)
    (query,) = data.queries
    assert query.item.rendered == (
        "<|video_pad|> Find the clip that corresponds to the described scene in the given video: he sits"
    )
    home = "video-tasks/frames/video_mret/Charades_STA/AB1"
    clips = [f"{home}/{name}" for name in ("negative_9", "negative_10", "positive_1", "positive_2")]
    assert sorted(query.candidates) == sorted(clips)
    assert query.relevance == {f"{home}/positive_2": 1.0}
    assert data.candidates[clips[0]].frames[0].parent == root / "AB1" / "negative_9"


def test_a_moment_without_clips_is_missing(tmp_path):
    root = tmp_path / "video-tasks/frames/video_mret/QVHighlight"
    write(tmp_path / "video-tasks/QVHighlight/test.jsonl", [{"query": "q", "video_path": "v.mp4"}])
    film(root / "v" / "query")
    with pytest.raises(DataMissing, match="1 of 2 folders of frames are missing"):
        load("QVHighlight", tmp_path)


def test_momentseeker_asks_in_three_ways_and_takes_all_frames(tmp_path):
    root = tmp_path / "video-tasks/frames/video_mret/MomentSeeker"
    clips = {"positive_frames": [{"output_path": "m/1.mp4"}, {"output_path": "m/2.mp4"}]}
    clips["negative_frames"] = [{"output_path": "m/3.mp4"}]
    rows = [{"query": "he runs", "input_frames": shown, **clips} for shown in ("", "p.jpg", "m/q.mp4")]
    write(tmp_path / "video-tasks/data/momentseeker.jsonl", rows)
    for name in ("m_1", "m_2", "m_3", "m_q"):
        film(root / "video_frames" / name, 11)
    touch(root / "query_p.jpg")
    data = load("MomentSeeker", tmp_path)
    text, image, video = (query.item for query in data.queries)
    assert text.rendered == "Find the clip that corresponds to the given text: he runs"
    assert image.rendered == (
        "<|image_pad|> Select the video clip that aligns with the given text and image: he runs"
    )
    assert image.images == (root / "query_p.jpg",)
    assert video.rendered == (
        "<|video_pad|> Find the clip that corresponds to the given sentence and video segment: he runs"
    )
    assert len(video.frames) == 11
    home = "video-tasks/frames/video_mret/MomentSeeker/video_frames"
    assert data.queries[0].relevance == {f"{home}/m_1": 1.0, f"{home}/m_2": 1.0}
    assert list(data.candidates) == [f"{home}/m_{n}" for n in (1, 2, 3)]
    assert data.rows == 9


def beir(home: Path, queries, corpus, qrels):
    write(home / "queries/test.jsonl", queries)
    write(home / "corpus/test.jsonl", corpus)
    write(
        home / "qrels/test.jsonl",
        [dict(zip(("query-id", "corpus-id", "score"), row, strict=True)) for row in qrels],
    )


def test_pages_come_with_grades_above_zero_the_highest_of_several(tmp_path):
    pages = tmp_path / "visdoc-tasks/esg_reports_human_labeled_v2"
    beir(
        pages,
        [{"query-id": 5, "query": "How much?", "language": "english"}],
        [{"corpus-id": 1}, {"corpus-id": 2}, {"corpus-id": 3}],
        [(5, 3, 1), (5, 2, 1), (5, 2, 2), (5, 1, 0), (6, 1, 1)],
    )
    touch(*(pages / f"{number}.png" for number in (1, 2, 3)))
    data = load("ViDoRe_esg_reports_human_labeled_v2", tmp_path)
    (query,) = data.queries
    assert query.relevance == {"3": 1.0, "2": 2.0}
    assert query.candidates is None
    assert list(data.candidates) == ["3", "2", "1"]
    assert data.rows == 5
    assert query.item.rendered == "Find a document image that matches the given query: How much?"
    assert data.candidates["1"].rendered == (
        "<|image_pad|> Understand the content of the provided document image."
    )
    bare = load("ViDoRe_esg_reports_human_labeled_v2", tmp_path, PROTOCOLS["v2.0.1"])
    assert (bare.queries[0].item.rendered, bare.queries[0].item.text) == (" How much?", "How much?")
    assert (bare.candidates["1"].rendered, bare.candidates["1"].text) == ("<|image_pad|> ", None)
    assert bare.candidates["1"].to_input().images == (pages / "1.png",)


def test_english_extras_ask_only_english_queries(tmp_path):
    rows = [
        {"query-id": n, "query": f"q{n}", "language": lang} for n, lang in enumerate(("english", "french"))
    ]
    home = tmp_path / "visdoc-tasks/economics_reports_v2"
    beir(home, rows, [{"corpus-id": 9}], [(0, 9, 1), (1, 9, 1)])
    touch(home / "9.png", tmp_path / "visdoc-tasks/economics_reports_v2_multilingual/9.png")
    assert [q.item.text for q in load("ViDoRe_economics_reports_v2", tmp_path).queries] == [
        "Find a document image that matches the given query: q0"
    ]
    assert len(load("ViDoRe_economics_reports_v2_multilingual", tmp_path).queries) == 2


def test_a_query_that_no_page_answers_is_refused(tmp_path):
    home = tmp_path / "visdoc-tasks/docvqa_test_subsampled_beir"
    beir(home, [{"query-id": 1, "query": "q"}], [{"corpus-id": 1}], [(1, 1, 0)])
    with pytest.raises(
        MmebError, match=r"ViDoRe_docvqa: no page answers the query in the row .*'query': 'q'"
    ):
        load("ViDoRe_docvqa", tmp_path)
    beir(home, [{"query-id": 1, "query": "q"}], [{"corpus-id": 1}], [(1, 7, 1)])
    with pytest.raises(MmebError, match=r"the corpus lacks \(7\)"):
        load("ViDoRe_docvqa", tmp_path)


def test_visrag_cuts_long_names_of_pages(tmp_path):
    name = "a" * 60 + ".v1.jpg"
    digest = hashlib.md5(name.encode()).hexdigest()[:8]
    home = tmp_path / "visdoc-tasks/VisRAG-Ret-Test-ChartQA"
    for config, row in (
        ("queries", {"query-id": "q", "query": "?"}),
        ("corpus", {"corpus-id": name}),
        ("qrels", {"query-id": "q", "corpus-id": name, "score": 1}),
    ):
        write(home / config / "train.jsonl", [row])
    path = tmp_path / "visdoc-tasks/VisRAG_ChartQA" / f"{'a' * 50}_{digest}.jpg"
    touch(path)
    for protocol in PROTOCOLS.values():
        data = load("VisRAG_ChartQA", tmp_path, protocol)
        assert data.candidates[name].images == (path,)
        assert data.queries[0].item.text == "Find a document image that matches the given query: ?"


def test_pages_of_the_two_versions_never_mix(tmp_path):
    # The same id means another page; the evaluator keeps both in one folder, and whichever came first stays.
    import io

    from ume_r1_bench.world.mmeb.folder import write_parquet

    for repo, colour in (("ViDoSeek-page", "red"), ("ViDoSeek-page-fixed", "blue")):
        home = tmp_path / "visdoc-tasks" / repo
        beir(home, [{"query-id": 1, "query": "q"}], [], [(1, 4, 1)])
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
        (home / "corpus/test.jsonl").unlink()
        write_parquet(home / "corpus/test.parquet", [{"corpus-id": 4, "image": {"bytes": buffer.getvalue()}}])
    Image.new("RGB", (8, 8), "green").save(tmp_path / "visdoc-tasks/ViDoSeek-page/4.png")
    shown = {}
    for name in ("v2.0.1", "v2.1"):
        (path,) = load("ViDoSeek-page", tmp_path, PROTOCOLS[name]).candidates["4"].images
        with Image.open(path) as page:
            shown[name] = page.getpixel((0, 0))
    assert shown == {"v2.0.1": (255, 0, 0), "v2.1": (0, 0, 255)}


def test_frames_are_taken_in_natural_order(tmp_path):
    touch(*(tmp_path / name for name in ("f10.PNG", "f9.jpg", "f1.jpeg", "f2.txt", "f02.jpg")))
    assert [path.name for path in list_frames(tmp_path)] == ["f1.jpeg", "f02.jpg", "f9.jpg", "f10.PNG"]
    assert list_frames(tmp_path / "none") == ()
    assert sample_frames(range(7), 8) == tuple(range(7))
    assert sample_frames(range(8), 8) == tuple(range(8))
    assert sample_frames(range(64), 8) == (0, 9, 18, 27, 36, 45, 54, 63)
    assert sample_frames(range(20), None) == tuple(range(20))


def test_broken_tables_are_named(tmp_path):
    table = tmp_path / "image-tasks/VOC2007/test.jsonl"
    write(table, [])
    with pytest.raises(MmebError, match="VOC2007: its tables hold no row"):
        load("VOC2007", tmp_path)
    table.write_text('{"qry_inst": 1}\n{"qry_', encoding="utf-8")
    with pytest.raises(MmebError, match=r"test.jsonl:2 is no JSON"):
        load("VOC2007", tmp_path)
    write(table, [{"qry_inst": "a", "qry_text": "b"}])
    with pytest.raises(MmebError, match="has no column qry_img_path, tgt_text; it has qry_inst, qry_text"):
        load("VOC2007", tmp_path)
    table.unlink()
    table.with_suffix(".parquet").write_bytes(b"PAR?")
    with pytest.raises(MmebError, match=r"test.parquet cannot be read as parquet"):
        load("VOC2007", tmp_path)
    write(table.with_suffix(".jsonl"), [image_row("i", "", "VOC2007/1.jpg", texts=[])])
    table.with_suffix(".parquet").unlink()
    with pytest.raises(MmebError, match="VOC2007: there is no candidate"):
        load("VOC2007", tmp_path)


def test_what_is_not_there_is_told_with_the_remedy(tmp_path):
    with pytest.raises(
        DataMissing, match=r"no rows in .*image-tasks/VOC2007/test.parquet .*hf download"
    ) as caught:
        load_task(TASKS["VOC2007"], tmp_path, V21)
    assert caught.value.tables == (tmp_path / "image-tasks/VOC2007/test.parquet",)
    with pytest.raises(MmebError, match="is no folder"):
        load("VOC2007", tmp_path / "nowhere")
    row = image_row("i", "", "VOC2007/1.jpg", texts=["a"])
    write(tmp_path / "image-tasks/VOC2007/test.jsonl", [row, row | {"qry_img_path": "VOC2007/2.jpg"}])
    touch(tmp_path / "image-tasks/VOC2007/1.jpg")
    with pytest.raises(DataMissing, match=r"1 of 2 pictures are missing, first .*VOC2007/2.jpg") as caught:
        load("VOC2007", tmp_path)
    assert caught.value.media == (tmp_path / "image-tasks/VOC2007/2.jpg",)


def test_a_limit_draws_queries_by_seed_and_leaves_their_candidates(tmp_path):
    rows = [
        image_row("i", f"t{n}", "VOC2007/1.jpg", texts=[f"right{n}", f"wrong{n}", "both"]) for n in range(30)
    ]
    image_task(tmp_path, "VOC2007", *rows)
    every, some = load("VOC2007", tmp_path), load("VOC2007", tmp_path, limit=5, seed=3)
    assert (len(some.queries), some.total) == (5, 30)
    assert all(query in every.queries for query in some.queries)
    assert [query.id for query in some.queries] == sorted((q.id for q in some.queries), key=int)
    assert set(some.candidates) == {name for query in some.queries for name in query.candidates}
    assert load("VOC2007", tmp_path, limit=5, seed=3) == some
    assert load("VOC2007", tmp_path, limit=5, seed=4).queries != some.queries
    assert load("VOC2007", tmp_path, limit=99).queries == every.queries
    with pytest.raises(MmebError, match="limit=0"):
        load("VOC2007", tmp_path, limit=0)


def test_a_limit_keeps_all_candidates_of_a_global_task(tmp_path):
    rows = [{"videoID": f"v{n}", "enCap": [f"c{n}"]} for n in range(6)]
    write(tmp_path / "video-tasks/VATEX/test.jsonl", rows)
    for n in range(6):
        film(tmp_path / TASKS["VATEX"].root / f"v{n}")
    data = load("VATEX", tmp_path, limit=2)
    assert (len(data.queries), len(data.candidates)) == (2, 6)
