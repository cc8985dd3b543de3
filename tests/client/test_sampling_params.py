"""LangChain's invocation parameters in Pawl's names and bounds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pawl_client.sampling_params import sampling_of

from feedback.schemas import InteractionIn

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("params", "known"),
    [
        ({}, {}),
        ({"temperature": 0.5, "top_p": 1, "max_tokens": 7}, None),
        ({"max_completion_tokens": 7}, {"max_tokens": 7}),
        ({"max_tokens": None, "max_completion_tokens": 7}, {"max_tokens": 7}),
        ({"stop": "\n"}, {"stop": ["\n"]}),
        ({"stop_sequences": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"stop": []}, {}),
        ({"stop": ["a", ""]}, {}),
        ({"temperature": 3, "top_p": 1.5, "max_tokens": 0}, {}),
        ({"temperature": True, "max_tokens": True}, {}),
        ({"temperature": float("nan")}, {}),
        ({"seed": 1, "model": "other", "_type": "openai-chat"}, {}),
    ],
)
def test_what_pawl_takes_too_is_kept(params: dict[str, Any], known: dict[str, Any] | None) -> None:
    assert sampling_of(params) == (params if known is None else known)


ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())


@given(st.floats(0, 2), st.floats(0, 1), st.integers(1, 2**31 - 1))
def test_what_lies_within_pawls_bounds_is_kept(
    temperature: float, top_p: float, max_tokens: int
) -> None:
    params = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
    assert sampling_of(params) == params


@given(st.dictionaries(st.sampled_from(["temperature", "top_p", "max_tokens", "stop"]), ANY))
def test_whatever_is_left_is_what_the_server_takes(params: dict[str, Any]) -> None:
    found = sampling_of(params)
    if "\x00" not in "".join(found.get("stop", [])):
        InteractionIn.model_validate({"model": "m", "prompt": "p", **found})
