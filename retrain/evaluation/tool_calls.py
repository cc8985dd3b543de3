"""Whether a candidate calls the tools that it should, measured against live's call. Pure.

Live's answer to the same question is the measure: it is what users get today. A call is *missing*
where live calls and the candidate does not; it is *another* where both call but not the same tools
the same number of times; it is *invalid* where the candidate calls a tool that was not offered or
gives arguments that are no JSON object or do not fit the tool's JSON schema, unless live's call is
invalid as well. Which valid arguments are better is for the judge to say, and so is whether a tool
is called that live answers without.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from feedback.answer_parts import ToolCall
from retrain.evaluation.json_schemas import satisfies

Fault = Literal["missing", "another", "invalid"]


class CallCheck(BaseModel):
    """What is wrong with a candidate's calls.

    `due`: live calls a tool, or the candidate is at fault.
    """

    model_config = ConfigDict(frozen=True)

    due: bool
    fault: Fault | None = None


def check_calls(
    request: Mapping[str, Any], candidate: Sequence[ToolCall], live: Sequence[ToolCall]
) -> CallCheck | None:
    """Measure the candidate's calls against live's; None where no tool could be called."""
    tools = offered_tools(request)
    if not tools:
        return None
    fault = _fault(tools, candidate, live)
    return CallCheck(due=bool(live) or fault is not None, fault=fault)


def offered_tools(request: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The schemas of the tools that a request lets a model call, by name.

    OpenAI's older `functions` count as well.
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
    """Whether a call cannot be carried out: an unknown tool, or arguments that do not fit it."""
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
