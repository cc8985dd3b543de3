"""What both engines keep. vLLM's own powers that the fake has not are in test_vllm.py."""

import json
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from adapters.names import BASE
from server.engine.base import Endpoint, Engine, EngineCall
from server.engine.limits import Limits
from tests.server.engine.calls import (
    body_of,
    chat,
    choice_text,
    completion,
    events_of,
    stream_of,
    streamed_text,
)

pytestmark = pytest.mark.anyio

SECRET = "Xyzzy-secret-4711"
Make = Callable[..., EngineCall]


both_endpoints = pytest.mark.parametrize("make", [chat, completion])


@both_endpoints
async def test_the_body_carries_the_calls_id_and_label(engine: Engine, make: Make) -> None:
    call = make()
    body = body_of(await engine.answer(call))
    assert (body["id"], body["model"]) == (call.id, "pawl@base")


@both_endpoints
async def test_every_chunk_carries_the_calls_id_and_label(engine: Engine, make: Make) -> None:
    call = make(stream=True, stream_options={"include_usage": True})
    events = await events_of(await engine.answer(call))
    assert {(event["id"], event["model"]) for event in events} == {(call.id, "pawl@base")}


async def test_the_base_model_answers_under_any_channels_label(engine: Engine) -> None:
    body = body_of(await engine.answer(chat(channel="support")))
    assert body["model"] == "support@base"


async def test_an_adapters_answer_carries_its_label(engine: Engine, version: str) -> None:
    body = body_of(await engine.answer(chat(version)))
    assert body["model"] == f"pawl@{version}"


@both_endpoints
async def test_streaming_changes_no_text(engine: Engine, make: Make) -> None:
    whole = body_of(await engine.answer(make()))
    events = await events_of(await engine.answer(make(stream=True)))
    assert streamed_text(events) == choice_text(whole["choices"][0])


@both_endpoints
async def test_the_tap_keeps_what_the_body_says(engine: Engine, make: Make) -> None:
    call = make()
    body = body_of(await engine.answer(call))
    (choice,) = call.tap.choices.values()
    assert choice.text == choice_text(body["choices"][0])
    assert choice.finish_reason == body["choices"][0]["finish_reason"]
    assert len(choice.token_ids) == body["usage"]["completion_tokens"]
    assert len(call.tap.prompt_token_ids) == body["usage"]["prompt_tokens"]
    assert call.tap.complete


@both_endpoints
async def test_the_tap_keeps_what_the_stream_says(engine: Engine, make: Make) -> None:
    call = make(stream=True, stream_options={"include_usage": True})
    events = await events_of(await engine.answer(call))
    (choice,) = call.tap.choices.values()
    assert choice.text == streamed_text(events)
    assert len(choice.token_ids) == events[-1]["usage"]["completion_tokens"]
    assert len(call.tap.prompt_token_ids) == events[-1]["usage"]["prompt_tokens"]
    assert call.tap.complete


@both_endpoints
async def test_the_tap_is_the_same_streaming_or_not(engine: Engine, make: Make) -> None:
    whole, streamed = make(), make(stream=True)
    await engine.answer(whole)
    await events_of(await engine.answer(streamed))
    assert streamed.tap.prompt_token_ids == whole.tap.prompt_token_ids
    assert streamed.tap.choices[0].token_ids == whole.tap.choices[0].token_ids


@pytest.mark.parametrize("stream", [False, True])
async def test_the_taps_times_are_in_order(engine: Engine, stream: bool) -> None:
    call = chat(stream=stream)
    response = await engine.answer(call)
    if stream:
        await events_of(response)
    assert call.tap.first_token is not None
    assert call.tap.last_token is not None
    assert call.tap.started <= call.tap.first_token <= call.tap.last_token


async def test_each_of_n_choices_is_tapped(engine: Engine) -> None:
    call = chat(n=3, temperature=1)
    body = body_of(await engine.answer(call))
    assert [call.tap.choices[index].text for index in range(3)] == [
        choice_text(choice) for choice in body["choices"]
    ]


async def test_each_of_n_streamed_choices_is_tapped(engine: Engine) -> None:
    call = chat(n=3, temperature=1, stream=True)
    events = await events_of(await engine.answer(call))
    assert [call.tap.choices[index].text for index in range(3)] == [
        streamed_text(events, index) for index in range(3)
    ]


