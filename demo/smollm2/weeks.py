"""Simulates the weeks of `pawl demo --model smollm2` over HTTP."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from demo.client import DemoClient, Sampling, demo_client, gathered
from demo.local_server import DemoServerError, LocalServer
from demo.report.report_page import library_versions
from demo.screen import Screen
from demo.shop.feedback import UserFeedback
from demo.smollm2.asking import Crowd, PlainVisit
from demo.smollm2.people import make_people
from demo.smollm2.report import (
    PlainExample,
    PlainFigures,
    PlainReport,
    PlainWeek,
    plain_figures,
    plain_win_rate,
)
from demo.story import next_run
from retrain.config import PairsConfig
from retrain.dataset.held_out import held_out
from server.settings import DEFAULT_TENANT

PEOPLE = 40
COMPARISONS, HELD_OUT_QUESTIONS = 160, 150
"""Questions a week with two answers that one person compares, and of held-out people."""
SAMPLING = Sampling(max_tokens=64, temperature=0.7, system="Answer in one short sentence.")
"""Without the instruction nearly every answer is longer than anybody wants to wait for on a CPU;
with it about half of them end within the limit."""
AT_ONCE = 24
RUN_SECONDS = 3_600.0
"""Longest weekly run. It takes a sixth of that on two idle cores."""
EXAMPLES = 8

Rows = Sequence[Mapping[str, Any]]


@dataclass(slots=True)
class PlainDemo:
    """The demo's options, and its results so far."""

    weeks: int
    seed: int
    screen: Screen
    comparisons: int = COMPARISONS
    held_out: int = HELD_OUT_QUESTIONS
    asked: dict[str, str] = field(default_factory=dict)
    reports: list[PlainWeek] = field(default_factory=list)
    base: PlainFigures | None = None
    rows: Rows = ()


async def run_plain_demo(demo: PlainDemo, server: LocalServer) -> PlainReport:
    """Start `server`, simulate the weeks and return the figures."""
    started = time.monotonic()
    with demo.screen.bar("starting the server", None):
        url, token = await server.start()
    demo.screen.say(f"serving at {url} (log: {server.log})")
    crowd = make_crowd(demo.seed)
    async with demo_client(url, token) as client:
        for week in range(1, demo.weeks + 1):
            await _chats(demo, client, crowd, week)
            await _note(demo, client, await next_run(demo.screen, client, week, RUN_SECONDS))
    return _report(demo, time.monotonic() - started)


def make_crowd(seed: int) -> Crowd:
    """Return the people, who are held out as the server does it."""
    share = PairsConfig().held_out_share
    people = make_people(PEOPLE, seed=seed)
    return Crowd(people, lambda name: held_out(DEFAULT_TENANT, name, share), seed)


async def _chats(demo: PlainDemo, client: DemoClient, crowd: Crowd, week: int) -> None:
    compared, alone = crowd.visits(demo.comparisons), crowd.held_out_visits(demo.held_out)
    title = f"week {week}: chats and comparisons"
    with demo.screen.bar(title, len(compared) + len(alone)) as bar:

        async def one(visit: PlainVisit, answers: int) -> None:
            given = await client.chat(visit, answers=answers, asks=SAMPLING)
            demo.asked[given.id] = visit.text
            await client.rate(visit, given, compared_answers(visit, given.texts))
            bar.step()

        jobs = [one(visit, 2) for visit in compared] + [one(visit, 1) for visit in alone]
        await gathered(jobs, AT_ONCE)


def compared_answers(visit: PlainVisit, texts: Sequence[str]) -> list[UserFeedback]:
    """Return the person's preference between two different answers, else nothing."""
    if len(set(texts)) < 2:  # noqa: PLR2004  (a comparison needs two)
        return []
    rng = random.Random("\0".join((visit.text, *texts)))
    wins = visit.user.prefers(visit.text, texts[0], texts[1], rng)
    return [UserFeedback("preference", 0 if wins else 1, 1 if wins else 0)]


async def _note(demo: PlainDemo, client: DemoClient, run: Mapping[str, Any]) -> None:
    """Record the week's result and show it."""
    demo.rows = await client.evaluation(run["id"]) if run["verdict"] else []
    live = (await client.route())["live"]
    week = plain_week(run, demo.rows, demo.asked, live)
    if demo.rows and demo.base is None:
        questions = [demo.asked[row["prompt_id"]] for row in demo.rows]
        demo.base = plain_figures(questions, _texts(demo.rows, "base"))
    demo.reports.append(week)
    demo.screen.say(f"[bold]{week.slot}[/]: {week.verdict}; live: {week.live}")
    for reason in week.reasons:
        demo.screen.say(f"  - {reason}")


def plain_week(
    run: Mapping[str, Any], rows: Rows, asked: Mapping[str, str], live: str
) -> PlainWeek:
    """Return the week's figures: the run's own, and those by the mean taste."""
    verdict = run["verdict"] or {}
    week = PlainWeek(
        slot=run["slot"],
        pairs=run["figures"].get("pairs", 0),
        train_seconds=run["figures"].get("train_seconds"),
        verdict=run["state"],
        reasons=tuple(verdict.get("reasons") or [run["reason"] or ""]),
        live=live,
    )
    if not rows:
        return week
    questions = [asked[row["prompt_id"]] for row in rows]
    candidate = _texts(rows, "candidate")
    return week.model_copy(
        update={
            "win_vs_base": plain_win_rate(questions, candidate, _texts(rows, "base")),
            "win_vs_live": plain_win_rate(questions, candidate, _texts(rows, "live")),
            "figures": plain_figures(questions, candidate),
        }
    )


def _texts(rows: Rows, arm: str) -> list[str]:
    """Return an arm's answers. In the first week live is base, which then has no arm of its own."""
    arm = arm if arm in rows[0]["answers"] else "live"
    return [row["answers"][arm]["text"] for row in rows]


def _report(demo: PlainDemo, seconds: float) -> PlainReport:
    if demo.base is None:
        raise DemoServerError("no week was evaluated; see the server's log")
    pairs = zip(demo.rows, _texts(demo.rows, "base"), _texts(demo.rows, "candidate"), strict=True)
    examples = tuple(
        PlainExample(question=demo.asked[row["prompt_id"]], base=before, candidate=after)
        for row, before, after in list(pairs)[:EXAMPLES]
    )
    return PlainReport(
        seed=demo.seed,
        seconds=seconds,
        base=demo.base,
        weeks=tuple(demo.reports),
        examples=examples,
        libraries=library_versions(),
    )
