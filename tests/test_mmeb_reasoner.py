"""Reasoning from outside: a real endpoint is asked with the pictures, and disc gets what it wrote."""

import pytest
from chat_server import ChatServer, last_text, pictures
from PIL import Image

from ume_r1_bench.mmeb.reasoner import PROMPT, EndpointReasoner, reasoned
from ume_r1_rag.errors import UmeR1Error
from ume_r1_rag.types import MultimodalInput
from ume_r1_trainer.endpoint import ChatEndpoint


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "one.png"
    Image.new("RGB", (30, 30), "red").save(path)
    return path


def test_an_endpoint_is_asked_with_text_pictures_and_frames(picture):
    inputs = [MultimodalInput("what is it?", (picture,)), MultimodalInput(None, (), (picture, picture))]
    with ChatServer(lambda body: "<think>Red.</think><answer>a square") as server:
        endpoint = ChatEndpoint(server.base_url, "thinker", retries=0)
        found = dict(EndpointReasoner(endpoint, "thinker").reason(inputs))
        endpoint.close()
    assert found == dict.fromkeys((0, 1), "<think>Red.</think><answer>a square")
    asked = {last_text(body["messages"]): pictures(body["messages"]) for body in server.bodies}
    assert set(asked) == {f"what is it?\n{PROMPT}", PROMPT}
    assert len(asked[PROMPT]) == 2
    assert "<gen_emb>" not in PROMPT


def test_what_fails_is_an_error_in_its_place(picture, tmp_path):
    inputs = [MultimodalInput("a"), MultimodalInput("b", (tmp_path / "gone.png",)), MultimodalInput("c")]

    def reply(body):
        refused = {"status": 400, "error": "too long"}
        return refused if last_text(body["messages"]).startswith("a\n") else "fine"

    with ChatServer(reply) as server:
        endpoint = ChatEndpoint(server.base_url, "thinker", retries=0)
        found = dict(EndpointReasoner(endpoint, "thinker").reason(inputs))
        endpoint.close()
    assert found[2] == "fine"
    assert isinstance(found[0], UmeR1Error)
    assert isinstance(found[1], UmeR1Error)
    assert "too long" in str(found[0])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("<think>I see.</think><answer>a cat", "what?\nI see.\na cat"),
        ("<think>I see.</think> a cat", "what?\nI see.\na cat"),
        ("just a cat", "what?\njust a cat"),
        ("<think>cut off", "what?\ncut off"),
    ],
)
def test_thinking_and_summary_follow_the_text_without_tags(answer, expected):
    assert reasoned(MultimodalInput("what?"), answer).text == expected


def test_a_picture_alone_gets_the_reasoning_as_its_text(picture):
    found = reasoned(MultimodalInput(None, (picture,)), "<think>Red.</think><answer>square")
    assert (found.text, found.images) == ("Red.\nsquare", (picture,))
