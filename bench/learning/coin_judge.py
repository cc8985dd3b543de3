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


def coin(seed: int, rng: random.Random) -> list[Result]:
    """Apply the gate to equal versions, with a judge that flips coins.

    In one half of the runs people compared, so that the judge is held against them. In the other
    half nothing shows what it is worth, and only the sign test's alpha bounds the promotions.
    """
    config = GateConfig()
    held = sum(_held_against_people(config, rng) for _ in range(RUNS)) / RUNS
    alone = sum(decide(_flipped(config, rng), config).promoted for _ in range(RUNS)) / RUNS
    people = f"held against {COMPARED} comparisons of {PEOPLE} people"
    return [
        at_most(CASE, seed, held, MOST_PROMOTED, note=people, measure="a coin is promoted"),
        Result(CASE, seed, alone, None, None, "alpha 0.01", "a coin that nobody can check"),
    ]


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
