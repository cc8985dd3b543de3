"""What other rules for ties and for "both bad" would do to the online gate's error rates."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.workloads.comparisons import Comparers, Outcomes, make_comparisons
from retrain.gates.e_process import Unit, VoteStream, preference_path

Counts = npt.NDArray[np.intp]
Rule = Callable[[Outcomes, Counts], list[bool | None]]

USERS = 2_000
PROMOTES, ROLLS_BACK = 100.0, 20.0
"""The evidence at which the gate promotes and rolls back, with the default settings."""


@dataclass(frozen=True, slots=True)
class RuleFigures:
    """How often comparisons alone reach the threshold, and after how many comparing users."""

    rule: str
    world: str
    runs: int
    reached: float
    users: float


def first(outcomes: Outcomes, _: Counts) -> list[bool | None]:
    """The gate's rule: each user's first comparison, whatever it says."""
    return [_won(outcome) for outcome in outcomes[:, 0].tolist()]


def until_decided(outcomes: Outcomes, counts: Counts) -> list[bool | None]:
    """Each user's first comparison that one side won."""
    made = np.arange(outcomes.shape[1]) < counts[:, None]
    decisive = np.where(made, outcomes, 0)
    found = decisive[np.arange(counts.size), np.argmax(decisive != 0, axis=1)]
    return [_won(outcome) for outcome in found.tolist()]


def each(outcomes: Outcomes, counts: Counts) -> list[bool | None]:
    """All comparisons of all users."""
    made = np.arange(outcomes.shape[1]) < counts[:, None]
    return [_won(outcome) for outcome in outcomes[made].tolist()]


RULES: dict[str, Rule] = {
    "each user's first comparison (the gate)": first,
    "each user's first that one side won": until_decided,
    "every comparison": each,
}

WORLDS: dict[str, Comparers] = {
    "equal, nobody undecided": Comparers.alike(0.5, 0.0),
    "equal, 30 % ties, 10 % both bad": Comparers.alike(0.5),
    "equal, ties depend on taste": Comparers.skewed(),
    "60 % of the decided, nobody undecided": Comparers.alike(0.6, 0.0),
    "60 % of the decided, 30 % ties, 10 % both bad": Comparers.alike(0.6),
}


def compare_rules(runs: int, seed: int) -> Iterator[RuleFigures]:
    """Yield the figures of each rule in each world, of `runs` times `USERS` comparing users."""
    for world, comparers in WORLDS.items():
        rng = np.random.default_rng(seed)
        reached: dict[str, list[int]] = {name: [] for name in RULES}
        for _ in range(runs):
            drawn = make_comparisons(comparers, USERS, rng)
            for name, rule in RULES.items():
                over = np.flatnonzero(preference_path(rule(*drawn)) >= PROMOTES)
                reached[name] += over[:1].tolist()
        for name, places in reached.items():
            users = float(np.mean(places)) + 1 if places else 0.0
            yield RuleFigures(name, world, runs, len(places) / runs, users)


def both_bad_as_votes(share: float, runs: int, seed: int) -> float:
    """Return how often equal versions are rolled back if "both bad" is two votes of the streams.

    A tenth of 2,000 users says so, which enters a down vote into each arm; the others vote once.
    """
    rng = np.random.default_rng(seed)
    back = 0
    for _ in range(runs):
        units = list(_units(share, rng))
        path = VoteStream.of(units, rate=0.5).path("worse")
        back += bool((path >= 2 * ROLLS_BACK).any())
    return back / runs


def _units(share: float, rng: np.random.Generator) -> Iterator[Unit]:
    draws = zip(rng.random(USERS), rng.random(USERS), rng.random(USERS), strict=True)
    for bad, arm, vote in draws:
        if bad < 0.1:
            yield Unit(canary=True, vote=0.0, share=share)
            yield Unit(canary=False, vote=0.0, share=share)
        else:
            yield Unit(canary=bool(arm < share), vote=float(vote < 0.5), share=share)


def _won(outcome: int) -> bool | None:
    return None if outcome == 0 else outcome > 0
