"""Refuses combinations of valid fields that vLLM would refuse, with clearer messages."""

from collections.abc import Mapping
from typing import Any

from server.engine.requests.checks import refuse
from server.engine.requests.messages import named_tool

_GREEDY_BELOW = 1e-5
"""vLLM treats a lower temperature as 0 (`vllm.sampling_params._SAMPLING_EPS`)."""


def check_together(fields: Mapping[str, Any]) -> None:
    """Raise `RequestRefusedError` for the first field that conflicts with another."""
    _check_choices(fields)
    _check_lengths(fields)
    _check_tools(fields)
    if fields.get("top_logprobs") and not fields.get("logprobs"):
        raise refuse("top_logprobs", "needs logprobs: true.")
    if fields.get("stream_options") and not fields.get("stream"):
        raise refuse("stream_options", "needs stream: true.")
    if fields.get("continue_final_message") and fields.get("add_generation_prompt", True):
        raise refuse("continue_final_message", "needs add_generation_prompt: false.")


def _check_choices(fields: Mapping[str, Any]) -> None:
    if fields.get("n", 1) > 1 and fields.get("temperature", 1) < _GREEDY_BELOW:
        raise refuse("n", "must be 1 at temperature 0, where all answers would be the same.")


def _check_lengths(fields: Mapping[str, Any]) -> None:
    longest = fields.get("max_completion_tokens", fields.get("max_tokens"))
    if longest is not None and fields.get("min_tokens", 0) > longest:
        raise refuse("min_tokens", f"must be at most {longest}, the tokens that are asked for.")


def _check_tools(fields: Mapping[str, Any]) -> None:
    choice = fields.get("tool_choice", "none")
    if choice == "none":
        return
    names = [tool["function"]["name"] for tool in fields.get("tools", ())]
    if not names:
        raise refuse("tool_choice", "needs tools to choose from.")
    wanted = named_tool(choice)
    if wanted is not None and wanted not in names:
        raise refuse("tool_choice", "names a function that is not among the tools.")
