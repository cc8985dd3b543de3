"""One tree of settings made of the rooms' sections: `pawl.toml`, and `PAWL_…` variables over it.

`PAWL_RETRAIN__ALPHA`-style names reach into sections with two underscores. Importing this module
imports no heavy library: every command reads settings.
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
    """Everything that can be set. Defaults are safe: loopback, SQLite, base model only."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        toml_file="pawl.toml",
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Path("pawl-data")
    """Everything that Pawl keeps: the database, adapters, runs."""
    database_url: str | None = None
    """`postgresql://user:password@host/database`; the default is SQLite under `data_dir`."""
    channels: dict[ChannelName, ChannelConfig] = Field(
        default_factory=lambda: {DEFAULT_CHANNEL: ChannelConfig()}
    )
    server: ServerConfig = ServerConfig()
    engine: EngineConfig = EngineConfig()
    feedback: FeedbackConfig = FeedbackConfig()
    adapters: AdaptersConfig = AdaptersConfig()
    retrain: RetrainConfig = RetrainConfig()

    @property
    def database(self) -> str:
        """The address of the database in use."""
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
        """Arguments win over variables, variables over the file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def misspelt(variables: Iterable[str]) -> Iterator[str]:
    """Names of variables that are meant to set something and set nothing.

    pydantic-settings looks up the names that it knows and never sees others. Variables of whoever
    calls Pawl (`PAWL_URL`, `PAWL_KEY`) are none of these.
    """
    for variable in variables:
        if not variable.upper().startswith(ENV_PREFIX):
            continue
        section, below, _ = variable[len(ENV_PREFIX) :].lower().partition("__")
        if section not in Settings.model_fields and (below or _one_underscore(section)):
            yield variable


def _one_underscore(name: str) -> bool:
    """Whether it is a setting of a section, but for the second underscore."""
    section, _, setting = name.partition("_")
    if section not in Settings.model_fields:
        return False
    model = Settings.model_fields[section].annotation
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return False
    return setting in model.model_fields
