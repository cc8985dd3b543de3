"""A database for tests: one SQLite file with the tables of all rooms, opened as the server does."""

from pathlib import Path

from sqlalchemy import create_engine
from sqlmodel import SQLModel

import adapters.models  # noqa: F401  (all rooms' tables are registered by these imports)
import feedback.models  # noqa: F401
import retrain.models  # noqa: F401
from server.db import Database as SqliteDatabase
from server.db import sqlite_url

__all__ = ["SqliteDatabase", "make_database"]


async def make_database(folder: Path) -> SqliteDatabase:
    """A new database in `folder`, with all tables."""
    path = folder / "pawl.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    SQLModel.metadata.create_all(engine)
    engine.dispose()
    return SqliteDatabase(sqlite_url(path))
