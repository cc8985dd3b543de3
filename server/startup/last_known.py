"""`last_known.json`: what a server needs to start and serve chat while its database is unavailable.

It holds the hashes of API keys, the routes with their versions, and the secret that authenticates
interaction ids. A server that starts from it serves chat and spools the log. The file is as
confidential as the database: only its owner can read it.
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
    """The content of the file. `database` is the address of the database that it was read from."""

    database: str
    secret: Base64Bytes
    keys: list[dict[str, Any]]
    routes: list[dict[str, Any]]
    versions: list[dict[str, Any]]

    def key_rows(self) -> list[ApiKey]:
        """The keys as rows of the database."""
        return [ApiKey.model_validate(row) for row in self.keys]

    def route_views(self) -> list[RouteView]:
        """The routes as requests use them."""
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
    """Return the file's content, sorted, so that equal states give equal files."""
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
    """Read the file; None if it is missing, unreadable or of another database."""
    try:
        kept = LastKnown.model_validate_json((folder / FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        _log.error("last_known_unreadable", error=type(error).__name__)
        return None
    return kept if kept.database == database else None


def write_last_known(folder: Path, kept: LastKnown) -> None:
    """Replace the file atomically and durably."""
    write_whole(folder / FILE, kept.model_dump_json().encode())
