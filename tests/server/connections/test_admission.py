"""Who may come in, and who has to go for it."""

import resource
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.config import HttpConfig
from server.connections.admission import OpenConnections, peer_of
from server.connections.open_files import RESERVED_FILES, allow_open_files
from server.errors import SetupError


@dataclass(eq=False)
class Played:
    """A connection that waits since some time, or is answered."""

    connections: OpenConnections
    peer: str = "a"
    waiting_since: float | None = None

    def close_for(self, _reason: str) -> None:
        self.connections.forget(self)

    def check(self, now: float) -> None:
        raise AssertionError(now)


def full(*waiting: float | None, **http: int) -> tuple[OpenConnections, list[Played]]:
    connections = OpenConnections(HttpConfig(**{"connections": len(waiting), **http}))
    played = [Played(connections, waiting_since=since) for since in waiting]
    admitted = [connections.admit(one) for one in played]
    assert all(admitted)
    return connections, played


def test_the_longest_waiting_one_makes_room() -> None:
    connections, played = full(None, 2.0, 1.0, 3.0)
    assert connections.admit(Played(connections, waiting_since=4.0))
    assert len(connections) == 4
    connections.forget(played[2])
    assert len(connections) == 4  # it had gone


def test_nobody_who_is_answered_has_to_go() -> None:
    connections, _ = full(None, None)
    assert not connections.admit(Played(connections))


def test_one_peer_keeps_to_its_share_and_others_get_in() -> None:
    connections, _ = full(None, None, connections=10, connections_per_peer=2)
    assert not connections.admit(Played(connections, peer="a"))
    assert connections.admit(Played(connections, peer="b"))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_there_are_never_more_than_allowed_but_refused_ones(
    arrivals: list[tuple[str, bool]],
) -> None:
    connections = OpenConnections(HttpConfig(connections=5, connections_per_peer=3))
    for number, (peer, answered) in enumerate(arrivals):
        one = Played(connections, peer, None if answered else float(number))
        if not connections.admit(one):
            connections.forget(one)
        assert len(connections) <= 5


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("192.0.2.1", 1), "192.0.2.1"),
        (("2001:db8:1:2:3::4", 1, 0, 0), "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.1", 1, 0, 0), "192.0.2.1"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_a_network_of_addresses_is_one_peer(address: object, peer: str) -> None:
    assert peer_of(address) == peer


def test_the_limit_of_open_files_is_raised_as_far_as_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = [(1_024, 4_096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, wanted: limits.append(wanted))
    allow_open_files(1_000)
    assert limits[-1] == (1_000 + RESERVED_FILES, 4_096)
    allow_open_files(10)
    assert len(limits) == 2
    with pytest.raises(SetupError, match="at most 3584"):
        allow_open_files(5_000)
