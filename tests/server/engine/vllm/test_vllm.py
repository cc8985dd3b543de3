"""What only the real engine has."""

import asyncio
import json
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from adapters.names import BASE
from server.engine.config import StructuredOutputsConfig
from server.engine.errors import AdapterLoadError
from server.engine.grammars.gate import GrammarGate
from server.engine.grammars.trials import Grammar, Trial
from server.engine.requests.json_values import NESTING_MAX
from server.engine.vllm.compiling import Compiling
from tests.engine_fixtures import REAL_ENGINE
from tests.server.engine.calls import body_of, chat, completion, events_of, stream_of
from tests.tiny_model import TURN_END, make_random_adapter
from tests.waiting import until

if TYPE_CHECKING:
    from server.engine.vllm.engine import VllmEngine

pytestmark = [pytest.mark.anyio, *REAL_ENGINE]

SECRET = "Xyzzy-secret-4711"


async def test_log_probabilities_come_with_the_tokens(real_engine: "VllmEngine") -> None:
    call = chat(logprobs=True, top_logprobs=3)
    body = body_of(await real_engine.answer(call))
    tokens = body["choices"][0]["logprobs"]["content"]
    assert len(tokens) == call.tap.completion_tokens
    assert all(len(token["top_logprobs"]) == 3 for token in tokens)


async def test_a_completion_has_log_probabilities_too(real_engine: "VllmEngine") -> None:
    call = completion(logprobs=2)
    body = body_of(await real_engine.answer(call))
    tokens = body["choices"][0]["logprobs"]["tokens"]
    assert len(tokens) == call.tap.completion_tokens


@pytest.mark.parametrize("stream", [False, True])
async def test_structured_output_follows_its_schema(
    real_engine: "VllmEngine", stream: bool
) -> None:
    schema = {"enum": ["red", "green"]}  # an object would let a random model write blanks for ever
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    call = chat(response_format=wanted, max_tokens=60, stream=stream)
    response = await real_engine.answer(call)
    if stream:
        await events_of(response)
    assert json.loads(call.tap.choices[0].text) in {"red", "green"}


@pytest.mark.parametrize(
    "extreme",
    [
        {"repetition_penalty": 0.01},
        {"repetition_penalty": 10, "frequency_penalty": -2, "presence_penalty": 2},
        {"logit_bias": {"5": -100, "6": 100}},
        {"temperature": 1e-5, "top_p": 0.001, "min_p": 1},
        {"structured_outputs": {"choice": ["red", "green"]}, "repetition_penalty": 0.01},
    ],
)
async def test_no_sampling_setting_of_a_client_raises_the_alarm(
    real_engine: "VllmEngine", extreme: dict[str, Any]
) -> None:
    call = chat(**extreme, max_tokens=30)
    assert (await real_engine.answer(call)).status == 200
    assert (call.tap.finite, real_engine.nan_alarm.is_raised) == (True, False)


async def test_token_ids_returned_are_those_in_the_tap(real_engine: "VllmEngine") -> None:
    call = chat(return_token_ids=True)
    body = body_of(await real_engine.answer(call))
    assert body["prompt_token_ids"] == call.tap.prompt_token_ids
    assert body["choices"][0]["token_ids"] == call.tap.choices[0].token_ids


async def test_the_end_token_stops_and_is_kept(real_engine: "VllmEngine") -> None:
    call = chat(logit_bias={str(end_token(real_engine)): 100})
    body = body_of(await real_engine.answer(call))
    assert body["choices"][0]["finish_reason"] == "stop"
    assert call.tap.choices[0].token_ids == [end_token(real_engine)]
    assert call.tap.choices[0].text == ""


def end_token(engine: "VllmEngine") -> int:
    token: int = engine._llm.get_tokenizer().convert_tokens_to_ids(TURN_END)
    return token


