"""Migrations: they make what the models say, and can be run again."""

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel

import adapters.models
import feedback.models
import retrain.models
import server.models
from server.db import sqlite_url
from server.migrate import upgrade

TABLES = (adapters.models, feedback.models, retrain.models, server.models)


def _differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, SQLModel.metadata))


@pytest.mark.anyio
async def test_models_and_migrations_agree(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "pawl.db")
    await upgrade(url)
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
    await engine.dispose()


@pytest.mark.anyio
async def test_a_second_upgrade_changes_nothing(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "pawl.db")
    await upgrade(url)
    await upgrade(url)
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    await engine.dispose()
    assert {"interaction", "choice", "feedback", "version", "route", "run", "api_key"} <= set(names)
