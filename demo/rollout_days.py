"""The days of a rollout at Bramblewick: users come and go, and the server decides by itself.

Nothing here moves a rollout on: users chat with the channel and give a thumb, time passes, and the
server is asked what it has made of it.
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
from demo.shop.users import Town, User, UserFeedback, Visit
from demo.week import Asked
from retrain.rollout.decisions import OPEN, Phase

HOURS_BETWEEN_VISITS = 72.0
"""How often each user comes, on average."""
THUMB = 0.8
"""How often a visit ends with a thumb."""
STEP_HOURS: Mapping[Phase, float] = {
    Phase.BEGUN: 0.0,
    Phase.SHADOW: 3.0,
    Phase.CANARY: 3.0,
    Phase.WATCH: 12.0,
}
"""Time passes in steps; users come in the middle of each."""
AT_ONCE = 32
LOOK_SECONDS = 1.5
"""How long the server has for its next look; it looks several times a second."""
_POLL_SECONDS = 0.1
_MOST_DAYS = 40


@dataclass(frozen=True, slots=True)
class Regulars:
    """The users whom rollouts are decided by, and what is kept of them."""

    town: Town
    rng: random.Random
    asked: Asked

    @property
    def users(self) -> Sequence[User]:
        """All of them."""
        return (*self.town.training_users, *self.town.held_out_users)


async def live_through_rollout(
    client: DemoClient,
    regulars: Regulars,
    version: str,
    tell: Callable[[str], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> tuple[dict[str, Any], Looks]:
    """Live on until the rollout has ended; returns it as it then stands, and what was seen of it.

    Raises `DemoServerError` where it never ends.
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
    """Let those users come who would in so long."""
    users = visitors(regulars.users, hours, regulars.rng)
    visits = [regulars.town.visit_of(user, regulars.rng) for user in users]
    await gathered([_visit(client, visit, regulars, looks) for visit in visits], AT_ONCE)


def visitors(users: Sequence[User], hours: timedelta, rng: random.Random) -> list[User]:
    """Who comes within so long, each of `users` at most once."""
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
    """The rollout once the server has looked at it again, as far as that can be told.

    What it decides by has changed when its row has; a look that changes nothing is waited out.
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
    """A rollout in a line, for the bar."""
    shown = f"{now:%a %H:%M}, {rollout['phase']}"
    verdict = rollout["verdict"]
    if verdict is None:
        return shown
    streams = verdict["streams"].values()
    better = max(stream["better"] for stream in streams)
    worse = max(stream["worse"] for stream in streams)
    users = verdict["canary_users"] + verdict["live_users"]
    return f"{shown}: {users} rated, E+ {better:.3g}, E- {worse:.3g}"
