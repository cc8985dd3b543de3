"""Out-of-memory handling: detect the error, and retry once with half the batch."""

import gc
from collections.abc import Callable
from math import ceil
from typing import TypeVar

import torch

from retrain.config import HyperParameters
from retrain.trainer.errors import MemoryExhaustedError

T = TypeVar("T")

_ADVICE = (
    "lower per_device_batch or max_length, set gradient_checkpointing to true, "
    'or quantization to "nf4"'
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that GPU or main memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate" in text)


def halved(hyper: HyperParameters, least: int = 1) -> HyperParameters:
    """Halve the batch and raise the accumulation, so that the effective batch does not shrink.

    Args:
        hyper: The hyper-parameters.
        least: Rows that a batch must have.

    Raises:
        MemoryExhaustedError: The batch has `least` rows already.

    """
    if hyper.per_device_batch <= least:
        raise MemoryExhaustedError(f"not even a batch of {least} fits into memory; {_ADVICE}")
    batch = max(least, hyper.per_device_batch // 2)
    accumulation = ceil(hyper.per_device_batch * hyper.gradient_accumulation / batch)
    return hyper.model_copy(
        update={"per_device_batch": batch, "gradient_accumulation": accumulation}
    )


def with_one_halving(
    attempt: Callable[[HyperParameters], T],
    hyper: HyperParameters,
    on_halved: Callable[[HyperParameters], None],
    least: int = 1,
) -> T:
    """Run `attempt`; if memory runs out, run it once more with half the batch, at least `least`.

    Raises `MemoryExhaustedError` if memory runs out again.
    """
    try:
        return attempt(hyper)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    # Outside the handler, so that the traceback does not keep the first attempt's tensors alive.
    smaller = halved(hyper, least)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    on_halved(smaller)
    try:
        return attempt(smaller)
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryExhaustedError(f"half the batch did not fit either; {_ADVICE}") from error
        raise
