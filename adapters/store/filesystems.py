"""fsspec file systems, opened from a URL, with timeouts and Pawl's own errors."""

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
"""Connect timeout of one S3 request, in seconds."""
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
"""The options of `s3fs.S3FileSystem`. It passes any other to the session, which would fail only at
the first request."""
_LOCAL = ("file", "local")
KEEP_NOTHING = frozenset({"data", "http", "https", "memory"})
"""Protocols that fsspec can only read from, or that lose all data when the process ends."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_address(place: str) -> bool:
    """Return whether `place` is an fsspec URL rather than a folder's path."""
    return "://" in place or "::" in place


def protocol_of(place: str) -> str:
    """Return the protocol of an fsspec URL; `file` for a folder's path."""
    protocol = get_protocol(place)
    return "file" if protocol in _LOCAL else protocol


def open_address(
    address: str, options: Mapping[str, Any], *, timeout_seconds: float, attempts: int
) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system of the fsspec URL `address` and the path in it; sends no request.

    Raises `StoreAddressError`, whose message contains neither the URL nor the options, as both may
    hold credentials.
    """
    protocol = protocol_of(address)
    # No caches of instances or listings: other servers write to the same store.
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
    """Raise `StoreAddressError` for errors that s3fs would report only at the first request."""
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
    """Return the options, with timeouts and a limit on attempts added."""
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
    """Convert the errors of a file system to `ArtifactError`, except `FileNotFoundError`.

    The message contains only the error's class, because libraries' messages may hold URLs and keys.
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
    """Return the size of the file at `path` in bytes, or None if it does not exist."""
    try:
        return int(system.info(path)["size"])
    except FileNotFoundError:
        return None


def fetch_file(system: fsspec.AbstractFileSystem, path: str, target: Path, mode: int) -> None:
    """Download the file at `path` to `target`, synced to disk, with the permissions `mode`."""
    system.get_file(path, str(target))
    sync(target)
    target.chmod(mode)
