"""Pawl's vLLM plug-in: what every process of the engine does first.

vLLM loads the plug-ins of the group `vllm.general_plugins` in each process it starts, and this is
one (see pyproject.toml).
"""

import logging
from collections.abc import MutableMapping
from importlib.metadata import entry_points

from common.parent_death import die_with_parent
from server.engine.errors import EngineStartError
from server.engine.quiet_errors import strip_messages

_GROUP, _NAME = "vllm.general_plugins", "pawl"


def install() -> None:
    """Tie the process to its parent, and keep everybody's text out of its log."""
    die_with_parent()
    strip_messages(logging.getLogger("vllm"))


def require_plugin(environment: MutableMapping[str, str]) -> None:
    """Make sure that vLLM will load the plug-in, also where `VLLM_PLUGINS` lists others.

    Raises `EngineStartError` when the package was not installed with its entry points.
    """
    if not entry_points(group=_GROUP, name=_NAME):
        raise EngineStartError("Pawl's vLLM plug-in is not installed: run `make setup` again.")
    listed = environment.get("VLLM_PLUGINS")
    if listed is not None and _NAME not in listed.split(","):
        environment["VLLM_PLUGINS"] = ",".join(name for name in (listed, _NAME) if name)
