"""The server's own section of the settings."""

from ipaddress import ip_address
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Origin = Annotated[
    str,
    StringConstraints(
        pattern=r"^https?://[a-z0-9.\-]+(:[0-9]{1,5})?$|^https?://\[[0-9a-f:]+\](:[0-9]{1,5})?$"
    ),
]
"""Scheme, host and port as browsers send them: in small letters, without a path."""


class LimitsConfig(BaseModel):
    """What a request may ask for; more is refused before it reaches the engine."""

    model_config = ConfigDict(extra="forbid")

    body_bytes: int = Field(default=1_000_000, gt=0)
    choices: int = Field(default=8, gt=0)
    """Answers to one request (`n`). The engine's own limit holds beside it, and 1,024,
    which is how many answers the log can number."""
    top_logprobs: int = Field(default=20, ge=0)
    """Alternatives shown for each token. vLLM shows at most 20, unless `engine.extra_args` has
    `--max-logprobs`."""
    evaluation_concurrency: int = Field(default=8, gt=0)
    """Our own evaluation requests in flight at once (law 11)."""


class ShadowConfig(BaseModel):
    """When the shadow of a channel may answer too: never at a user's cost (law 4)."""

    model_config = ConfigDict(extra="forbid")

    busy_streams: int = Field(default=8, ge=0)
    """It waits while so many live answers or more are under way; 0 lets it never answer. Raise it
    to what the engine answers at once without slowing down."""
    quiet_seconds: float = Field(default=1, ge=0)
    """There must have been fewer for so long: streams that began together end together, and the
    next ones are there a moment later."""
    concurrency: int = Field(default=1, gt=0)
    """Shadow answers under way at once."""
    queue_max: int = Field(default=64, ge=0)
    """Requests that wait for the shadow; those beyond are not answered by it."""
    ttl_seconds: float = Field(default=10, gt=0)
    """What has waited for so long is not answered any more."""
    answer_seconds: float = Field(default=120, gt=0)
    """An answer that takes longer is cut off; so long at most it can hold an adapter's drain."""


class ServerConfig(BaseModel):
    """Where the server listens and how it ends."""

    model_config = ConfigDict(extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    drain_seconds: float = Field(default=30, ge=0)
    """After SIGTERM streams may go on for so long; then they end with an error event."""
    restart_seconds: float = Field(default=1, ge=0)
    """The supervising parent waits so long before it starts a dead server again; twice as long
    after each further death, up to 30 seconds."""
    proven_seconds: float = Field(default=60, ge=0)
    """A server that served for so long was healthy: the pause is small again."""
    hang_seconds: float = Field(default=30, gt=0)
    """The supervising parent kills a server that serves and whose event loop has not run for so
    long, and starts it again. The engine has a setting of its own."""
    database_wait_seconds: float = Field(default=60, ge=0)
    """A start without the database, and without a file of what was last known, waits so long."""
    adjustable_clock: bool = False
    """Mounts `POST /v1/clock`: weeks pass on command. For demonstrations and rehearsals only."""
    cors_origins: list[Origin] = []
    """Web pages of these origins (`https://shop.example.org`) may send feedback from a browser,
    with a feedback token. No page may use any other part of the API."""
    limits: LimitsConfig = LimitsConfig()
    shadow: ShadowConfig = ShadowConfig()

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


class ChannelConfig(BaseModel):
    """A channel made at start: whose it is, and whether several tenants may train its adapter."""

    model_config = ConfigDict(extra="forbid")

    tenant: str = "default"
    shared: bool = False
