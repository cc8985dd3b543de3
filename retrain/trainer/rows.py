"""One line of the pairs file. Importable without torch: the run writes it, the trainer reads it."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

TokenId = Annotated[int, Field(ge=0)]
Signal = Literal["preference", "ranking", "demonstration", "thumbs"]


class CompletionRow(BaseModel):
    """One answer: the ids that were sampled, or, where nobody sampled it, its text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token_ids: list[TokenId] | None = None
    text: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.token_ids is None) == (self.text is None):
            raise ValueError("give either token_ids or text")
        return self


class PairRow(BaseModel):
    """Two answers to one prompt, the better one named.

    `prompt_token_ids` are those the model was fed. `messages` and `tools` are the conversation in
    OpenAI's form; they are needed only to render a text, and are null for a plain completion.
    `weight` scales the pair's share of the gradient.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    prompt_token_ids: list[TokenId] = Field(min_length=1)
    chosen: CompletionRow
    rejected: CompletionRow
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    signal: Signal
