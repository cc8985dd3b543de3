"""The tree of settings: each package's section, read from `pawl.toml` and `PAWL_…` variables.

Two underscores separate a section from its settings: `PAWL_RETRAIN__ALPHA`. Importing this module
imports no heavy library, because every command reads settings.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from adapters.config import AdaptersConfig
from adapters.names import ChannelName
from feedback.config import FeedbackConfig
from retrain.config import RetrainConfig
from server.config import ChannelConfig, ServerConfig
from server.database.address import sqlite_url
from server.engine.config import EngineConfig

DEFAULT_TENANT = "default"
DEFAULT_CHANNEL = "pawl"

ENV_PREFIX = "PAWL_"


class Settings(BaseSettings):
    """All settings. The defaults are safe: loopback, SQLite, base model only."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        toml_file="pawl.toml",
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Path("pawl-data")
    """Folder for everything that Pawl stores: the SQLite database, adapters, runs."""
    database_url: str | None = None
    """Address of the database, such as `postgresql://user:password@host/database`; the default is
    an SQLite file in `data_dir`."""
    channels: dict[ChannelName, ChannelConfig] = Field(
        default_factory=lambda: {DEFAULT_CHANNEL: ChannelConfig()}
    )
    """Channels that are created at startup, by name."""
    server: ServerConfig = ServerConfig()
    engine: EngineConfig = EngineConfig()
    feedback: FeedbackConfig = FeedbackConfig()
    adapters: AdaptersConfig = AdaptersConfig()
    retrain: RetrainConfig = RetrainConfig()

    @property
    def database(self) -> str:
        """The address of the database in use: `database_url` or its default."""
        return self.database_url or sqlite_url(self.data_dir / "pawl.db")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments override variables, and variables override the file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def misspelt(variables: Iterable[str]) -> Iterator[str]:
    """Yield the names of `PAWL_…` variables that look like settings but match none.

    pydantic-settings only looks up names that it knows, so it ignores a misspelt variable.
    Variables of the client and the command line (`PAWL_URL`, `PAWL_KEY`) are not reported.
    """
    for variable in variables:
        if not variable.upper().startswith(ENV_PREFIX):
            continue
        section, below, _ = variable[len(ENV_PREFIX) :].lower().partition("__")
        if section not in Settings.model_fields and (below or _one_underscore(section)):
            yield variable


def _one_underscore(name: str) -> bool:
    """Return whether `name` is a section's setting written with one underscore instead of two."""
    section, _, setting = name.partition("_")
    if section not in Settings.model_fields:
        return False
    model = Settings.model_fields[section].annotation
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return False
    return setting in model.model_fields
