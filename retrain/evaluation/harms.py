"""Harm metrics: user-supplied functions that rate how harmful a single answer is."""

from collections.abc import Awaitable, Callable
from typing import Any

from retrain.evaluation.answers import Conversation
from retrain.evaluation.judges import JudgeError, load_object, require_arguments
from retrain.evaluation.user_calls import CallError, call

HarmMetric = Callable[[Conversation, str], float | Awaitable[float]]
"""Takes a conversation and an answer; returns 0 (harmless) to 1 (harmful). May be async."""

CALL_SECONDS = 30.0
"""Seconds a metric may take per answer. Short, since a rollout cannot be rolled back meanwhile."""
RANGE = "a harm metric must return a number from 0 (harmless) to 1 (harmful)"


def load_harm_metric(spec: str) -> HarmMetric:
    """Import a metric by `module:function`.

    Raises:
        JudgeError: There is no such function, or it does not take these arguments.

    """
    found = load_object(spec)
    if not callable(found):
        raise JudgeError(f"{spec} is not a function of a conversation and an answer")
    require_arguments(spec, found, "conversation", "answer")
    return found


async def measure_harm(
    metric: HarmMetric, conversation: Conversation, answer: str, *, seconds: float = CALL_SECONDS
) -> float:
    """Return a metric's value for one answer, 0 to 1. A blocking metric runs in a thread.

    Raises:
        JudgeError: The metric raised an error, took longer than `seconds`, or did not return a
            number from 0 to 1.

    """
    try:
        harm: Any = await call(metric, conversation, answer, seconds=seconds)
    except CallError as error:
        raise JudgeError(f"a harm metric {error}") from error
    except Exception as error:
        raise JudgeError(f"a harm metric raised {type(error).__name__}") from error
    try:
        if 0 <= harm <= 1:
            return float(harm)
    except Exception as error:
        raise JudgeError(RANGE) from error
    raise JudgeError(RANGE)
