"""The registry's section of the settings."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class AdaptersConfig(BaseModel):
    """Bounds on what is let in, and how a version is let go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: str = Field(default="pawl", pattern=r"^[a-z][a-z0-9_-]{0,62}$")
    """The channel that is there from the start."""
    tenant: str = "default"
    """Whom that channel belongs to."""
    max_bytes: int = Field(default=4 * 1024**3, ge=1)
    """The largest `adapter_model.safetensors`."""
    load_timeout_seconds: float = Field(default=300.0, gt=0)
    drain_deadline_seconds: float = Field(default=600.0, ge=0)
    """How long unloading waits for a version's requests to end; its files stay even then."""
    drain_quiet_seconds: float = Field(default=1.0, ge=0)
    """How long it must be without requests: one that was just routed may not be counted yet."""
    drain_poll_seconds: float = Field(default=0.1, gt=0)
    grace_days: float = Field(default=30.0, ge=0)
    """How long the files of a version that has ended are kept."""
    store: str | None = None
    """Where the files of versions are kept: a folder that all servers share, or an address that
    fsspec knows, such as `s3://bucket/pawl`; None: `adapters` under `data_dir`."""
    store_options: dict[str, Any] = Field(default_factory=dict, repr=False)
    """For fsspec's file system, such as `endpoint_url`; credentials better come from its own
    environment variables."""
    store_timeout_seconds: float = Field(default=60.0, gt=0)
    """How long one answer of S3 may take."""
    store_attempts: int = Field(default=3, ge=1)
    """How often a request to S3 is tried."""
