"""Names of channels, tenants, weekly slots and versions."""

import re
from collections.abc import Container
from typing import Annotated

from pydantic import AfterValidator

from adapters.errors import InvalidNameError

BASE = "base"
"""The name in a route of the base model without an adapter."""

CHANNEL_RULE = "a channel's name is a small letter, then at most 62 of a-z 0-9 _ -"
TENANT_FORM = r"[a-z0-9][a-z0-9-]{0,62}"
_SLOT = r"[0-9]{4}-w[0-9]{2}(?:\.[0-9]{1,4})?"
_CHANNEL_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_TENANT_PATTERN = re.compile(TENANT_FORM)
_SLOT_PATTERN = re.compile(_SLOT)
_VERSION_PATTERN = re.compile(rf"(?:{_SLOT}|import)-[0-9a-f]{{6,64}}")
_SHORTEST = 6
_DIGEST_LENGTH = 64


def is_channel(name: str) -> bool:
    """Return whether `name` is a valid channel name; then it is also a safe folder name."""
    return _CHANNEL_PATTERN.fullmatch(name) is not None


def _channel_setting(name: str) -> str:
    if not is_channel(name):
        raise ValueError(CHANNEL_RULE)
    return name


def _tenant_setting(name: str) -> str:
    if not _TENANT_PATTERN.fullmatch(name):
        raise ValueError("a tenant's name is a small letter or digit, then at most 62 of a-z 0-9 -")
    return name


ChannelName = Annotated[str, AfterValidator(_channel_setting)]
"""A channel's name in the settings."""
TenantName = Annotated[str, AfterValidator(_tenant_setting)]
"""A tenant's name in the settings: the form that `POST /v1/keys` takes."""


def is_version(name: str) -> bool:
    """Return whether `name` is a valid version name; then it is also a safe folder name."""
    return _VERSION_PATTERN.fullmatch(name) is not None


def check_channel(name: str) -> str:
    """Return `name`; raises `InvalidNameError` unless it is a valid channel name."""
    if not is_channel(name):
        raise InvalidNameError(f"{CHANNEL_RULE}: choose another")
    return name


def check_slot(slot: str) -> str:
    """Return `slot`; raises `InvalidNameError` unless it has the form 2026-w47 or 2026-w47.1."""
    if not _SLOT_PATTERN.fullmatch(slot):
        raise InvalidNameError("a slot reads like 2026-w47, or 2026-w47.1 by hand: correct it")
    return slot


def version_name(slot: str | None, digest: str, taken: Container[str]) -> str:
    """Return a new name for the version with content `digest` (sha256, hex): `2026-w47-3f9c1a`.

    Without a slot it is `import-3f9c1a`. If the name is taken, more of the digest is used. Raises
    `InvalidNameError` for an invalid slot, or if even the name with the whole digest is taken.
    """
    prefix = "import" if slot is None else check_slot(slot)
    for length in range(_SHORTEST, _DIGEST_LENGTH + 1):
        name = f"{prefix}-{digest[:length]}"
        if name not in taken:
            return name
    raise InvalidNameError("every name for this content is taken: it is registered already")
