"""The registry's section of the settings."""

from typing import Any, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from adapters.names import ChannelName, TenantName
from common.settings import Days, Seconds, Section


class ClusterConfig(Section):
    """How servers that share a database know each other."""

    model_config = ConfigDict(frozen=True)

    name: str = ""
    """What `pawl servers` calls this one; the default is the machine's name."""
    beat_seconds: Seconds = Field(default=1.0, gt=0)
    """So often a server reports itself and looks for changed routes; it is also told of them."""
    dead_seconds: Seconds = Field(default=10.0, gt=0)
    """One that has not reported itself for so long is waited for no more."""
    route_age_seconds: Seconds = Field(default=2.0, gt=0)
    """With a route that was not confirmed for so long (the process was stopped) no request begins
    before the database was asked, unless that does not answer."""
    patience_seconds: Seconds = Field(default=2.0, gt=0)
    """A database that has not answered for so long counts as away: requests begin on the routes
    that are known."""
    catch_up_seconds: Seconds = Field(default=5.0, ge=0)
    """How long requests wait for a version that the route names and that is still being loaded;
    then standby or the base model stands in."""
    retry_seconds: Seconds = Field(default=30.0, gt=0)
    """A version that could not be loaded is tried again after so long."""

    @model_validator(mode="after")
    def _beats_in_time(self) -> Self:
        if self.beat_seconds >= self.dead_seconds:
            raise ValueError(
                "beat_seconds must be below dead_seconds, or living servers count as dead"
            )
        return self


class AdaptersConfig(Section):
    """Bounds on what is let in, and how a version is let go."""

    model_config = ConfigDict(frozen=True)

    channel: ChannelName = "pawl"
    """The channel that is there from the start."""
    tenant: TenantName = "default"
    """Whom that channel belongs to."""
    max_bytes: int = Field(default=4 * 1024**3, ge=1)
    """The largest `adapter_model.safetensors`."""
    max_update_ratio: float = Field(default=10.0, gt=0)
    """How many times as large as the base model's own weight an adapter's update of a module may
    be: the Frobenius norm of (alpha / rank) x B x A (rsLoRA: alpha / square root of the rank)
    over that of the weight. Usual trainings end between 0.001 and 1; ten times is let in, since
    the gate judges what is merely bad, while far larger updates make the engine compute NaN. Where
    the base model's weights are quantised or not on the disk as safetensors, this is not
    compared: only updates that overflow the engine's float type, or that no layer behind them
    survives, are refused."""
    load_timeout_seconds: Seconds = Field(default=300.0, gt=0)
    drain_deadline_seconds: Seconds = Field(default=600.0, ge=0)
    """How long unloading waits for a version's requests to end; its files stay even then."""
    drain_quiet_seconds: Seconds = Field(default=1.0, ge=0)
    """How long it must be without requests: one that was just routed may not be counted yet."""
    drain_poll_seconds: Seconds = Field(default=0.1, gt=0)
    grace_days: Days = Field(default=30.0, ge=0)
    """How long the files of a version that has ended are kept."""
    store: str | None = None
    """Where the files of versions are kept: a folder that all servers share, or an address that
    fsspec knows, such as `s3://bucket/pawl`; None: `adapters` under `data_dir`."""
    store_options: dict[str, Any] = Field(default_factory=dict, repr=False)
    """For fsspec's file system, such as `endpoint_url`; credentials better come from its own
    environment variables."""
    store_timeout_seconds: Seconds = Field(default=60.0, gt=0)
    """How long one answer of S3 may take."""
    store_attempts: int = Field(default=3, ge=1)
    """How often a request to S3 is tried."""
    cluster: ClusterConfig = ClusterConfig()

    @field_validator("store")
    @classmethod
    def _names_a_place(cls, store: str | None) -> str | None:
        if store is not None and not store.strip():
            raise ValueError("name a folder or an address, or leave the setting out")
        return store
