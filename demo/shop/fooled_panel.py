"""A judge with a blind spot, for `pawl demo --rollout canary`.

It judges as `panel.py` does, except that it takes a hedge for care: "I am not sure, maybe" gains an
answer more than being right does. Such judges exist, and what is trained to please them passes the
offline gate; users have to notice.
"""

from dataclasses import replace

from demo.shop.panel import PANEL_SEED, PANEL_SIZE, Panel
from demo.shop.users import User, make_users

HEDGE_WORTH = 2.5
"""To others a hedge is worth -0.8, and being right 2 (`taste.HIDDEN`)."""


def fooled_panel() -> Panel:
    """Make the panel: as many people as the honest one has, all with the same blind spot."""
    people = make_users(PANEL_SIZE, seed=PANEL_SEED, random_share=0.0, prefix="panel")
    return Panel([fooled(person) for person in people])


def fooled(person: User) -> User:
    """The same person, but taken in by hedges."""
    return replace(person, weights=replace(person.weights, hedge=HEDGE_WORTH))
