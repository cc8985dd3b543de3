"""How the answer that a demonstration replaces was requested, for rendering it. Pure."""

from collections.abc import Mapping
from typing import Any

from feedback.reading.judgements import LoggedAnswer
from retrain.trainer.examples.rows import ServedTurn


def served_turn(request: Mapping[str, Any], answer: LoggedAnswer) -> ServedTurn | None:
    """Return how `answer` was requested and served; None for a plain completion."""
    if not isinstance(request.get("messages"), list):
        return None
    parts = answer.parts
    return ServedTurn(
        arguments=_template_arguments(request),
        add_generation_prompt=request.get("add_generation_prompt") is not False,
        continue_final_message=request.get("continue_final_message") is True,
        content=None if answer.message is None else parts.text,
        called=bool(parts.calls),
    )


def _template_arguments(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chat template's arguments in a request, as vLLM's `build_chat_params` does."""
    given = request.get("chat_template_kwargs")
    effort = request.get("reasoning_effort")
    arguments = {} if effort is None else {"enable_thinking": effort != "none"}
    arguments |= given if isinstance(given, Mapping) else {}
    return arguments if effort is None else {**arguments, "reasoning_effort": effort}
