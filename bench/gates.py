"""Error rates of the offline gate, exact and simulated: `python -m bench.gates [--json]`.

1. False promotion rate of the sign test, exact, by number of questions and share of ties.
2. The same, simulated with repeated questions (clusters) and a judge that favours a position.
3. Power, exact.
4. The length-adjusted test compared with the sign test: what it stops, and the power it costs.

All simulations start from `--seed` and are vectorised; a run takes seconds.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import beta

from bench.support.gate_power import critical_wins, false_promotion, power
from retrain.config import GateConfig
from retrain.gates.length_adjustment import LengthPoint, length_adjusted_p
from retrain.gates.offline import sign_test_p

Row = dict[str, Any]
Floats = npt.NDArray[np.floating]

ALPHA = GateConfig().alpha
SIZES = (100, 200, 400, 800)
TIE_SHARES = (0.0, 0.1, 0.2, 0.4, 0.6)
TRUE_RATES = (0.55, 0.6, 0.65, 0.7)

QUESTIONS, REPEATS = 400, 3
QUESTION_SPREAD = 2.0
"""Standard deviation, in logits, of the effect shared by all comparisons of one question."""
POSITION_BIAS = 1.0
"""Logits by which the judge favours the first position, which wins 73 % of equal pairs."""
BATCH = 1_000

DECISIVE = 320
"""Number of decisive questions among 400 with 20 % ties."""
LENGTH_SPREAD = 0.3
"""Standard deviation of the log length ratio."""
LENGTH_CASES = {
    "loves length, candidate 22 % longer": (1.33, 0.22),
    "indifferent, candidate 22 % longer": (0.0, 0.22),
    "indifferent, lengths equal on average": (0.0, 0.0),
}
"""Judge and candidate: logits of a win by log length ratio, and how much longer the answers are."""


def exact_false_promotion() -> list[Row]:
    """Return a row for each number of questions: false promotion by tie share, and the maximum."""
    rows = []
    for size in SIZES:
        config = _config(size)
        exact = {f"{share:.0%} ties": false_promotion(config, share) for share in TIE_SHARES}
        worst = max(false_promotion(config, float(t)) for t in np.linspace(0, 0.99, 34))
        rows.append({"N": size, **exact, "highest over ties": worst})
    return rows


def exact_power(tie_share: float) -> list[Row]:
    """Return a row for each number of questions: power by true win rate."""
    return [
        {"N": n, **{f"{rate:.0%}": power(_config(n), rate, tie_share) for rate in TRUE_RATES}}
        for n in SIZES
    ]


def simulated_false_promotion(runs: int, seed: int) -> list[Row]:
    """Simulate equal versions, repeated questions and a judge that favours the first position."""
    rules = {
        "each question once, both positions (the gate)": (True, True),
        "each comparison counted, both positions": (False, True),
        "each question once, candidate always first": (True, False),
    }
    return [
        {"rule": name, **_share(_clustered(runs, seed, once=once, swapped=swapped), runs)}
        for name, (once, swapped) in rules.items()
    ]


def length_adjustment(runs: int, seed: int) -> list[Row]:
    """Return pass rates at the gate's alpha, by case and true win rate at equal length."""
    rows = []
    for name, (love, longer) in LENGTH_CASES.items():
        for rate in (0.5, 0.55, 0.6):
            raw, adjusted = _length_p_values(runs, seed, float(logit(rate)), love, longer)
            rows.append(
                {
                    "judge": name,
                    "wins at equal length": f"{rate:.0%}",
                    "sign test": float(np.mean(raw <= ALPHA)),
                    "length-adjusted": float(np.mean(adjusted <= ALPHA)),
                    "both (the gate)": float(np.mean((raw <= ALPHA) & (adjusted <= ALPHA))),
                }
            )
    return rows


def _config(size: int) -> GateConfig:
    return GateConfig(comparisons=size, minimum=size)


