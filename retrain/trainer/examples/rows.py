"""Rows of the files that a run writes and the trainer reads. Importable without torch."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

TokenId = Annotated[int, Field(ge=0)]
Signal = Literal[
    "preference", "ranking", "demonstration", "thumbs", "metric", "repeated", "next_message"
]
"""What the evidence is: a kind of feedback, a metric of one's own that trains, a question that was
asked again, or what the user wrote next."""
Origin = Literal["people", "counterpart", "self_play", "synthetic", "replay"]
"""Where a pair comes from: judgements of people alone; a new answer compared with a rated one; a
new answer of the live version as the worse side; a question made by a model; or an earlier run."""
Vouched = Literal["both", "chosen", "rejected", "neither"]
"""The side or sides of a pair whose quality people judged; a judge decided about the others."""


class CompletionRow(BaseModel):
    """One answer: its sampled token ids, or the text of a demonstration, which has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token_ids: list[TokenId] | None = None
    text: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.token_ids is None) == (self.text is None):
            raise ValueError("give either token_ids or text")
        return self


class ServedTurn(BaseModel):
    """How the answer that a demonstration replaces was requested and served.

    Attributes:
        arguments: Arguments that the request passed to the chat template.
        add_generation_prompt: The request's flag.
        continue_final_message: The request's flag.
        content: The visible text of the answer; None if all of it was visible, or if unknown.
        called: Whether the answer called a tool.

    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arguments: dict[str, Any] = {}
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    content: str | None = None
    called: bool = False


class PairRow(BaseModel):
    """A pair: two answers to one prompt, a better and a worse one.

    Attributes:
        prompt_token_ids: The prompt as the model received it.
        turn: How the rejected answer was served, if the chosen answer to a chat is a text.
        weight: Factor of the pair's gradient.
        origin: Where the pair comes from.
        vouched: The sides that people judged.
        judge: What compared the two answers if people did not; None if they did.
        margin: By how much the judge preferred the chosen answer, 0 to 1; None if people did.
        interaction_id: The interaction whose request both answers belong to; None if unknown.
        messages: In snapshots of the previous release; only tells whether it was a chat.
        tools: In snapshots of the previous release; unused.

    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    prompt_token_ids: list[TokenId] = Field(min_length=1)
    chosen: CompletionRow
    rejected: CompletionRow
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    turn: ServedTurn | None = None
    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    signal: Signal
    origin: Origin = "people"
    vouched: Vouched = "both"
    judge: str | None = None
    margin: float | None = Field(None, ge=0, le=1)
    interaction_id: str | None = None


class LabelRow(BaseModel):
    """One answer that was judged by itself: good or bad.

    Attributes:
        interaction_id: The interaction, with `choice` the answer.
        prompt_token_ids: The prompt as the model received it.
        completion: The answer as it was served; always token ids.
        label: Whether the answer is good.
        weight: Factor of the answer's gradient.
        truncated: Whether the answer was cut off at its length limit.

    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    interaction_id: str
    choice: int
    prompt_token_ids: list[TokenId] = Field(min_length=1)
    completion: CompletionRow
    label: bool
    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    signal: Signal
    truncated: bool = False
