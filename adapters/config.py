"""The registry's section of the settings."""

from typing import Any, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from adapters.names import ChannelName, TenantName
from common.settings import Days, Seconds, Section


class ClusterConfig(Section):
    """Coordination of several servers that share one database."""

    model_config = ConfigDict(frozen=True)

    name: str = ""
    """Name of this server in `pawl servers`; the default is the host name."""
    beat_seconds: Seconds = Field(default=1.0, gt=0)
    """Seconds between a server's heartbeats, and between its reads of the routes. On PostgreSQL a
    notification also triggers both at once, so that this interval is the upper bound."""
    dead_seconds: Seconds = Field(default=10.0, gt=0)
    """Seconds without a heartbeat after which a server counts as dead: route changes no longer wait
    for it. Must be above `beat_seconds`; the default allows for ten missed heartbeats."""
    route_age_seconds: Seconds = Field(default=2.0, gt=0)
    """Seconds after which a route that was not confirmed counts as stale, for example because the
    process was suspended. Requests then wait until the route is read from the database, unless the
    database does not answer."""
    patience_seconds: Seconds = Field(default=2.0, gt=0)
    """Seconds without an answer after which the database counts as unavailable. Requests are then
    answered with the last known routes."""
    catch_up_seconds: Seconds = Field(default=5.0, ge=0)
    """Seconds that requests wait for a version that the route names and that is still being loaded.
    After that, standby or the base model answers instead."""
    retry_seconds: Seconds = Field(default=30.0, gt=0)
    """Seconds until a version that could not be loaded is tried again."""

    @model_validator(mode="after")
    def _beats_in_time(self) -> Self:
        if self.beat_seconds >= self.dead_seconds:
            raise ValueError(
                "beat_seconds must be below dead_seconds, or running servers count as dead"
            )
        return self


class AdaptersConfig(Section):
    """The registry: limits on adapters, loading and unloading, and where their files are stored."""

    model_config = ConfigDict(frozen=True)

    channel: ChannelName = "pawl"
    """Name of the channel that is created at start unless it exists."""
    tenant: TenantName = "default"
    """The tenant that owns that channel."""
    max_bytes: int = Field(default=4 * 1024**3, ge=1)
    """Largest `adapter_model.safetensors` that is accepted, in bytes. The default is 4 GiB, several
    times the size of usual adapters."""
    max_update_ratio: float = Field(default=10.0, gt=0)
    """How many times as large as the base model's own weight an adapter's update of a module may
    be: the Frobenius norm of (alpha / rank) x B x A (rsLoRA: alpha / square root of the rank)
    over that of the weight. Training usually ends between 0.001 and 1. The default is ten, because
    far larger updates make the engine compute NaN, while an adapter that is merely bad is left to
    the promotion gate. Where the base model's weights are quantised, or are not on the disk as
    safetensors, the norms are not compared: only updates that overflow the engine's float type, or
    the layers that follow, are refused."""
    load_timeout_seconds: Seconds = Field(default=300.0, gt=0)
    """Seconds that the engine may take to load a version, and that a route change waits for other
    servers to load it. The default leaves them time to download it from object storage."""
    drain_deadline_seconds: Seconds = Field(default=600.0, ge=0)
    """Seconds that unloading waits for the version's running requests. After that it is unloaded
    regardless; its files are kept."""
    drain_quiet_seconds: Seconds = Field(default=1.0, ge=0)
    """Seconds without requests before a version is unloaded: a request that was just routed may not
    be counted yet."""
    drain_poll_seconds: Seconds = Field(default=0.1, gt=0)
    """Seconds between two checks whether a version that is being unloaded still has requests."""
    grace_days: Days = Field(default=30.0, ge=0)
    """Days that the files of a rejected, retired or rolled-back version are kept."""
    store: str | None = None
    """Where the files of versions are stored: a folder that all servers share, or an fsspec URL
    such as `s3://bucket/pawl`. The default is `adapters` under `data_dir`."""
    store_options: dict[str, Any] = Field(default_factory=dict, repr=False)
    """Options of the fsspec file system, such as `endpoint_url`. Pass credentials in the
    environment variables that the file system reads rather than here."""
    store_timeout_seconds: Seconds = Field(default=60.0, gt=0)
    """Read timeout of one S3 request, in seconds."""
    store_attempts: int = Field(default=3, ge=1)
    """Attempts of one S3 request, the first included."""
    cluster: ClusterConfig = ClusterConfig()

    @field_validator("store")
    @classmethod
    def _names_a_place(cls, store: str | None) -> str | None:
        if store is not None and not store.strip():
            raise ValueError("set a folder or a URL, or leave the setting out")
        return store
