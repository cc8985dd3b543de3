"""The registry's queries. Each takes a session; the caller owns the transaction."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.errors import UnknownChannelError, UnknownVersionError
from adapters.models import Channel, Route, Version, VersionEvent
from adapters.routing.lifecycle import ADDRESSABLE, states
from adapters.routing.route import RouteView


async def get_version(session: AsyncSession, name: str) -> Version:
    """Return the version; raises `UnknownVersionError`."""
    version = await session.get(Version, name)
    if version is None:
        raise UnknownVersionError
    return version


async def with_digest(session: AsyncSession, digest: str) -> Sequence[Version]:
    """Return the versions with this content digest, oldest first."""
    query = select(Version).where(col(Version.digest) == digest)
    return (await session.exec(query.order_by(col(Version.created_at), col(Version.name)))).all()


async def last_event_at(session: AsyncSession, version: str) -> datetime | None:
    """Return the time of the version's latest event."""
    query = select(func.max(col(VersionEvent.at))).where(col(VersionEvent.version) == version)
    return (await session.exec(query)).one()


async def get_route(session: AsyncSession, channel: str) -> Route:
    """Return the channel's route; raises `UnknownChannelError`."""
    route = await session.get(Route, channel)
    if route is None:
        raise UnknownChannelError
    return route


async def view(session: AsyncSession, channel: str) -> RouteView:
    """Return the channel with its route; raises `UnknownChannelError`."""
    row = await session.get(Channel, channel)
    if row is None:
        raise UnknownChannelError
    route = await get_route(session, channel)
    query = select(col(Version.name)).where(
        col(Version.channel) == channel, col(Version.state).in_(states(ADDRESSABLE))
    )
    return _view(row, route, frozenset((await session.exec(query)).all()))


async def views(session: AsyncSession) -> list[RouteView]:
    """Return every channel with its route, in two queries."""
    query = select(col(Version.channel), col(Version.name)).where(
        col(Version.state).in_(states(ADDRESSABLE))
    )
    addressable: defaultdict[str, set[str]] = defaultdict(set)
    for channel, name in (await session.exec(query)).all():
        addressable[channel].add(name)
    both = select(Channel, Route).where(col(Route.channel) == col(Channel.name))
    rows = (await session.exec(both.order_by(col(Channel.name)))).all()
    return [_view(row, route, frozenset(addressable[row.name])) for row, route in rows]


def _view(channel: Channel, route: Route, addressable: frozenset[str]) -> RouteView:
    return RouteView(
        channel=channel.name,
        tenant=channel.tenant,
        shared=channel.shared,
        live=route.live,
        standby=route.standby,
        canary=route.canary,
        canary_share=route.canary_share,
        holdback_share=route.holdback_share,
        trial=route.trial,
        shadow=route.shadow,
        shadow_share=route.shadow_share,
        epoch=route.epoch,
        versions=addressable,
    )