async def test_a_prompt_may_be_token_ids(real_engine: "VllmEngine") -> None:
    call = completion(prompt=[5, 6, 7])
    assert (await real_engine.answer(call)).status == 200
    assert call.tap.prompt_token_ids == [5, 6, 7]


async def test_a_repeated_prompt_comes_from_the_cache(real_engine: "VllmEngine") -> None:
    messages = [{"role": "user", "content": "a long question " * 40}]
    await real_engine.answer(chat(messages=messages))
    again = chat(messages=messages)
    await real_engine.answer(again)
    assert again.tap.cached_tokens > 0


async def test_the_cache_of_one_tenant_is_not_anothers(real_engine: "VllmEngine") -> None:
    messages = [{"role": "user", "content": "another long question " * 40}]
    await real_engine.answer(chat(messages=messages))
    other = chat(messages=messages)
    object.__setattr__(other, "cache_salt", "tenant/two")
    await real_engine.answer(other)
    assert other.tap.cached_tokens == 0


async def test_a_seed_is_refused_on_a_cpu(real_engine: "VllmEngine") -> None:
    response = await real_engine.answer(chat(seed=7))
    assert (response.status, body_of(response)["error"]["param"]) == (400, "seed")


UNCOMPILABLE = {"title": SECRET, "type": "array", "minItems": 3, "items": False}
BAD_FOR_VLLM: list[tuple[dict[str, Any], str]] = [
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": {"type": SECRET}}, "response_format.type"),
    ({"structured_outputs": {"regex": f"{SECRET}[["}}, "response_format"),
    ({"structured_outputs": {"choice": []}}, "structured_outputs"),
    (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": SECRET, "schema": {"type": SECRET}},
            }
        },
        "response_format",
    ),
    (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": SECRET, "schema": UNCOMPILABLE},
            }
        },
        "response_format",
    ),
    ({"tools": SECRET}, "tools"),
    ({"tools": []}, "tools"),
    ({"tools": [{"function": {}}]}, "tools[0].function.name"),
    ({"tools": [{"function": {"name": SECRET}}], "tool_choice": SECRET}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    (
        {
            "tools": [{"type": "function", "function": {"name": SECRET}}],
            "tool_choice": {"type": "function", "function": {"name": SECRET + "2"}},
        },
        "tool_choice",
    ),
    ({"stop": [SECRET] * 500}, "stop"),
    ({"stop": [""]}, "stop"),
    ({"logit_bias": {"99999": 1}}, "logit_bias"),
    ({"stop_token_ids": [99999]}, "stop_token_ids"),
    ({"min_tokens": 50}, "min_tokens"),
    ({"max_tokens": 100_000}, "max_tokens"),
    ({"reasoning_effort": SECRET}, "reasoning_effort"),
    ({"messages": [{"role": "user", "content": {"a": SECRET}}]}, "messages[0].content"),
    ({"messages": [{"role": "tool", "content": 5}]}, "messages[0].content"),
    ({"thinking_token_budget": 5}, "thinking_token_budget"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("body", "param"), BAD_FOR_VLLM)
async def test_what_vllm_refuses_is_named_and_neither_echoed_nor_logged(
    real_engine: "VllmEngine",
    body: dict[str, Any],
    param: str,
    stream: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    response = await real_engine.answer(chat(**body, stream=stream))
    assert response.status == 400, response.body
    error = body_of(response)["error"]
    assert error["param"] == param
    assert "engine refused" not in error["message"]
    assert "does not take this value" not in error["message"]
    written = capfd.readouterr()
    assert SECRET not in (response.body or "") + written.out + written.err
    assert real_engine.in_flight(BASE) == 0


SYSTEM, USER = {"role": "system", "content": SECRET}, {"role": "user", "content": SECRET}
ONE_SYSTEM_TURN = (
    "{% for message in messages %}"
    "{% if message.role == 'system' and not loop.first %}"
    "{{ raise_exception('System must come first, not ' + message.content) }}"
    "{% endif %}{{ message.content }}{% endfor %}"
)
ORDER = "messages: the model's chat template does not take these roles in this order."
FAILS = "messages: the model's chat template fails on what they hold."
TEMPLATES: list[tuple[str | None, dict[str, Any], str]] = [
    (ONE_SYSTEM_TURN, {"messages": [SYSTEM, SYSTEM, USER]}, ORDER),
    (ONE_SYSTEM_TURN, {"messages": [USER, SYSTEM, USER]}, ORDER),
    ("{{ raise_exception('no ' + messages[0].content) }}", {}, ORDER),
    (
        "{{ raise_exception('Unknown reasoning_effort ' + reasoning_effort) }}",
        {"reasoning_effort": "max"},
        "reasoning_effort: the model's chat template does not take this value.",
    ),
    ("{{ messages[0].content.no.such }}", {"messages": [USER]}, FAILS),
    ("{{ 1 + messages[0].content }}", {"messages": [USER]}, FAILS),
    (None, {}, "messages: the model has no chat template; set engine.chat_template."),
]


@pytest.fixture
def template(real_engine: "VllmEngine") -> Iterator[Callable[[str | None], None]]:
    """Gives the shared engine another chat template for one test; None takes it away."""
    tokenizer = real_engine._llm.renderer.get_tokenizer()
    before = tokenizer.chat_template
    yield lambda text: setattr(tokenizer, "chat_template", text)
    tokenizer.chat_template = before


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("text", "body", "told"), TEMPLATES)
async def test_what_a_template_refuses_is_told_and_neither_echoed_nor_logged(
    real_engine: "VllmEngine",
    template: Callable[[str | None], None],
    text: str | None,
    body: dict[str, Any],
    told: str,
    stream: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    template(text)
    response = await real_engine.answer(chat(**body, stream=stream))
    error = body_of(response)["error"]
    assert (response.status, error["message"]) == (400, told)
    assert error["param"] == told.partition(":")[0]
    written = capfd.readouterr()
    assert SECRET not in written.out + written.err


async def test_a_start_without_a_chat_template_says_so(
    real_engine: "VllmEngine", template: Callable[[str | None], None]
) -> None:
    from server.engine.vllm.engine import warn_without_chat_template  # noqa: PLC0415  (loads vLLM)

    settings = Namespace(chat_template=None, model="tiny")
    with capture_logs() as logs:
        warn_without_chat_template(real_engine._llm, settings)
        template(None)
        warn_without_chat_template(real_engine._llm, settings)
        settings.chat_template = "{{ messages }}"
        warn_without_chat_template(real_engine._llm, settings)
    (line,) = logs
    assert (line["event"], line["model"]) == ("no_chat_template", "tiny")
    assert "engine.chat_template" in line["fix"]


RECURSIVE = (
    "{% macro shown(value) %}{% if value is mapping %}{% for key, inner in value.items() %}"
    "{{ key }}{{ shown(inner) }}{% endfor %}{% endif %}{% endmacro %}"
    "{{ shown(messages[0].tool_calls[0].function.arguments) }}{{ shown(tools[0]) }}"
)


async def test_what_nests_as_deeply_as_is_let_in_is_rendered(
    real_engine: "VllmEngine", template: Callable[[str | None], None]
) -> None:
    template(RECURSIVE)
    deep: dict[str, Any] = {}
    for _ in range(NESTING_MAX - 1):
        deep = {"a": deep}
    call = {"name": "f", "arguments": json.dumps(deep)}
    calls = [{"id": "c", "type": "function", "function": call}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": deep}}]
    messages = [{"role": "assistant", "tool_calls": calls}]
    response = await real_engine.answer(chat(messages=messages, tools=tools, tool_choice="none"))
    assert response.status == 200, response.body


async def test_a_refusal_that_tells_nothing_is_logged_without_the_words(
    real_engine: "VllmEngine", monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise ValueError(SECRET)

    monkeypatch.setattr(real_engine._serving.chat, "create_chat_completion", refuse)
    with capture_logs() as logs:
        response = await real_engine.answer(chat())
    assert body_of(response)["error"]["message"] == "The engine refused this."
    (line,) = logs
    assert (line["event"], line["errors"]) == ("engine_refused_request", ["ValueError"])
    assert SECRET not in str(logs)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "a", "properties"]), inner, max_size=3)
    ),
    max_leaves=8,
)
DEPTHS = st.sampled_from([1, 10, 63, 64, 65, 200, 5000])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(depth=DEPTHS, inner=JSON_VALUES, closed=st.booleans(), where=st.integers(0, 3))
async def test_no_nesting_makes_the_engine_fail(
    real_engine: "VllmEngine", depth: int, inner: Any, closed: bool, where: int
) -> None:
    """Written as a text (in arguments), or as a value where a body can hold as many levels."""
    text = '{"a":' * depth + json.dumps(inner) + ("}" * depth if closed else "")
    value: Any = inner
    for _ in range(min(depth, 150)):
        value = {"a": value}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": text}}
    function = {"name": "f", "parameters": value}
    bodies: list[dict[str, Any]] = [
        {"messages": [USER, {"role": "assistant", "tool_calls": [call]}, USER]},
        {"tools": [{"type": "function", "function": function}], "tool_choice": "none"},
        {"messages": [{"role": "user", "content": "a", "more": value}]},
        {"chat_template_kwargs": {"enable_thinking": value}},
    ]
    response = await real_engine.answer(chat(**bodies[where], max_tokens=1))
    assert response.status < 500
    if response.status == 400:
        assert body_of(response)["error"]["param"]


