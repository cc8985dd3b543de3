"""A judge with a blind spot, for `pawl demo --rollout canary`.

It judges as `panel.py` does, except that it takes a hedge for care and looks nothing up: an answer
that says "I am not sure, maybe" is worth more to it than a right one. Such judges exist, and what
is trained to please them passes the offline gate; users have to notice.
"""

from dataclasses import replace

from server.demo.panel import PANEL_SEED, PANEL_SIZE, Panel
from server.demo.users import User, make_users

HEDGE_WORTH = 6.0
"""More than a right and polite answer's, so that the hedge decides."""


def fooled_panel() -> Panel:
    """Make the panel: as many people as the honest one has, all with the same blind spot."""
    people = make_users(PANEL_SIZE, seed=PANEL_SEED, random_share=0.0, prefix="panel")
    return Panel([fooled(person) for person in people])


def fooled(person: User) -> User:
    """The same person, but taken in by hedges."""
    return replace(person, weights=replace(person.weights, hedge=HEDGE_WORTH))
