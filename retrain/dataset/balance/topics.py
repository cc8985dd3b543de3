"""Divide texts into topics: hierarchical clusters (scipy) of the character n-grams they share.

Only n-grams that some texts have in common count: a name or a number that is in few of them cannot
make a topic. Texts are in one topic if they are similar enough on average, so a topic that fills a
week stays one, however large it is; k-means would divide it. N-grams need no words, so languages
without spaces work as well. Topics are computed from a part of the texts, so that memory does not
grow with their number.
"""

from collections.abc import Iterable, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

Vectors = NDArray[np.float64]
Places = NDArray[np.int64]

SAMPLE = 1_500
"""Texts from which topics are computed."""
_GRAM = 4
_HASHES = 2**16
_LEAST, _MOST = 0.02, 0.8
"""Shares of the texts that have an n-gram in common: fewer make no topic, more are in every one."""
_FEATURES = 2_000
_BATCH = 500


class Topics:
    """Topics of texts, from a sample of them; the same for the same sample."""

    def __init__(self, sample: Sequence[str], similarity: float) -> None:
        """Find the topics.

        Args:
            sample: Texts, of which the first `SAMPLE` are used.
            similarity: Mean similarity (cosine) of the texts of one topic, at least.

        """
        self._similarity = similarity
        grams = [_grams(text) for text in sample[:SAMPLE]]
        self._features, self._weights = _shared(grams)
        vectors = self._vectors(grams)
        self._centres = _centres(vectors[np.any(vectors, axis=1)], similarity)

    def of(self, texts: Iterable[str]) -> list[int]:
        """Return the number of each text's topic, from 0.

        A text that is similar to no topic has a topic of its own.
        """
        found: list[int] = []
        batch: list[Places] = []
        for text in texts:
            batch.append(_grams(text))
            if len(batch) == _BATCH:
                found += self._nearest(batch, len(found))
                batch = []
        return found + self._nearest(batch, len(found))

    def _nearest(self, grams: Sequence[Places], before: int) -> list[int]:
        """Return the topics of a batch; numbers from that of `before` texts on are new ones."""
        if not grams or not len(self._centres):
            return [before + at for at in range(len(grams))]
        similar = self._vectors(grams) @ self._centres.T
        nearest = np.argmax(similar, axis=1)
        topics = len(self._centres)
        return [
            int(topic) if similar[at, topic] >= self._similarity else topics + before + at
            for at, topic in enumerate(nearest)
        ]

    def _vectors(self, grams: Sequence[Places]) -> Vectors:
        """Return a vector of length 1 for each text; 0 if it shares no n-gram."""
        vectors = np.zeros((len(grams), len(self._features)))
        for row, places in enumerate(grams):
            found = np.isin(self._features, places, assume_unique=True)
            vectors[row, found] = self._weights[found]
        return _unit(vectors)


def _grams(text: str) -> Places:
    """Return the hashes of the n-grams of a text, each once, in order."""
    padded = f" {text} ".encode("utf-8", "surrogatepass")
    grams = {padded[start : start + _GRAM] for start in range(max(1, len(padded) - _GRAM + 1))}
    return np.unique(np.array([crc32(gram) % _HASHES for gram in grams], dtype=np.int64))


def _shared(grams: Sequence[Places]) -> tuple[Places, Vectors]:
    """Return the n-grams that neither too few nor too many texts have, and their weights."""
    texts = len(grams)
    counts = np.bincount(np.concatenate(grams), minlength=_HASHES)
    usable = (counts >= max(2, _LEAST * texts)) & (counts <= max(2, _MOST * texts))
    found = np.flatnonzero(usable)
    found = np.sort(found[np.argsort(-counts[found], kind="stable")[:_FEATURES]])
    return found, np.log1p(texts / counts[found])


def _centres(vectors: Vectors, similarity: float) -> Vectors:
    """Return the centre of each topic."""
    if len(vectors) < 2:  # noqa: PLR2004
        return vectors
    distances = 1 - (vectors @ vectors.T)[np.triu_indices(len(vectors), k=1)]
    tree = linkage(np.maximum(distances, 0), method="average")
    numbers = fcluster(tree, t=1 - similarity, criterion="distance")
    means = [vectors[numbers == number].mean(axis=0) for number in np.unique(numbers)]
    return _unit(np.stack(means))


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = vectors / np.where(lengths > 0, lengths, 1)
    return scaled
