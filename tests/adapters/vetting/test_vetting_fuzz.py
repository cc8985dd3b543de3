"""Whatever the files hold, vetting lets them in or raises a `VettingError`."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.config import AdaptersConfig
from adapters.errors import VettingError
from adapters.vetting.vet import vet
from tests.adapters.adapter_files import BASE, CONFIG, arrays, make_adapter, safetensors_bytes

pytestmark = pytest.mark.pure

GOOD = safetensors_bytes(arrays())
HEADER_END = 8 + int.from_bytes(GOOD[:8], "little")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=10,
)


def vet_files(weights: bytes, config: bytes) -> bool:
    """Whether an adapter of these files is let in."""
    with tempfile.TemporaryDirectory() as name:
        folder = make_adapter(Path(name) / "a")
        (folder / "adapter_model.safetensors").write_bytes(weights)
        (folder / "adapter_config.json").write_bytes(config)
        try:
            vet(folder, BASE, AdaptersConfig())
        except VettingError:
            return False
    return True


def framed(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(weights: bytes) -> None:
    assert not vet_files(weights, json.dumps(CONFIG).encode())


@given(st.binary(max_size=200), st.binary(max_size=64))
def test_random_headers_are_refused(header: bytes, data: bytes) -> None:
    assert not vet_files(framed(header, data), json.dumps(CONFIG).encode())


@given(st.dictionaries(st.text(max_size=20), JSON, max_size=4), st.binary(max_size=64))
def test_headers_of_other_objects_are_refused(header: dict[str, Any], data: bytes) -> None:
    assert not vet_files(framed(json.dumps(header).encode(), data), json.dumps(CONFIG).encode())


@given(st.lists(st.tuples(st.integers(0, HEADER_END - 1), st.integers(0, 255)), min_size=1))
def test_a_changed_header_never_breaks_the_vetting(changes: list[tuple[int, int]]) -> None:
    weights = bytearray(GOOD)
    for at, byte in changes:
        weights[at] = byte
    vet_files(bytes(weights), json.dumps(CONFIG).encode())


@given(st.integers(0, len(GOOD) - 1))
def test_a_cut_file_is_refused(length: int) -> None:
    assert not vet_files(GOOD[:length], json.dumps(CONFIG).encode())


@given(
    st.sampled_from(sorted(json.loads(GOOD[8:HEADER_END]))),
    st.sampled_from(["dtype", "shape", "data_offsets"]),
    JSON | st.lists(st.integers(-1, 2**64), max_size=4),
)
def test_a_changed_entry_never_breaks_the_vetting(name: str, key: str, value: Any) -> None:
    header = json.loads(GOOD[8:HEADER_END])
    header[name][key] = value
    weights = framed(json.dumps(header).encode(), GOOD[HEADER_END:])
    vet_files(weights, json.dumps(CONFIG).encode())


@given(st.binary(max_size=200))
def test_random_configs_are_refused(config: bytes) -> None:
    assert not vet_files(GOOD, config)


@given(
    st.dictionaries(
        st.sampled_from([*CONFIG, "rank_pattern", "alpha_pattern", "use_dora", "init_lora_weights"])
        | st.text(max_size=9),
        JSON,
        min_size=1,
    )
)
def test_a_changed_config_never_breaks_the_vetting(changes: dict[str, Any]) -> None:
    vet_files(GOOD, json.dumps({**CONFIG, **changes}).encode())
