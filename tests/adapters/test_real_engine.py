"""The registry's promises on the real engine."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from adapters.ports import RegistryObserver
from adapters.service import Registry
from adapters.vetting.base_model import BaseModelInfo, read_modules
from tests.adapters.world import WHO, World
from tests.engine_fixtures import REAL_ENGINE
from tests.tiny_model import make_random_adapter

if TYPE_CHECKING:
    from server.engine.vllm.engine import VllmEngine

pytestmark = [pytest.mark.anyio, *REAL_ENGINE]


def registry_on(engine: "VllmEngine", world: World, model: Path) -> Registry:
    """A registry whose host is the real engine."""
    info = engine.info
    base = BaseModelInfo(info.name, info.model_fingerprint, info.max_lora_rank, read_modules(model))
    return Registry(
        world.database,
        engine,
        world.store,
        world.clock.now,
        world.config,
        base,
        RegistryObserver(),
        sleep=world.clock.sleep,
        monotonic=world.clock.monotonic,
    )


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_adapters_go_through_their_life_on_the_real_engine(
    real_engine: "VllmEngine", tiny_model: Path, unstarted: World, tmp_path: Path
) -> None:
    registry = registry_on(real_engine, unstarted, tiny_model)
    await registry.start()
    first, second = [
        await registry.add(
            make_random_adapter(tmp_path / str(seed), base=tiny_model, seed=seed),
            channel="pawl",
            actor="admin",
        )
        for seed in (9001, 9002)
    ]
    await registry.promote(first.name, **WHO)
    await registry.promote(second.name, **WHO)
    assert {first.name, second.name} <= real_engine.resident()
    assert (await registry.rollback("pawl", **WHO)).version == first.name
    await registry.rollback("pawl", **WHO)
    assert registry.resolve("pawl").version == "base"
    for version in (first, second):
        await registry._residency.drain(version.name)
    assert not {first.name, second.name} & real_engine.resident()
    await registry.close()
