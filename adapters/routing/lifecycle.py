"""The states of a version and how they may follow each other. Pure.

    candidate -> rejected | shadow | canary | live
    shadow    -> candidate | rejected | canary | live
    canary    -> live | rolled_back
    live      -> standby | rolled_back
    standby   -> live | retired

Whatever may still answer becomes `incompatible` when the base model changes, and a candidate again
when the base model it was trained on is back.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from adapters.errors import TransitionError


class State(StrEnum):
    """Where a version stands. Residency is a fact of a server, not a state."""

    CANDIDATE = "candidate"
    REJECTED = "rejected"
    SHADOW = "shadow"
    CANARY = "canary"
    LIVE = "live"
    STANDBY = "standby"
    RETIRED = "retired"
    ROLLED_BACK = "rolled_back"
    INCOMPATIBLE = "incompatible"


ENDED = frozenset({State.REJECTED, State.RETIRED, State.ROLLED_BACK})
"""States that nothing follows; the files go after the grace period."""

RESIDENT = frozenset({State.LIVE, State.STANDBY, State.CANARY, State.SHADOW})
"""States that want the version resident. A candidate is loaded when it is asked for."""

ADDRESSABLE = RESIDENT | {State.CANDIDATE}
"""States in which a request may name the version, if it is resident."""

NEXT: Mapping[State, frozenset[State]] = {
    State.CANDIDATE: frozenset(
        {State.REJECTED, State.SHADOW, State.CANARY, State.LIVE, State.INCOMPATIBLE}
    ),
    State.SHADOW: frozenset(
        {State.CANDIDATE, State.REJECTED, State.CANARY, State.LIVE, State.INCOMPATIBLE}
    ),
    State.CANARY: frozenset({State.LIVE, State.ROLLED_BACK, State.INCOMPATIBLE}),
    State.LIVE: frozenset({State.STANDBY, State.ROLLED_BACK, State.INCOMPATIBLE}),
    State.STANDBY: frozenset({State.LIVE, State.RETIRED, State.INCOMPATIBLE}),
    State.INCOMPATIBLE: frozenset({State.CANDIDATE}),
    State.REJECTED: frozenset(),
    State.RETIRED: frozenset(),
    State.ROLLED_BACK: frozenset(),
}

_INSTEAD: Mapping[State, str] = {
    State.CANDIDATE: "promote or reject it",
    State.SHADOW: "promote or reject it, or take it out of the route",
    State.CANARY: "promote it, or take it out of the route",
    State.LIVE: "promote another version or roll back",
    State.STANDBY: "promote or retire it",
    State.INCOMPATIBLE: "serve the base model it was trained on",
    State.REJECTED: "that is final; train another version",
    State.RETIRED: "that is final; add the adapter again to use it",
    State.ROLLED_BACK: "that is final; add the adapter again to use it",
}


def check_transition(version: str, state: State, wanted: State) -> None:
    """Raises `TransitionError` unless `version` may go from `state` to `wanted`."""
    if wanted not in NEXT[state]:
        raise TransitionError(version, state, wanted, _INSTEAD[state])


def lineage(version: str, parents: Mapping[str, str | None]) -> list[str]:
    """`version` and its ancestors, nearest first; `base` is left out.

    `parents` maps each version to the one it was trained from. Ends at an unknown one.
    """
    line: list[str] = []
    current: str | None = version
    while current is not None and current in parents and current not in line:
        line.append(current)
        current = parents[current]
    return line


def states(values: Iterable[State]) -> list[str]:
    """Their names, sorted, as a query wants them."""
    return sorted(value.value for value in values)
