"""Who is waited for, whatever servers come, die, drain and load: the pure parts."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from adapters.cluster.peers import Peer, answering, foreign_base, routed, standing, waited_for
from adapters.routing.route import RouteView

pytestmark = pytest.mark.pure

START = datetime(2026, 11, 21, tzinfo=UTC)
DEAD = 10.0
VERSIONS = st.sampled_from(["one", "two", "three"])
SETS = st.frozensets(VERSIONS)


def peer(name: str, **values: object) -> Peer:
    known: dict[str, object] = {"age_seconds": 0.0, "started_at": START, "ready": True, **values}
    return Peer(id=name, name=name, url="", **known)  # type: ignore[arg-type]


PEERS = st.builds(
    peer,
    st.sampled_from("abcdef"),
    age_seconds=st.floats(-5, 20),
    ready=st.booleans(),
    draining=st.booleans(),
    loaded=SETS,
)


@given(st.lists(PEERS, unique_by=lambda one: one.id), SETS)
def test_those_who_are_waited_for_are_ready_alive_others_that_lack_something(
    peers: list[Peer], versions: frozenset[str]
) -> None:
    blocking = waited_for(peers, versions, DEAD, me="a")
    for one in peers:
        lacks = bool(versions - one.loaded)
        ready = standing(one, DEAD) == "ready"
        assert (one.id in blocking) == (one.id != "a" and ready and lacks)


@given(st.lists(PEERS, unique_by=lambda one: one.id), SETS, VERSIONS)
def test_more_versions_never_wait_for_fewer_servers(
    peers: list[Peer], versions: frozenset[str], more: str
) -> None:
    few = waited_for(peers, versions, DEAD, me="a")
    assert few.keys() <= waited_for(peers, versions | {more}, DEAD, me="a").keys()


def test_a_server_is_dead_whatever_else_it_said() -> None:
    assert standing(peer("a", age_seconds=DEAD, draining=True), DEAD) == "dead"
    assert standing(peer("a", age_seconds=DEAD - 0.1, draining=True), DEAD) == "draining"
    assert standing(peer("a", ready=False), DEAD) == "starting"


def test_live_versions_of_all_channels_get_slots_before_standbys() -> None:
    routes = [
        RouteView("x", "t", live="a", standby="b", shadow="c"),
        RouteView("y", "t", live="d", canary="a"),
    ]
    assert routed(routes) == ["a", "d", "b", "c"]


def test_users_are_sent_to_live_canary_and_a_held_back_standby() -> None:
    routes = [
        RouteView("x", "t", live="a", standby="b", holdback_share=0.1),
        RouteView("y", "t", live="base", standby="c", canary="d", shadow="e"),
    ]
    assert answering(routes) == {"a", "b", "d"}


def test_of_two_base_models_the_one_that_was_there_first_stays() -> None:
    first = peer("b", base_fingerprint="1")
    second = peer("a", base_fingerprint="2", started_at=START + timedelta(seconds=1))
    assert foreign_base([first, second], "b", DEAD) is None
    assert foreign_base([first, second], "a", DEAD) == first
    dead = peer("b", base_fingerprint="1", age_seconds=DEAD)
    assert foreign_base([dead, second], "a", DEAD) is None


class ClusterMachine(RuleBasedStateMachine):
    """Servers as the database sees them: each rule is one transaction, in any order.

    A promotion commits only when nobody is waited for; a server becomes ready only in a transaction
    that finds it holding what the route names. Then no server that serves ever lacks the live one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peers: dict[str, Peer] = {}
        self.live = "base"
        self.paused: set[str] = set()

    def say(self, name: str, **values: object) -> None:
        known = self.peers[name]
        loaded = values.get("loaded", known.loaded)
        holds = self.live == "base" or self.live in loaded  # type: ignore[operator]
        draining = bool(values.get("draining", known.draining))
        # As `Membership.beat`: ready is found out in the transaction that says so.
        self.peers[name] = peer(name, loaded=loaded, draining=draining, ready=holds)

    @rule(name=st.sampled_from("abcd"))
    def join(self, name: str) -> None:
        self.paused.discard(name)
        self.peers[name] = peer(name, ready=False)

    @rule(name=st.sampled_from("abcd"))
    def beat(self, name: str) -> None:
        if name in self.peers and name not in self.paused:
            self.say(name)

    @rule(name=st.sampled_from("abcd"), version=VERSIONS)
    def load(self, name: str, version: str) -> None:
        if name in self.peers and name not in self.paused:
            self.say(name, loaded=self.peers[name].loaded | {version})

    @rule(name=st.sampled_from("abcd"))
    def drain(self, name: str) -> None:
        if name in self.peers and name not in self.paused:
            self.say(name, draining=True)

    @rule(name=st.sampled_from("abcd"))
    def die(self, name: str) -> None:
        """Killed or paused: it says no more, and is dead by the database's clock."""
        if name in self.peers:
            self.paused.add(name)
            known = self.peers[name]
            self.peers[name] = peer(name, loaded=known.loaded, ready=known.ready, age_seconds=DEAD)

    @rule(name=st.sampled_from("abcd"))
    def wake(self, name: str) -> None:
        """It goes on: its next report finds that it was counted dead."""
        if name in self.paused:
            self.paused.discard(name)
            self.say(name)

    @rule(name=st.sampled_from("abcd"), version=VERSIONS)
    def promote(self, name: str, version: str) -> None:
        known = self.peers.get(name)
        if known is None or version not in known.loaded or name in self.paused:
            return
        if not waited_for(self.peers.values(), {version}, DEAD, me=name):
            self.live = version

    @invariant()
    def whoever_is_ready_holds_what_is_live(self) -> None:
        for one in self.peers.values():
            if standing(one, DEAD) == "ready":
                assert self.live == "base" or self.live in one.loaded


TestClusterMachine = ClusterMachine.TestCase
TestClusterMachine.settings = settings(max_examples=60, stateful_step_count=25)