def _clustered(runs: int, seed: int, *, once: bool, swapped: bool) -> int:
    """Return how many of `runs` equal candidates are promoted."""
    rng = np.random.default_rng(seed)
    units = QUESTIONS if once else QUESTIONS * REPEATS
    critical = np.array([critical_wins(n, ALPHA) for n in range(units + 1)])
    promoted = 0
    for start in range(0, runs, BATCH):
        leans = _leans(rng, min(BATCH, runs - start), swapped=swapped)
        points = leans.sum(axis=2) if once else leans.reshape(len(leans), -1)
        wins, losses = (points > 0).sum(axis=1), (points < 0).sum(axis=1)
        promoted += int(np.sum(wins >= critical[wins + losses]))
    return promoted


def _leans(rng: np.random.Generator, runs: int, *, swapped: bool) -> npt.NDArray[np.int8]:
    """(runs, QUESTIONS, REPEATS): 1 candidate better, -1 live better, 0 the positions disagree."""
    shape = (runs, QUESTIONS, REPEATS)
    taste = rng.normal(0, QUESTION_SPREAD, (runs, QUESTIONS, 1))
    first = rng.random(shape) < expit(taste + POSITION_BIAS)
    second = rng.random(shape) < expit(taste - POSITION_BIAS) if swapped else first
    return first.astype(np.int8) + second.astype(np.int8) - np.int8(1)


def _length_p_values(
    runs: int, seed: int, quality: float, love: float, longer: float
) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(runs):
        ratios = rng.normal(np.log1p(longer), LENGTH_SPREAD, DECISIVE)
        won = rng.random(DECISIVE) < expit(quality + love * ratios)
        pairs.append(_both_p_values(won, ratios))
    raw, adjusted = np.array(pairs).T
    return raw, adjusted


def _both_p_values(won: npt.NDArray[np.bool_], ratios: Floats) -> tuple[float, float]:
    wins = int(won.sum())
    raw = sign_test_p(wins, len(won) - wins)
    points = [
        LengthPoint(1 if win else -1, float(ratio)) for win, ratio in zip(won, ratios, strict=True)
    ]
    return raw, length_adjusted_p(points, raw)


def _share(count: int, runs: int) -> Row:
    """Return a simulated probability with its Clopper-Pearson 95 % interval."""
    return {
        "promoted": count / runs,
        "95 % low": float(beta.ppf(0.025, count, runs - count + 1)) if count else 0.0,
        "95 % high": float(beta.ppf(0.975, count + 1, runs - count)) if count < runs else 1.0,
        "runs": runs,
    }


def tables(runs: int, length_runs: int, seed: int) -> dict[str, list[Row]]:
    """All tables, by title."""
    return {
        f"False promotion, exact (alpha {ALPHA:g})": exact_false_promotion(),
        f"False promotion, simulated: {QUESTIONS} questions asked {REPEATS} times each, the judge "
        f"favours the first place {expit(POSITION_BIAS):.0%}": simulated_false_promotion(
            runs, seed
        ),
        f"Power, exact, 20 % ties (alpha {ALPHA:g})": exact_power(0.2),
        f"Length, simulated: {DECISIVE} decisive questions, alpha {ALPHA:g}, {length_runs} runs a "
        "row": length_adjustment(length_runs, seed),
    }


def markdown(title: str, rows: Sequence[Row]) -> str:
    """A titled Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[_cell(value) for value in row.values()] for row in rows]
    return "\n".join((f"### {title}", "", *(f"| {' | '.join(line)} |" for line in lines), ""))


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def main() -> None:
    """Print the tables, as Markdown or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=50_000, help="simulated runs of table 2")
    parser.add_argument("--length-runs", type=int, default=2_000, help="simulated runs of table 4")
    arguments = parser.parse_args()
    found = tables(arguments.runs, arguments.length_runs, arguments.seed)
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(markdown(title, rows) for title, rows in found.items()))


if __name__ == "__main__":
    main()
