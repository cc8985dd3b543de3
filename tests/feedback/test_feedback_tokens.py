"""Feedback tokens: what they grant, for how long, and that nobody else can make them."""

from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.errors import FeedbackTokenError
from feedback.feedback_tokens import FeedbackGrant, FeedbackTokens, is_feedback_token

pytestmark = pytest.mark.pure

NOW = datetime(2026, 11, 16, 9, 30, tzinfo=UTC)
TOKENS = FeedbackTokens(b"a secret of the tests")
GRANT = FeedbackGrant("shop", "chatcmpl-a", "anna", NOW + timedelta(seconds=60))


def made(rater: str | None = "anna", seconds: int = 60) -> str:
    return TOKENS.new("shop", "chatcmpl-a", rater, NOW, seconds)[0]


@given(st.text(), st.text(), st.none() | st.text(), st.integers(1, 86_400))
def test_a_token_grants_what_it_was_made_for(
    tenant: str, interaction: str, rater: str | None, seconds: int
) -> None:
    token, grant = TOKENS.new(tenant, interaction, rater, NOW, seconds)
    assert is_feedback_token(token)
    assert TOKENS.read(token, NOW) == grant
    assert grant.expires_at == NOW + timedelta(seconds=seconds)


def test_a_token_ends_with_its_time() -> None:
    token = made()
    assert TOKENS.read(token, GRANT.expires_at - timedelta(microseconds=1)) == GRANT
    with pytest.raises(FeedbackTokenError, match="expired"):
        TOKENS.read(token, GRANT.expires_at)


@given(st.data())
def test_a_token_with_one_other_character_is_refused(data: st.DataObject) -> None:
    token = made()
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda one: one != token[place]))
    with pytest.raises(FeedbackTokenError, match="not issued here"):
        TOKENS.read(token[:place] + other + token[place + 1 :], NOW)


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    for token in (text, f"pawlft_{text}", f"pawlft_{text}.{text}"):
        with pytest.raises(FeedbackTokenError, match="not issued here"):
            TOKENS.read(token, NOW)


def test_another_servers_token_is_refused() -> None:
    with pytest.raises(FeedbackTokenError, match="not issued here"):
        FeedbackTokens(b"another secret of the tests").read(made(), NOW)


def test_claims_cannot_be_exchanged() -> None:
    theirs = urlsafe_b64encode(b'["other","chatcmpl-b",null,9999999999]').decode().rstrip("=")
    with pytest.raises(FeedbackTokenError, match="not issued here"):
        TOKENS.read(f"pawlft_{theirs}.{made().partition('.')[2]}", NOW)


def test_the_messages_say_what_to_do_and_nothing_of_the_token() -> None:
    token = made(seconds=1)
    for wrong, at in ((token + "x", NOW), (token, NOW + timedelta(hours=1))):
        with pytest.raises(FeedbackTokenError, match="ask the application for") as refused:
            TOKENS.read(wrong, at)
        assert "anna" not in str(refused.value)
        assert token not in str(refused.value)
