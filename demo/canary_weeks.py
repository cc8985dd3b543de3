"""`pawl demo --rollout canary`: one week whose version users like, one that only raters like."""

import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from demo.client import DemoClient, gathered
from demo.report.rollout_report import Looks, rollout_report
from demo.rollout_days import Regulars, live_through_rollout, pass_hours
from demo.shop.paid_raters import make_paid_raters, paid_judgements
from demo.shop.town import Visit
from demo.shop.users import make_users
from demo.story import Demo, next_run, next_slot, note, town_of, town_with
from demo.week import AT_ONCE, WeekPlan, live_through

REGULARS = 720
"""Number of users whose thumbs decide the rollouts."""
HONEST_WEEK = WeekPlan(comparisons=360)
"""The first week. More users compare than elsewhere in the demo, since the judge errs and may not
choose what is trained on: without its counterparts lone thumbs make no pairs."""
BEFORE_THE_RUN = timedelta(hours=15)
"""How long before the weekly run the training users chat. They chat on the Sunday, because the
guardrails compare a rollout with live's previous day."""
PAID_VISITS, PAID_ANSWERS = 320, 4
"""Visits of the paid raters in their week, and answers to each."""
AFTERWARDS = timedelta(hours=12)
"""How long users keep chatting after a rollout has ended."""


async def canary_weeks(demo: Demo, client: DemoClient) -> None:
    """Simulate both rollouts; the weekly run between them has too little feedback to train on."""
    regulars = _regulars(demo)
    await _sunday(client)
    await _honest_week(demo, client)
    await _week(demo, client, regulars, 1)
    await _runs_meanwhile(demo, client)
    await _sunday(client)
    await _paid_week(demo, client)
    await _week(demo, client, regulars, len(demo.reports) + 1)


def _regulars(demo: Demo) -> Regulars:
    users = make_users(REGULARS, seed=demo.seed, random_share=demo.random_share, prefix="regular")
    return Regulars(town_with(demo, users), random.Random(f"regulars-{demo.seed}"), demo.asked)


async def _honest_week(demo: Demo, client: DemoClient) -> None:
    town, rng = town_of(demo), random.Random(demo.seed)
    with demo.screen.bar("week 1: chats and feedback", HONEST_WEEK.visits) as bar:
        await live_through(client, town, rng, demo.asked, bar.step, HONEST_WEEK)


async def _paid_week(demo: Demo, client: DemoClient) -> None:
    """Simulate a week in which only paid raters give feedback that is trained on."""
    town, rng = town_with(demo, make_paid_raters(demo.seed)), random.Random(f"paid-{demo.seed}")
    title = f"week {len(demo.reports) + 1}: paid raters at work"
    with demo.screen.bar(title, PAID_VISITS) as bar:

        async def rated(visit: Visit) -> None:
            answers = await client.chat(visit, answers=PAID_ANSWERS)
            own = random.Random(f"{answers.id}-{visit.text}")
            await client.rate(visit, answers, paid_judgements(visit, answers.texts, own))
            bar.step()

        await gathered([rated(town.training_visit(rng)) for _ in range(PAID_VISITS)], AT_ONCE)


async def _week(demo: Demo, client: DemoClient, regulars: Regulars, week: int) -> None:
    """Wait for the weekly run and, if its candidate passed the gate, simulate the rollout."""
    run = await next_run(demo.screen, client, week)
    if run["state"] != "rolling_out":
        await note(demo, client, run)
        return
    demo.screen.say(f"{run['version']} passed the offline gate")
    await _rollout(demo, client, regulars, run)


async def _rollout(
    demo: Demo, client: DemoClient, regulars: Regulars, run: Mapping[str, Any]
) -> None:
    with demo.screen.bar(f"Rollout of {run['version']}", None) as bar:
        rollout, looks = await live_through_rollout(client, regulars, run["version"], bar.tell)
    report = rollout_report(rollout, looks, run["slot"])
    await pass_hours(client, regulars, AFTERWARDS, Looks())
    await client.advance(AFTERWARDS)
    demo.rollouts.append(report)
    await note(demo, client, {**run, "state": report.ended})
    demo.screen.show_rollout(report)


async def _runs_meanwhile(demo: Demo, client: DemoClient) -> None:
    """Record the runs whose slots passed during a rollout."""
    noted = {report.slot for report in demo.reports}
    for run in reversed(await client.runs()):
        if run["slot"] not in noted:
            await note(demo, client, run)


async def _sunday(client: DemoClient) -> None:
    """Advance the time to the evening before the next run."""
    now = await client.now()
    await client.advance(max(timedelta(), next_slot(now) - BEFORE_THE_RUN - now))
