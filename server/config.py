"""Settings of the HTTP server: the section `[server]`, and one channel's section."""

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
            "an origin is scheme, host and port in lower case, without a path, such as "
            "https://shop.example.org"
        )
    return text


def _listening_host(text: str) -> str:
    if not is_host(text):
        raise ValueError("name an address or a host of this machine, such as 127.0.0.1 or 0.0.0.0")
    return text


def is_host(text: str) -> bool:
    """Return whether `text` is an IP address or a syntactically valid host name."""
    try:
        ip_address(text)
    except ValueError:
        return bool(_HOST.fullmatch(text)) and not text.replace(".", "").isdigit()
    return True


Origin = Annotated[str, AfterValidator(_origin)]
"""Scheme, host and port as browsers send them: in lower case, without a path."""
Host = Annotated[str, AfterValidator(_listening_host)]
"""The address or host name to listen on."""


class LimitsConfig(Section):
    """Limits on one request; a request above a limit is refused before it reaches the engine."""

    body_bytes: int = Field(default=1_000_000, gt=0)
    """Maximum size of a request's body in bytes; a larger body gets a 413. 1 MB holds a
    conversation that fills a context of 128,000 tokens."""
    body_values: int = Field(default=50_000, gt=0)
    """Maximum number of object members, objects and lists in a JSON body, counted over all depths.
    Parsing blocks the event loop: 50,000 values take about 50 ms. A long conversation has about
    5,000."""
    choices: int = Field(default=8, gt=0)
    """Maximum number of answers to one request (`n`). The engine's own limit also applies, and so
    does 1,024, the number of answers that the log can index."""
    top_logprobs: int = Field(default=20, ge=0)
    """Maximum `top_logprobs`: alternatives returned for each token. vLLM returns at most 20, unless
    `engine.extra_args` has `--max-logprobs`."""
    evaluation_concurrency: int = Field(default=8, gt=0)
    """Requests that weekly runs make themselves (evaluations, counterparts) in flight at once. The
    default leaves most of a batch to users' requests."""


class ShadowConfig(Section):
    """When shadow answers may run. They never delay a user's request.

    The counterparts of weekly runs wait for `busy_streams` and `quiet_seconds` as well.
    """

    busy_streams: int = Field(default=8, ge=0)
    """Number of live answers in progress at which shadow answers stop being started; 0 disables
    them. Raise it to the number of answers that the engine generates concurrently without slowing
    down."""
    quiet_seconds: Seconds = Field(default=1, ge=0)
    """Seconds for which `busy_streams` must not have been reached before a shadow answer starts.
    Streams that begin together end together, and the next ones often follow within a second."""
    concurrency: int = Field(default=1, gt=0)
    """Shadow answers in progress at once. 1 keeps their share of a batch small."""
    queue_max: int = Field(default=64, ge=0)
    """Maximum number of requests that wait for a shadow answer; further ones are dropped."""
    ttl_seconds: Seconds = Field(default=10, gt=0)
    """Seconds after which a request that waits for a shadow answer is dropped. Waiting requests
    hold their texts in memory."""
    answer_seconds: Seconds = Field(default=120, gt=0)
    """Seconds after which a shadow answer is cancelled. This also bounds how long a shadow answer
    can delay the unloading of its adapter."""


class HttpConfig(Section):
    """Limits on connections: sizes, times, and their number.

    A peer that exceeds a limit gets an error where possible (408, 414, 431, 503), and its
    connection is closed. The time that an answer takes to be generated is not limited here.
    """

    head_bytes: int = Field(default=32_768, ge=1_024, le=1_048_576)
    """Maximum size in bytes of a request's target and headers together, and of the trailers after a
    body. 32 KiB is nginx's default."""
    head_fields: int = Field(default=100, ge=10, le=10_000)
    """Maximum number of headers of a request; browsers and proxies send about 30."""
    url_bytes: int = Field(default=8_192, ge=256, le=1_048_576)
    """Maximum size in bytes of a request's target, including its query."""
    head_seconds: Seconds = Field(default=20, gt=0)
    """Seconds within which a request's headers must arrive, from the opening of the connection or
    from the request's first byte."""
    body_seconds: Seconds = Field(default=60, gt=0)
    """Seconds within which a request's body must arrive after its headers. The default allows 1 MB
    at 17 kB/s."""
    keep_alive_seconds: Seconds = Field(default=75, gt=0)
    """Seconds that an open connection may wait for its next request. The default is above the 60
    seconds after which common proxies close idle connections, so that the proxy closes first."""
    write_seconds: Seconds = Field(default=30, gt=0)
    """Seconds after which a peer that does not read its answer is disconnected; the answer is
    stored as `aborted`. Only time in which data waits for the peer counts, not the time between two
    tokens of a stream."""
    write_bytes_per_second: int = Field(default=1_024, ge=0)
    """Minimum rate in bytes per second at which a peer must read data that waits for it; 0 requires
    only one byte every `write_seconds`."""
    connections: int = Field(default=1_000, ge=2)
    """Maximum number of open connections. Above it, the connection that has been idle longest is
    closed; if none is idle, the new one gets a 503."""
    connections_per_peer: int = Field(default=500, ge=1)
    """Maximum number of open connections of one address (IPv6: of one /64 network). Behind a proxy,
    all requests come from the proxy's address: set this to the value of `connections`."""


class ServerConfig(Section):
    """Where the server listens, how it shuts down and how it is restarted."""

    host: Host = "127.0.0.1"
    """Address or host name to listen on. The default accepts only connections from this machine;
    any other needs an API key."""
    port: int = Field(default=8000, ge=0, le=65535)
    """TCP port to listen on; 0 picks a free one."""
    drain_seconds: Seconds = Field(default=30, ge=0)
    """Seconds after SIGTERM that running streams get to finish; then they end with an error event.
    Most answers take less than the default."""
    restart_seconds: Seconds = Field(default=1, ge=0)
    """Seconds that the supervisor waits before it restarts a server that died. The pause doubles
    with each further death, up to 30 seconds."""
    proven_seconds: Seconds = Field(default=60, ge=0)
    """Seconds of serving after which a server counts as healthy, which resets the restart pause to
    `restart_seconds`."""
    hang_seconds: Seconds = Field(default=30, gt=0)
    """Seconds without an iteration of a serving process's event loop after which the supervisor
    kills and restarts it. The engine has a setting of its own."""
    database_wait_seconds: Seconds = Field(default=60, ge=0)
    """Seconds that a server waits at startup for its database, if it has no `last_known.json` to
    start from. The default covers the restart of a database."""
    adjustable_clock: bool = False
    """Enables `POST /v1/clock`, which moves the server's clock forward, so that weeks can be
    simulated. For demonstrations and tests only."""
    cors_origins: list[Origin] = Field(default=[])
    """Origins (`https://shop.example.org`) whose web pages may send feedback from a browser, with a
    feedback token. No page may use any other part of the API."""
    http: HttpConfig = HttpConfig()
    limits: LimitsConfig = LimitsConfig()
    shadow: ShadowConfig = ShadowConfig()

    @property
    def loopback(self) -> bool:
        """Whether the server accepts connections only from this machine."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


class ChannelConfig(Section):
    """A channel that is created at startup."""

    tenant: TenantName = "default"
    """The tenant that owns the channel."""
    shared: bool = False
    """Whether other tenants may use the channel too; texts of several tenants then train its
    adapter."""
