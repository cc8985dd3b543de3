from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.config import HyperParameters
from retrain.trainer.errors import MemoryExhaustedError
from tests.lazy_modules import lazy

torch = lazy("torch")
memory = lazy("retrain.trainer.memory")

EXHAUSTED: dict[str, Callable[[], Exception]] = {
    "MemoryError": MemoryError,
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "cpu allocator": lambda: RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory"
    ),
}


@given(batch=st.integers(2, 64), accumulation=st.integers(1, 64))
def test_halving_keeps_at_least_the_effective_batch(batch: int, accumulation: int) -> None:
    hyper = HyperParameters(per_device_batch=batch, gradient_accumulation=accumulation)
    smaller = memory.halved(hyper)
    assert smaller.per_device_batch == batch // 2
    effective = smaller.per_device_batch * smaller.gradient_accumulation
    assert batch * accumulation <= effective < batch * accumulation + smaller.per_device_batch


@pytest.mark.parametrize(("batch", "smaller"), [(3, 2), (4, 2), (8, 4)])
def test_a_method_that_needs_two_rows_is_not_halved_below(batch: int, smaller: int) -> None:
    assert memory.halved(HyperParameters(per_device_batch=batch), 2).per_device_batch == smaller


@pytest.mark.parametrize("kind", EXHAUSTED)
def test_memory_that_ran_out_is_tried_again_with_half_the_batch(kind: str) -> None:
    tried: list[int] = []

    def attempt(hyper: HyperParameters) -> str:
        tried.append(hyper.per_device_batch)
        if hyper.per_device_batch > 4:
            raise EXHAUSTED[kind]()
        return "trained"

    told: list[HyperParameters] = []
    hyper = HyperParameters(per_device_batch=8, gradient_accumulation=2)
    assert memory.with_one_halving(attempt, hyper, told.append) == "trained"
    assert tried == [8, 4]
    assert [each.gradient_accumulation for each in told] == [4]


@pytest.mark.parametrize("batch", [1, 8])
def test_memory_that_runs_out_again_ends_the_run(batch: int) -> None:
    def attempt(hyper: HyperParameters) -> None:
        raise MemoryError

    hyper = HyperParameters(per_device_batch=batch)
    with pytest.raises(MemoryExhaustedError, match="max_length"):
        memory.with_one_halving(attempt, hyper, lambda _: None)


@pytest.mark.parametrize("error", [RuntimeError("size mismatch"), ValueError("out of memory")])
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not memory.is_out_of_memory(error)
