"""The real engine on a tiny random model, shared by a session (see `xdist_group("engine")`)."""

import os
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from server.engine.config import EngineConfig

if TYPE_CHECKING:
    from server.engine.vllm.engine import VllmEngine

REAL_ENGINE = [
    pytest.mark.engine,
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(180),  # the first test that needs it waits for the start
]
"""Marks of a test that uses `real_engine`."""


def tiny_engine_config(model: Path) -> EngineConfig:
    """Settings that start quickly and take little memory; tools are on."""
    return EngineConfig(
        model=str(model), dtype="float32", kv_cache_gib=0.25, tool_call_parser="hermes"
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random model."""
    from tests.tiny_model import make_tiny_model  # noqa: PLC0415  (imports torch)

    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
async def real_engine(anyio_backend: object, tiny_model: Path) -> AsyncIterator["VllmEngine"]:
    """Start vLLM on `tiny_model`; imports `server.engine.vllm` only when a test needs it.

    Tests share the engine: they must load adapters under new names and unload them.
    """
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from server.engine.vllm.engine import start_vllm  # noqa: PLC0415  (takes seconds)

    with warnings.catch_warnings():
        # The forked engine inherits pytest's filter "error", which would raise its libraries'
        # warnings.
        warnings.simplefilter("ignore")
        engine = await start_vllm(tiny_engine_config(tiny_model), fast_start=True)
    yield engine
    await engine.close()
