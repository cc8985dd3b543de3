"""The server's own section of the settings."""

import re
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from adapters.names import TenantName
from common.settings import Seconds, Section, is_http_url

_LABEL = r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?", re.IGNORECASE)
_ORIGIN = re.compile(r"https?://[^/?#@]+")


def _origin(text: str) -> str:
    parts = urlsplit(text) if is_http_url(text) else None
    if (
        parts is None
        or not _ORIGIN.fullmatch(text)
        or text != text.lower()
        or not is_host(parts.hostname or "")
    ):
        raise ValueError(
            "an origin is scheme, host and port in small letters, without a path, such as "
            "https://shop.example.org"
        )
    return text


def _listening_host(text: str) -> str:
    if not is_host(text):
        raise ValueError("name an address or a host of this machine, such as 127.0.0.1 or 0.0.0.0")
    return text


def is_host(text: str) -> bool:
    """Whether `text` is an IP address or has the form of a host's name."""
    try:
        ip_address(text)
    except ValueError:
        return bool(_HOST.fullmatch(text)) and not text.replace(".", "").isdigit()
    return True


Origin = Annotated[str, AfterValidator(_origin)]
"""Scheme, host and port as browsers send them: in small letters, without a path."""
Host = Annotated[str, AfterValidator(_listening_host)]
"""Where to listen."""


class LimitsConfig(Section):
    """What a request may ask for; more is refused before it reaches the engine."""

    body_bytes: int = Field(default=1_000_000, gt=0)
    """Bytes of a request's body; more is a 413."""
    body_values: int = Field(default=50_000, gt=0)
    """Members of objects, objects and lists of a JSON body, at any depth together. Reading them
    takes processor time that nobody else has meanwhile: 50,000 take about 50 ms, and a long
    conversation has about 5,000."""
    choices: int = Field(default=8, gt=0)
    """Answers to one request (`n`). The engine's own limit holds beside it, and 1,024,
    which is how many answers the log can number."""
    top_logprobs: int = Field(default=20, ge=0)
    """Alternatives shown for each token. vLLM shows at most 20, unless `engine.extra_args` has
    `--max-logprobs`."""
    evaluation_concurrency: int = Field(default=8, gt=0)
    """Our own evaluation requests in flight at once (law 11)."""


class ShadowConfig(Section):
    """When the shadow of a channel may answer too: never at a user's cost (law 4)."""

    busy_streams: int = Field(default=8, ge=0)
    """It waits while so many live answers or more are under way; 0 lets it never answer. Raise it
    to what the engine answers at once without slowing down."""
    quiet_seconds: Seconds = Field(default=1, ge=0)
    """There must have been fewer for so long: streams that began together end together, and the
    next ones are there a moment later."""
    concurrency: int = Field(default=1, gt=0)
    """Shadow answers under way at once."""
    queue_max: int = Field(default=64, ge=0)
    """Requests that wait for the shadow; those beyond are not answered by it."""
    ttl_seconds: Seconds = Field(default=10, gt=0)
    """What has waited for so long is not answered any more."""
    answer_seconds: Seconds = Field(default=120, gt=0)
    """An answer that takes longer is cut off; so long at most it can hold an adapter's drain."""


class HttpConfig(Section):
    """What one connection may cost the server: sizes, times, and how many there may be.

    A peer that goes over a size or a time is told so where possible (408, 414, 431, 503) and its
    connection is closed. How long an answer takes to be generated has no bound here.
    """

    head_bytes: int = Field(default=32_768, ge=1_024, le=1_048_576)
    """Bytes of a request's target and headers together, and of the trailers after a body. 32 KiB
    is what nginx takes."""
    head_fields: int = Field(default=100, ge=10, le=10_000)
    """How many headers a request may have; browsers and proxies send about 30."""
    url_bytes: int = Field(default=8_192, ge=256, le=1_048_576)
    """Bytes of a request's target, its query included."""
    head_seconds: Seconds = Field(default=20, gt=0)
    """A request's headers must be there in this time, counted from the connection's opening or from
    the request's first byte."""
    body_seconds: Seconds = Field(default=60, gt=0)
    """A request's body must be there in this time after its headers: 1 MB at 17 kB/s."""
    keep_alive_seconds: Seconds = Field(default=75, gt=0)
    """An open connection may wait for its next request for this long. More than the 60 seconds
    after which common proxies close theirs, so that they are the ones who close."""
    write_seconds: Seconds = Field(default=30, gt=0)
    """A peer that does not read its answer is cut off after this time, and the answer is stored as
    `aborted`. It counts only while there is something that the peer could read: between the tokens
    of a stream any time may pass."""
    write_bytes_per_second: int = Field(default=1_024, ge=0)
    """What a peer must at least take of an answer that waits for it; 0 lets it take a byte every
    `write_seconds`."""
    connections: int = Field(default=1_000, ge=2)
    """Connections open at once. When there are more, the one that has waited longest without a
    request is closed; when all are being answered, the new one is told 503."""
    connections_per_peer: int = Field(default=500, ge=1)
    """The same for one address (IPv6: one /64 network). Behind a proxy all requests come from the
    proxy's address: set it to the value of `connections` there."""


class ServerConfig(Section):
    """Where the server listens and how it ends."""

    host: Host = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    drain_seconds: Seconds = Field(default=30, ge=0)
    """After SIGTERM streams may go on for so long; then they end with an error event."""
    restart_seconds: Seconds = Field(default=1, ge=0)
    """The supervising parent waits so long before it starts a dead server again; twice as long
    after each further death, up to 30 seconds."""
    proven_seconds: Seconds = Field(default=60, ge=0)
    """A server that served for so long was healthy: the pause is small again."""
    hang_seconds: Seconds = Field(default=30, gt=0)
    """The supervising parent kills a server that serves and whose event loop has not run for so
    long, and starts it again. The engine has a setting of its own."""
    database_wait_seconds: Seconds = Field(default=60, ge=0)
    """A start without the database, and without a file of what was last known, waits so long."""
    adjustable_clock: bool = False
    """Mounts `POST /v1/clock`: weeks pass on command. For demonstrations and rehearsals only."""
    cors_origins: list[Origin] = Field(default=[])
    """Web pages of these origins (`https://shop.example.org`) may send feedback from a browser,
    with a feedback token. No page may use any other part of the API."""
    http: HttpConfig = HttpConfig()
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


class ChannelConfig(Section):
    """A channel made at start: whose it is, and whether several tenants may train its adapter."""

    tenant: TenantName = "default"
    shared: bool = False
