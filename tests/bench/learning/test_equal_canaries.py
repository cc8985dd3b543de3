"""The fast simulation of equal canaries against the online gate itself."""

from dataclasses import replace

import numpy as np
import pytest

from bench.learning.equal_canaries import Arms, canaries_of
from bench.workloads.canaries import World, make_canary
from retrain.config import OnlineGateConfig
from retrain.gates.evidence import CanaryEvidence, Timed
from retrain.gates.online import DAY_SECONDS, decision

pytestmark = pytest.mark.pure

WORLD = World(users=1_200, days=14.0, stages=((0.0, 0.05), (1.5, 0.5)))
COPIES = 40
GATE = OnlineGateConfig(alpha_guardrail=1e-12)
"""Never freezes promotion, which the simulation leaves out."""


def with_arms(evidence: CanaryEvidence, arms: Arms) -> CanaryEvidence:
    """The same votes with other arms, found by the times of the users."""
    arm_of = {round(one.at, 2): bool(arm) for one, arm in zip(evidence.first, arms, strict=True)}

    def moved(units: list[Timed], later: int) -> list[Timed]:
        return [Timed(at, unit._replace(canary=arm_of[round(at - later, 2)])) for at, unit in units]

    return replace(
        evidence, first=moved([*evidence.first], 0), day=moved([*evidence.day], DAY_SECONDS)
    )


@pytest.mark.parametrize("seed", range(3))
def test_each_canary_ends_as_the_gate_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    evidence = make_canary(WORLD, rng)
    # Arms that favour one version, so that there are decisions to compare.
    lean = np.linspace(-0.2, 0.2, COPIES)[:, None]
    votes = np.array([unit.vote for _, unit in evidence.first])
    share = np.array([unit.share for _, unit in evidence.first])
    arms = rng.random((COPIES, share.size)) < np.clip(share + lean * (2 * votes - 1), 0, 1)
    outcomes = set()
    for canary, tossed in zip(canaries_of(evidence, WORLD.days, arms), arms, strict=True):
        found, _ = decision(with_arms(evidence, tossed), GATE)
        promoted = canary.promoted(100.0)
        ends = canary.ends if promoted is None else promoted
        assert found is not None
        assert found.promotes == (promoted is not None)
        assert found.at == pytest.approx(ends * DAY_SECONDS)
        outcomes.add((found.promotes, ends < WORLD.days))
    assert outcomes >= {(True, True), (False, True)}
