"""`[retrain.synthetic]`: questions that a model makes out of real ones."""

from typing import Literal, Self

from pydantic import Field, model_validator

from common.settings import Seconds, Section
from retrain.config.judge import ModelEndpoint
from retrain.config.types import Positive


class SyntheticConfig(Section):
    """Variations of real questions (self-instruct, arXiv:2212.10560; Evol-Instruct, 2304.12244).

    A model writes them; the live version answers each twice, and the judge compares. No person
    vouches for such a pair, so its share and weight are small. Held-out questions and what is
    nearly the same are left out, and evaluations never ask a synthetic question. Needs a judge.
    """

    share: float = Field(default=0.0, ge=0, lt=1)
    """Largest share of such pairs among all pairs of a run; 0 switches them off."""
    weight: float = Field(default=0.3, gt=0, le=1)
    """Weight of such a pair. Below that of people's pairs, since only a model judged it."""
    writer: Literal["live"] | ModelEndpoint = "live"
    """What writes the questions: the live version, or another model behind an endpoint
    (`[retrain.synthetic.writer]`) that supports `response_format` json_schema."""
    questions: int = Field(default=500, ge=1)
    """Questions to write in a run, at most."""
    seconds: Seconds = Field(default=1_800, gt=0)
    """Seconds of writing and answering in a run, waiting for users included."""
    concurrency: Positive = 2
    """Questions in progress at once. Low, because they share the engine with users."""
    similarity: float = Field(default=0.7, gt=0, le=1)
    """Similarity (Jaccard, of runs of eight characters) from which a question counts as nearly the
    same as a real, held-out or earlier one, and is left out."""
    shortest: Positive = 3
    """Words of a question, at least. A shorter one is hardly a question of its own."""
    longest: Positive = 300
    """Words of a question, at most. Evolved questions tend to grow with each step."""
    margin: float = Field(default=0.3, ge=0, lt=1)
    """By how much the judge must prefer one of the two answers: 0 is a tie, 1 is certainty. Higher
    than that of counterparts, since no person confirms either side."""

    @model_validator(mode="after")
    def _has_lengths(self) -> Self:
        if self.shortest > self.longest:
            raise ValueError("shortest is above longest, so no question would be kept")
        return self
