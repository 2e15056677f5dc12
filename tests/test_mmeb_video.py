from __future__ import annotations

import pytest
from mmeb_rows import film, load, touch, write

from ume_r1_bench.mmeb.errors import DataMissing, MmebError
from ume_r1_bench.mmeb.parsers.video_qa import SUBSETS
from ume_r1_bench.mmeb.protocol import PROTOCOLS
from ume_r1_bench.mmeb.task import TASKS

ASK = (
    "Given a video and a question, select the most accurate answer from the provided candidates. "
    "Return only the exact text of your chosen answer. Question:  "
)


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
    (white,) = data.candidates["D. "].to_input().images
    assert (white.size, white.getcolors()) == ((28, 28), [(784, (255, 255, 255))])


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
    # Its first owner wrote it small; either copy will do for every protocol.
    write(tmp_path / "video-tasks/egoschema/Subset/test.jsonl", [row])
    film(tmp_path / "video-tasks/frames/video_qa/EgoSchema/e")
    data = load("EgoSchema", tmp_path)
    assert load("EgoSchema", tmp_path, PROTOCOLS["ume-r1-paper"]).queries == data.queries
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
