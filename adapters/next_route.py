"""Computes the next route from the current one and the requested one."""

import secrets
from dataclasses import replace

from adapters.errors import RouteChangeError
from adapters.routing.route import RouteView, with_canary, with_live, with_shadow
from adapters.schemas import RouteIn


def new_trial() -> str:
    """Return a random trial name; it salts the buckets, so each trial splits users differently."""
    return secrets.token_hex(8)


def changed_route(before: RouteView, wanted: RouteIn) -> RouteView:
    """Return the requested route with the next epoch, or `before` itself if nothing differs.

    A new canary starts a new trial, with new buckets of users. Raises `RouteChangeError`.
    """
    if wanted.canary is not None and wanted.canary == wanted.shadow:
        raise RouteChangeError(f"{wanted.canary} cannot be canary and shadow at once: choose one")
    after = before
    if wanted.live is not None and wanted.live != after.live:
        after = with_live(after, wanted.live)
    if (wanted.canary, wanted.canary_share) != (after.canary, after.canary_share):
        trial = after.trial if wanted.canary == after.canary else new_trial()
        after = with_canary(
            after, wanted.canary, wanted.canary_share, trial if wanted.canary else ""
        )
    if (wanted.shadow, wanted.shadow_share) != (after.shadow, after.shadow_share):
        after = with_shadow(after, wanted.shadow, wanted.shadow_share)
    return after if after == before else replace(after, epoch=before.epoch + 1)
