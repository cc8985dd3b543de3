"""Upper bounds on one request, from the settings and from the engine."""

from dataclasses import dataclass, field

from server.engine.config import StructuredOutputsConfig

CHOICES_MAX = 1024
"""The maximum number of answers to one request that the log can number."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Inclusive upper bounds; None is no bound.

    Attributes:
        choices: Bounds `n`.
        top_logprobs: Bounds the alternatives shown for a token.
        seed: Whether a request may set a seed. Off on vLLM's CPU engine, which can die of a seed
            under chunked prefill (vLLM 0.32); may go once that is fixed.
        context_tokens: The model's context, prompt and answer together.
        vocabulary: The number of the model's token ids.
        structured_outputs: Bounds on schemas, patterns and choices, from the engine's settings.

    """

    choices: int = 8
    top_logprobs: int = 20
    seed: bool = True
    context_tokens: int | None = None
    vocabulary: int | None = None
    structured_outputs: StructuredOutputsConfig = field(default_factory=StructuredOutputsConfig)

    def within(self, other: "Limits") -> "Limits":
        """Return the narrower of both, bound by bound."""
        return Limits(
            choices=min(self.choices, other.choices),
            top_logprobs=min(self.top_logprobs, other.top_logprobs),
            seed=self.seed and other.seed,
            context_tokens=_narrower(self.context_tokens, other.context_tokens),
            vocabulary=_narrower(self.vocabulary, other.vocabulary),
            structured_outputs=self.structured_outputs,
        )


def _narrower(one: int | None, other: int | None) -> int | None:
    return min((bound for bound in (one, other) if bound is not None), default=None)


USUAL_LIMITS = Limits()
"""The limits that the settings' defaults give."""
