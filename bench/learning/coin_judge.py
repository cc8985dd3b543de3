"""The offline gate with a judge that flips coins."""

import random

from bench.learning.harness import Result, at_most
from retrain.config import GateConfig
from retrain.gates.judge_agreement import Calibration, judge_agreement
from retrain.gates.judge_check import JudgeCheck, checked
from retrain.gates.offline import Comparison, Evidence, decide

CASE = "judge"
MOST_PROMOTED = 0.01
RUNS = 1_000
COMPARED, PEOPLE = 200, 40


def coin(seed: int, rng: random.Random) -> Result:
    """Apply the gate to equal versions, with a judge that flips coins and people who compared."""
    config = GateConfig()
    alone = sum(decide(_flipped(config, rng), config).promoted for _ in range(RUNS))
    held = sum(_held_against_people(config, rng) for _ in range(RUNS))
    people = f"held against {COMPARED} comparisons of {PEOPLE} people {held / RUNS:.3f}"
    note = f"{people}, with nothing to be held against {alone / RUNS:.3f}"
    worst = max(alone, held) / RUNS
    return at_most(CASE, seed, worst, MOST_PROMOTED, note=note, measure="a coin is promoted")


def _flipped(config: GateConfig, rng: random.Random) -> Evidence:
    return Evidence(
        comparisons=tuple(
            Comparison(
                cluster=str(number),
                score=rng.choice((0.0, 0.5, 1.0)),
                candidate_words=rng.randint(5, 30),
                live_words=rng.randint(5, 30),
            )
            for number in range(config.comparisons)
        )
    )


def _held_against_people(config: GateConfig, rng: random.Random) -> bool:
    seen = [
        Calibration(number % PEOPLE, number, float(rng.random() < 0.5), float(rng.random() < 0.5))
        for number in range(COMPARED)
    ]
    check = checked(JudgeCheck(judge="coin", agreement=judge_agreement(seen)), config)
    evidence = _flipped(config, rng).model_copy(update={"judge": check})
    return decide(evidence, config).promoted
