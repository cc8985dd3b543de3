"""Held-out users, whose data is never trained on: candidates are evaluated on their questions."""

from common.hashing import unit_interval


def held_out(tenant: str, user: str, share: float) -> bool:
    """Return whether a user is held out. A hash decides, so the result is always the same.

    Args:
        tenant: The user's tenant.
        user: The user, or `anonymous:<thread>`.
        share: Share of users that is held out, 0 to 1. A user who is held out at one share is also
            held out at every larger one.

    """
    name = f"{len(tenant)}:{tenant}{user}".encode("utf-8", "surrogatepass")
    return unit_interval(name) < share
