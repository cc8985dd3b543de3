"""Who may come in: content, names, slots and channels."""

from pathlib import Path

import pytest

from adapters.errors import (
    ChannelTakenError,
    DuplicateAdapterError,
    InvalidNameError,
    UnknownChannelError,
    UnknownModelError,
    UnknownVersionError,
    VettingError,
)
from adapters.store.manifest import Manifest
from adapters.vetting.peft_config import PeftConfig, read_config
from tests.adapters.world import WHO, World

pytestmark = pytest.mark.anyio


async def test_the_same_content_twice_is_refused_by_name(world: World) -> None:
    first = await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")
    with pytest.raises(DuplicateAdapterError, match=first.name):
        await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")


async def test_a_run_that_registers_again_gets_its_version(world: World) -> None:
    first = await world.registry.add(
        world.adapter(seed=7), channel="pawl", actor="run", slot="2026-w47", run="r1"
    )
    again = await world.registry.add(
        world.adapter(seed=7), channel="pawl", actor="run", slot="2026-w47", run="r1"
    )
    assert again.name == first.name


async def test_a_rolled_back_adapter_comes_back_by_hand_under_a_new_name(world: World) -> None:
    first = await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")
    await world.registry.promote(first.name, **WHO)
    await world.registry.rollback("pawl", **WHO)
    again = await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")
    assert again.name == f"import-{first.digest[:7]}"


async def test_a_rejected_adapter_does_not_come_in_again(world: World) -> None:
    first = await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")
    await world.registry.reject(first.name, **WHO)
    with pytest.raises(DuplicateAdapterError, match="rejected"):
        await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")


async def test_weights_that_are_swapped_only_while_they_are_vetted_stay_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = world.adapter()
    weights = folder / "adapter_model.safetensors"
    good, bad = weights.read_bytes(), b"no weights at all"
    weights.write_bytes(bad)
    publish = world.store.publish

    def swap(vetted: Path) -> PeftConfig:
        weights.write_bytes(good)
        return read_config(vetted)

    def swap_back(vetted: Path, manifest: Manifest) -> str:
        weights.write_bytes(bad)
        return publish(vetted, manifest)

    monkeypatch.setattr("adapters.vetting.vet.read_config", swap)
    monkeypatch.setattr(world.store, "publish", swap_back)
    with pytest.raises(VettingError):
        await world.registry.add(folder, channel="pawl", actor="a")
    assert await world.registry.versions("pawl") == []
    assert list((world.root / "pawl").iterdir()) == []


async def test_two_channels_may_hold_the_same_content(world: World) -> None:
    await world.registry.ensure_channel("shop", "default")
    first = await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")
    second = await world.registry.add(world.adapter(seed=7), channel="shop", actor="a")
    assert first.name != second.name


@pytest.mark.parametrize("slot", ["../x", "2026-W47", "", "2026-w47/", "2026-w47.12345"])
async def test_a_slot_that_is_none_is_refused(world: World, slot: str) -> None:
    with pytest.raises(InvalidNameError):
        await world.registry.add(world.adapter(), channel="pawl", actor="a", slot=slot)


async def test_an_unknown_channel_takes_no_adapter(world: World) -> None:
    with pytest.raises(UnknownChannelError):
        await world.registry.add(world.adapter(), channel="other", actor="a")


async def test_an_unknown_parent_is_refused(world: World) -> None:
    with pytest.raises(UnknownVersionError):
        await world.add(parent="2026-w01-abcdef")


async def test_lineage_begins_with_the_version_and_ends_before_base(world: World) -> None:
    first = await world.add(parent="base")
    second = await world.add(parent=first.name)
    third = await world.add(parent=second.name)
    assert await world.registry.lineage(third.name) == [third.name, second.name, first.name]


async def test_a_description_shows_lineage_residency_and_figures(world: World) -> None:
    version = await world.promoted()
    await world.registry.set_figures(version, {"win": 0.6})
    await world.registry.set_figures(version, {"pairs": 9})
    (described,) = await world.registry.describe("pawl")
    assert described.figures == {"win": 0.6, "pairs": 9}
    assert (described.lineage, described.resident, described.state) == ([version], True, "live")


async def test_a_channel_of_another_tenant_cannot_be_taken(world: World) -> None:
    with pytest.raises(ChannelTakenError):
        await world.registry.ensure_channel("pawl", "other")


@pytest.mark.parametrize("name", ["", "a@b", "../x", "A", "a" * 64])
async def test_a_channel_needs_a_safe_name(world: World, name: str) -> None:
    with pytest.raises(InvalidNameError):
        await world.registry.ensure_channel(name, "default")


async def test_channels_change_independently(world: World) -> None:
    await world.registry.ensure_channel("shop", "default")
    live = await world.promoted("shop")
    assert world.registry.resolve("shop").version == live
    assert world.registry.resolve("pawl").version == "base"


async def test_a_version_is_not_reachable_through_another_channel(world: World) -> None:
    await world.registry.ensure_channel("shop", "other")
    live = await world.promoted("shop")
    with pytest.raises(UnknownModelError):
        world.registry.resolve(f"pawl@{live}")
