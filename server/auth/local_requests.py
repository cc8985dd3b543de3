"""Whether a request comes from this machine itself, as its headers tell. Pure.

Only while there is no key does it matter: then whoever works on this machine is the operator.
"""

import re
from collections.abc import Iterable

_LOOPBACK_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?")
_FORWARDING = frozenset(
    {
        "ali-cdn-real-ip",
        "cdn-loop",
        "cdn-real-ip",
        "client-ip",
        "forwarded",
        "forwarded-for",
        "forwarded-for-ip",
        "incap-client-ip",
        "proxy-client-ip",
        "proxy-connection",
        "remote-addr",
        "remote-ip",
        "true-client-ip",
        "via",
        "wl-proxy-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-host",
        "x-http-via",
        "x-nginx-proxy",
        "x-real-ip",
        "x-real-port",
        "x-remote-addr",
        "x-remote-ip",
        "x-rewrite-url",
        "x-scheme",
        "x-true-client-ip",
        "x-varnish",
    }
)
_FORWARDING_PREFIXES = (
    "cf-",
    "fastly-",
    "fly-",
    "ngrok-",
    "tailscale-",
    "x-amz-cf-",
    "x-amzn-",
    "x-appengine-",
    "x-azure-",
    "x-envoy-",
    "x-forward",
    "x-original-",
    "x-proxy",
    "x-vercel-",
)
"""What proxies, content networks and tunnels add to what they pass on."""
OLD_VERSION = "1.0"


def names_this_machine(host: str) -> bool:
    """Whether a Host header names this machine (`request.url` would make up for a bad one)."""
    return _LOOPBACK_HOST.fullmatch(host.lower()) is not None


def came_through_proxy(header_names: Iterable[str], http_version: str) -> bool:
    """Whether a proxy passed the request on, as far as that can be seen.

    Older releases of nginx add no header unless they are told to, but speak HTTP/1.0, which no
    client of today does. A proxy that adds nothing and speaks HTTP/1.1 looks like a client.
    """
    if http_version == OLD_VERSION:
        return True
    names = (name.lower() for name in header_names)
    return any(name in _FORWARDING or name.startswith(_FORWARDING_PREFIXES) for name in names)
