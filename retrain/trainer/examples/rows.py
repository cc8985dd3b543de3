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


class ServedTurn(BaseModel):
    """How the turn that a demonstration replaces was asked for and answered.

    `arguments` are what the request gave the chat template, and the two flags the request's own;
    `content` is what the reader saw of the answer (null: all of its text, or not known), and
    `called` whether the answer called a tool.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arguments: dict[str, Any] = {}
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    content: str | None = None
    called: bool = False


class PairRow(BaseModel):
    """Two answers to one prompt, the better one named.

    `prompt_token_ids` are those the model was fed. `turn` goes along where the chosen answer to
    a chat is a text. `weight` scales the pair's share of the gradient. `messages` and `tools` are
    in snapshots of the release before, of which only this is read: whether it was a chat.
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
