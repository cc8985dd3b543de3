"""Names of versions, channels and slots."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import InvalidNameError
from adapters.names import check_slot, is_channel, is_version, version_name

pytestmark = pytest.mark.pure

DIGESTS = st.binary().map(lambda data: hashlib.sha256(data).hexdigest())
SLOTS = st.none() | st.sampled_from(["2026-w47", "2026-w01.1", "2026-w47.1234"])


@given(SLOTS, st.lists(DIGESTS, max_size=20))
def test_names_are_safe_and_never_used_twice(slot: str | None, digests: list[str]) -> None:
    taken: set[str] = set()
    for digest in digests:
        name = version_name(slot, digest, taken)
        assert is_version(name)
        assert name not in taken
        taken.add(name)


def test_a_name_is_slot_and_start_of_the_content() -> None:
    assert version_name("2026-w47", "3f9c1a" + "0" * 58, ()) == "2026-w47-3f9c1a"
    assert version_name(None, "3f9c1a" + "0" * 58, ()) == "import-3f9c1a"


def test_a_taken_name_grows() -> None:
    assert version_name(None, "3f9c1ab" + "0" * 57, {"import-3f9c1a"}) == "import-3f9c1ab"


def test_a_content_whose_names_are_all_taken_is_refused() -> None:
    digest = "a" * 64
    with pytest.raises(InvalidNameError):
        version_name(None, digest, {f"import-{digest[:length]}" for length in range(6, 65)})


@given(st.text())
def test_accepted_names_are_plain_path_components(text: str) -> None:
    for accepted in (is_channel, is_version):
        if accepted(text):
            assert text.isascii()
            assert not set(text) & set("/\\\0\n @")
            assert not text.startswith(".")


@given(st.from_regex(r"[0-9]{4}-w[0-9]{2}", fullmatch=True))
def test_slots_are_ascii_weeks(slot: str) -> None:
    assert check_slot(slot) == slot


@pytest.mark.parametrize("slot", ["2026-w47\n", "2026-W47", "2026w47", "../2026-w47"])
def test_other_slots_are_refused(slot: str) -> None:
    with pytest.raises(InvalidNameError):
        check_slot(slot)
