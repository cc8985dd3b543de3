"""The judge from people: how well it ranks answers, and predicts which version people prefer.

In this process: answers are sampled from the tiny base model, the shop's users vote on them, the
trainer's own code trains a reward model on the votes of four fifths of the users, and what it says
is held against the others, and against the hidden utility.
"""

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import correlation
from typing import Any

from bench.learning.coin_judge import CASE, coin
from bench.learning.harness import Options, Result, at_least
from bench.learning.shop import base_model
from bench.learning.shop_answers import ShopAnswer, sampled
from demo.shop.taste import HIDDEN, Weights, utility
from demo.shop.users import SHARPNESS, User, make_users
from demo.shop.world import split
from retrain.evaluation.judges import TIE
from retrain.evaluation.verdicts import preference_of
from retrain.judging.ranking import Rated, ranking
from retrain.trainer.events import EventWriter
from retrain.trainer.reward.jobs import RewardJob
from retrain.trainer.scratch import fresh_scratch

USERS, HELD_OUT_EVERY = 60, 5
THUMBS, COMPARED = 3_000, 300
QUESTIONS, EACH = 200, 6
POLICIES, TRIED = 20, 400
SPREAD = (0.35, 0.65)
SHARE_OF_HIDDEN, LEAST_CORRELATION = 0.93, 0.9
TINY = {
    "learning_rate": 2e-3,
    "epochs": 3.0,
    "lora_rank": 16,
    "lora_alpha": 32,
    "per_device_batch": 16,
    "gradient_accumulation": 2,
    "max_length": 256,
    "threads": 1,
    "logging_steps": 20,
}
HEAD_RATE = 2e-2


@dataclass(frozen=True, slots=True)
class Thumb:
    """One user's judgement of one answer."""

    user: User
    answer: ShopAnswer
    good: bool


def judge(seed: int, options: Options) -> Sequence[Result]:
    """Measure one reward model, and the gate with a judge that flips coins."""
    base, rng = base_model(options), random.Random(f"judge-{seed}")
    users = make_users(USERS, seed=seed)
    training, asked = split()
    drawn = [rng.choice(training) for _ in range(THUMBS)]
    options.say(f"{THUMBS + 2 * COMPARED + QUESTIONS * EACH} answers are sampled")
    thumbs = [_thumb(users, one, rng) for one in sampled(base, drawn, seed)]
    held_out = set(users[::HELD_OUT_EVERY])
    known = [one for one in thumbs if one.user not in held_out]
    model = _trained(options, base, known, _pairs(base, users, held_out, rng, seed), seed)
    return [
        _against_hidden(seed, model, [one for one in thumbs if one.user in held_out]),
        _predicted(seed, model, base, rng, asked),
        *coin(seed, rng),
    ]


def _thumb(users: Sequence[User], answer: ShopAnswer, rng: random.Random) -> Thumb:
    user = rng.choice(users)
    return Thumb(user, answer, user.thumbs_up(answer.question, answer.text, rng))


def _pairs(
    base: Path, users: Sequence[User], held_out: set[User], rng: random.Random, seed: int
) -> list[dict[str, Any]]:
    """Have users who are not held out compare two answers to the same question."""
    raters = [user for user in users if user not in held_out]
    questions = [rng.choice(split()[0]) for _ in range(COMPARED)]
    answers = sampled(base, questions, seed + 1_000, each=2)
    rows = []
    for number, (a, b) in enumerate(zip(answers[::2], answers[1::2], strict=True)):
        if a.text == b.text:
            continue
        first = rng.choice(raters).prefers(a.question, a.text, b.text, rng)
        rows.append(_pair_row(number, *((a, b) if first else (b, a))))
    return rows


def _pair_row(number: int, better: ShopAnswer, worse: ShopAnswer) -> dict[str, Any]:
    return {
        "id": f"pair-{number}",
        "prompt_token_ids": better.prompt_token_ids,
        "chosen": {"token_ids": better.token_ids},
        "rejected": {"token_ids": worse.token_ids},
        "signal": "preference",
    }


def _label_row(number: int, thumb: Thumb) -> dict[str, Any]:
    return {
        "id": f"label-{number}",
        "interaction_id": f"interaction-{number}",
        "choice": 0,
        "prompt_token_ids": thumb.answer.prompt_token_ids,
        "completion": {"token_ids": thumb.answer.token_ids},
        "label": thumb.good,
        "signal": "thumbs",
    }


