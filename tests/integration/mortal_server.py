"""`pawl serve --engine fake` whose engine dies when the user `reaper` asks it something."""

import os
import sys

import typer

from server.engine.base import EngineCall, EngineResponse
from server.engine.fake import FakeEngine
from server.process import main
from server.supervisor import Supervisor

REAPER = "reaper"
_answer = FakeEngine.answer


async def _answer_or_die(engine: FakeEngine, call: EngineCall) -> EngineResponse:
    if call.body.get("user") == REAPER:
        engine.die()
    return await _answer(engine, call)


def supervise() -> int:
    """As `pawl serve` does, with this module as the child."""
    child = [sys.executable, "-m", "tests.integration.mortal_server", f"--parent={os.getpid()}"]
    return Supervisor([*child, *sys.argv[2:]], restart_seconds=0).run()


if __name__ == "__main__":
    if sys.argv[1] == "supervise":
        sys.exit(supervise())
    FakeEngine.answer = _answer_or_die  # type: ignore[method-assign,assignment]
    typer.run(main)
