"""Addresses of databases. Imports no driver, so that reading settings is fast."""

from pathlib import Path


def sqlite_url(path: Path) -> str:
    """Return the SQLAlchemy address of the SQLite database in the file `path`."""
    return f"sqlite+aiosqlite:///{path}"
