"""Opens the store of adapter files that the settings name."""

import secrets

from adapters.errors import StoreAddressError
from adapters.store.artifacts import Artifacts, open_artifacts
from common.files import write_whole
from server.errors import SetupError
from server.settings import Settings

OWNER_FILE = "store-owner"


def open_store(settings: Settings) -> Artifacts:
    """Open the store; raises `SetupError` if its address is invalid."""
    owner = "" if settings.adapters.store is None else _owner(settings)
    try:
        return open_artifacts(settings.adapters, settings.data_dir / "adapters", owner)
    except StoreAddressError as error:
        raise SetupError(f"adapters.store: {error}") from error


def _owner(settings: Settings) -> str:
    """Return this data folder's id among those that share a store; created once."""
    path = settings.data_dir / OWNER_FILE
    if not path.exists():
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        write_whole(path, secrets.token_hex(8).encode())
    return path.read_text().strip()
