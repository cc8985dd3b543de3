"""How much one request may ask for: by the settings, and by what an engine takes."""

from dataclasses import dataclass, field

from server.engine.config import StructuredOutputsConfig

CHOICES_MAX = 1024
"""The log numbers the answers to one request below it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds, inclusive; None is no bound.

    `choices` bounds `n`, `top_logprobs` the alternatives shown for a token. `context_tokens` is
    the model's context (prompt and answer together) and `vocabulary` its number of token ids.
    `seed` says whether a request may set one: vLLM's CPU engine can die of it (chunked prefill).
    `structured_outputs` bounds schemas, patterns and choices; the engine's own settings.
    """

    choices: int = 8
    top_logprobs: int = 20
    seed: bool = True
    context_tokens: int | None = None
    vocabulary: int | None = None
    structured_outputs: StructuredOutputsConfig = field(default_factory=StructuredOutputsConfig)

    def within(self, other: "Limits") -> "Limits":
        """The narrower of both, bound by bound."""
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
"""Those of the settings' defaults."""