async def test_a_schema_that_fails_in_the_engine_is_the_requests_fault(
    real_engine: "VllmEngine",
) -> None:
    schema = {"type": "array", "minItems": 3}  # no items: its grammar does not compile
    wanted = {"type": "json_schema", "json_schema": {"name": "three", "schema": schema}}
    response = await real_engine.answer(chat(response_format=wanted))
    assert (response.status, body_of(response)["error"]["param"]) == (400, "response_format")


async def test_a_pattern_that_no_bound_catches_fails_its_trial(real_engine: "VllmEngine") -> None:
    bomb = "(a*)*" * 15  # compiles in no time, and takes longer with each token that follows
    response = await real_engine.answer(chat(structured_outputs={"regex": bomb}))
    error = body_of(response)["error"]
    assert response.status == 400
    assert "too long" in error["message"]
    assert real_engine.alive()


async def test_another_tenants_schema_is_followed_between_costly_ones(
    real_engine: "VllmEngine",
) -> None:
    costly = [
        asyncio.create_task(real_engine.answer(chat(structured_outputs={"regex": bomb})))
        for bomb in ("(a*)*" * 15 + str(number) for number in range(6))
    ]
    other = chat(structured_outputs={"choice": ["red", "green"]})
    object.__setattr__(other, "cache_salt", "tenant/two")
    assert (await real_engine.answer(other)).status == 200
    assert other.tap.choices[0].text in {"red", "green"}
    assert not all(task.done() for task in costly)
    assert {(await task).status for task in costly} == {400}


