"""The OpenAPI document tells the truth: schemathesis makes requests of it and holds every answer to it."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from sensorium.serving import ServerSettings, create_app

schemathesis = pytest.importorskip("schemathesis")
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, unsupported_method,
]  # fmt: skip


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.name.lower())
def test_every_answer_is_as_the_document_says(tiny_engine, correcting, data_url, mode):
    app = create_app(tiny_engine, ServerSettings(max_new_tokens=2), correcting=correcting)
    statuses = set()
    corrected = set()

    for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        operation = found.ok()
        if mode.is_negative and not operation.body:
            continue  # a path is any text: there is nothing to be wrong

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=40, deadline=None, derandomize=True, database=None,
                  suppress_health_check=list(HealthCheck), phases=[Phase.generate])
        def hold(case):
            if isinstance(case.body, dict) and isinstance(case.body.get("model"), str) and case.body["model"]:
                case.body["model"] = "tiny"  # else hardly a request would reach the engine
            if isinstance(case.body, dict) and isinstance(case.body.get("image"), str):
                case.body["image"] = data_url  # and none the corrector
            status = case.call_and_validate(checks=CHECKS).status_code
            statuses.add(status)
            if case.operation.path == "/v1/corrections":
                corrected.add(status)

        hold()
    assert statuses >= ({400} if mode.is_negative else {200, 400})
    assert corrected >= ({400} if mode.is_negative else {200})


def test_the_document_describes_requests_errors_and_streams(told, correcting):
    document = create_app(told, correcting=correcting).openapi()
    assert "/v1/corrections" not in create_app(told).openapi()["paths"]
    report = document["paths"]["/v1/corrections"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert {"claims", "evidence", "verdicts", "edits", "output"} <= set(
        document["components"]["schemas"][report["$ref"].rpartition("/")[2]]["properties"])
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert "422" not in json.dumps(document)  # FastAPI's own, which this server does not give
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                shown = response["content"]
                assert status == "200" or shown["application/json"]["schema"]["$ref"].endswith("/ErrorReply")
