"""What is looked at before anything is started: settings that depend on this machine.

A start refuses to begin with what it finds here, and `pawl doctor` shows all of it.
"""

import asyncio

import structlog

from retrain.preflight import Inspected, Problem, find_problems, in_one_line
from server.errors import SetupError
from server.settings import Settings

_log = structlog.get_logger()


def find_start_problems(settings: Settings) -> list[Problem]:
    """Look at everything that can be looked at without a database and an engine; may block."""
    subject = Inspected(
        settings.retrain,
        judged=settings.retrain.judge is not None,
        max_rank=settings.engine.max_lora_rank,
    )
    return find_problems(subject)


async def check_settings(settings: Settings) -> None:
    """Raises `SetupError` for settings that no server can work with; logs what keeps it from less.

    It comes before the engine, whose start takes minutes.
    """
    problems = await asyncio.to_thread(find_start_problems, settings)
    refusing = [problem for problem in problems if problem.refuses_start]
    if refusing:
        raise SetupError(in_one_line(refusing))
    for problem in problems:
        _log.warning("no_run_can_promote", setting=problem.setting, reason=problem.text)
