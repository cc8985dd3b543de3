"""Simulates one week at Bramblewick: visits and feedback; and builds the week's report."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from demo.client import Answers, DemoClient, gathered
from demo.report.figures import AnswerFigures, MeasuredWinRate, answer_figures, win_rate
from demo.report.report_models import StepReport, WeekReport
from demo.shop.users import Town, Visit, judge_visit
from demo.shop.world import ShopQuestion
from retrain.dataset.questions import normalise

VISITS = 320
ANSWERS = 4
HELD_OUT_QUESTIONS = 420
AT_ONCE = 16

Asked = dict[str, ShopQuestion]
"""The question of each interaction, by id; the report's figures need it."""


async def live_through(
    client: DemoClient,
    town: Town,
    rng: random.Random,
    asked: Asked,
    progress: Callable[[], None],
) -> None:
    """Send the week's chats and feedback; held-out users ask the questions of the evaluation."""
    visits = [town.training_visit(rng) for _ in range(VISITS)]
    held_out = distinct(town, rng, HELD_OUT_QUESTIONS)

    async def rated(visit: Visit) -> None:
        answers = await client.chat(visit, answers=ANSWERS)
        own = random.Random(f"{answers.id}-{visit.text}")
        await client.rate(visit, answers, judge_visit(visit, answers.texts, own))
        progress()

    async def only_asked(visit: Visit) -> None:
        answers: Answers = await client.chat(visit, answers=1)
        asked[answers.id] = visit.question
        progress()

    jobs = [rated(visit) for visit in visits] + [only_asked(visit) for visit in held_out]
    await gathered(jobs, AT_ONCE)


def distinct(town: Town, rng: random.Random, count: int) -> list[Visit]:
    """Draw visits of held-out users with distinct texts, since the gate counts a question once."""
    found: dict[str, Visit] = {}
    for visit in town.held_out_visits(rng):
        found.setdefault(normalise(visit.text), visit)
        if len(found) == count:
            break
    return list(found.values())


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
        margin=step["reward_margin"],
        accuracy=step["reward_accuracy"],
    )
