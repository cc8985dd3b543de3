"""`pawl serve` whose vLLM starts quickly (on a CPU).

`python -m tests.integration.processes.fast_server`.

EngineCore is forked and computes itself; else everything is as in `pawl serve`, with the same
options.
"""

import sys
from functools import partial

import typer

from server.process.supervisor import supervisor
from server.settings import Settings

CHILD = "--child"


def supervise() -> int:
    """As `pawl serve` does, with this module as the child."""
    child = [sys.executable, "-m", "tests.integration.processes.fast_server", CHILD, *sys.argv[1:]]
    return supervisor(child, Settings().server).run()


def serve() -> None:
    """Be the child."""
    from server.engine.vllm import engine as vllm  # noqa: PLC0415  (takes seconds, which the parent has not)
    from server.process.serve import main  # noqa: PLC0415

    vllm.start_vllm = partial(vllm.start_vllm, fast_start=True)
    sys.argv.remove(CHILD)
    typer.run(main)


if __name__ == "__main__":
    if CHILD in sys.argv:
        serve()
    else:
        sys.exit(supervise())
