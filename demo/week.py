"""Simulates one week at Bramblewick: visits and feedback; and builds the week's report."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from demo.client import DemoClient, gathered
from demo.report.figures import AnswerFigures, MeasuredWinRate, answer_figures, win_rate
from demo.report.report_models import StepReport, WeekReport
from demo.shop.feedback import Habits, judge_visit
from demo.shop.town import Town, Visit
from demo.shop.world import ShopQuestion

AT_ONCE = 16

RARE, COMPARING = Habits(), Habits(thumb=0, preference=1)

Asked = dict[str, ShopQuestion]
"""The question of each interaction, by id; the report's figures need it."""


@dataclass(frozen=True, slots=True)
class WeekPlan:
    """How much happens in a week.

    `chats` and `comparisons` are visits of users who are trained on, with one and with two answers;
    `held_out` is the number of questions of held-out users, one answer each. All users judge what
    they get by `habits`, `comparers` those who get two answers.
    """

    chats: int = 2_000
    comparisons: int = 120
    held_out: int = 420
    habits: Habits = RARE
    comparers: Habits = COMPARING

    @property
    def visits(self) -> int:
        """All visits."""
        return self.chats + self.comparisons + self.held_out


async def live_through(
    client: DemoClient,
    town: Town,
    rng: random.Random,
    asked: Asked,
    progress: Callable[[], None],
    plan: WeekPlan = WeekPlan(),
) -> None:
    """Send the week's chats and feedback; held-out users ask the questions of the evaluation."""

    async def rated(visit: Visit, answers: int, habits: Habits) -> None:
        given = await client.chat(visit, answers=answers)
        asked[given.id] = visit.question
        own = random.Random(f"{given.id}-{visit.text}")
        await client.rate(visit, given, judge_visit(visit, given.texts, own, habits))
        progress()

    alone = [town.training_visit(rng) for _ in range(plan.chats)]
    compared = [town.training_visit(rng) for _ in range(plan.comparisons)]
    held_out = islice(town.held_out_visits(rng), plan.held_out)
    jobs = [
        *(rated(visit, 1, plan.habits) for visit in alone),
        *(rated(visit, 2, plan.comparers) for visit in compared),
        *(rated(visit, 1, plan.habits) for visit in held_out),
    ]
    await gathered(jobs, AT_ONCE)


@dataclass(frozen=True, slots=True)
class Exam:
    """Held-out questions, and the answers of two versions to each."""

    visits: Sequence[Visit]
    live: Sequence[str]
    base: Sequence[str]

    @property
    def questions(self) -> list[ShopQuestion]:
        """What was asked."""
        return [visit.question for visit in self.visits]


async def exam(client: DemoClient, town: Town, seed: int, count: int) -> Exam:
    """Ask live and base the same new questions of held-out users."""
    visits = list(islice(town.held_out_visits(random.Random(f"exam-{seed}")), count))
    arms: list[list[str]] = []
    for model in ("pawl@live", "pawl@base"):
        jobs = [client.chat(visit, answers=1, model=model) for visit in visits]
        arms.append([answers.texts[0] for answers in await gathered(jobs, AT_ONCE)])
    return Exam(visits, *arms)


def base_figures(rows: Sequence[Mapping[str, Any]], asked: Asked) -> AnswerFigures:
    """Return the figures of the base model's answers, from the first run's evaluation."""
    arm = "base" if "base" in rows[0]["answers"] else "live"
    return answer_figures([(asked[row["prompt_id"]], _text(row, arm)) for row in rows])


def week_report(
    run: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], asked: Asked, live: str
) -> WeekReport:
    """Return the week's figures: the run's own, and those by the hidden utility."""
    figures = run["figures"]
    verdict = run["verdict"] or {}
    return WeekReport(
        slot=run["slot"],
        pairs=figures.get("pairs", 0),
        pairs_by_signal=figures.get("pairs_by_signal", {}),
        train_seconds=figures.get("train_seconds"),
        verdict=run["state"],
        reasons=tuple(verdict.get("reasons") or [run["reason"] or ""]),
        live=live,
        swap_seconds=figures.get("swap_seconds"),
        steps=tuple(_step(step) for step in figures.get("curve", [])),
        **(_answer_figures(rows, asked) if rows else {}),
    )


def _answer_figures(rows: Sequence[Mapping[str, Any]], asked: Asked) -> dict[str, Any]:
    questions = [asked[row["prompt_id"]] for row in rows]
    candidate = [_text(row, "candidate") for row in rows]
    figures = answer_figures(list(zip(questions, candidate, strict=True)))
    return {
        "win_vs_live": _against(rows, questions, candidate, "live"),
        "win_vs_base": _against(rows, questions, candidate, "base"),
        "correct": figures.correct,
        "rude": figures.rude,
        "words": figures.words,
        "style_mix": figures.style_mix,
    }


def _against(
    rows: Sequence[Mapping[str, Any]],
    questions: Sequence[ShopQuestion],
    candidate: Sequence[str],
    arm: str,
) -> MeasuredWinRate:
    # In the first week live is base, so the evaluation has its answers once only.
    arm = arm if arm in rows[0]["answers"] else "live"
    return win_rate(questions, candidate, [_text(row, arm) for row in rows])


def _text(row: Mapping[str, Any], arm: str) -> str:
    text: str = row["answers"][arm]["text"]
    return text


def _step(step: Mapping[str, Any]) -> StepReport:
    return StepReport(
        step=step["step"],
        loss=step["loss"],
        margin=step.get("reward_margin"),
        accuracy=step.get("reward_accuracy"),
    )
