"""What a week's rows are made of: figures without any text. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Self

from pydantic import BaseModel, ConfigDict

from retrain.dataset.balance.caps import RowKind

TOPICS_MAX = 20
"""Topics whose size is shown by itself."""


class Mix(BaseModel):
    """Number of rows by topic, language and length.

    `topics` are the sizes of the largest topics, the largest first, and `other_topics` counts the
    rows of the rest; `languages` are by ISO 639 code, `und`
    if unknown; `lengths` by characters of question and better answer.
    """

    model_config = ConfigDict(frozen=True)

    topics: list[int] = []
    other_topics: int = 0
    languages: dict[str, int] = {}
    lengths: dict[str, int] = {}

    @classmethod
    def of(cls, rows: Iterable[RowKind]) -> Self:
        """Count the rows."""
        topics, languages, lengths = Counter[int](), Counter[str](), Counter[str]()
        for row in rows:
            topics[row.topic] += 1
            languages[row.language] += 1
            lengths[row.length] += 1
        sizes = sorted(topics.values(), reverse=True)
        return cls(
            topics=sizes[:TOPICS_MAX],
            other_topics=sum(sizes[TOPICS_MAX:]),
            languages=dict(languages.most_common()),
            lengths=dict(lengths.most_common()),
        )


class MixChange(BaseModel):
    """The mix before near-duplicates were removed and shares were limited, and after."""

    model_config = ConfigDict(frozen=True)

    before: Mix = Mix()
    after: Mix = Mix()

    def rows(self) -> list[tuple[str, int, int]]:
        """Return each group with its number of rows before and after, for tables.

        Topics have no names, only a place: the first is the largest, before and after.
        """
        sizes = zip_longest(self.before.topics, self.after.topics, fillvalue=0)
        topics = [(f"topic {place}", *pair) for place, pair in enumerate(sizes, start=1)]
        if self.before.other_topics:
            topics.append(("other topics", self.before.other_topics, self.after.other_topics))
        languages = _groups("language", self.before.languages, self.after.languages)
        return [
            *topics,
            *languages,
            *_groups("characters:", self.before.lengths, self.after.lengths),
        ]


def _groups(
    name: str, before: Mapping[str, int], after: Mapping[str, int]
) -> list[tuple[str, int, int]]:
    return [(f"{name} {group}", count, after.get(group, 0)) for group, count in before.items()]
