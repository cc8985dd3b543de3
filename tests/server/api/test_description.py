"""The API describes itself: the whole of it, truly, and in OpenAPI's own terms."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from server.api.description.openai_requests import (
    ChatRequest,
    ComparisonRequest,
    CompletionRequest,
)
from server.app import create_app
from server.engine.requests.rules import fields_taken
from tests.server.running_app import test_settings

PUBLIC = {("get", "/health/live"), ("get", "/health/ready"), ("get", "/metrics")}
LEFT_OUT = {("post", "/v1/responses")}
"""A part of OpenAI's API that says that it is not there."""
NO_BODY = {("post", "/v1/retention"), ("post", "/v1/runs/{run}/cancel")}
ROLES = {"app", "admin", "operator"}
ERROR = {"$ref": "#/components/schemas/ErrorOut"}

Operation = tuple[str, str, dict[str, Any]]
DOCUMENT: dict[str, Any] = create_app(
    test_settings(Path("/nonexistent"), server={"adjustable_clock": True})
).openapi()


def operations() -> list[Operation]:
    return [
        (method, path, operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


every_operation = pytest.mark.parametrize(
    ("method", "path", "operation"), operations(), ids=[f"{m} {p}" for m, p, _ in operations()]
)


def parts(value: Any) -> Iterator[Any]:
    yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from parts(one)


def target(reference: str) -> Any:
    place: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        place = place[step.replace("~1", "/").replace("~0", "~")]
    return place


def json_schema(described: dict[str, Any]) -> Any:
    return described["content"]["application/json"]["schema"]


def test_the_document_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_no_reference_leads_nowhere() -> None:
    references = {
        part["$ref"]
        for part in parts(DOCUMENT)
        if isinstance(part, dict) and isinstance(part.get("$ref"), str)
    }
    assert len(references) > 20
    for reference in references:
        assert isinstance(target(reference), dict), reference


def test_every_route_is_described() -> None:
    app = create_app(test_settings(Path("/nonexistent"), server={"adjustable_clock": True}))
    answered = {
        (method.lower(), route.path.replace(":path}", "}"))
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert {(method, path) for method, path, _ in operations()} == answered - LEFT_OUT


def test_no_operation_id_is_used_twice() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)


@every_operation
def test_each_operation_says_what_it_does(method: str, path: str, operation: Any) -> None:
    groups = {tag["name"] for tag in DOCUMENT["tags"]}
    assert operation["summary"]
    assert operation["description"]
    assert set(operation["tags"]) <= groups
    for parameter in operation.get("parameters", ()):
        assert parameter["description"], parameter["name"]


@every_operation
def test_each_operation_has_a_success(method: str, path: str, operation: Any) -> None:
    (success,) = [told for status, told in operation["responses"].items() if status < "300"]
    if "204" in operation["responses"]:
        assert "content" not in success
        return
    schemas = [body["schema"] for body in success["content"].values()]
    assert all(schemas), "a body without a schema says nothing"


@every_operation
def test_each_operation_has_openais_error_object(method: str, path: str, operation: Any) -> None:
    """Whatever is no success, but for what a load balancer asks."""
    failures = {status: told for status, told in operation["responses"].items() if status >= "400"}
    assert "default" in failures
    for status, told in failures.items():
        assert told["description"]
        if (path, status) != ("/health/ready", "503"):
            assert json_schema(told) == ERROR, status


@every_operation
def test_each_operation_says_who_may_call_it(method: str, path: str, operation: Any) -> None:
    if (method, path) in PUBLIC:
        assert operation["security"] == []
        assert "401" not in operation["responses"]
        return
    schemes = [name for one in operation["security"] for name in one]
    feedback = path.startswith("/v1/feedback") and path != "/v1/feedback-tokens"
    assert schemes == (["key", "feedback_token"] if feedback else ["key"])
    assert len(operation["security"][0]["key"]) == 1
    assert set(operation["security"][0]["key"]) <= ROLES
    assert {"401", "403", "503"} <= operation["responses"].keys()


def test_the_schemes_of_security_are_described() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {name: (one["type"], one["scheme"]) for name, one in schemes.items()} == {
        "key": ("http", "bearer"),
        "feedback_token": ("http", "bearer"),
    }
    assert all(one["description"] for one in schemes.values())


@every_operation
def test_each_operation_that_takes_a_body_describes_it(
    method: str, path: str, operation: Any
) -> None:
    if method not in ("post", "put"):
        assert "requestBody" not in operation
        return
    body = operation["requestBody"]
    assert body["required"] is ((method, path) not in NO_BODY)
    assert list(body["content"]) == ["application/json"]
    if body["required"]:
        assert {"400", "413"} <= operation["responses"].keys()
        assert target(json_schema(body)["$ref"])["properties"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/comparisons"])
def test_what_may_stream_says_so(path: str) -> None:
    content = DOCUMENT["paths"][path]["post"]["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/event-stream"}


def test_openais_fields_are_described_as_far_as_they_are_taken() -> None:
    chat, completion = fields_taken("chat"), fields_taken("completion")
    assert ChatRequest.model_fields.keys() == chat
    assert CompletionRequest.model_fields.keys() == completion
    assert ComparisonRequest.model_fields.keys() == chat | {"between"}


VALUE = Draft202012Validator(
    {"$ref": "#/components/schemas/FeedbackIn/properties/value", **DOCUMENT}
)
"""Of the bodies of `POST /v1/feedback`."""
COMPARED = [
    {"over": "a"},
    {"tie": "a", "choice": 1},
    {"both_bad": "a"},
    ["a", ["b", {"id": "c", "choice": 0}], "d"],
]


@pytest.mark.parametrize("value", [True, 4, "fine", None, *COMPARED])
def test_each_kind_of_value_of_feedback_is_described(value: object) -> None:
    assert VALUE.is_valid(value)


@pytest.mark.parametrize("value", [{}, {"over": "a", "tie": "b"}, ["a", [["b"]]], [3], {"id": "a"}])
def test_a_comparison_that_is_refused_is_not_described(value: object) -> None:
    assert not VALUE.is_valid(value)


def test_a_row_of_a_batch_is_described_as_an_interaction() -> None:
    rows = DOCUMENT["components"]["schemas"]["InteractionsIn"]["properties"]["interactions"]
    assert rows["items"] == {"$ref": "#/components/schemas/InteractionIn"}
