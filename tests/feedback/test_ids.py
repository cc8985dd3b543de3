from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.ids import InteractionIds, Prefix
from tests.feedback.id_time import issued_at

pytestmark = pytest.mark.pure

IDS = InteractionIds(b"0123456789abcdef")
PREFIXES = st.sampled_from(("chatcmpl", "cmpl"))
TIMES = st.integers(0, 2**42).map(
    lambda milliseconds: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
)
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


@given(PREFIXES, st.text(), TIMES)
def test_an_id_is_authentic_for_its_tenant_and_holds_its_time(
    prefix: Prefix, tenant: str, at: datetime
) -> None:
    made = IDS.new(prefix, tenant, at)
    assert IDS.authentic(made, tenant)
    assert len(made) <= 45
    assert issued_at(made) == at


@given(PREFIXES, st.text(), st.text(), TIMES)
def test_an_id_is_foreign_to_another_tenant(
    prefix: Prefix, tenant: str, other: str, at: datetime
) -> None:
    assert IDS.authentic(IDS.new(prefix, tenant, at), other) == (tenant == other)


@given(TIMES)
def test_an_id_is_bound_to_its_prefix(at: datetime) -> None:
    assert not IDS.authentic(IDS.new("chatcmpl", "t", at).replace("chatcmpl", "cmpl"), "t")


@given(PREFIXES, TIMES, st.integers(0, 35), st.sampled_from(ALPHABET))
def test_no_character_can_be_changed(
    prefix: Prefix, at: datetime, place: int, character: str
) -> None:
    made = IDS.new(prefix, "t", at)
    head, text = made.split("-")
    forged = f"{head}-{text[:place]}{character}{text[place + 1 :]}"
    assert IDS.authentic(forged, "t") == (forged == made)


@given(st.text() | st.from_regex(r"(chatcmpl|cmpl)-[a-z2-7]{36}", fullmatch=True))
def test_made_up_ids_are_refused_without_a_crash(text: str) -> None:
    assert not IDS.authentic(text, "t")


def test_the_secret_matters() -> None:
    other = InteractionIds(b"another secret!!")
    assert not other.authentic(IDS.new("cmpl", "t", datetime.now(UTC)), "t")


def test_ids_of_one_moment_differ() -> None:
    now = datetime.now(UTC)
    assert len({IDS.new("cmpl", "t", now) for _ in range(100)}) == 100


@pytest.mark.parametrize("secret", [b"", b"short", b"x" * 65])
def test_a_secret_of_the_wrong_length_is_refused(secret: bytes) -> None:
    with pytest.raises(ValueError, match="secret"):
        InteractionIds(secret)
