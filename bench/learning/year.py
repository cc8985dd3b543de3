"""Case `year`: how many versions that are no better are promoted in a year of six starts a day.

Every candidate equals live, so each promotion is a false one. Runs start every four hours while no
rollout is under way; a candidate that the offline gate lets through becomes a canary, takes its
alpha from the real wallet (`retrain.gates.budget`), and ends by the online gate's rule. Canaries
are those of `bench.learning.equal_canaries`. Training and shadow take no time here and guardrails
never end a canary's time, so a year has more canaries than a real one.

Years begin with a full wallet, and are simulated twice: with an offline gate at its error rate, and
with one that lets everything through.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import tee

import numpy as np
from scipy.stats import chi2

from bench.learning.equal_canaries import EqualCanary, equal_canaries
from bench.learning.harness import Options, Result, at_most
from bench.support.gate_power import false_promotion
from bench.workloads.canaries import World, make_canary
from retrain.config import EnoughConfig, GateConfig, OnlineGateConfig
from retrain.gates.budget import Budget, Spending
from retrain.gates.evidence import STREAMS, CanaryEvidence
from retrain.gates.online import decision

YEARS = 2_000
WEEKS = 52
RATED_A_DAY = 1_000
LONGEST = OnlineGateConfig().longest_days
RAMP = ((0.0, 0.05), (1.5, 0.5))
"""The canary's share by days: 5 % until 1,700 of its requests, where a fifth of the answers are
rated and a user rates between four and five."""
BUDGET = Budget(0.05)
TIES = 0.2
BETTER = 0.6
CANARIES = 100
"""Canaries of a version that is better, for the time until it is live."""
_BEGIN = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Year:
    """One year: its canaries, the promotions among them, and the sum of their alphas."""

    canaries: int
    promotions: int
    alpha: float


def year(seed: int, options: Options) -> Sequence[Result]:
    """Return the bounds on false promotions, and the time until a better version is live."""
    world = World(users=round(RATED_A_DAY * LONGEST), days=LONGEST, stages=RAMP)
    canaries = equal_canaries(world, np.random.default_rng([seed, 0]))
    pools = tee(canaries)
    gate = GateConfig()
    offline = {
        "offline gate at its error rate": false_promotion(gate, TIES),
        "offline judge useless": 1.0,
    }
    results = []
    for (name, passes), pool in zip(offline.items(), pools, strict=True):
        years = list(_years(pool, passes, np.random.default_rng([seed, 1]), options))
        results.append(_bound(seed, name, years))
    return [*results, *until_live(seed)]


def _years(
    canaries: Iterator[EqualCanary], passes: float, rng: np.random.Generator, options: Options
) -> Iterator[Year]:
    for number in range(YEARS):
        if number % 200 == 0:
            options.say(f"year: {number} of {YEARS} years, {passes:.2g} of the candidates pass")
        yield one_year(canaries, passes, rng)


def one_year(canaries: Iterator[EqualCanary], passes: float, rng: np.random.Generator) -> Year:
    """Simulate a year in which the offline gate lets the share `passes` of the candidates through.

    The time between two starts is `enough.hours`; during a canary nothing starts.
    """
    pause = timedelta(hours=EnoughConfig().hours)
    most = OnlineGateConfig().alpha_promote
    now, spent, promotions = _BEGIN, list[Spending](), 0
    while True:
        now += pause * min(int(rng.geometric(passes)), WEEKS * 7 * 24)
        if now >= _BEGIN + timedelta(weeks=WEEKS):
            return Year(len(spent), promotions, sum(one.alpha for one in spent))
        alpha, canary = BUDGET.grant(spent, now, most), next(canaries)
        promoted = canary.promoted(len(STREAMS) / alpha)
        promotions += promoted is not None
        now += timedelta(days=canary.ends if promoted is None else promoted)
        spent.append(Spending(alpha, now))


def _bound(seed: int, name: str, years: Sequence[Year]) -> Result:
    """Return the upper 95 % bound of the promotions a year (Garwood's, of a Poisson mean)."""
    promotions = sum(one.promotions for one in years)
    bound = float(chi2.ppf(0.95, 2 * (promotions + 1))) / 2 / len(years)
    canaries = sum(one.canaries for one in years) / len(years)
    alpha = sum(one.alpha for one in years) / len(years)
    note = (
        f"{promotions} promotions in {len(years):,} years ({promotions / len(years):.4f} a year); "
        f"{canaries:.1f} canaries a year, which were granted {alpha:.3f} in all"
    )
    return at_most("year", seed, bound, BUDGET.false_promotions, note=note, measure=name)


ALPHAS = {
    "weekly, behind a judge": 0.02,
    "the first of a full wallet": BUDGET.grant([], _BEGIN, 1.0),
    "every two weeks": BUDGET.inflow(timedelta(weeks=2)),
    "every week": BUDGET.inflow(timedelta(weeks=1)),
    "every two days": BUDGET.inflow(timedelta(days=2)),
}
"""Alphas of a canary, by how often canaries start in the long run."""


def until_live(seed: int) -> Iterator[Result]:
    """Yield the median hours until a version that 60 % like instead of 50 % is live."""
    for ramp, stages in (("half of the users at once", ((0.0, 0.5),)), ("5 % first", RAMP)):
        world = World(canary=BETTER, users=RATED_A_DAY * 7, days=7.0, stages=stages)
        rng = np.random.default_rng([seed, 2])
        ends = [_promotions(make_canary(world, rng)) for _ in range(CANARIES)]
        for (name, alpha), found in zip(ALPHAS.items(), zip(*ends, strict=True), strict=True):
            hours, users = np.median(np.array(found), axis=0)
            live = np.mean([np.isfinite(at) for at, _ in found])
            note = (
                f"hours; median rated users {users:,.0f}, threshold {len(STREAMS) / alpha:,.0f}, "
                f"{live:.0%} live within a week"
            )
            measure = f"a true 60 % is live ({ramp}; {name})"
            yield Result("year", seed, float(hours), None, None, note, measure)


def _promotions(evidence: CanaryEvidence) -> list[tuple[float, int]]:
    """Return the hours and the rated users until the promotion at each of `ALPHAS`."""
    found = []
    for alpha in ALPHAS.values():
        end, _ = decision(evidence, OnlineGateConfig(alpha_promote=alpha))
        at = end.at if end is not None and end.promotes else np.inf
        found.append((at / 3_600, sum(unit.at <= at for unit in evidence.first)))
    return found
