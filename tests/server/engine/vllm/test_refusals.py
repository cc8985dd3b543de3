"""VLLM's words never reach a client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.base import Endpoint
from server.engine.vllm.refusals import invalid, refusal, template_refusal

pytestmark = pytest.mark.pure

words = st.text(alphabet=st.characters(min_codepoint=0x400, max_codepoint=0x4FF), min_size=3)


@given(words, st.sampled_from([400, 404, 422, 500, 501, 503]))
def test_no_word_of_the_engines_message_is_told(text: str, status: int) -> None:
    refused = refusal(f"Invalid value: {text}!", status=status, param=text)
    assert text not in refused.message + str(refused.param)
    assert refused.status == status


def test_a_prompt_that_is_too_long_is_told_the_limit() -> None:
    refused = refusal(
        "This model's maximum context length is 512 tokens. However, …", status=400, param="x"
    )
    assert "512" in refused.message


def test_the_field_that_the_engine_names_is_told() -> None:
    assert refusal("top_p must be in (0, 1], got 0.", status=400).param == "top_p"


@given(words)
def test_an_invalid_field_is_placed_without_its_input(text: str) -> None:
    error = {"loc": ("messages", 0, text, "content"), "type": "value_error", "msg": text}
    refused = invalid([error])
    assert text not in refused.message
    assert (refused.param or "").startswith("messages[0]")


def test_pydantics_own_expectation_is_told() -> None:
    error = {"loc": ("tools",), "type": "list_type", "msg": "Input should be a valid list"}
    assert invalid([error]).message == "tools: Input should be a valid list."


def test_a_union_is_told_as_all_that_is_expected() -> None:
    errors = [
        {"loc": ("stop", "str"), "type": "string_type", "msg": "Input should be a valid string"},
        {"loc": ("stop", "list[str]"), "type": "list_type", "msg": "Input should be a valid list"},
    ]
    assert invalid(errors).message == "stop: must be a text or a list."


def test_the_path_of_a_nested_field_leaves_the_unions_names_out() -> None:
    loc = ("messages", 1, "CustomParam", "tool_calls", 0, "function", "arguments")
    refused = invalid([{"loc": loc, "type": "string_type", "msg": "Input should be a string"}])
    assert refused.param == "messages[1].tool_calls[0].function.arguments"


@pytest.mark.parametrize(("endpoint", "param"), [("chat", "messages"), ("completion", "prompt")])
def test_a_prompt_that_leaves_no_room_is_told_by_its_endpoints_field(
    endpoint: Endpoint, param: str
) -> None:
    for refused in (
        refusal("the maximum context length is 512 tokens", status=400, endpoint=endpoint),
        refusal("max_tokens must be at least 1", status=400, param="max_tokens", endpoint=endpoint),
    ):
        assert refused.param == param
        assert "prompt and answer together" in refused.message


class TemplateError(Exception):
    """Named as jinja2's."""


class UndefinedError(TemplateError):
    """Named as jinja2's."""


class ChatTemplateResolutionError(ValueError):
    """Named as vLLM's."""


def wrapped(cause: Exception) -> ValueError:
    """An error as vLLM raises it from a template's."""
    error = ValueError("in other words")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (TemplateError("roles"), "messages: the model's chat template does not take these roles"),
        (UndefinedError("no x"), "messages: the model's chat template fails on what they hold."),
        (
            TemplateError("reasoning_effort must be low"),
            "reasoning_effort: the model's chat template does not take this value.",
        ),
        (
            ChatTemplateResolutionError("none"),
            "messages: the model has no chat template; set engine.chat_template.",
        ),
    ],
)
def test_a_templates_error_is_found_among_the_causes(cause: Exception, told: str) -> None:
    for error in (cause, wrapped(cause), wrapped(wrapped(cause))):
        refused = template_refusal(error)
        assert refused is not None
        assert refused.message.startswith(told)


def test_another_error_is_no_templates() -> None:
    assert template_refusal(wrapped(ValueError("top_p"))) is None
