"""Starts the engine that the settings name. vLLM is imported only if it is used."""

from server.engine.base import Engine
from server.engine.config import EngineConfig


async def start_engine(config: EngineConfig) -> Engine:
    """Start the engine; raises `EngineStartError`, whose message says what to change."""
    if config.kind == "fake":
        from server.engine.fake.engine import FakeEngine  # noqa: PLC0415  (only the engine that is used)

        return FakeEngine.from_config(config)
    from server.engine.vllm.engine import start_vllm  # noqa: PLC0415  (takes seconds to import)

    return await start_vllm(config)
