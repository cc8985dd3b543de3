from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.database_fixture import SqliteDatabase, make_database


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def database(tmp_path: Path, anyio_backend: str) -> AsyncIterator[SqliteDatabase]:
    made = await make_database(tmp_path)
    yield made
    await made.close()
