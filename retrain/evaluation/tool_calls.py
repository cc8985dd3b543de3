"""Check a candidate's tool calls against live's calls on the same question. Pure.

The faults are:

- `missing`: live calls a tool, the candidate does not.
- `another`: both call tools, but not the same ones the same number of times.
- `invalid`: the candidate calls a tool that was not offered, or its arguments are not a JSON object
  that satisfies the tool's schema, unless live's call is invalid as well.

The judge decides which of two valid calls is better, and whether a call is right that live does not
make.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from feedback.answer_parts import ToolCall
from retrain.evaluation.json_schemas import satisfies

Fault = Literal["missing", "another", "invalid"]


class CallCheck(BaseModel):
    """The check of a candidate's calls on one question.

    `due` is true if live calls a tool or the candidate has a fault.
    """

    model_config = ConfigDict(frozen=True)

    due: bool
    fault: Fault | None = None


def check_calls(
    request: Mapping[str, Any], candidate: Sequence[ToolCall], live: Sequence[ToolCall]
) -> CallCheck | None:
    """Check the candidate's calls against live's; None if no tool could be called."""
    tools = offered_tools(request)
    if not tools:
        return None
    fault = _fault(tools, candidate, live)
    return CallCheck(due=bool(live) or fault is not None, fault=fault)


def offered_tools(request: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the schemas of the tools that a request offers, by name.

    OpenAI's deprecated `functions` are included.
    """
    if request.get("tool_choice") == "none" or request.get("function_call") == "none":
        return {}
    tools = request.get("tools") or ()
    functions = [tool.get("function") for tool in tools if isinstance(tool, Mapping)]
    functions += request.get("functions") or ()
    return {
        one["name"]: _schema(one)
        for one in functions
        if isinstance(one, Mapping) and isinstance(one.get("name"), str)
    }


def invalid(tools: Mapping[str, Mapping[str, Any]], call: ToolCall) -> bool:
    """Return whether a call names an unknown tool or has arguments that violate its schema."""
    if call.name not in tools:
        return True
    try:
        value = call.value if call.arguments.strip() else {}
    except (ValueError, RecursionError):
        return True
    return not isinstance(value, dict) or not satisfies(tools[call.name], value)


def _fault(
    tools: Mapping[str, Mapping[str, Any]], candidate: Sequence[ToolCall], live: Sequence[ToolCall]
) -> Fault | None:
    if live and not candidate:
        return "missing"
    if live and _names(candidate) != _names(live):
        return "another"
    broken = any(invalid(tools, call) for call in candidate)
    return "invalid" if broken and not any(invalid(tools, call) for call in live) else None


def _names(calls: Sequence[ToolCall]) -> Counter[str]:
    return Counter(call.name for call in calls)


def _schema(function: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = function.get("parameters")
    return schema if isinstance(schema, Mapping) else {}
