"""Bring a database to the newest revision (`pawl db upgrade`, and every start)."""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine


def alembic_config() -> Config:
    """Alembic's settings: the migrations lie in the package."""
    config = Config()
    config.set_main_option("script_location", str(files("server") / "migrations"))
    return config


async def upgrade(url: str, revision: str = "head") -> None:
    """Run the migrations that the database at `url` lacks."""
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, revision)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, revision: str) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
