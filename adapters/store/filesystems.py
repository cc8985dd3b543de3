"""File systems that are reached by an address: fsspec's, with time-outs and errors of our own."""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.utils import get_protocol

from adapters.errors import AdaptersError, ArtifactError, StoreAddressError
from common.files import sync
from common.settings import is_http_url

CONNECT_SECONDS = 5.0
_S3 = ("s3", "s3a")
_S3_OPTIONS = frozenset(
    {
        "anon",
        "asynchronous",
        "cache_regions",
        "client_kwargs",
        "config_kwargs",
        "default_block_size",
        "default_cache_type",
        "default_fill_cache",
        "endpoint_url",
        "fixed_upload_size",
        "key",
        "listings_expiry_time",
        "max_concurrency",
        "max_paths",
        "password",
        "profile",
        "requester_pays",
        "s3_additional_kwargs",
        "secret",
        "session",
        "skip_instance_cache",
        "token",
        "use_listings_cache",
        "use_ssl",
        "username",
        "version_aware",
    }
)
"""What s3fs takes; it passes anything else to the session, which fails at the first request."""
_LOCAL = ("file", "local")
KEEP_NOTHING = frozenset({"data", "http", "https", "memory"})
"""fsspec only reads from these, or keeps what is written for as long as the process lives."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_address(place: str) -> bool:
    """Whether `place` is an address and not a folder's path."""
    return "://" in place or "::" in place


def protocol_of(place: str) -> str:
    """What comes before `://`; `file` for a folder's path."""
    protocol = get_protocol(place)
    return "file" if protocol in _LOCAL else protocol


def open_address(
    address: str, options: Mapping[str, Any], *, timeout_seconds: float, attempts: int
) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system behind `address`, and the path in it. Nothing is asked of it yet.

    Raises `StoreAddressError`, which repeats neither the address nor the options.
    """
    protocol = protocol_of(address)
    # Instances and listings are not shared or kept: others write there too.
    try:
        given: dict[str, Any] = {
            "skip_instance_cache": True,
            "use_listings_cache": False,
            **_bounds(protocol, options, timeout_seconds, attempts),
        }
        opened, root = fsspec.url_to_fs(address, **given)
    except ImportError as error:
        raise StoreAddressError(_missing(protocol)) from error
    except (ValueError, TypeError, OSError) as error:
        raise StoreAddressError(
            f"no file system can be opened for '{protocol}://' ({type(error).__name__}): correct "
            "the address or its options"
        ) from None
    path = str(root).rstrip("/")
    if protocol in _S3:
        _check_s3(path, options)
    return opened, path


def _check_s3(path: str, options: Mapping[str, Any]) -> None:
    """Raises `StoreAddressError` for what s3fs would only find at the first request."""
    if not path:
        raise StoreAddressError("the address names no bucket: write s3://bucket/path")
    endpoint = options.get("endpoint_url")
    if endpoint is not None and not is_http_url(str(endpoint)):
        raise StoreAddressError("store_options.endpoint_url is no http:// or https:// address")
    unknown = set(options) - _S3_OPTIONS
    if unknown:
        raise StoreAddressError(f"s3fs has no option {sorted(unknown)[0]!r} (store_options)")


def _bounds(
    protocol: str, options: Mapping[str, Any], timeout_seconds: float, attempts: int
) -> dict[str, Any]:
    """The options, with bounds where the file system has none or generous ones."""
    if protocol == "file":
        return {"auto_mkdir": True, **options}
    if protocol not in _S3:
        return dict(options)
    own = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": timeout_seconds,
        "retries": {"mode": "standard", "total_max_attempts": attempts},
    }
    return {**options, "config_kwargs": {**own, **options.get("config_kwargs", {})}}


def _missing(protocol: str) -> str:
    if protocol in _S3:
        return "s3fs is not installed: in Pawl's checkout, pip install -e '.[s3]'"
    return f"the package that fsspec needs for '{protocol}://' is not installed: install it"


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Turn whatever a file system raises into `ArtifactError`; what is not there stays that.

    Libraries' messages may hold addresses and keys: only the error's class is told.
    """
    try:
        yield
    except (AdaptersError, FileNotFoundError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise ArtifactError(f"{os.strerror(error.errno)}: make room on the disk") from error
        raise ArtifactError(
            f"{what} cannot be reached ({type(error).__name__}): look at it and at its credentials"
        ) from error


def size_of(system: fsspec.AbstractFileSystem, path: str) -> int | None:
    """How many bytes lie at `path`; None where nothing does."""
    try:
        return int(system.info(path)["size"])
    except FileNotFoundError:
        return None


def fetch_file(system: fsspec.AbstractFileSystem, path: str, target: Path, mode: int) -> None:
    """Bring a file, synced, with these permissions."""
    system.get_file(path, str(target))
    sync(target)
    target.chmod(mode)
