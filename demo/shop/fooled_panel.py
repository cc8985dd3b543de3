"""A biased judge, for `pawl demo --rollout canary`.

It judges as `panel.py` does, except that it prefers hedging: "I am not sure, maybe" is worth more
to it than being right. An adapter trained to please such a judge passes the offline gate, so only
the users of a canary can reject it.
"""

from dataclasses import replace

from demo.shop.panel import PANEL_SEED, PANEL_SIZE, Panel
from demo.shop.users import User, make_users

HEDGE_WORTH = 2.5
"""Utility of a hedge to this panel. To others a hedge is worth -0.8 and being right 2
(`taste.HIDDEN`)."""


def fooled_panel() -> Panel:
    """Return the panel: as many people as the honest one has, all with the same bias."""
    people = make_users(PANEL_SIZE, seed=PANEL_SEED, random_share=0.0, prefix="panel")
    return Panel([fooled(person) for person in people])


def fooled(person: User) -> User:
    """Return the same person with a preference for hedges."""
    return replace(person, weights=replace(person.weights, hedge=HEDGE_WORTH))
