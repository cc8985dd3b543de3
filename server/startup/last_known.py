"""What a server must know to answer without its database, in a file of its own.

Hashes of keys, routes with the versions that they name, and the secret under the interaction ids.
With it a server that starts while the database is away serves chat and spools the log. The file is
as secret as the database: only its owner can read it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog
from pydantic import Base64Bytes, BaseModel, ValidationError

from adapters.models import Version
from adapters.routing.route import RouteView
from common.files import write_whole
from server.models import ApiKey

FILE = "last_known.json"

_log = structlog.get_logger()


class LastKnown(BaseModel):
    """Everything that is kept. `database` names which database it was read from."""

    database: str
    secret: Base64Bytes
    keys: list[dict[str, Any]]
    routes: list[dict[str, Any]]
    versions: list[dict[str, Any]]

    def key_rows(self) -> list[ApiKey]:
        """The keys, as the database would give them."""
        return [ApiKey.model_validate(row) for row in self.keys]

    def route_views(self) -> list[RouteView]:
        """The routes, as requests see them."""
        return [RouteView(**{**row, "versions": frozenset(row["versions"])}) for row in self.routes]

    def version_rows(self) -> dict[str, Version]:
        """The versions that the routes name, by name."""
        rows = [Version.model_validate(row) for row in self.versions]
        return {row.name: row for row in rows}


def last_known(
    database: str,
    secret: bytes,
    keys: Iterable[ApiKey],
    routes: Mapping[str, RouteView],
    versions: Iterable[Version],
) -> LastKnown:
    """What is to be kept, in an order that does not change by itself."""
    views = [asdict(routes[name]) for name in sorted(routes)]
    return LastKnown.model_construct(
        database=database,
        secret=secret,
        keys=[row.model_dump(mode="json") for row in sorted(keys, key=lambda row: row.id)],
        routes=[{**view, "versions": sorted(view["versions"])} for view in views],
        versions=[
            row.model_dump(mode="json") for row in sorted(versions, key=lambda row: row.name)
        ],
    )


def read_last_known(folder: Path, database: str) -> LastKnown | None:
    """What was kept of this database; None for nothing, or nothing that can be read."""
    try:
        kept = LastKnown.model_validate_json((folder / FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        _log.error("last_known_unreadable", error=type(error).__name__)
        return None
    return kept if kept.database == database else None


def write_last_known(folder: Path, kept: LastKnown) -> None:
    """Replace the file at once and durably: it is the old one or the new one, whatever happens."""
    write_whole(folder / FILE, kept.model_dump_json().encode())
