"""`[retrain.pairs]`: how judgements become training pairs."""

from pydantic import ConfigDict, Field

from common.settings import Section
from retrain.config.types import Source


class PairsConfig(Section):
    """How judgements become training pairs."""

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
    sources: frozenset[Source] = frozenset({"HUMAN", "LLM_JUDGE", "CODE"})
    """Sources whose judgements are trained on."""
