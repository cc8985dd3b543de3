"""Decides from its headers whether a request comes from this machine. Pure functions.

This matters only while no key exists: then every user of this machine is an operator.
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
"""Prefixes of headers that proxies, CDNs and tunnels add to forwarded requests."""
OLD_VERSION = "1.0"
"""The HTTP version of a proxy that is not configured otherwise."""


def names_this_machine(host: str) -> bool:
    """Return whether a Host header names this machine.

    Takes the raw header: Starlette's `request.url` replaces an invalid one.
    """
    return _LOOPBACK_HOST.fullmatch(host.lower()) is not None


def came_through_proxy(header_names: Iterable[str], http_version: str) -> bool:
    """Return whether a proxy forwarded the request, as far as that can be detected.

    Older releases of nginx add no header by default but use HTTP/1.0, which current clients do not.
    A proxy that adds no header and uses HTTP/1.1 cannot be told from a client.
    """
    if http_version == OLD_VERSION:
        return True
    names = (name.lower() for name in header_names)
    return any(name in _FORWARDING or name.startswith(_FORWARDING_PREFIXES) for name in names)
