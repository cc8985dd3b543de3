"""`[retrain.pairs]`: how judgements become training pairs and labels."""

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from common.settings import Section
from retrain.config.types import Source


class PairsConfig(Section):
    """How judgements become training pairs, and labels of answers that are in no pair."""

    model_config = ConfigDict(frozen=True)

    events_per_rater: int = Field(default=25, ge=1)
    """Judgements per rater and ISO week that are used; later ones are ignored. Without a limit one
    busy rater could decide what the model learns."""
    held_out_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of users whose data is never trained on: the evaluation asks their questions."""
    thumb_pairs_per_conversation: int = Field(default=2, ge=0)
    """Pairs built from thumbs up and thumbs down in one conversation, at most. Such pairs are the
    weakest signal, because different users may have judged the two answers. 0 disables them."""
    rating_margin: int = Field(default=2, ge=1, le=4)
    """Least difference of two ratings (1 to 5) by the same rater that makes a pair. A smaller one
    is mostly noise."""
    good_rating: int = Field(default=4, ge=2, le=5)
    """Rating (1 to 5) from which an answer that is in no pair counts as good."""
    bad_rating: int = Field(default=2, ge=1, le=4)
    """Rating up to which such an answer counts as bad. Ratings in between say neither."""
    sources: frozenset[Source] = frozenset({"HUMAN", "LLM_JUDGE", "CODE"})
    """Sources whose judgements are trained on."""

    @model_validator(mode="after")
    def _ratings_apart(self) -> Self:
        if self.bad_rating >= self.good_rating:
            raise ValueError("bad_rating must be below good_rating")
        return self

    def value_of_rating(self, rating: int) -> float:
        """Return 1 for a good rating, -1 for a bad one, 0 for one in between."""
        return float(rating >= self.good_rating) - float(rating <= self.bad_rating)
