"""VLLM's words never reach a client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.vllm.refusals import invalid, refusal

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
    assert refused.message.startswith("messages.0.content") or refused.param == "messages"


def test_pydantics_own_expectation_is_told() -> None:
    error = {"loc": ("tools",), "type": "list_type", "msg": "Input should be a valid list"}
    assert invalid([error]).message == "tools: Input should be a valid list."
