from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from demo.shop.chat_template import chat_template

pytestmark = pytest.mark.pure

SYSTEM = {"role": "system", "content": "Be kind."}
ASKED = {"role": "user", "content": "How much?"}
ANSWERED = {"role": "assistant", "content": "12 dollars."}
TOOLS = [{"type": "function", "function": {"name": "price"}}]


def render(
    messages: list[dict[str, Any]],
    *,
    tools: list[dict[str, Any]] | None = None,
    prompt: bool = True,
    newline_ends_turn: bool = False,
) -> str:
    """Render as transformers does."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(chat_template(newline_ends_turn=newline_ends_turn))
    return template.render(messages=messages, tools=tools, add_generation_prompt=prompt)


def test_a_newline_stands_between_turns_and_not_after_the_last() -> None:
    assert render([SYSTEM, ASKED, ANSWERED], prompt=False) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\nHow much?<|im_end|>\n"
        "<|im_start|>assistant\n12 dollars.<|im_end|>"
    )


@pytest.mark.parametrize("messages", [[ASKED], [SYSTEM, ASKED], [ASKED, ANSWERED, ASKED]])
def test_an_answer_goes_on_where_its_prompt_ends(messages: list[dict[str, Any]]) -> None:
    whole = render([*messages, ANSWERED], prompt=False)
    assert whole == render(messages) + "12 dollars.<|im_end|>"


def test_the_other_template_differs_by_the_newline_after_each_turn() -> None:
    usual = render([SYSTEM, ASKED, ANSWERED], prompt=False)
    assert render([SYSTEM, ASKED, ANSWERED], prompt=False, newline_ends_turn=True) == f"{usual}\n"
    assert render([SYSTEM, ASKED], newline_ends_turn=True) == render([SYSTEM, ASKED])


@pytest.mark.parametrize("newline_ends_turn", [False, True])
def test_tools_get_a_system_turn_or_join_it(newline_ends_turn: bool) -> None:
    bare = render([ASKED], tools=TOOLS, newline_ends_turn=newline_ends_turn)
    joined = render([SYSTEM, ASKED], tools=TOOLS, newline_ends_turn=newline_ends_turn)
    assert bare.startswith("<|im_start|>system\nTools: [{")
    assert joined.startswith("<|im_start|>system\nBe kind.\nTools: [{")
    assert bare.count("<|im_start|>system") == joined.count("<|im_start|>system") == 1
    assert bare.endswith(
        "<|im_end|>\n<|im_start|>user\nHow much?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_turn_that_only_calls_a_tool_has_no_content() -> None:
    call = {"function": {"name": "price", "arguments": {"product": "oak"}}}
    calling = {"role": "assistant", "content": None, "tool_calls": [call]}
    told = {"role": "tool", "content": "12 dollars"}
    text = render([ASKED, calling, told])
    assert "<|im_start|>assistant\n<tool_call>{" in text
    assert "None" not in text
    assert "<|im_start|>tool\n12 dollars<|im_end|>" in text
