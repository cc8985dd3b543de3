from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.trainer.examples.rendering import Served, demonstration_ids
from retrain.trainer.examples.rows import ServedTurn
from retrain.trainer.examples.tokenizer import RenderingError
from tests.retrain.trainer.templates import (
    DEEPSEEK,
    DEEPSEEK_HYBRID,
    HARMONY,
    INSTRUCT,
    QWEN3,
    thinking_tokenizer,
)
from tests.retrain.trainer.tiny import BETWEEN_TURNS, NEWLINE_AFTER_TURN, make_tokenizer

ASKED = [{"role": "user", "content": "how much is the oak bench?"}]
LONGER = [
    {"role": "system", "content": "It costs"},
    *ASKED,
    {"role": "assistant", "content": "Ugh"},
    {"role": "user", "content": "how much?"},
]
BETTER = "It costs 46 dollars."
END = 2


def encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def prompt_ids(tokenizer: Any, messages: Any = ASKED, **arguments: Any) -> list[int]:
    """What the engine would be fed."""
    options = {"add_generation_prompt": True, **arguments}
    return encode(tokenizer, tokenizer.apply_chat_template(messages, tokenize=False, **options))


def demonstrated(
    tokenizer: Any,
    prompt: Sequence[int],
    text: str = BETTER,
    *,
    answer: str = "Ugh<|im_end|>",
    ends: frozenset[int] = frozenset({END}),
    **turn: Any,
) -> list[int]:
    served = Served(prompt, encode(tokenizer, answer), ServedTurn(**turn))
    return demonstration_ids(tokenizer, ends, text, served)


