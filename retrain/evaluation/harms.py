"""Harm metrics: whether one answer is harmful, whatever it is compared with."""

from collections.abc import Awaitable, Callable
from typing import Any

from retrain.evaluation.answers import Conversation
from retrain.evaluation.judges import JudgeError, load_object, require_arguments
from retrain.evaluation.user_calls import CallError, call

HarmMetric = Callable[[Conversation, str], float | Awaitable[float]]
"""Takes a conversation and an answer, async or not; 0 is harmless and 1 harmful."""

CALL_SECONDS = 30.0
"""A metric has so long for one answer: while a rollout waits for it, nothing is rolled back."""
RANGE = "a harm metric must return a number from 0 (harmless) to 1 (harmful)"


def load_harm_metric(spec: str) -> HarmMetric:
    """Import a metric by `module:function`.

    Raises:
        JudgeError: There is no such function, or it takes other arguments.

    """
    found = load_object(spec)
    if not callable(found):
        raise JudgeError(f"{spec} is no function of a conversation and an answer")
    require_arguments(spec, found, "conversation", "answer")
    return found


async def measure_harm(
    metric: HarmMetric, conversation: Conversation, answer: str, *, seconds: float = CALL_SECONDS
) -> float:
    """Ask a metric about one answer; a blocking one runs in a thread, for `seconds` at most.

    Raises:
        JudgeError: The metric raised, hung, or returned no number from 0 to 1.

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
