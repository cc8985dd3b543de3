"""Users without a button: they go on talking, or ask again, and the loop reads that.

The reader, `reader = "bench.learning.follow_ups:read"`, knows a few phrases, as a model would.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from demo.client import DemoClient, gathered
from demo.shop.town import Town, Visit
from demo.week import AT_ONCE

CHATS, HELD_OUT = 900, 420
SPEAKS, REPEATS = 0.6, 0.5
"""Share of the answers that a user reacts to, and of the disappointed ones who ask the same thing
again instead of complaining."""
THANKS = ("Thank you, that helps!", "Great, thanks.", "Perfect.", "Good to know, thank you!")
COMPLAINTS = (
    "That is not what I asked.",
    "No, that is wrong.",
    "Please answer my question.",
    "That does not help me.",
    "Once more, please.",
)
OTHER = ("And who are you?", "I will write again tomorrow.", "It is raining here.")
OFF_TOPIC = 0.15
"""Share of the reactions that say nothing about the answer."""


def read(conversation: Sequence[Mapping[str, Any]], answer: str, message: str) -> float:
    """Return 1 for thanks, -1 for a complaint, 0 for anything else."""
    del conversation, answer
    if message in THANKS:
        return 1.0
    return -1.0 if message in COMPLAINTS else 0.0


async def week_of_talk(client: DemoClient, town: Town, rng: random.Random) -> None:
    """Send the week's conversations. Nobody rates anything."""
    visits = [town.training_visit(rng) for _ in range(CHATS)]
    quiet = [visit for visit, _ in zip(town.held_out_visits(rng), range(HELD_OUT), strict=False)]
    jobs = [_conversation(client, visit) for visit in visits]
    jobs += [_asked(client, visit) for visit in quiet]
    await gathered(jobs, AT_ONCE)


async def _asked(client: DemoClient, visit: Visit) -> None:
    await client.chat(visit, answers=1)


async def _conversation(client: DemoClient, visit: Visit) -> None:
    """Ask, and react to the answer: with the next message, or by asking the same again."""
    given = await client.chat(visit, answers=1)
    rng = random.Random(f"{given.id}-{visit.text}")
    if rng.random() >= SPEAKS:
        return
    pleased = visit.user.thumbs_up(visit.question, given.texts[0], rng)
    if not pleased and rng.random() < REPEATS:
        again = await client.chat(visit, answers=1)
        if visit.user.thumbs_up(visit.question, again.texts[0], rng):
            await _say(client, visit, again.texts[0], rng.choice(THANKS))
        return
    reaction = rng.choice(THANKS if pleased else COMPLAINTS)
    said = rng.choice(OTHER) if rng.random() < OFF_TOPIC else reaction
    await _say(client, visit, given.texts[0], said)


async def _say(client: DemoClient, visit: Visit, answer: str, message: str) -> None:
    turns = [("user", visit.text), ("assistant", answer), ("user", message)]
    await client.converse(visit.user.name, turns)