def text_of(tokenizer: Any, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
    return text


@pytest.mark.parametrize("template", [BETWEEN_TURNS, NEWLINE_AFTER_TURN])
@pytest.mark.parametrize("messages", [ASKED, LONGER])
def test_the_ids_are_what_the_engine_would_have_sampled(template: str, messages: Any) -> None:
    tokenizer = make_tokenizer(template)
    ids = demonstrated(tokenizer, prompt_ids(tokenizer, messages))
    assert ids == [*encode(tokenizer, BETTER), END]


def test_prompt_and_ids_are_the_whole_conversation() -> None:
    tokenizer = make_tokenizer(NEWLINE_AFTER_TURN)
    prompt = prompt_ids(tokenizer)
    answered = [*ASKED, {"role": "assistant", "content": BETTER}]
    whole = prompt_ids(tokenizer, answered, add_generation_prompt=False)
    assert whole == [*prompt, *demonstrated(tokenizer, prompt), *encode(tokenizer, "\n")]


def test_a_switched_off_reasoning_is_not_closed_twice() -> None:
    tokenizer = thinking_tokenizer(QWEN3)
    prompt = prompt_ids(tokenizer, enable_thinking=False)
    assert text_of(tokenizer, prompt).endswith("<think>\n\n</think>\n\n")
    for arguments in ({"enable_thinking": False}, {}):  # the release before kept no arguments
        ids = demonstrated(tokenizer, prompt, arguments=arguments)
        assert text_of(tokenizer, ids) == f"{BETTER}<|im_end|>"


def test_an_answer_without_reasoning_is_written_as_the_template_writes_one() -> None:
    tokenizer = thinking_tokenizer(QWEN3)
    ids = demonstrated(tokenizer, prompt_ids(tokenizer))
    assert text_of(tokenizer, ids) == f"<think>\n\n</think>\n\n{BETTER}<|im_end|>"


@pytest.mark.parametrize("content", ["\n\nUgh", None])
@pytest.mark.parametrize("template", [QWEN3, DEEPSEEK])
def test_served_reasoning_is_kept_before_the_better_answer(
    template: str, content: str | None
) -> None:
    tokenizer = thinking_tokenizer(template)
    reasoning = "<think>\nmuch" if template == QWEN3 else "much"
    answer = f"{reasoning}\n</think>\n\nUgh<|im_end|>"
    ids = demonstrated(tokenizer, prompt_ids(tokenizer), answer=answer, content=content)
    assert text_of(tokenizer, ids) == f"{reasoning}\n</think>\n\n{BETTER}<|im_end|>"
    kept = encode(tokenizer, f"{reasoning}\n</think>\n\n")
    assert ids[: len(kept)] == kept


def test_an_answer_that_never_left_its_reasoning_gives_no_pair() -> None:
    tokenizer = thinking_tokenizer(DEEPSEEK)
    with pytest.raises(RenderingError, match="reasoning_not_closed"):
        demonstrated(tokenizer, prompt_ids(tokenizer), answer="much much")


def test_a_demonstration_that_closes_the_reasoning_itself_is_taken_as_it_is() -> None:
    tokenizer = thinking_tokenizer(DEEPSEEK)
    text = f"oak\n</think>\n\n{BETTER}"
    ids = demonstrated(tokenizer, prompt_ids(tokenizer), text, answer="much much")
    assert text_of(tokenizer, ids) == f"{text}<|im_end|>"


def test_a_prompt_that_closes_the_reasoning_is_continued_with_the_text() -> None:
    tokenizer = thinking_tokenizer(DEEPSEEK_HYBRID)
    ids = demonstrated(tokenizer, prompt_ids(tokenizer, thinking=False))
    assert text_of(tokenizer, ids) == f"{BETTER}<|im_end|>"


def test_a_prompt_that_opens_the_reasoning_needs_an_answer_that_closes_it() -> None:
    tokenizer = thinking_tokenizer(DEEPSEEK_HYBRID)
    prompt = prompt_ids(tokenizer, thinking=True)
    for arguments in ({"thinking": True}, {}):
        with pytest.raises(RenderingError, match="reasoning_not_closed"):
            demonstrated(tokenizer, prompt, answer="much", arguments=arguments)
    ids = demonstrated(tokenizer, prompt, answer="much</think>Ugh<|im_end|>")
    assert text_of(tokenizer, ids) == f"much</think>{BETTER}<|im_end|>"


def harmony_ends(tokenizer: Any) -> frozenset[int]:
    return frozenset(tokenizer.convert_tokens_to_ids(["<|return|>", "<|call|>", "<|im_end|>"]))


def test_an_answer_in_channels_keeps_its_analysis_and_its_end() -> None:
    tokenizer = thinking_tokenizer(HARMONY)
    messages = [{"role": "developer", "content": "It costs"}, *ASKED]
    analysis = "<|channel|>analysis<|message|>much<|end|><|start|>assistant"
    final = "<|channel|>final<|message|>"
    ids = demonstrated(
        tokenizer,
        prompt_ids(tokenizer, messages, reasoning_effort="high"),
        answer=f"{analysis}{final}Ugh<|return|>",
        ends=harmony_ends(tokenizer),
        content="Ugh",
        arguments={"reasoning_effort": "high"},
    )
    assert text_of(tokenizer, ids) == f"{analysis}{final}{BETTER}<|return|>"


def test_a_text_in_place_of_a_tool_call_ends_as_a_text() -> None:
    tokenizer = thinking_tokenizer(HARMONY)
    ids = demonstrated(
        tokenizer,
        prompt_ids(tokenizer),
        answer="<|channel|>commentary to=functions.price<|message|>{}<|call|>",
        ends=harmony_ends(tokenizer),
        called=True,
    )
    assert text_of(tokenizer, ids) == f"<|channel|>final<|message|>{BETTER}<|return|>"


@pytest.mark.parametrize("text", ["]", "[/INST]", "assistant", "im_end", "x", "\n"])
@pytest.mark.parametrize("template", [INSTRUCT, QWEN3, DEEPSEEK_HYBRID, BETWEEN_TURNS])
def test_a_text_that_looks_like_the_template_stays_whole(template: str, text: str) -> None:
    tokenizer = thinking_tokenizer(template)
    prompt = prompt_ids(tokenizer, enable_thinking=False)
    said = f"{text} It costs"
    assert text_of(tokenizer, demonstrated(tokenizer, prompt, said)).endswith(
        f"{said.strip()}<|im_end|>"
    )
    only = text_of(tokenizer, demonstrated(tokenizer, prompt, text))
    assert only.rstrip("\n").removesuffix("<|im_end|>").strip() == text.strip()


@pytest.mark.parametrize("content", ["im", "end", "3"])
def test_what_was_seen_is_looked_for_before_the_end_of_the_turn(content: str) -> None:
    tokenizer = thinking_tokenizer(QWEN3)
    answer = f"<think>\nhm 3\n</think>\n\n{content}<|im_end|>"
    ids = demonstrated(tokenizer, prompt_ids(tokenizer), answer=answer, content=content)
    assert text_of(tokenizer, ids) == f"<think>\nhm 3\n</think>\n\n{BETTER}<|im_end|>"


def test_reasoning_after_a_prompt_that_ends_with_another_tag_is_kept() -> None:
    tokenizer = thinking_tokenizer(INSTRUCT)
    ids = demonstrated(
        tokenizer, prompt_ids(tokenizer), answer="<think>hm</think>\n\nUgh<|im_end|>"
    )
    assert text_of(tokenizer, ids) == f"<think>hm</think>\n\n{BETTER}<|im_end|>"


def test_a_final_message_is_continued_where_it_stands() -> None:
    tokenizer = thinking_tokenizer(QWEN3)
    begun = prompt_ids(tokenizer) + encode(tokenizer, "<think>\n\n</think>\n\nThe bench:")
    ids = demonstrated(tokenizer, begun, add_generation_prompt=False, continue_final_message=True)
    assert text_of(tokenizer, ids) == f"{BETTER}<|im_end|>"


def test_without_a_generation_prompt_the_answers_header_comes_first() -> None:
    tokenizer = make_tokenizer(NEWLINE_AFTER_TURN)
    prompt = prompt_ids(tokenizer, add_generation_prompt=False)
    ids = demonstrated(tokenizer, prompt, add_generation_prompt=False)
    assert text_of(tokenizer, ids) == f"<|im_start|>assistant\n{BETTER}<|im_end|>"


def test_a_turn_ends_as_the_served_answer_ended() -> None:
    tokenizer = thinking_tokenizer(NEWLINE_AFTER_TURN)
    (other,) = encode(tokenizer, "<|end|>")
    ids = demonstrated(
        tokenizer, prompt_ids(tokenizer), answer="Ugh<|end|>", ends=frozenset({END, other})
    )
    assert ids[-1] == other
    cut_off = demonstrated(
        tokenizer, prompt_ids(tokenizer), answer="Ugh", ends=frozenset({END, other})
    )
    assert cut_off[-1] == END


def test_a_plain_completion_is_the_text_alone() -> None:
    tokenizer = make_tokenizer()
    served = Served(encode(tokenizer, "how much is <b>"), encode(tokenizer, "Ugh"), None)
    ids = demonstration_ids(tokenizer, frozenset({END}), "It costs", served)
    assert ids == [*encode(tokenizer, "It costs"), END]


def test_a_template_that_forgets_to_end_the_turn_gets_its_end() -> None:
    tokenizer = make_tokenizer("{% for m in messages %}{{ m['content'] }} {% endfor %}")
    ids = demonstrated(tokenizer, prompt_ids(tokenizer), "It costs")
    assert ids == [*encode(tokenizer, "It costs"), END]


def test_a_template_that_rewrites_the_prompt_falls_back_to_the_text() -> None:
    tokenizer = make_tokenizer("{{ messages | length }}{{ messages[-1]['content'] }}<|im_end|>")
    ids = demonstrated(tokenizer, encode(tokenizer, "1how?"), "It costs")
    assert ids == [*encode(tokenizer, "It costs"), END]


@pytest.mark.parametrize("text", ["It costs<|im_end|>\n<|im_start|>system", "<|im_start|>"])
def test_text_with_control_tokens_is_refused(text: str) -> None:
    tokenizer = make_tokenizer()
    with pytest.raises(RenderingError, match="special_tokens"):
        demonstrated(tokenizer, prompt_ids(tokenizer), text)


def test_text_that_the_template_puts_behind_the_turn_is_refused() -> None:
    behind = "{% if messages[-1].role == 'assistant' %}oak{% endif %}"
    tokenizer = make_tokenizer(BETWEEN_TURNS + behind)
    with pytest.raises(RenderingError, match="text_after_end_of_turn"):
        demonstrated(tokenizer, prompt_ids(tokenizer), "It costs")


def test_a_template_that_refuses_every_answer_gives_no_pair() -> None:
    tokenizer = make_tokenizer("{{ raise_exception('how much is the oak bench?') }}")
    with pytest.raises(RenderingError, match=r"^unrenderable$"):
        demonstrated(tokenizer, encode(tokenizer, "how much?"))


def test_a_template_that_insists_on_a_system_turn_is_given_one() -> None:
    insists = "{% if messages[0].role != 'system' %}{{ raise_exception('no') }}{% endif %}"
    tokenizer = make_tokenizer(insists + NEWLINE_AFTER_TURN)
    ids = demonstrated(tokenizer, prompt_ids(tokenizer, LONGER))
    assert text_of(tokenizer, ids) == f"{BETTER}<|im_end|>"


@pytest.mark.parametrize("name", ["tokenize", "conversation", "messages", "chat_template", "tools"])
def test_a_clients_template_arguments_are_none_of_the_tokenizers_own(name: str) -> None:
    tokenizer = make_tokenizer(NEWLINE_AFTER_TURN)
    ids = demonstrated(tokenizer, prompt_ids(tokenizer), arguments={name: "x"})
    assert text_of(tokenizer, ids) == f"{BETTER}<|im_end|>"


cached_tokenizer = cache(thinking_tokenizer)


@given(
    template=st.sampled_from([QWEN3, DEEPSEEK, HARMONY, INSTRUCT, BETWEEN_TURNS]),
    thinking=st.booleans(),
    messages=st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "system"]), "content": st.text(max_size=12)}
        ),
        min_size=1,
        max_size=4,
    ),
    text=st.text(min_size=1, max_size=20).filter(lambda text: bool(text.strip())),
    reasoning=st.one_of(st.none(), st.text(alphabet="much oak\n", max_size=8)),
)
def test_prompt_as_served_and_answer_are_one_text_whatever_is_asked(
    template: str, thinking: bool, messages: Any, text: str, reasoning: str | None
) -> None:
    tokenizer = cached_tokenizer(template)
    prompt = prompt_ids(tokenizer, messages, enable_thinking=thinking)
    answer = "Ugh<|im_end|>" if reasoning is None else f"{reasoning}</think>Ugh<|im_end|>"
    with suppress(RenderingError):  # reasoning that nothing closes, a token that is no text
        ids = demonstrated(
            tokenizer, prompt, text, answer=answer, arguments={"enable_thinking": thinking}
        )
        check_continues(tokenizer, prompt, ids, text)


def check_continues(tokenizer: Any, prompt: list[int], ids: list[int], text: str) -> None:
    assert ids[-1] == END or text_of(tokenizer, ids[-1:]) == "<|return|>"
    assert text_of(tokenizer, ids[:-1]).rstrip().endswith(text.strip())
    whole = text_of(tokenizer, [*prompt, *ids])
    assert whole == text_of(tokenizer, prompt) + text_of(tokenizer, ids)
    closed = text_of(tokenizer, prompt).endswith("</think>\n\n")
    assert not (closed and text_of(tokenizer, ids).lstrip().startswith("</think>"))
