"""Users who never train: their questions are what candidates are evaluated on."""

from common.hashing import unit_interval


def held_out(tenant: str, user: str, share: float) -> bool:
    """Whether this user never trains; stable over runs, processes and machines.

    Args:
        tenant: The user's tenant.
        user: The user, or `anonymous:<thread>`.
        share: Share of the users that is held out; who is held out at a share is held out at every
            larger one.

    """
    name = f"{len(tenant)}:{tenant}{user}".encode("utf-8", "surrogatepass")
    return unit_interval(name) < share
