"""Engine processes die with their parent, even after `kill -9`.

vLLM loads the plug-ins of the group `vllm.general_plugins` in every process it starts; `install` is
one of them (see pyproject.toml). It asks the kernel to kill the process when its parent ends
(prctl(2), PR_SET_PDEATHSIG). The kernel takes the parent *thread* for the parent: start the engine
in a thread that lives as long as the engine, best the main one.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import MutableMapping
from importlib.metadata import entry_points

from server.engine.errors import EngineStartError

_GROUP = "vllm.general_plugins"
_PLUGIN = "pawl_parent_death"
_PR_SET_PDEATHSIG = 1


def require(environment: MutableMapping[str, str]) -> None:
    """Make sure that vLLM will load the plug-in, also where `VLLM_PLUGINS` lists others.

    Raises `EngineStartError` when the package was not installed with its entry points.
    """
    if not entry_points(group=_GROUP, name=_PLUGIN):
        raise EngineStartError("Pawl's vLLM plug-in is not installed: run `make setup` again.")
    listed = environment.get("VLLM_PLUGINS")
    if listed is not None and _PLUGIN not in listed.split(","):
        environment["VLLM_PLUGINS"] = ",".join(name for name in (listed, _PLUGIN) if name)


def install() -> None:
    """Tie this process to its parent; does nothing in a process that multiprocessing did not start.

    Raises `OSError` where the kernel refuses.
    """
    parent = multiprocessing.parent_process()
    if parent is None or not sys.platform.startswith("linux"):
        return
    _ask_kernel()
    if not parent.is_alive():
        # It died before the kernel was asked, so no signal will come.
        os.kill(os.getpid(), signal.SIGKILL)


def die_with(parent: int) -> None:
    """Tie this process to its parent, of the process id `parent`.

    Raises `OSError` where the kernel refuses.
    """
    if not sys.platform.startswith("linux"):
        return
    _ask_kernel()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _ask_kernel() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
