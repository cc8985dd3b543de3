"""The allow-list and its bounds, as a pure function."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.base import Endpoint, EngineCall, Tap
from server.engine.errors import RequestRefusedError
from server.engine.limits import Limits
from server.engine.requests.rules import accepted_fields, overruled

pytestmark = pytest.mark.pure

MESSAGES = [{"role": "user", "content": "Hello"}]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(
    ["messages", "n", "stop", "seed", "logit_bias", "stream_options", "temperature", "top_k"]
) | st.text(max_size=12)


@given(st.dictionaries(field_names, json_values, max_size=4))
def test_any_body_is_accepted_or_refused(body: dict[str, Any]) -> None:
    with suppress(RequestRefusedError):
        assert "messages" in accepted_fields(body, "chat")


@given(st.text(min_size=4, alphabet=st.characters(min_codepoint=0x400, max_codepoint=0x4FF)))
def test_a_refusal_quotes_neither_names_nor_values(text: str) -> None:
    for body in ({text: 1}, {"stop_token_ids": [text]}, {"chat_template_kwargs": {text: text}}):
        with pytest.raises(RequestRefusedError) as refused:
            accepted_fields(body | {"messages": MESSAGES}, "chat")
        assert text not in refused.value.message
        assert text not in (refused.value.param or "")


def test_null_counts_as_absent() -> None:
    body = {"messages": MESSAGES, "priority": None, "stop": None}
    assert accepted_fields(body, "chat") == {"messages": MESSAGES}


def test_what_asks_nothing_of_the_model_is_dropped() -> None:
    body = {"messages": MESSAGES, "model": "pawl", "user": "u", "metadata": {}, "echo": False}
    assert accepted_fields(body, "chat") == {"messages": MESSAGES}


def test_a_seed_passes_where_the_engine_takes_one() -> None:
    body = {"messages": MESSAGES, "seed": 7}
    assert accepted_fields(body, "chat", Limits(seed=True))["seed"] == 7


def test_a_seed_is_refused_where_the_engine_takes_none() -> None:
    with pytest.raises(RequestRefusedError, match="seed"):
        accepted_fields({"messages": MESSAGES, "seed": 7}, "chat", Limits(seed=False))


def test_include_usage_is_the_only_stream_option_that_passes() -> None:
    options = {"include_usage": True, "include_obfuscation": False}
    body = {"messages": MESSAGES, "stream": True, "stream_options": options}
    fields = accepted_fields(body, "chat")
    assert fields["stream_options"] == {"include_usage": True}


def test_the_server_sets_name_id_priority_and_salt() -> None:
    call = EngineCall(
        id="chatcmpl-abc",
        endpoint="chat",
        model="pawl@2026-w47-3f9c1a",
        version="2026-w47-3f9c1a",
        body={},
        tap=Tap(),
        priority=9,
        cache_salt="tenant/@one",
    )
    fields = overruled(call)
    assert fields.pop("cache_salt").isalnum()
    assert fields == {"model": "2026-w47-3f9c1a", "request_id": "abc", "priority": 9}


def test_deep_nesting_is_refused() -> None:
    deep: Any = "x"
    for _ in range(600):
        deep = [deep]
    with pytest.raises(RequestRefusedError):
        accepted_fields({"messages": MESSAGES, "tools": deep}, "chat")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("n", 9, "n: must be a whole number from 1 to 8."),
        ("n", True, "n: must be a whole number from 1 to 8."),
        ("top_logprobs", 21, "top_logprobs: must be a whole number from 0 to 20."),
        ("stop", "", "stop: must be a text or a list of at most 4 texts, none empty."),
        ("stop", [1], "stop: must be a text or a list of at most 4 texts, none empty."),
        ("stop", {"a": 1}, "stop: must be a text or a list of at most 4 texts, none empty."),
        ("stop", ["a"] * 5, "stop: must be a text or a list of at most 4 texts, none empty."),
        ("top_p", 0, "top_p: must be a number above 0 to 1."),
        ("top_k", -2, "top_k: must be a whole number from -1 to 1000000."),
        ("use_beam_search", True, "use_beam_search: beam search is not supported; use n with "),
        ("best_of", 4, "best_of: is not supported; use n."),
        ("priority", 0, "priority: cannot be set by a client; leave it out."),
        ("prompt_logprobs", 1, "prompt_logprobs: not supported here; leave it out."),
        ("reasoning_effort", "bit", "reasoning_effort: must be none or minimal or low or "),
        ("user", 3, "user: must be a text that is not empty."),
        ("store", "no", "store: must be true or false."),
        ("metadata", "a", "metadata: must be an object."),
        ("service_tier", "flex", "service_tier: must be auto or default: there is one tier here."),
        ("prompt_cache_retention", "24h", "prompt_cache_retention: must be in_memory or "),
        ("stream_options", {"include_usage": True}, "stream_options: needs stream: true."),
        ("top_logprobs", 3, "top_logprobs: needs logprobs: true."),
        ("tool_choice", "auto", "tool_choice: needs tools to choose from."),
        ("continue_final_message", True, "continue_final_message: needs add_generation_prompt: "),
        ("response_format", 5, "response_format: must be an object."),
        ("structured_outputs", [1], "structured_outputs: must be an object."),
    ],
)
def test_a_refusal_says_which_field_and_what_is_expected(field: str, value: Any, told: str) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        accepted_fields({"messages": MESSAGES, field: value}, "chat")
    assert refused.value.param == field
    assert refused.value.message.startswith(told)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"n": 2, "temperature": 0}, "n: must be 1 at temperature 0"),
        ({"min_tokens": 5, "max_tokens": 4}, "min_tokens: must be at most 4"),
        ({"min_tokens": 5, "max_completion_tokens": 4, "max_tokens": 9}, "min_tokens: must be at"),
    ],
)
def test_fields_that_do_not_go_together_are_told(body: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        accepted_fields(body | {"messages": MESSAGES}, "chat")
    assert refused.value.message.startswith(told)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_more_tokens_than_the_context_are_refused_with_its_size(field: str) -> None:
    limits = Limits(context_tokens=512)
    accepted_fields({"messages": MESSAGES, field: 512}, "chat", limits)
    with pytest.raises(RequestRefusedError, match="from 1 to 512, the model's context"):
        accepted_fields({"messages": MESSAGES, field: 513}, "chat", limits)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"logit_bias": {"512": 1}}, "logit_bias"),
        ({"logit_bias": {"9" * 5000: 1}}, "logit_bias"),
        ({"stop_token_ids": [512]}, "stop_token_ids"),
        ({"prompt": [5, 512]}, "prompt"),
        ({"prompt": [[512]]}, "prompt"),
    ],
)
def test_a_token_id_that_the_model_has_not_is_refused_with_the_highest(
    body: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestRefusedError, match="511") as refused:
        accepted_fields({"prompt": "So"} | body, "completion", Limits(vocabulary=512))
    assert refused.value.param == param


@given(wanted=st.integers(-3, 30), choices=st.integers(1, 20), engine=st.integers(1, 20))
def test_n_is_taken_up_to_the_narrower_limit(wanted: int, choices: int, engine: int) -> None:
    limits = Limits(choices=choices).within(Limits(choices=engine))
    body = {"messages": MESSAGES, "n": wanted}
    if 1 <= wanted <= min(choices, engine):
        assert accepted_fields(body, "chat", limits)["n"] == wanted
        return
    with pytest.raises(RequestRefusedError, match=f"from 1 to {min(choices, engine)}"):
        accepted_fields(body, "chat", limits)


@given(wanted=st.integers(-3, 60), shown=st.integers(0, 50), engine=st.integers(0, 50))
def test_top_logprobs_are_taken_up_to_the_narrower_limit(
    wanted: int, shown: int, engine: int
) -> None:
    limits = Limits(top_logprobs=shown).within(Limits(top_logprobs=engine))
    chat = {"messages": MESSAGES, "logprobs": True, "top_logprobs": wanted}
    bodies: list[tuple[dict[str, Any], Endpoint]] = [
        (chat, "chat"),
        ({"prompt": "So", "logprobs": wanted}, "completion"),
    ]
    for body, endpoint in bodies:
        if 0 <= wanted <= min(shown, engine):
            accepted_fields(body, endpoint, limits)
            continue
        with pytest.raises(RequestRefusedError, match=f"from 0 to {min(shown, engine)}"):
            accepted_fields(body, endpoint, limits)


@pytest.mark.parametrize("prompt", ["one text", [1, 2, 3]])
def test_a_list_with_one_prompt_is_that_prompt(prompt: Any) -> None:
    assert accepted_fields({"prompt": [prompt]}, "completion") == {"prompt": prompt}


@pytest.mark.parametrize("prompt", [[], ["a", "b"], [[1], [2]], [[]], [["a"]], [1, "a"], [None], 3])
def test_several_prompts_are_refused(prompt: Any) -> None:
    with pytest.raises(RequestRefusedError, match=r"^prompt: must be one text or one list"):
        accepted_fields({"prompt": prompt}, "completion")


def test_the_clients_messages_stay_as_they_came() -> None:
    message = {"role": "assistant", "content": "a", "reasoning_content": "b"}
    fields = accepted_fields({"messages": [message]}, "chat")
    fields["messages"][0].pop("reasoning_content")
    assert message["reasoning_content"] == "b"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "a", "\udfff": 1}]}, "messages[0]"),
        ({"messages": MESSAGES, "metadata": {"\ud83d": "a"}}, "metadata"),
        ({"messages": MESSAGES, "metadata": {"Anna": "\ud83d"}}, "metadata"),
        ({"messages": MESSAGES, "user": 2**70}, "user"),
    ],
)
def test_what_no_text_carries_is_told_by_its_place(body: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        accepted_fields(body, "chat")
    assert refused.value.param == param
