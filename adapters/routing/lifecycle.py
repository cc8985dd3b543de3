"""The states of a version and the allowed transitions. Pure.

    candidate -> rejected | shadow | canary | live
    shadow    -> candidate | rejected | canary | live
    canary    -> live | rolled_back
    live      -> standby | rolled_back
    standby   -> live | retired

When the base model changes, versions that have not ended become `incompatible`. They become
candidates again when the base model that they were trained on is served again.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from adapters.errors import TransitionError


class State(StrEnum):
    """State of a version, the same for all servers. Whether it is loaded differs by server."""

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
"""Final states; the files are deleted after the grace period."""

RESIDENT = frozenset({State.LIVE, State.STANDBY, State.CANARY, State.SHADOW})
"""States in which the version is kept loaded. A candidate is loaded only on request."""

ADDRESSABLE = RESIDENT | {State.CANDIDATE}
"""States in which a request may name the version if it is loaded."""

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
    """Raise `TransitionError` unless `version` may change from `state` to `wanted`."""
    if wanted not in NEXT[state]:
        raise TransitionError(version, state, wanted, _INSTEAD[state])


def lineage(version: str, parents: Mapping[str, str | None]) -> list[str]:
    """Return `version` and its ancestors, nearest first, without `base`.

    `parents` maps each version to the one it was trained from. The line ends at a version that
    `parents` lacks.
    """
    line: list[str] = []
    current: str | None = version
    while current is not None and current in parents and current not in line:
        line.append(current)
        current = parents[current]
    return line


def states(values: Iterable[State]) -> list[str]:
    """Return the states' names, sorted, for use in a query."""
    return sorted(value.value for value in values)
