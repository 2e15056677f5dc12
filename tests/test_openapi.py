"""The server against its own OpenAPI document: schemathesis makes the requests, nano answers them."""

import copy
from dataclasses import replace

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from points import page
from schemathesis.specs.openapi import checks

from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.retriever import Retriever
from ume_r1_rag.server import create_app

pytestmark = pytest.mark.slow

# An answer of 504 is a missed deadline, so it is 500 alone that may never come.
CHECKED = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def document(nano_encoder):
    encoder = copy.copy(nano_encoder)
    encoder.preset = replace(nano_encoder.preset, max_new_tokens=2)
    texts = ["a red circle", "two bars", "a blue square"]
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        pages = [replace(page(n), text=text) for n, text in enumerate(texts, start=1)]
        index.upsert(pages, encoder.encode_document(texts, "both"))
        yield schemathesis.openapi.from_asgi("/openapi.json", create_app(encoder, Retriever(encoder, index)))


POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", "/v1/embeddings", POSITIVE),
        ("POST", "/v1/embeddings", NEGATIVE),
        ("POST", "/v1/search", POSITIVE),
        ("POST", "/v1/search", NEGATIVE),
        ("GET", "/v1/models", POSITIVE),
        ("GET", "/health", POSITIVE),
        ("GET", "/metrics", POSITIVE),
    ],
)
def test_every_answer_is_as_documented(document, method, path, kind):
    seen = set()

    @given(case=document[path][method].as_strategy(generation_mode=kind))
    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def check(case):
        if kind is POSITIVE and isinstance(case.body, dict):
            # By chance there would never be the right one.
            case.body = {
                name: value for name, value in case.body.items() if name not in ("model", "dimensions")
            }
        answer = case.call()
        seen.add(answer.status_code)
        # 504 is a missed deadline, and 503 too much at once; 500 may never come.
        assert answer.status_code != 500, answer.text
        case.validate_response(answer, checks=CHECKED)

    check()
    assert (200 in seen) == (kind is POSITIVE)


def test_the_document_tells_all_routes(document):
    assert {operation.ok().path for operation in document.get_all_operations()} == {
        *("/v1/embeddings", "/v1/search", "/v1/models", "/health", "/metrics")
    }
