"""The interface of Hugging Face tokenizers that rendering uses, and its helpers."""

from collections.abc import Sequence
from typing import Any, Protocol

Message = dict[str, Any]


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that rendering uses."""

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
    """A text cannot be rendered; `reason` is the key under which it is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def control_ids(tokenizer: Tokenizer) -> set[int]:
    """Return the ids of all special tokens, including added ones without a name."""
    added = tokenizer.added_tokens_decoder.items()
    return set(tokenizer.all_special_ids) | {token for token, one in added if one.special}


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of a text, without the special tokens that begin or end a sequence."""
    return tokenizer.encode(text, add_special_tokens=False)


def decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Return the text of ids, including special tokens."""
    return tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
