"""Recognise the languages of texts (py3langid, 139 languages)."""

from functools import lru_cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

UNKNOWN = "und"
"""Language of texts that are too short to tell (ISO 639)."""
_CONFIDENCE = 0.5
_READ = 1_000
"""Characters that are looked at."""


def language_of(text: str) -> str:
    """Return the ISO 639 code of the text's language, or `und`."""
    return str(_model().classify(text[:_READ])[0])


@lru_cache(maxsize=1)
def _model() -> LanguageIdentifier:
    """Load the model: half a second, and some 70 MB that stay in memory."""
    return LanguageIdentifier.from_model_file(
        MODEL_FILE, norm_probs=True, min_confidence=_CONFIDENCE
    )
