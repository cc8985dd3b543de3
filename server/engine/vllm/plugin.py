"""Pawl's vLLM plug-in, which runs first in every process of the engine.

vLLM loads the plug-ins of the entry point group `vllm.general_plugins` in each process it starts
(`vllm.plugins`); pyproject.toml registers this one.
"""

import logging
from collections.abc import MutableMapping
from importlib.metadata import entry_points

from common.parent_death import die_with_parent
from server.engine.errors import EngineStartError
from server.engine.quiet_errors import strip_messages

_GROUP, _NAME = "vllm.general_plugins", "pawl"


def install() -> None:
    """Make the process die with its parent, and keep request text out of its log."""
    die_with_parent()
    strip_messages(logging.getLogger("vllm"))


def require_plugin(environment: MutableMapping[str, str]) -> None:
    """Make sure that vLLM will load the plug-in, even if `VLLM_PLUGINS` lists only others.

    Raises `EngineStartError` if the package is installed without its entry points.
    """
    if not entry_points(group=_GROUP, name=_NAME):
        raise EngineStartError("Pawl's vLLM plug-in is not installed: run `make setup` again.")
    listed = environment.get("VLLM_PLUGINS")
    if listed is not None and _NAME not in listed.split(","):
        environment["VLLM_PLUGINS"] = ",".join(name for name in (listed, _NAME) if name)
