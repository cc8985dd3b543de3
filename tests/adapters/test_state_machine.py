"""Whatever is asked of the registry in whatever order, its promises hold."""

import asyncio
import tempfile
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from adapters.errors import AdaptersError, UnknownModelError
from adapters.names import BASE
from adapters.routing.lifecycle import RESIDENT, State
from adapters.schemas import RouteIn
from server.database.database import Database
from tests.adapters.world import WHO, World
from tests.database_fixture import make_database

PICK = st.integers(0, 20)


class RegistryMachine(RuleBasedStateMachine):
    """Drives one registry; `versions` are all names that were ever given."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.versions: list[str] = []
        self.epoch = 0

    @initialize(slots=st.integers(2, 4))
    def start(self, slots: int) -> None:
        folder = Path(self.folder.name)
        self.database: Database = self.wait(make_database(folder))
        self.world = World(folder, self.database)
        self.world.make(slots=slots)
        self.slots = slots
        self.wait(self.world.registry.start())

    def teardown(self) -> None:
        self.wait(self.world.registry.close())
        self.wait(self.database.close())
        self.loop.close()
        self.folder.cleanup()

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def ask(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do `work`, which may be refused, and let drains end."""
        with suppress(AdaptersError):
            self.wait(work)
        self.wait(self.world.settled())

    def picked(self, pick: int) -> str:
        return self.versions[pick % len(self.versions)] if self.versions else "import-000000"

    @rule()
    def add(self) -> None:
        name = self.wait(self.world.add()).name
        assert name not in self.versions
        self.versions.append(name)

    @rule(pick=PICK)
    def promote(self, pick: int) -> None:
        self.ask(self.world.registry.promote(self.picked(pick), **WHO))

    @rule(pick=PICK)
    def reject(self, pick: int) -> None:
        self.ask(self.world.registry.reject(self.picked(pick), **WHO))

    @rule(pick=PICK)
    def retire(self, pick: int) -> None:
        self.ask(self.world.registry.retire(self.picked(pick), **WHO))

    @rule(pick=PICK)
    def load(self, pick: int) -> None:
        self.ask(self.world.registry.load(self.picked(pick)))

    @rule()
    def rollback(self) -> None:
        self.ask(self.world.registry.rollback("pawl", **WHO))

    @rule(canary=st.none() | PICK, shadow=st.none() | PICK)
    def set_route(self, canary: int | None, shadow: int | None) -> None:
        wanted = RouteIn(
            canary=None if canary is None else self.picked(canary),
            canary_share=0.0 if canary is None else 0.1,
            shadow=None if shadow is None else self.picked(shadow),
            shadow_share=0.0 if shadow is None else 1.0,
        )
        self.ask(self.world.registry.set_route("pawl", wanted, **WHO))

    @rule()
    def restart(self) -> None:
        self.wait(self.world.restart(slots=self.slots))

    @invariant()
    def live_is_the_one_that_the_route_names(self) -> None:
        rows = self.wait(self.world.registry.versions("pawl"))
        live = {row.name for row in rows if row.state == State.LIVE}
        assert live == {self.world.registry.routes()["pawl"].live} - {BASE}

    @invariant()
    def states_and_roles_agree(self) -> None:
        rows = self.wait(self.world.registry.versions("pawl"))
        held = {row.name: State(row.state) for row in rows if State(row.state) in RESIDENT}
        assert held == self.world.registry.routes()["pawl"].roles

    @invariant()
    def whatever_has_a_role_is_resident(self) -> None:
        roles = self.world.registry.routes()["pawl"].roles
        assert roles.keys() <= self.world.host.resident()
        assert len(self.world.host.resident()) <= self.slots

    @invariant()
    def the_cache_is_what_is_stored(self) -> None:
        cached = self.world.registry.routes()["pawl"]
        self.wait(self.world.registry._ledger.refresh())
        assert self.world.registry.routes()["pawl"] == cached

    @invariant()
    def the_epoch_never_goes_back(self) -> None:
        epoch = self.world.registry.routes()["pawl"].epoch
        assert epoch >= self.epoch
        self.epoch = epoch

    @invariant()
    def every_name_is_answered_by_a_resident_version_or_not_at_all(self) -> None:
        for name in [*self.versions, "live", "canary", "base"]:
            with suppress(UnknownModelError):
                answered = self.world.registry.resolve(f"pawl@{name}").version
                assert answered in self.world.host.resident() | {BASE}

    @invariant()
    def files_of_versions_that_may_answer_are_there(self) -> None:
        for row in self.wait(self.world.registry.versions("pawl")):
            assert self.world.store.exists(row)


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(max_examples=12, stateful_step_count=15)