async def test_who_leaves_in_a_trial_leaves_nothing_behind(real_engine: "VllmEngine") -> None:
    task = asyncio.create_task(
        real_engine.answer(chat(structured_outputs={"regex": "(a*)*" * 15 + "x"}))
    )
    await until(lambda: real_engine.in_flight(BASE))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (real_engine.in_flight(BASE), real_engine.busy()) == (0, False)
    assert (await real_engine.answer(chat(structured_outputs={"choice": ["a"]}))).status == 200


async def passed(grammar: Grammar) -> Trial:
    """Let everything into the engine."""
    del grammar
    return Trial("good", 0.0)


async def test_an_engine_that_only_compiles_a_grammar_is_not_busy(
    real_engine: "VllmEngine", monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = real_engine._llm
    limits = StructuredOutputsConfig(chars=10**6, text_chars=10**6)
    monkeypatch.setattr(llm, "compiling", Compiling(GrammarGate(passed), llm.begun))
    wider = replace(real_engine.info.limits, structured_outputs=limits)
    monkeypatch.setattr(real_engine, "_info", replace(real_engine.info, limits=wider))
    costly = asyncio.create_task(
        real_engine.answer(chat(structured_outputs={"choice": ["a" * 100_000]}))
    )
    await until(llm.get_num_unfinished_requests)
    assert not real_engine.busy()
    beside = chat(stream=True, max_tokens=200, ignore_eos=True)
    async with aclosing(stream_of(await real_engine.answer(beside))):
        assert real_engine.busy()
    await real_engine.probe()
    assert (await costly).status == 200


async def test_one_kind_of_compiler_serves_all_schemas(real_engine: "VllmEngine") -> None:
    """VLLM would let the first schema of anybody choose the compiler for all later ones."""
    unsupported = {"type": "integer", "multipleOf": 3}
    refused = await real_engine.answer(chat(structured_outputs={"json": unsupported}))
    assert refused.status == 400
    after = chat(structured_outputs={"choice": ["red"]})
    assert (await real_engine.answer(after)).status == 200


async def test_closing_a_stream_takes_the_request_out_of_the_engine(
    real_engine: "VllmEngine",
) -> None:
    stream = stream_of(await real_engine.answer(chat(stream=True, max_tokens=400, ignore_eos=True)))
    await anext(stream)
    during = real_engine._llm.get_num_unfinished_requests()
    await stream.aclose()
    assert (during, real_engine._llm.get_num_unfinished_requests()) == (1, 0)


async def test_cancelling_takes_the_request_out_of_the_engine(real_engine: "VllmEngine") -> None:
    task = asyncio.create_task(real_engine.answer(chat(max_tokens=400, ignore_eos=True)))
    await until(real_engine._llm.get_num_unfinished_requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert real_engine._llm.get_num_unfinished_requests() == 0


async def test_a_long_prompt_is_prefilled_in_chunks_without_harm(
    real_engine: "VllmEngine",
) -> None:
    messages = [{"role": "user", "content": "tomato " * 100}]
    together = await asyncio.gather(
        *(real_engine.answer(chat(messages=messages)) for _ in range(8))
    )
    assert {response.status for response in together} == {200}


async def test_a_corrupt_adapter_is_refused(
    real_engine: "VllmEngine", tmp_path: Path, tiny_model: Path
) -> None:
    folder = make_random_adapter(tmp_path / "corrupt", base=tiny_model, seed=1)
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    await refuses(real_engine, folder)


async def test_an_adapter_of_too_high_a_rank_is_refused(
    real_engine: "VllmEngine", tmp_path: Path, tiny_model: Path
) -> None:
    await refuses(
        real_engine, make_random_adapter(tmp_path / "high", base=tiny_model, seed=1, rank=128)
    )


async def refuses(engine: "VllmEngine", folder: Path) -> None:
    with pytest.raises(AdapterLoadError):
        await engine.load(f"2026-w47-{folder.name}", folder)
    assert engine.alive()
    assert (await engine.answer(chat())).status == 200


async def test_its_metrics_are_in_the_default_registry(real_engine: "VllmEngine") -> None:
    await real_engine.answer(chat())
    families = {family.name for family in REGISTRY.collect()}
    assert "vllm:generation_tokens" in families


async def test_it_says_what_it_serves(real_engine: "VllmEngine", tiny_model: Path) -> None:
    info = real_engine.info
    assert (info.name, info.model, info.device) == ("vllm", str(tiny_model), "cpu")
    assert info.max_model_len == 512
    assert len(info.model_fingerprint) == 64