async def test_an_answer_cut_by_max_tokens_ends_by_length(engine: Engine) -> None:
    call = chat(max_tokens=2)
    body = body_of(await engine.answer(call))
    assert body["choices"][0]["finish_reason"] == "length"
    assert call.tap.completion_tokens == 2


async def test_an_answer_cut_by_a_stop_text_ends_by_stop(engine: Engine) -> None:
    text = choice_text(body_of(await engine.answer(chat()))["choices"][0])
    stop = text[3:6]
    body = body_of(await engine.answer(chat(stop=[stop])))
    assert body["choices"][0]["finish_reason"] == "stop"
    assert choice_text(body["choices"][0]) == text[: text.index(stop)]


async def test_usage_is_streamed_only_when_asked_for(engine: Engine) -> None:
    events = await events_of(await engine.answer(chat(stream=True)))
    assert not any(event.get("usage") for event in events)


def with_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema as OpenAI's clients send it."""
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    return {"response_format": wanted}


def with_tool(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that a required tool call must follow."""
    function = {"name": "act", "parameters": schema}
    return {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}


TOO_LARGE_TO_FOLLOW: list[tuple[dict[str, Any], str]] = [
    ({"structured_outputs": {"choice": ["a" * 950_000]}}, "structured_outputs"),
    (
        {"structured_outputs": {"choice": [f"choice {n}" for n in range(50_000)]}},
        "structured_outputs",
    ),
    ({"structured_outputs": {"json": {"const": "a" * 900_000}}}, "structured_outputs"),
    ({"structured_outputs": {"json": '{"const": "' + "a" * 900_000 + '"}'}}, "structured_outputs"),
    ({"structured_outputs": {"regex": "a" * 900_000}}, "structured_outputs"),
    ({"structured_outputs": {"regex": "(((a+)+)+)+"}}, "structured_outputs"),
    ({"structured_outputs": {"grammar": 'root ::= "a"'}}, "structured_outputs"),
    ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs"),
    (with_schema({"enum": [f"value {n}" for n in range(50_000)]}), "response_format"),
    (with_schema({"type": "string", "pattern": "(((a+)+)+)+"}), "response_format"),
    (with_schema({"type": "array", "items": {}, "minItems": 10**9}), "response_format"),
    (with_tool({"properties": {f"p{n}": {} for n in range(20_000)}}), "tools"),
    (with_tool({"properties": {"a": {"type": "string", "minLength": 10**9}}}), "tools"),
]


@pytest.mark.parametrize(
    ("make", "body", "param"),
    [
        (make, body, param)
        for make in (chat, completion)
        for body, param in TOO_LARGE_TO_FOLLOW
        if make is chat or param != "tools"
    ],
)
async def test_what_is_too_large_to_be_followed_is_refused_before_the_engine_sees_it(
    engine: Engine, make: Make, body: dict[str, Any], param: str
) -> None:
    response = await engine.answer(make(**body))
    error = body_of(response)["error"]
    assert (response.status, error["param"]) == (400, param)
    assert "engine.structured_outputs." in error["message"]


TOOL = {
    "type": "function",
    "function": {
        "name": "price",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"what": {"enum": ["tomato"]}},
            "additionalProperties": False,
        },
    },
}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_required_tool_is_called(engine: Engine, stream: bool) -> None:
    call = chat(tools=[TOOL], tool_choice="required", max_tokens=100, stream=stream)
    response = await engine.answer(call)
    if stream:
        choices = [choice for event in await events_of(response) for choice in event["choices"]]
        calls = [one for choice in choices for one in choice["delta"].get("tool_calls", [])]
    else:
        choices = body_of(response)["choices"]
        calls = choices[0]["message"]["tool_calls"]
    assert calls[0]["function"]["name"] == "price"
    assert choices[-1]["finish_reason"] == "tool_calls"
    assert json.loads("".join(one["function"].get("arguments") or "" for one in calls)) == {}


def calling(function: dict[str, Any]) -> dict[str, Any]:
    """A turn that calls a tool."""
    called = {"name": "price", "arguments": "{}"} | function
    return {
        "role": "assistant",
        "tool_calls": [{"id": "a", "type": "function", "function": called}],
    }


FUNCTION = "messages[0].tool_calls[0].function"
PART_TEXT = "messages[0].content[0].text"
REFUSED: list[tuple[Endpoint, dict[str, Any], str]] = [
    ("chat", {"priority": -5}, "priority"),
    ("chat", {"request_id": SECRET}, "request_id"),
    ("chat", {"cache_salt": SECRET}, "cache_salt"),
    ("chat", {"stream_options": {"continuous_usage_stats": True}}, "stream_options"),
    ("chat", {"use_beam_search": True}, "use_beam_search"),
    ("chat", {"best_of": 4}, "best_of"),
    ("chat", {"chat_template": SECRET}, "chat_template"),
    ("chat", {"chat_template_kwargs": {SECRET: SECRET}}, "chat_template_kwargs"),
    ("chat", {"documents": [{"text": SECRET}]}, "documents"),
    ("chat", {"kv_transfer_params": {"prompt_token_ids": [1]}}, "kv_transfer_params"),
    ("chat", {"vllm_xargs": {"a": SECRET}}, "vllm_xargs"),
    ("chat", {"mm_processor_kwargs": {"a": SECRET}}, "mm_processor_kwargs"),
    ("chat", {"prompt_logprobs": 1}, "prompt_logprobs"),
    ("chat", {"echo": True}, "echo"),
    ("chat", {"web_search_options": {}}, "web_search_options"),
    ("chat", {SECRET: 1}, "a field"),
    ("chat", {"n": 9}, "n"),
    ("chat", {"n": 0}, "n"),
    ("chat", {"n": SECRET}, "n"),
    ("chat", {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ("chat", {"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
    ("chat", {"temperature": SECRET}, "temperature"),
    ("chat", {"temperature": float("nan")}, "temperature"),
    ("chat", {"temperature": -0.1}, "temperature"),
    ("chat", {"top_k": 2**40}, "top_k"),
    ("chat", {"max_tokens": 0}, "max_tokens"),
    ("chat", {"max_tokens": 1e3}, "max_tokens"),
    ("chat", {"min_tokens": -1}, "min_tokens"),
    ("chat", {"stop_token_ids": [-1]}, "stop_token_ids"),
    ("chat", {"logit_bias": {SECRET: 1}}, "logit_bias"),
    ("chat", {"logit_bias": {"1": 1e9}}, "logit_bias"),
    ("chat", {"stream": SECRET}, "stream"),
    ("chat", {"messages": None}, "messages"),
    ("chat", {"messages": []}, "messages"),
    ("chat", {"messages": SECRET}, "messages"),
    ("chat", {"messages": [SECRET]}, "messages[0]"),
    ("chat", {"messages": [{"role": SECRET, "content": "x"}]}, "messages[0].role"),
    ("chat", {"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content"),
    (
        "chat",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": SECRET}]}]},
        "messages[0].content[0]",
    ),
    ("chat", {"messages": [{"role": "user", "content": SECRET + " x" * 9000}]}, "messages"),
    ("chat", {"user": 2**70}, "user"),
    ("chat", {"stop": [SECRET] * 5}, "stop"),
    ("chat", {"n": 2, "temperature": 0}, "n"),
    ("chat", {"tool_choice": "auto"}, "tool_choice"),
    ("chat", {"max_tokens": 5000}, "max_tokens"),
    ("chat", {"store": SECRET}, "store"),
    ("chat", {"service_tier": "priority"}, "service_tier"),
    ("chat", {"messages": [calling({"arguments": {"a": SECRET}})]}, f"{FUNCTION}.arguments"),
    ("chat", {"messages": [calling({"arguments": "[" * 5000})]}, f"{FUNCTION}.arguments"),
    ("chat", {"messages": [calling({"arguments": '{"a": "\\ud83d"}'})]}, f"{FUNCTION}.arguments"),
    ("chat", {"messages": [calling({"arguments": "9" * 5000})]}, f"{FUNCTION}.arguments"),
    ("chat", {"messages": [calling({"name": [SECRET]})]}, f"{FUNCTION}.name"),
    ("chat", {"messages": [{"role": "assistant", "tool_calls": SECRET}]}, "messages[0].tool_calls"),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, PART_TEXT),
    ("completion", {"prompt": SECRET + " x" * 9000}, "prompt"),
    ("completion", {"prompt": [SECRET, SECRET]}, "prompt"),
    ("completion", {"prompt": [[1, 2], [3]]}, "prompt"),
    ("completion", {"prompt": [2**40]}, "prompt"),
    ("completion", {"prompt": None}, "prompt"),
    ("completion", {"prompt_embeds": SECRET}, "prompt_embeds"),
    ("completion", {"suffix": SECRET}, "suffix"),
    ("completion", {"echo": True}, "echo"),
    ("completion", {"logprobs": 21}, "logprobs"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("endpoint", "body", "param"), REFUSED)
async def test_a_bad_request_is_refused_by_name_and_not_echoed(
    engine: Engine, endpoint: Endpoint, body: dict[str, Any], param: str, stream: bool
) -> None:
    make = chat if endpoint == "chat" else completion
    response = await engine.answer(make(**({"stream": stream} | body)))
    assert response.status == 400
    error = body_of(response)["error"]
    assert error["param"] == param
    assert error["message"].startswith((f"{param}: ", "The prompt is too long: "))
    assert "engine does not take" not in error["message"]
    assert SECRET not in (response.body or "")
    assert engine.in_flight(BASE) == 0


@pytest.mark.parametrize(
    "body",
    [
        {"user": "somebody", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"},
        {"n": 1, "top_p": 0.9, "presence_penalty": 0.5, "frequency_penalty": -0.5},
        {"max_tokens": None, "max_completion_tokens": 4, "stop": None, "tools": None},
        {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "ignore_eos": True},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]},
        {"model": "pawl", "use_beam_search": False, "best_of": 1, "echo": False},
    ],
)
async def test_what_openais_clients_send_is_taken(engine: Engine, body: dict[str, Any]) -> None:
    response = await engine.answer(chat(**body))
    assert response.status == 200, response.body


@pytest.mark.parametrize(
    ("wanted", "limit", "status"), [(12, 16, 200), (16, 16, 200), (17, 16, 400), (3, 2, 400)]
)
async def test_the_servers_limit_on_choices_has_its_effect(
    engine: Engine, wanted: int, limit: int, status: int
) -> None:
    call = replace(chat(n=wanted, temperature=1, max_tokens=2), limits=Limits(choices=limit))
    response = await engine.answer(call)
    assert response.status == status
    body = body_of(response)
    assert (f"from 1 to {limit}." in body["error"]["message"]) if status == 400 else body["choices"]


async def test_as_many_tokens_as_the_context_has_may_be_asked_for(engine: Engine) -> None:
    context = engine.info.max_model_len
    stop = [" "]
    assert (await engine.answer(chat(max_tokens=context, stop=stop))).status == 200
    for field in ("max_tokens", "max_completion_tokens"):
        too_many: dict[str, Any] = {field: context + 1}
        response = await engine.answer(chat(**too_many))
        assert f"{field}: must be a whole number from 1 to {context}" in (response.body or "")


@pytest.mark.parametrize("make", [chat, completion])
async def test_a_prompt_that_is_too_long_is_told_the_context(engine: Engine, make: Make) -> None:
    text = " x" * 9000
    asked = {"messages": [{"role": "user", "content": text}], "prompt": text}
    field = "messages" if make is chat else "prompt"
    response = await engine.answer(make(**{field: asked[field]}))
    assert f"may have {engine.info.max_model_len} tokens" in (response.body or "")
    assert body_of(response)["error"]["param"] == field


async def test_a_list_with_one_prompt_is_answered_as_that_prompt(engine: Engine) -> None:
    alone, listed = completion(prompt="So it is"), completion(prompt=["So it is"])
    await engine.answer(alone)
    assert (await engine.answer(listed)).status == 200
    assert listed.tap.prompt_token_ids == alone.tap.prompt_token_ids


async def test_a_list_with_one_list_of_token_ids_is_answered(engine: Engine) -> None:
    assert (await engine.answer(completion(prompt=[[5, 6, 7]]))).status == 200


async def test_a_version_that_is_not_loaded_is_not_found(engine: Engine) -> None:
    response = await engine.answer(chat("2026-w01-000000"))
    assert response.status == 404
    assert body_of(response)["error"]["param"] == "model"
    assert engine.in_flight("2026-w01-000000") == 0


async def test_a_probe_gets_its_token(engine: Engine) -> None:
    before = engine.steps
    await engine.probe()
    assert engine.alive()
    assert engine.steps > before


async def test_steps_count_up_while_there_is_work(engine: Engine) -> None:
    before = engine.steps
    async with aclosing(stream_of(await engine.answer(chat(stream=True, max_tokens=5)))) as stream:
        assert [event async for event in stream]
    assert engine.steps >= before + 5
    assert not engine.busy()
