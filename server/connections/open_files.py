"""The process's limit on open files: each connection needs one."""

import resource

from server.errors import SetupError

RESERVED_FILES = 512
"""Files needed besides connections: for the database, the engine's pipes, adapters and logs."""


def allow_open_files(connections: int) -> None:
    """Raise this process's soft limit to what `connections` connections need.

    The usual soft limit is 1,024. A server that reaches its limit cannot accept any connection.

    Raises:
        SetupError: If the hard limit is too low.

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
