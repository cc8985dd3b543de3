"""Simulates the days of a rollout: users chat and give thumbs, and the server decides.

The demo never changes the rollout. It only sends chats and thumbs, advances the clock, and reads
the server's decisions.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from demo.client import DemoClient, gathered
from demo.local_server import DemoServerError
from demo.report.rollout_report import Looks
from demo.shop.feedback import UserFeedback
from demo.shop.town import Town, Visit
from demo.shop.users import User
from demo.week import Asked
from retrain.rollout.decisions import OPEN, Phase

HOURS_BETWEEN_VISITS = 72.0
"""Mean hours between two visits of a user."""
THUMB = 0.8
"""Probability that a visit ends with a thumb."""
STEP_HOURS: Mapping[Phase, float] = {
    Phase.BEGUN: 0.0,
    Phase.SHADOW: 3.0,
    Phase.CANARY: 3.0,
    Phase.WATCH: 12.0,
}
"""Hours by which the clock advances at a time, by phase; users chat in the middle of a step."""
AT_ONCE = 32
LOOK_SECONDS = 1.5
"""Seconds to wait for the server's next look at the rollout; it looks several times a second."""
_POLL_SECONDS = 0.1
_MOST_DAYS = 40


@dataclass(frozen=True, slots=True)
class Regulars:
    """The users whose thumbs decide rollouts, and the state of the simulation."""

    town: Town
    rng: random.Random
    asked: Asked

    @property
    def users(self) -> Sequence[User]:
        """All users."""
        return (*self.town.training_users, *self.town.held_out_users)


async def live_through_rollout(
    client: DemoClient,
    regulars: Regulars,
    version: str,
    tell: Callable[[str], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> tuple[dict[str, Any], Looks]:
    """Simulate days until the rollout has ended; return the rollout and what was observed.

    Raises `DemoServerError` if it does not end within `_MOST_DAYS`.
    """
    looks = Looks()
    rollout = await client.rollout(version)
    began = await client.now()
    while (phase := Phase(rollout["phase"])) in OPEN:
        hours = timedelta(hours=STEP_HOURS.get(phase, STEP_HOURS[Phase.CANARY]))
        await client.advance(hours / 2)
        await pass_hours(client, regulars, hours, looks)
        now = await client.advance(hours / 2)
        rollout = await _next_look(client, version, sleep)
        looks.note(rollout, now)
        tell(described(rollout, now))
        if now - began > timedelta(days=_MOST_DAYS):
            raise DemoServerError(f"the rollout of {version} never ended; see the server's log")
    return rollout, looks


async def pass_hours(
    client: DemoClient, regulars: Regulars, hours: timedelta, looks: Looks
) -> None:
    """Advance the clock by `hours` and send the visits that fall into them."""
    users = visitors(regulars.users, hours, regulars.rng)
    visits = [regulars.town.visit_of(user, regulars.rng) for user in users]
    await gathered([_visit(client, visit, regulars, looks) for visit in visits], AT_ONCE)


def visitors(users: Sequence[User], hours: timedelta, rng: random.Random) -> list[User]:
    """Draw the users who visit within `hours`, each at most once."""
    chance = hours / timedelta(hours=HOURS_BETWEEN_VISITS)
    return [user for user in users if rng.random() < chance]


async def _visit(client: DemoClient, visit: Visit, regulars: Regulars, looks: Looks) -> None:
    answers = await client.chat(visit, answers=1)
    regulars.asked[answers.id] = visit.question
    looks.users.add(visit.user.name)
    own = random.Random(f"{answers.id}-{visit.text}")
    if own.random() < THUMB:
        up = visit.user.thumbs_up(visit.question, answers.texts[0], own)
        looks.voted(answers.model.partition("@")[2], up=up)
        await client.rate(visit, answers, [UserFeedback("thumbs", 0, up)])


async def _next_look(
    client: DemoClient, version: str, sleep: Callable[[float], Awaitable[None]]
) -> dict[str, Any]:
    """Wait for the server's next look at the rollout and return the rollout.

    A look is noticed by a change of the rollout. One that changes nothing cannot be noticed, so the
    wait ends after `LOOK_SECONDS`.
    """
    before = rollout = await client.rollout(version)
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            while rollout == before:
                await sleep(_POLL_SECONDS)
                rollout = await client.rollout(version)
    except TimeoutError:
        pass
    return rollout


def described(rollout: Mapping[str, Any], now: datetime) -> str:
    """Describe a rollout in one line, for the progress bar."""
    shown = f"{now:%a %H:%M}, {rollout['phase']}"
    verdict = rollout["verdict"]
    if verdict is None:
        return shown
    streams = verdict["streams"].values()
    better = max(stream["better"] for stream in streams)
    worse = max(stream["worse"] for stream in streams)
    users = verdict["canary_users"] + verdict["live_users"]
    return f"{shown}: {users} rated, E+ {better:.3g}, E- {worse:.3g}"
