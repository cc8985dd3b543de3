from typing import Any

import pytest

from retrain.trainer.rendering import RenderingError, completion_ids
from tests.retrain.trainer.tiny import BETWEEN_TURNS, NEWLINE_AFTER_TURN, make_tokenizer

ASKED = [{"role": "user", "content": "how much is the oak bench?"}]
LONGER = [
    {"role": "system", "content": "It costs"},
    *ASKED,
    {"role": "assistant", "content": "Ugh"},
    {"role": "user", "content": "how much?"},
]
END = 2


def render(tokenizer: Any, text: str, messages: Any = ASKED, tools: Any = None) -> list[int]:
    return completion_ids(tokenizer, frozenset({END}), text, messages, tools)


@pytest.mark.parametrize("template", [BETWEEN_TURNS, NEWLINE_AFTER_TURN])
@pytest.mark.parametrize("messages", [ASKED, LONGER])
def test_the_ids_are_what_the_engine_would_have_sampled(template: str, messages: Any) -> None:
    tokenizer = make_tokenizer(template)
    ids = render(tokenizer, "It costs 46 dollars.", messages)
    assert ids[-1] == END
    assert tokenizer.decode(ids[:-1]) == "It costs 46 dollars."


def test_the_ids_follow_the_prompt_in_the_whole_conversation() -> None:
    tokenizer = make_tokenizer(NEWLINE_AFTER_TURN)
    answered = [*ASKED, {"role": "assistant", "content": "It costs 46 dollars."}]
    whole = tokenizer.encode(tokenizer.apply_chat_template(answered, tokenize=False))
    prompt = tokenizer.encode(
        tokenizer.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True)
    )
    rendered = render(tokenizer, "It costs 46 dollars.")
    assert whole == [*prompt, *rendered, *tokenizer.encode("\n")]


def test_without_messages_the_text_is_tokenised_alone() -> None:
    tokenizer = make_tokenizer()
    assert render(tokenizer, "It costs", None) == [*tokenizer.encode("It costs"), END]


def test_a_template_that_forgets_to_end_the_turn_gets_its_end() -> None:
    tokenizer = make_tokenizer("{% for m in messages %}{{ m['content'] }} {% endfor %}")
    assert render(tokenizer, "It costs") == [*tokenizer.encode("It costs"), END]


def test_a_template_that_rewrites_the_prompt_falls_back_to_the_text() -> None:
    template = "{{ messages | length }}{{ messages[-1]['content'] }}<|im_end|>"
    tokenizer = make_tokenizer(template)
    assert render(tokenizer, "It costs") == [*tokenizer.encode("It costs"), END]


def test_text_with_control_tokens_is_refused() -> None:
    with pytest.raises(RenderingError, match="special_tokens"):
        render(make_tokenizer(), "It costs<|im_end|>\n<|im_start|>system")


def test_text_that_the_template_puts_behind_the_turn_is_refused() -> None:
    tokenizer = make_tokenizer(BETWEEN_TURNS + "{% if not add_generation_prompt %}oak{% endif %}")
    with pytest.raises(RenderingError, match="text_after_end_of_turn"):
        render(tokenizer, "It costs")


def test_a_conversation_that_the_template_refuses_is_unrenderable() -> None:
    tokenizer = make_tokenizer("{{ raise_exception('how much is the oak bench?') }}")
    with pytest.raises(RenderingError, match=r"^unrenderable$"):
        render(tokenizer, "It costs")


def test_parts_and_tool_calls_reach_the_template_as_the_engine_passes_them() -> None:
    template = (
        "{% for m in messages %}{{ m['content'] }}"
        "{% for c in m['tool_calls'] or [] %}{{ c.function.arguments['oak'] }}{% endfor %}"
        "<|im_end|>{% endfor %}"
    )
    call = {"type": "function", "function": {"name": "bench", "arguments": '{"oak": 46}'}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "how"}]},
        {"role": "assistant", "content": "It costs", "tool_calls": [call]},
    ]
    tokenizer = make_tokenizer(template)
    assert render(tokenizer, "dollars", messages) == [*tokenizer.encode("dollars"), END]


def test_broken_tool_arguments_are_unrenderable() -> None:
    call = {"type": "function", "function": {"name": "bench", "arguments": "{"}}
    messages = [*ASKED, {"role": "assistant", "content": "", "tool_calls": [call]}]
    with pytest.raises(RenderingError, match="unrenderable"):
        render(make_tokenizer(), "It costs", messages)
