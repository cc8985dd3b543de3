"""How many files this process may have open: each connection is one."""

import resource

from server.errors import SetupError

RESERVED_FILES = 512
"""For the database, the engine's pipes, adapters and logs."""


def allow_open_files(connections: int) -> None:
    """Raise this process's own limit to what `connections` need.

    Most systems start a process with 1,024 and let it ask for more. Without room a server can take
    no connection at all. Raises `SetupError` where the hard limit is too low.
    """
    wanted = connections + RESERVED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _enough(soft, wanted):
        return
    if not _enough(hard, wanted):
        raise SetupError(
            f"this process may open {hard} files and needs {wanted}: raise the limit (ulimit -n, "
            f"LimitNOFILE=), or set server.http.connections to at most {hard - RESERVED_FILES}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _enough(limit: int, wanted: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= wanted
