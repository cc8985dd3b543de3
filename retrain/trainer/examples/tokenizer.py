"""What the trainer asks of a tokenizer to write an answer, and what goes wrong with one."""

from collections.abc import Sequence
from typing import Any, Protocol

Message = dict[str, Any]


class Tokenizer(Protocol):
    """What rendering needs of a Hugging Face tokenizer."""

    chat_template: str | None
    eos_token_id: int | None
    all_special_ids: list[int]
    added_tokens_decoder: dict[int, Any]

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the ids of `text`."""
        ...

    def decode(self, token_ids: list[int], *, clean_up_tokenization_spaces: bool) -> str:
        """Return the text of `token_ids`, special tokens included."""
        ...

    def apply_chat_template(
        self,
        conversation: list[Message],
        *,
        add_generation_prompt: bool,
        tokenize: bool,
        **arguments: Any,
    ) -> str:
        """Render a conversation as text."""
        ...


class RenderingError(Exception):
    """A text that cannot be rendered; `reason` is a word to count it under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def control_ids(tokenizer: Tokenizer) -> set[int]:
    """Tokens that are no text: the named ones, and those added as special under no name."""
    added = tokenizer.added_tokens_decoder.items()
    return set(tokenizer.all_special_ids) | {token for token, one in added if one.special}


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text as it stands: what begins or ends a whole text is not added."""
    return tokenizer.encode(text, add_special_tokens=False)


def decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of ids as it stands, special tokens included."""
    return tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
