"""What one request may be made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.config import HttpConfig
from server.connections.request_meter import (
    FRAMING_TOO_LARGE,
    HEAD_TOO_LARGE,
    SLICE_BYTES,
    URL_TOO_LONG,
    RequestMeter,
    RequestMeterError,
)

CONFIG = HttpConfig()


@given(st.lists(st.integers(0, 20_000), max_size=200))
def test_a_head_passes_if_and_only_if_it_is_within_both_bounds(sizes: list[int]) -> None:
    meter = RequestMeter(CONFIG)
    meter.begin()
    fits = len(sizes) <= CONFIG.head_fields and sum(sizes) + 4 * len(sizes) <= CONFIG.head_bytes
    try:
        for size in sizes:
            meter.header(size)
    except RequestMeterError:
        assert (fits, meter.refusal) == (False, HEAD_TOO_LARGE)
    else:
        assert fits


@given(st.lists(st.integers(1, SLICE_BYTES), min_size=100, max_size=100))
def test_what_is_read_and_leads_to_no_head_is_bounded(sizes: list[int]) -> None:
    meter, read = RequestMeter(CONFIG), 0
    try:
        for size in sizes:
            meter.fed(size)
            read += size
    except RequestMeterError:
        assert meter.refusal == HEAD_TOO_LARGE
    assert read <= CONFIG.head_bytes + SLICE_BYTES


@given(st.lists(st.integers(1, 2_000), max_size=300))
def test_a_body_in_any_chunks_passes(sizes: list[int]) -> None:
    meter = RequestMeter(CONFIG)
    meter.begin()
    meter.head_complete()
    for size in sizes:
        meter.body(size)
        meter.fed(size + len(f"{size:x}") + 4)
    assert meter.refusal is None


def test_padding_in_each_chunk_adds_up() -> None:
    meter = RequestMeter(CONFIG)
    meter.begin()
    meter.head_complete()
    for _ in range(50):
        meter.body(1)
        meter.fed(1_000)
    with pytest.raises(RequestMeterError):
        meter.fed(1_000)
    assert meter.refusal == FRAMING_TOO_LARGE


def test_the_first_refusal_stays() -> None:
    meter = RequestMeter(CONFIG)
    meter.begin()
    with pytest.raises(RequestMeterError):
        meter.url(CONFIG.url_bytes + 1)
    with pytest.raises(RequestMeterError):
        meter.header(CONFIG.head_bytes)
    assert meter.refusal == URL_TOO_LONG
