"""A stand-in for the engine, which the command line uses while no server runs."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from server.engine.base import EngineCall, EngineInfo, EngineResponse, FloatName
from server.engine.config import EngineConfig
from server.engine.dtype import AUTO, dtype_for, stored_weights, vllm_is_for_cpus
from server.engine.fingerprint import base_folder, fingerprint_on_disk
from server.engine.nan_alarm import NanAlarm
from server.errors import NotRunningError

_DTYPES: Mapping[str, FloatName] = {
    "bfloat16": "BF16",
    "float16": "F16",
    "half": "F16",
}


class OfflineEngine:
    """Describes the configured base model, and refuses all requests."""

    def __init__(self, info: EngineInfo) -> None:
        self._info = info
        self.nan_alarm = NanAlarm()

    @property
    def info(self) -> EngineInfo:
        """The base model that a server would serve."""
        return self._info

    @property
    def slots(self) -> int:
        """How many adapters a server could hold."""
        return self._info.adapter_slots

    async def answer(self, call: EngineCall) -> EngineResponse:
        """Raise `NotRunningError`."""
        del call
        raise NotRunningError("chat")

    async def load(self, version: str, path: Path) -> None:
        """Raise `NotRunningError`."""
        del version, path
        raise NotRunningError("loading an adapter")

    async def unload(self, version: str) -> None:
        """Do nothing: nothing is loaded."""

    def resident(self) -> frozenset[str]:
        """Nothing."""
        return frozenset()

    def in_flight(self, version: str) -> int:
        """Nothing."""
        del version
        return 0

    def alive(self) -> bool:
        """Never."""
        return False

    @property
    def steps(self) -> int:
        """None."""
        return 0

    def busy(self) -> bool:
        """Never."""
        return False

    def kill(self) -> None:
        """Do nothing."""

    async def probe(self) -> None:
        """Raise `NotRunningError`."""
        raise NotRunningError("a probe")

    async def wait_dead(self) -> None:
        """Return at once: there is no life to wait for."""

    async def close(self) -> None:
        """Do nothing."""


async def start_offline(config: EngineConfig) -> OfflineEngine:
    """Make one; fingerprint and folder are empty where the model is not on this machine."""
    fingerprint, folder = await asyncio.to_thread(_base_model, config)
    return OfflineEngine(
        EngineInfo(
            name="offline",
            model=config.model,
            model_fingerprint=fingerprint,
            max_model_len=0,
            device="cpu",
            adapter_slots=config.adapter_slots,
            max_lora_rank=config.max_lora_rank,
            model_folder=folder,
            adapter_dtype=await asyncio.to_thread(_dtype, config),
        )
    )


def _dtype(config: EngineConfig) -> FloatName:
    """Return the dtype that a server with these settings would use; F32 if unknown."""
    named = dtype_for(config, cpu=vllm_is_for_cpus()).dtype
    stored = stored_weights(config)
    if named == AUTO and stored is not None:
        named = stored.dtype
    return _DTYPES.get(named, "F32")


def _base_model(config: EngineConfig) -> tuple[str, Path | None]:
    """Return the model's fingerprint and the folder of its files (None for the fake engine)."""
    fingerprint = fingerprint_on_disk(config)
    on_disk = fingerprint and config.kind != "fake"
    return fingerprint, base_folder(config) if on_disk else None
