"""Checks of a conversation: its messages, their texts and tool calls, and the offered tools.

Everything that a chat template reads is checked here, so that the error comes from Pawl and not
from vLLM's union types or from a template.
"""

from typing import Any

from server.engine.requests.checks import optional_text, refuse
from server.engine.requests.json_values import TOO_DEEP, fault_in_text, nests_deeper

ROLES = ("system", "developer", "user", "assistant", "tool")
_TOOLS_MAX = 128


def messages(field: str, value: Any) -> None:
    """Require a list of messages with text, each with a known role."""
    if not isinstance(value, list) or not value:
        raise refuse(field, "must be a list with at least one message.")
    for index, message in enumerate(value):
        _message(f"{field}[{index}]", message)


def _message(place: str, message: Any) -> None:
    if not isinstance(message, dict):
        raise refuse(place, "must be an object with a role and a content.")
    if message.get("role") not in ROLES:
        raise refuse(f"{place}.role", f"must be one of {', '.join(ROLES)}.")
    for name in ("name", "tool_call_id", "reasoning", "reasoning_content"):
        optional_text(f"{place}.{name}", message.get(name))
    _content(f"{place}.content", message)
    if message.get("tool_calls") is not None:
        _tool_calls(f"{place}.tool_calls", message["tool_calls"])
    if message.get("tools") is not None:  # of a developer's turn
        tools(f"{place}.tools", message["tools"])


def _content(place: str, message: dict[str, Any]) -> None:
    content = message.get("content")
    if isinstance(content, str) or (content is None and message["role"] == "assistant"):
        return
    if not isinstance(content, list):
        raise refuse(place, "must be a text or a list of text parts.")
    for index, part in enumerate(content):
        if not isinstance(part, dict) or part.get("type") != "text":
            why = "only text is answered here, no images, audio or files."
            raise refuse(f"{place}[{index}]", why)
        if not isinstance(part.get("text"), str):
            raise refuse(f"{place}[{index}].text", "must be a text.")


def _tool_calls(place: str, calls: Any) -> None:
    if not isinstance(calls, list):
        raise refuse(place, "must be a list of tool calls.")
    for index, call in enumerate(calls):
        _tool_call(f"{place}[{index}]", call)


def _tool_call(place: str, call: Any) -> None:
    if not isinstance(call, dict):
        raise refuse(place, "must be an object with id, type and function.")
    if not isinstance(call.get("id"), str):
        raise refuse(f"{place}.id", "must be a text.")
    _only_functions(place, call.get("type"))
    function = call.get("function")
    if not isinstance(function, dict):
        raise refuse(f"{place}.function", "must be an object with name and arguments.")
    if not isinstance(function.get("name"), str):
        raise refuse(f"{place}.function.name", "must be a text.")
    _arguments(f"{place}.function.arguments", function.get("arguments"))


def _arguments(place: str, arguments: Any) -> None:
    if not isinstance(arguments, str):
        raise refuse(place, "must be a text that holds the arguments as JSON, not JSON itself.")
    fault = fault_in_text(arguments)
    if fault is not None:
        raise refuse(place, fault)


def _only_functions(place: str, kind: Any) -> None:
    if kind != "function":
        raise refuse(f"{place}.type", "must be 'function': there are no other tools here.")


def tools(field: str, value: Any) -> None:
    """Require a list of functions, each with a name."""
    if not isinstance(value, list) or not 1 <= len(value) <= _TOOLS_MAX:
        why = f"must be a list of 1 to {_TOOLS_MAX} functions; leave it out where there are none."
        raise refuse(field, why)
    for index, tool in enumerate(value):
        _tool(f"{field}[{index}]", tool)


def _tool(place: str, tool: Any) -> None:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict):
        raise refuse(place, "must be an object with a type and a function.")
    _only_functions(place, tool.get("type", "function"))
    if not isinstance(function.get("name"), str):
        raise refuse(f"{place}.function.name", "must be a text.")
    optional_text(f"{place}.function.description", function.get("description"))
    if not isinstance(function.get("strict"), bool | None):
        raise refuse(f"{place}.function.strict", "must be true or false.")
    shallow_object(f"{place}.function.parameters", function.get("parameters"))


def shallow_object(place: str, value: Any) -> None:
    """Require null, or an object nested no deeper than a recursive parser or template can read."""
    if not isinstance(value, dict | None):
        raise refuse(place, "must be an object.")
    if nests_deeper(value):
        raise refuse(place, TOO_DEEP)


def tool_choice(field: str, value: Any) -> None:
    """Require `none`, `auto`, `required`, or an object that names one function."""
    if value in ("none", "auto", "required") or named_tool(value) is not None:
        return
    why = 'must be none, auto, required, or {"type": "function", "function": {"name": …}}.'
    raise refuse(field, why)


def named_tool(choice: Any) -> str | None:
    """Return the function that a `tool_choice` names, or None."""
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None
