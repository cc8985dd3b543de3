"""What a shadow costs the users, on the real engine: `python -m bench.shadow [--requests 5000]`.

One server has two adapters, one of them live. In each round, at each number of clients, the same
load runs once with the other adapter as shadow and once without, in a random order; ratios are
taken within rounds. With `--live base` the base model is live. `--sentinel` tests instead that no
shadow answer reaches a client: 10,000 requests on the fake engine, 500 on the real one.
"""

import asyncio
import random
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from bench.support.chat import session_of
from bench.support.load import Load, drive
from bench.support.servers import ServerProcess, start_pawl, stopping
from bench.support.stats import Ratio, paired_ratio, percentile
from bench.support.tables import Row, parser, report
from bench.workloads.shadow_sentinel import Outcome as SentinelOutcome
from bench.workloads.shadow_sentinel import rows as sentinel_rows
from bench.workloads.shadow_sentinel import run_fake, run_real
from bench.workloads.shadowed import add_adapter, fetch_by, promote, set_shadow, settled_outcomes
from tests.tiny_model import make_random_adapter, make_tiny_model

CLIENTS = (4, 16)
TOKENS = 32
LEAST_SHARE, SHARE_AT = 0.5, 4
"""The share of the requests drawn for the shadow that it must answer, and the number of clients at
which this is required."""
TARGETS = {
    "latency_p50": ("latency p50", 1.10),
    "latency_p99": ("latency p99", 1.25),
}
SETTINGS = {
    "PAWL_ENGINE__DTYPE": "float32",
    "PAWL_ENGINE__KV_CACHE_GIB": "0.5",
    "PAWL_RETRAIN__ENABLED": "false",
}
WITH, WITHOUT = "with", "without"


