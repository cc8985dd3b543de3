"""OpenAI's request bodies as Pawl accepts them, for the OpenAPI schema only.

`server.engine.requests.rules` decides what is let in and words the errors. A test holds the fields
here to those there. Bounds that are settings are given with their defaults.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from adapters.routing.comparison import Between
from common.json_schema import DescribedAs


class Message(BaseModel):
    """One turn. `content` is a text, or a list of text parts."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class _Asked(BaseModel):
    """Fields that chat and completions share. Null is the same as left out."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(
        description="A channel, such as pawl, or one version of it: pawl@base, pawl@live.",
        examples=["pawl"],
    )
    user: str | None = Field(default=None, description="The end user; raters are told by it.")
    safety_identifier: str | None = Field(default=None, description="Stands in for `user`.")
    metadata: dict[str, Any] | None = Field(default=None, description="Kept with the request.")
    store: bool | None = Field(default=None, description="false: the log keeps no text of it.")
    service_tier: Literal["auto", "default"] | None = None
    prompt_cache_key: str | None = Field(default=None, description="Taken, without effect.")
    prompt_cache_retention: Literal["in_memory", "in-memory"] | None = None
    use_beam_search: Literal[False] | None = None
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None
    verbosity: Literal["medium"] | None = None
    max_tokens: int | None = Field(default=None, ge=1, description="At most the model's context.")
    n: int | None = Field(default=None, ge=1, description="At most `server.limits.choices` (8).")
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, ge=0.01, le=10)
    logit_bias: dict[str, float] | None = None
    seed: int | None = Field(default=None, description="Refused by the CPU engine.")
    stop: str | list[str] | None = Field(default=None, description="At most four texts.")
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    min_tokens: int | None = Field(default=None, ge=0)
    skip_special_tokens: bool | None = None
    response_format: dict[str, Any] | None = Field(
        default=None, description="Of type text, json_object, json_schema or structural_tag."
    )
    structured_outputs: dict[str, Any] | None = Field(default=None, description="vLLM's.")
    stream: bool | None = Field(default=None, description="Answer with server-sent events.")
    stream_options: dict[str, bool | None] | None = Field(
        default=None, description="`include_usage`, where `stream` is true."
    )
    return_token_ids: bool | None = None
    thinking_token_budget: int | None = Field(default=None, ge=0)


class ChatRequest(_Asked):
    """OpenAI's chat request, with vLLM's fields that are safe. Others are refused by name."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(
        default=None, ge=0, description="At most `server.limits.top_logprobs` (20)."
    )
    tools: list[dict[str, Any]] | None = Field(default=None, min_length=1, max_length=128)
    tool_choice: str | dict[str, Any] | None = Field(
        default=None, description="none, auto, required, or one function by its name."
    )
    parallel_tool_calls: bool | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    include_reasoning: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, bool | None] | None = None


class CompletionRequest(_Asked):
    """OpenAI's request for a text that continues `prompt`. Other fields are refused by name."""

    prompt: str | list[str] | list[int] | list[list[int]] = Field(
        description="One text, or its token ids; a list with one is that one."
    )
    logprobs: int | None = Field(default=None, ge=0)


class ComparisonRequest(ChatRequest):
    """A chat request that is answered twice. `model` is a channel alone."""

    between: Between | None = Field(
        default=None,
        description="What live is compared with. Default: the canary if there is one, "
        "else another sample of live.",
    )


ChatBody = Annotated[dict[str, Any], DescribedAs(ChatRequest)]
CompletionBody = Annotated[dict[str, Any], DescribedAs(CompletionRequest)]
ComparisonBody = Annotated[dict[str, Any], DescribedAs(ComparisonRequest)]
