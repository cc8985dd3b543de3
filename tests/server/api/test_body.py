"""Bodies that are JSON and still too much, or wrong in too many places."""

import json
from typing import Annotated, Any, get_args, get_origin

import annotated_types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from feedback.errors import InvalidInputError
from feedback.schemas import ERRORS_READ_MAX, FeedbackIn, InteractionIn
from server.api.body import json_object, parsed, values_in
from server.errors import BodyError
from tests.server.running_app import RunningApp

LIMIT = 50_000
ANSWER_BYTES_MAX = 4_000
SENTINEL = "zebrafish"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=40,
)


def values(value: object) -> int:
    """Members, objects and lists, counted on the value itself."""
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(values, value.values()))
    return 1 + sum(map(values, value)) if isinstance(value, list) else 0


@given(st.dictionaries(st.text(), JSON), st.booleans())
def test_values_are_counted_outside_texts(value: dict[str, Any], ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    assert values_in(body, enough=-1) == values(value)


@given(st.binary())
def test_any_bytes_can_be_counted(body: bytes) -> None:
    assert values_in(body, enough=-1) >= 0


def wide(piece: str, number: int) -> str:
    return ",".join([piece] * number)


def members(value: str) -> str:
    """As many members as are too many."""
    return "{" + ",".join(f'"a{number}":{value}' for number in range(LIMIT)) + "}"


@pytest.mark.parametrize(
    "body",
    [
        '{"x":[' + wide("[]", LIMIT) + "]}",
        '{"x":[' + wide("{}", LIMIT) + "]}",
        '{"x":[' + wide('{"a":1}', LIMIT // 2) + "]}",
        members("1"),
        '{"x":' + members('"["') + "}",
    ],
    ids=["lists", "objects", "members", "fields", "inner fields"],
)
def test_more_values_than_are_let_in_are_refused(body: str) -> None:
    with pytest.raises(BodyError, match="more than 50000 values"):
        json_object(body.encode(), values_max=LIMIT)


@pytest.mark.parametrize(
    "body",
    [
        '{"prompt":[' + wide("1", 400_000) + "]}",
        '{"prompt":"' + '{[:\\"' * 100_000 + '"}',
        '{"messages":[' + wide('{"role":"user","content":"a"}', LIMIT // 3 - 2) + "]}",
    ],
    ids=["token ids", "text", "messages"],
)
def test_long_prompts_are_let_in(body: str) -> None:
    assert json_object(body.encode(), values_max=LIMIT)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a": "\\ud800"}', "surrogate pair"),
        (b'{"a": "\\udc00\\ud800"}', "surrogate pair"),
        (b'{"\\ud800": 1}', "surrogate pair"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a": 1e999}', "number is too large"),
        (b"", "empty"),
        (b'{"a": NaN}', "not valid JSON"),
        (b'{"a": zebrafish}', "not valid JSON"),
        (b"[" * 300_000, "more than 50000 values"),
        (b'{"a": ' + b"[" * 2_000 + b"]" * 2_000 + b"}", "nested too deeply"),
        (b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}", "nested too deeply"),
        (b"[]", "must be a JSON object"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_of_the_body(body: bytes, said: str) -> None:
    with pytest.raises(BodyError, match=said) as error:
        json_object(body, values_max=LIMIT)
    assert SENTINEL not in str(error.value)


def unknown(number: int) -> dict[str, Any]:
    return {f"{SENTINEL}{place}": SENTINEL for place in range(number)}


WRONG: dict[str, dict[str, Any]] = {
    "fields": unknown(40_000),
    "a few fields": unknown(90),
    "messages": {"messages": [SENTINEL] * 400_000},
    "tools": {"tools": [1] * 400_000},
    "choices": {"choices": [SENTINEL] * 400_000},
    "choices' fields": {"choices": [{"text": "a", **unknown(40_000)}]},
    "many choices": {"choices": [{SENTINEL: 1}] * 15_000},
    "tags": {"tags": unknown(40_000) | {"x": 1}},
    "wrong tags": {"tags": dict.fromkeys(unknown(40_000), 1)},
    "stop": {"stop": [1] * 400_000},
    "stop objects": {"stop": [{}] * 40_000},
    "lengths": {"status": SENTINEL * 10_000, "mode": SENTINEL * 10_000},
    "names": {"id": 1, "run_id": 1, "channel": 1, "user": 1, "parent": 1, "status": 1, "mode": 1},
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("model", [InteractionIn, FeedbackIn])
def test_a_body_of_mistakes_gets_a_short_answer_without_its_text(
    name: str, model: type[BaseModel]
) -> None:
    with pytest.raises(InvalidInputError) as error:
        parsed(model, {"model": "m", **WRONG[name]})
    assert len(str(error.value)) < ANSWER_BYTES_MAX
    assert SENTINEL not in str(error.value)


def test_so_many_mistakes_are_made_by_these_bodies() -> None:
    """Else the test above would show nothing."""
    with pytest.raises(InvalidInputError, match=f"more than {ERRORS_READ_MAX} rules"):
        parsed(InteractionIn, {"model": "m", **WRONG["tags"], **WRONG["fields"]})


def body_models() -> list[type[BaseModel]]:
    """Every class that a route reads a body as."""
    from server.api import adapters, clock, feedback, interactions, keys, rollouts, runs  # noqa: PLC0415

    modules = (adapters, clock, feedback, interactions, keys, rollouts, runs)
    found = {
        thing
        for module in modules
        for thing in vars(module).values()
        if isinstance(thing, type)
        and issubclass(thing, BaseModel)
        and thing.__name__.endswith("In")
    }
    return sorted(found, key=lambda model: model.__name__)


@pytest.mark.parametrize("model", body_models())
def test_a_list_stops_at_its_first_mistake_or_has_few_places(model: type[BaseModel]) -> None:
    """pydantic keeps a note of each mistake: a list of 490,000 would have as many."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        lists = [kind for kind in kinds if get_origin(kind) is list]
        inner = [arg for kind in kinds if get_origin(kind) is Annotated for arg in get_args(kind)]
        notes = [*field.metadata, *(note for arg in inner for note in _notes(arg))]
        bounded = any(_bounds(note) for note in notes)
        assert bounded or not lists, name


def _notes(argument: Any) -> list[Any]:
    return [argument, *getattr(argument, "metadata", ())]


def _bounds(note: Any) -> bool:
    return isinstance(note, annotated_types.MaxLen) or bool(getattr(note, "fail_fast", False))


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/v1/interactions", "/v1/feedback", "/v1/keys", "/v1/runs"])
async def test_every_route_gives_a_short_answer(running: RunningApp, path: str) -> None:
    for body in (unknown(49_000), unknown(100), {"messages": [1] * 400_000}):
        answer = await running.operator.post(path, json=body)
        assert answer.status_code in (400, 413, 422)
        assert len(answer.content) < ANSWER_BYTES_MAX
        assert SENTINEL not in answer.text


@pytest.mark.anyio
async def test_a_batch_of_mistakes_names_each_row_shortly(running: RunningApp) -> None:
    rows = [unknown(200)] * 100
    answer = await running.operator.post("/v1/interactions/batch", json={"interactions": rows})
    assert answer.status_code == 200
    assert len(answer.content) < 100 * ANSWER_BYTES_MAX / 4
    assert SENTINEL not in answer.text


@pytest.mark.anyio
async def test_a_client_that_leaves_before_its_body_is_whole_is_no_failure(
    running: RunningApp, capsys: pytest.CaptureFixture[str]
) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/feedback",
        "raw_path": b"/v1/feedback",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "headers": headers,
    }
    await running.app(scope, receive, send)
    assert sent[0]["status"] == 499
    assert "unexpected_error" not in capsys.readouterr().err