@dataclass(slots=True)
class Outcome:
    """Measurements by clients and side, in order of rounds, and the outcomes of the shadow."""

    loads: dict[int, dict[str, list[Load]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    shadowed: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    @property
    def errors(self) -> int:
        """Live requests that failed."""
        stretches = (load for sides in self.loads.values() for load in sides.values())
        return sum(load.errors for loads in stretches for load in loads)

    def ratio(self, clients: int, figure: str) -> Ratio:
        """Return the ratio of a figure with the shadow to the figure without."""
        sides = self.loads[clients]
        ours, theirs = ([getattr(load, figure) for load in sides[side]] for side in (WITH, WITHOUT))
        return paired_ratio(ours, theirs)

    def share(self, clients: int) -> float:
        """Return the share of the requests drawn for the shadow that it answered."""
        return self.shadowed[clients]["answered"] / max(1, self.shadowed[clients].total())

    @property
    def good(self) -> bool:
        """Whether nothing failed, the shadow answered enough, and no figure missed its target."""
        missed = any(
            verdict(self.ratio(clients, figure), target) == "missed"
            for clients in self.loads
            for figure, (_, target) in TARGETS.items()
        )
        return not (self.errors or missed) and self.share(SHARE_AT) >= LEAST_SHARE


def run(folder: Path, *, live: str, rounds: int, requests: int, share: float, seed: int) -> Outcome:
    """Start the server and measure, with `requests` per side at each number of clients."""
    model = make_tiny_model(folder / "model")
    adapters = [
        make_random_adapter(folder / name, base=model, seed=seed + place)
        for place, name in enumerate(("shadow", "live") if live == "adapter" else ("shadow",))
    ]
    with stopping(start_pawl(folder / "data", model=model, settings=SETTINGS)) as server:
        return asyncio.run(_measure(server, adapters, rounds, requests, share, random.Random(seed)))


async def _measure(
    server: ServerProcess,
    adapters: Sequence[Path],
    rounds: int,
    requests: int,
    share: float,
    rng: random.Random,
) -> Outcome:
    outcome = Outcome()
    async with session_of(server) as session:
        fetch = fetch_by(session)
        version, *live = [await add_adapter(fetch, adapter) for adapter in adapters]
        for name in live:
            await promote(fetch, name)
        for clients in CLIENTS:
            shares = {WITH: (version, share), WITHOUT: (None, 0.0)}
            for side in (WITH, WITHOUT):
                await set_shadow(fetch, *shares[side])
                await _drive(server, clients, 8 * clients, rng)
            for _ in range(rounds):
                for side in rng.sample([WITH, WITHOUT], 2):
                    await set_shadow(fetch, *shares[side])
                    before = await settled_outcomes(fetch)
                    load = await _drive(server, clients, -(-requests // rounds), rng)
                    outcome.loads[clients][side].append(load)
                    outcome.shadowed[clients] += await settled_outcomes(fetch) - before
    return outcome


async def _drive(server: ServerProcess, clients: int, requests: int, rng: random.Random) -> Load:
    return await drive(server, streams=clients, requests=requests, tokens=TOKENS, rng=rng)


def verdict(ratio: Ratio, target: float) -> str:
    """Return whether the ratio meets the target, if the noise permits a verdict."""
    if ratio.high <= target:
        return "met"
    return "missed" if ratio.low > target else "unresolved at this noise"


def ratios(outcome: Outcome) -> list[Row]:
    """Return paired ratios with 95 % intervals, a row for each figure and number of clients."""
    return [
        {
            "clients": clients,
            "figure": label,
            "with / without shadow": str(outcome.ratio(clients, figure)),
            "all requests pooled": _pooled(outcome, clients, WITH, figure)
            / _pooled(outcome, clients, WITHOUT, figure),
            "target": f"at most {target}",
            "verdict": verdict(outcome.ratio(clients, figure), target),
        }
        for clients in outcome.loads
        for figure, (label, target) in TARGETS.items()
    ]


def _pooled(outcome: Outcome, clients: int, side: str, figure: str) -> float:
    """Return the percentile over the requests of all rounds, in seconds."""
    latencies = list(chain(*(load.latencies for load in outcome.loads[clients][side])))
    return percentile(latencies, {"latency_p50": 0.5, "latency_p99": 0.99}[figure])


def sides(outcome: Outcome) -> list[Row]:
    """Return the figures over all requests of a side."""
    return [
        {
            "clients": clients,
            "shadow": side,
            "requests": sum(load.requests for load in loads),
            "errors": sum(load.errors for load in loads),
            "latency p50, ms": 1000 * _pooled(outcome, clients, side, "latency_p50"),
            "latency p99, ms": 1000 * _pooled(outcome, clients, side, "latency_p99"),
            "first token p50, ms": 1000 * _median(loads, "first_token_p50"),
            "requests/s": _median(loads, "requests_per_second"),
        }
        for clients, both in outcome.loads.items()
        for side, loads in sorted(both.items())
    ]


def shares(outcome: Outcome) -> list[Row]:
    """Return the share that the shadow answered, and the outcomes of the rest."""
    return [
        {
            "clients": clients,
            "drawn for the shadow": outcome.shadowed[clients].total(),
            "answered by it": outcome.shadowed[clients]["answered"],
            "share": f"{outcome.share(clients):.1%}",
            "not answered": dict(outcome.shadowed[clients] - Counter(answered=10**9)),
        }
        for clients in outcome.loads
    ]


def _median(loads: Sequence[Load], figure: str) -> float:
    return float(statistics.median(getattr(load, figure) for load in loads))


def _sentinels(folder: Path, fake: int, real: int, seed: int) -> dict[str, SentinelOutcome]:
    (folder / "fake").mkdir()
    (folder / "real").mkdir()
    return {
        "fake": run_fake(folder / "fake", requests=fake, seed=seed),
        "real": run_real(folder / "real", requests=real, seed=seed),
    }


def main() -> None:
    """Print the tables; exit with 1 for errors, a missed target or a leak."""
    made = parser(__doc__)
    made.add_argument("--live", choices=("adapter", "base"), default="adapter")
    made.add_argument("--rounds", type=int, default=20)
    made.add_argument("--requests", type=int, default=5_000, help="a side, over all rounds")
    made.add_argument("--share", type=float, default=0.1, help="of the requests for the shadow")
    made.add_argument("--sentinel", action="store_true")
    made.add_argument("--fake", type=int, default=10_000, help="sentinel requests, fake engine")
    made.add_argument("--real", type=int, default=500, help="sentinel requests, real engine")
    arguments = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="pawl-shadow-") as folder:
        if arguments.sentinel:
            found = _sentinels(Path(folder), arguments.fake, arguments.real, arguments.seed)
            tables = {"A shadow that says a sentinel": sentinel_rows(found)}
            good = all(outcome.good for outcome in found.values())
        else:
            outcome = run(
                Path(folder),
                live=arguments.live,
                rounds=arguments.rounds,
                requests=arguments.requests,
                share=arguments.share,
                seed=arguments.seed,
            )
            tables = {
                f"Live with and without a shadow, {arguments.rounds} rounds": ratios(outcome),
                "Both sides": sides(outcome),
                f"The shadow, {arguments.share:.0%} of the requests": shares(outcome),
            }
            good = outcome.good
    report(tables, as_json=arguments.json)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
