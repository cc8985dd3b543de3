"""Formats the path of a value in a body: `messages[1].tool_calls[0].function.arguments`."""

from collections.abc import Iterable

_WORDS = """
    messages prompt model stop n seed stream stream_options include_usage temperature top_p top_k
    min_p max_tokens max_completion_tokens min_tokens frequency_penalty presence_penalty
    repetition_penalty logit_bias logprobs top_logprobs stop_token_ids ignore_eos
    include_stop_str_in_output skip_special_tokens return_token_ids thinking_token_budget
    reasoning_effort include_reasoning add_generation_prompt continue_final_message
    chat_template_kwargs parallel_tool_calls user metadata store service_tier safety_identifier
    prompt_cache_key prompt_cache_retention between tools tool_choice response_format
    structured_outputs role content type text name tool_calls tool_call_id function arguments
    parameters description strict id reasoning reasoning_content json_schema schema json regex
    choice grammar structural_tag
    inference_id metric_name value over rater source rationale tags interactions choices
    finish_reason run_id channel parent status mode shadow seconds first_token_seconds
    duration_seconds
    path reason live standby canary canary_share slot tenant
"""
KNOWN = frozenset(_WORDS.split())
"""The keys of the API. Any other key is the client's, and no error repeats what a client sent."""


def place(path: Iterable[str | int]) -> str | None:
    """Return `path` as a string, up to the first key that is not the API's; None if it is empty.

    Indices are in brackets: `("stop", 2)` is `stop[2]`, `("metadata", "Anna")` is `metadata`.
    """
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        elif part in KNOWN:
            shown += f".{part}" if shown else part
        else:
            break
    return shown or None