class RewardScores:
    """A trained reward model that scores answers."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def of(self, answers: Sequence[ShopAnswer]) -> list[float]:
        """Return the score of each answer."""
        from retrain.trainer.reward.scoring import score_rows  # noqa: PLC0415 - imports torch
        from retrain.trainer.reward.votes import AnswerIds  # noqa: PLC0415

        rows = [
            AnswerIds(one.prompt_token_ids + one.token_ids, len(one.prompt_token_ids))
            for one in answers
        ]
        return score_rows(self._model, rows, 32)


def _trained(
    options: Options, base: Path, thumbs: Sequence[Thumb], pairs: list[dict[str, Any]], seed: int
) -> RewardScores:
    """Train a reward model with the trainer's own code."""
    from retrain.trainer.model import Device  # noqa: PLC0415 - imports torch
    from retrain.trainer.reward.model import load_reward_model  # noqa: PLC0415
    from retrain.trainer.reward.run import train_reward  # noqa: PLC0415

    labels = [_label_row(number, thumb) for number, thumb in enumerate(thumbs)]
    for name, rows in (("pairs.jsonl", pairs), ("labels.jsonl", labels)):
        (options.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = RewardJob(
        base_model=str(base),
        base_digest="",
        pairs=options.folder / "pairs.jsonl",
        labels=options.folder / "labels.jsonl",
        output=options.folder / "model",
        seed=seed,
        head_learning_rate=HEAD_RATE,
        hyper=TINY,
    )
    options.say(f"a reward model is trained on {len(labels)} thumbs and {len(pairs)} comparisons")
    with (options.folder / "events.jsonl").open("wb") as file:
        writer = EventWriter(file.fileno(), lambda: datetime.now(UTC))
        train_reward(job, writer, fresh_scratch(job.output))
    device = Device(cuda=False, bf16=False)
    return RewardScores(load_reward_model(job.output, str(base), job.hyper, device))


def _against_hidden(seed: int, model: RewardScores, thumbs: Sequence[Thumb]) -> Result:
    """Rank the answers that held-out users rated; the hidden utility ranks the same ones."""
    scores = model.of([one.answer for one in thumbs])
    hidden = [utility(one.answer.question, one.answer.text) for one in thumbs]
    found, best = (
        ranking(
            [
                Rated(one.user.name, value, one.good)
                for one, value in zip(thumbs, values, strict=True)
            ],
            seed=seed,
        )
        for values in (scores, hidden)
    )
    assert found is not None  # noqa: S101  (both kinds of thumbs occur among hundreds)
    assert best is not None  # noqa: S101
    note = (
        f"AUROC {found.auroc:.3f} [{found.low:.3f}, {found.high:.3f}] on {len(thumbs)} thumbs of "
        f"{found.raters} held-out users; the hidden utility reaches {best.auroc:.3f}"
    )
    share = found.auroc / best.auroc
    return at_least(CASE, seed, share, SHARE_OF_HIDDEN, note=note, measure="AUROC, of hidden's")


def _predicted(
    seed: int, model: RewardScores, base: Path, rng: random.Random, asked: Sequence[Any]
) -> Result:
    """Compare predicted and true win rates of versions that answer in different ways.

    A version picks one of five answers of the base model, with a taste of its own; live is the
    sixth.
    """
    questions = [rng.choice(asked) for _ in range(QUESTIONS)]
    answers = sampled(base, questions, seed + 2_000, each=EACH)
    rows = [answers[start : start + EACH] for start in range(0, len(answers), EACH)]
    found = model.of(answers)
    scores = [found[start : start + EACH] for start in range(0, len(found), EACH)]
    versions = _spread([_version(rows, rng) for _ in range(TRIED)])
    true = [rate for rate, _ in versions]
    said = [_judged_rate(rows, scores, picks) for _, picks in versions]
    value = correlation(true, said)
    note = (
        f"{POLICIES} versions, true win rates {min(true):.2f} to {max(true):.2f}, "
        f"predicted {min(said):.2f} to {max(said):.2f}"
    )
    return at_least(CASE, seed, value, LEAST_CORRELATION, note=note, measure="predicted win rates")


def _version(rows: Sequence[Sequence[ShopAnswer]], rng: random.Random) -> tuple[float, list[int]]:
    """Return the true win rate of a random version, and which answer it gives to each question."""
    taste = Weights(*(rng.gauss(0, 1.5) * abs(weight) for weight in _values(HIDDEN)))
    picks = []
    for row in rows:
        liked = [math.exp(utility(one.question, one.text, taste)) for one in row[1:]]
        picks.append(rng.choices(range(1, len(row)), liked)[0])
    wins = [_preferred(row[pick], row[0]) for row, pick in zip(rows, picks, strict=True)]
    return sum(wins) / len(wins), picks


def _values(weights: Weights) -> Iterator[float]:
    for name in Weights.__slots__:
        yield getattr(weights, name)


def _preferred(one: ShopAnswer, other: ShopAnswer) -> float:
    """Return the probability that a user with the hidden taste prefers the first answer."""
    gap = utility(one.question, one.text) - utility(other.question, other.text)
    return 1 / (1 + math.exp(-SHARPNESS * gap))


def _spread(versions: list[tuple[float, list[int]]]) -> list[tuple[float, list[int]]]:
    """Return versions whose true win rates are spread evenly."""
    low, high = SPREAD
    wanted = [low + (high - low) * place / (POLICIES - 1) for place in range(POLICIES)]
    chosen = []
    for rate in wanted:
        nearest = min(versions, key=lambda version: abs(version[0] - rate))
        versions.remove(nearest)
        chosen.append(nearest)
    return chosen


def _judged_rate(
    rows: Sequence[Sequence[ShopAnswer]], scores: Sequence[Sequence[float]], picks: Sequence[int]
) -> float:
    """Return the judge's mean preference for the version's answers; equal texts are a tie."""
    total = 0.0
    for row, own, pick in zip(rows, scores, picks, strict=True):
        same = row[pick].text == row[0].text
        total += TIE if same else preference_of(own[pick], own[0])
    return total / len(rows)
