"""An app of its own on the fake engine, with a client for each kind of caller."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
from fastapi import FastAPI

from server.app import create_app, lifespan
from server.config import ChannelConfig
from server.engine.config import EngineConfig
from server.engine.fake.engine import FakeEngine
from server.services import Services
from server.settings import Settings

LOOPBACK = "http://127.0.0.1"
QUESTION = {"role": "user", "content": "When do the tomatoes ripen?"}
CHANNELS = {
    "pawl": ChannelConfig(),
    "other": ChannelConfig(tenant="other"),
    "common": ChannelConfig(shared=True),
}


def test_settings(data_dir: Path, **sections: Any) -> Settings:
    """Settings without a scheduler, on the fake engine, with a channel of another tenant."""
    patient = {"database_seconds": 30, "commit_wait_seconds": 30}  # a slow machine is no outage
    sections = {
        "channels": CHANNELS,
        "retrain": {"enabled": False},
        **sections,
        "feedback": {**patient, **sections.get("feedback", {})},
    }
    engine = {"kind": "fake", "model": "fake", **sections.pop("engine", {})}
    return Settings(data_dir=data_dir, engine=EngineConfig(**engine), **sections)


test_settings.__test__ = False  # type: ignore[attr-defined]  # its name, not its purpose


def chat_body(**fields: Any) -> dict[str, Any]:
    """A request that is answered."""
    return {"model": "pawl", "messages": [QUESTION], **fields}


@dataclass(slots=True)
class RunningApp:
    """An app in its lifespan. `anyone` sends no key, `operator` the machine's own token."""

    app: FastAPI
    services: Services
    engine: FakeEngine
    anyone: httpx.AsyncClient

    def bearer(self, key: str, *, base_url: str = LOOPBACK) -> httpx.AsyncClient:
        """A client with a key."""
        headers = {"authorization": f"Bearer {key}"}
        return client_of(self.app, base_url=base_url, headers=headers)

    @property
    def operator(self) -> httpx.AsyncClient:
        return self.bearer(self.services.operator_token)

    async def key(self, role: Literal["app", "admin"], tenant: str = "default") -> str:
        """A new key."""
        return (await self.services.keys.create(role, tenant))[1]


def client_of(app: FastAPI, **arguments: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, **{"base_url": LOOPBACK, **arguments})


@asynccontextmanager
async def running_app(data_dir: Path, **sections: Any) -> AsyncIterator[RunningApp]:
    """Start an app on `data_dir`; what it keeps stays there."""
    engines: list[FakeEngine] = []

    async def start(config: EngineConfig) -> FakeEngine:
        engines.append(FakeEngine(config))
        return engines[0]

    app = create_app(test_settings(data_dir, **sections), start_engine=start)
    app.state.url = LOOPBACK
    async with lifespan(app), client_of(app) as anyone:
        yield RunningApp(app, app.state.services, engines[0], anyone)
