import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.names import storable
from feedback.records import conversation_hash, pack, thread_hash, unpack

pytestmark = pytest.mark.pure

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(("system", "user", "assistant")), "content": JSON},
        optional={"name": st.text()},
    ),
    min_size=1,
    max_size=4,
)
SURROGATES = st.text(st.characters(exclude_categories=()))


@given(st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_token_ids_come_back_as_they_were(ids: list[int]) -> None:
    assert unpack(pack(ids)) == ids


def test_token_ids_are_little_endian() -> None:
    assert pack([1, 256]) == b"\x01\x00\x00\x00\x00\x01\x00\x00"


def test_token_ids_over_32_bits_are_refused() -> None:
    with pytest.raises(OverflowError):
        pack([2**31])


@given(MESSAGES, JSON, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_change_a_conversation(
    messages: list[dict[str, Any]], tools: Any, random: Any
) -> None:
    request = {"messages": messages, "tools": tools}
    pairs = list(request.items())
    random.shuffle(pairs)
    shuffled = [dict(random.sample(list(m.items()), len(m))) for m in messages]
    other = {**dict(pairs), "messages": shuffled, "temperature": 0.3, "user": "u"}
    assert conversation_hash("t", other) == conversation_hash("t", request)


@given(MESSAGES, MESSAGES)
def test_other_messages_are_another_conversation(
    one: list[dict[str, Any]], other: list[dict[str, Any]]
) -> None:
    plain = {"role": "user", "content": "?"}
    one, other = [*one, plain], [*other, plain]
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    hashes = {conversation_hash("t", {"messages": messages}) for messages in (one, other)}
    if same:
        assert len(hashes) == 1
    elif '": null' not in json.dumps([one, other]) and '"type"' not in json.dumps([one, other]):
        assert len(hashes) == 2


@given(SURROGATES)
def test_any_text_can_be_hashed(text: str) -> None:
    assert len(conversation_hash("t", {"prompt": text})) == 32


def test_a_text_part_is_a_text_and_null_is_absent() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": None}
    text = {"role": "user", "content": "hi"}
    hashes = {conversation_hash("t", {"messages": [message]}) for message in (parts, text)}
    assert len(hashes) == 1


def test_tenant_and_tools_make_another_conversation() -> None:
    request = {"messages": [{"role": "user", "content": "hi"}]}
    hashes = {
        conversation_hash("a", request),
        conversation_hash("b", request),
        conversation_hash("a", {**request, "tools": [{"type": "function"}]}),
    }
    assert len(hashes) == 3


def test_a_thread_stays_as_its_talk_goes_on() -> None:
    start = [{"role": "system", "content": "s"}, {"role": "user", "content": "one"}]
    more = [*start, {"role": "assistant", "content": "a"}, {"role": "user", "content": "two"}]
    threads = {thread_hash("t", "k", {"messages": talk}) for talk in (start, more)}
    assert len(threads) == 1


def test_threads_of_two_keys_or_beginnings_differ() -> None:
    request = {"messages": [{"role": "user", "content": "one"}]}
    other = {"messages": [{"role": "user", "content": "two"}]}
    hashes = {thread_hash("t", "a", request), thread_hash("t", "b", request)}
    assert len(hashes | {thread_hash("t", "a", other)}) == 3


@given(SURROGATES)
def test_stored_text_is_what_any_database_takes(text: str) -> None:
    kept = storable(text)
    assert "\x00" not in kept
    assert len(kept.encode()) >= len(text)


def test_a_list_with_one_prompt_is_that_prompt() -> None:
    for alone in ("So it is", [1, 2]):
        listed = conversation_hash("t", {"prompt": [alone]})
        assert listed == conversation_hash("t", {"prompt": alone})
    assert conversation_hash("t", {"prompt": ["a", "b"]}) != conversation_hash("t", {"prompt": "a"})
