"""`[retrain.balance]`: how much of a week's data may be alike."""

from pydantic import ConfigDict, Field

from common.settings import Section
from retrain.config.types import Share


class BalanceConfig(Section):
    """No topic, language or length fills a week's pairs, or its labels.

    Topics are clusters of the questions' texts by the character n-grams they share, languages are
    recognised by py3langid, lengths are those of question and better answer. Of a topic, language
    or length that is above its share, a random sample is kept, drawn with `retrain.seed`; the rest
    is counted as `over_share`.
    """

    model_config = ConfigDict(frozen=True)

    near_duplicate: Share = 0.9
    """Similarity (Jaccard, of character n-grams) from which two pairs or labels count as the same;
    only the first is kept. At 0.9 one name in some thirty words may differ. 0 keeps all."""
    topic_similarity: float = Field(default=0.2, gt=0, lt=1)
    """Mean similarity (cosine, of shared character n-grams) of the questions of one topic, at
    least. A lower value makes fewer and larger topics."""
    topic_share: float = Field(default=0.25, gt=0, le=1)
    """Largest share of one topic. 1 limits nothing."""
    language_share: float = Field(default=1.0, gt=0, le=1)
    """Largest share of one language. The default limits nothing, since most products are used in
    one language."""
    length_share: float = Field(default=1.0, gt=0, le=1)
    """Largest share of one class of lengths. The default limits nothing."""
    always_kept: int = Field(default=100, ge=0)
    """Pairs (or labels) of one topic, language or length that are kept whatever their share, and
    the number in all up to which nothing is dropped, near-duplicates neither: little data is worth
    more than balanced data."""
