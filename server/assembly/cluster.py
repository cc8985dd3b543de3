"""Connects an app to the other servers on its database."""

import platform
import secrets
from contextlib import AsyncExitStack

from fastapi import FastAPI
from sqlalchemy.engine import URL

from adapters.cluster.membership import Identity
from adapters.service import Registry
from adapters.signals import ROUTES, SERVERS
from adapters.vetting.base_model import BaseModelInfo
from server.auth.keys import KEYS, KeyRing
from server.database.notifications import Notifications
from server.serving.drain import Drain
from server.settings import Settings


def identity(app: FastAPI, url: URL, base: BaseModelInfo, predecessor: str | None) -> Identity:
    """Return this server's identity; on SQLite it is the only server."""
    settings: Settings = app.state.settings
    return Identity(
        id=secrets.token_hex(8),
        name=settings.adapters.cluster.name or platform.node(),
        url=getattr(app.state, "url", ""),
        base_fingerprint=base.fingerprint,
        predecessor=predecessor,
        sole=url.get_backend_name() == "sqlite",
    )


def follow(
    registry: Registry, keys: KeyRing, url: URL, drain: Drain, stack: AsyncExitStack
) -> None:
    """Follow the changes of other servers, until `stack` closes."""
    registry.follow(lambda: drain.draining)
    if url.get_backend_name() != "postgresql":
        return
    handlers = {
        ROUTES: registry.route_signalled,
        SERVERS: registry.server_signalled,
        KEYS: keys.refresh,
    }
    notifications = Notifications(url, handlers)
    notifications.start()
    stack.push_async_callback(notifications.close)
