"""`pawl serve --engine fake` whose engine dies at a request of the user `reaper`.

At a request of the user `sandman` it hangs from then on.
"""

import sys

import typer

from server.config import ServerConfig
from server.engine.base import EngineCall, EngineResponse
from server.engine.fake.engine import FakeEngine
from server.process.serve import main
from server.process.supervisor import supervisor
from server.settings import Settings

REAPER, SANDMAN = "reaper", "sandman"
_answer = FakeEngine.answer


async def _answer_or_fail(engine: FakeEngine, call: EngineCall) -> EngineResponse:
    if call.body.get("user") == REAPER:
        engine.die()
    if call.body.get("user") == SANDMAN:
        engine.hang()
    return await _answer(engine, call)


def supervise() -> int:
    """Run as `pawl serve` does, with this module as the child."""
    child = [sys.executable, "-m", "tests.integration.processes.mortal_server", *sys.argv[2:]]
    config: ServerConfig = Settings().server
    return supervisor(child, config).run()


if __name__ == "__main__":
    if sys.argv[1] == "supervise":
        sys.exit(supervise())
    FakeEngine.answer = _answer_or_fail  # type: ignore[method-assign,assignment]
    typer.run(main)
