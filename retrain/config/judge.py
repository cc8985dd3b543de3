"""`[retrain.judge]`: what compares the answers."""

from pydantic import Field, SecretStr, field_validator

from common.settings import HttpUrl, Seconds, Section

DEFAULT_RUBRIC = """\
The better answer is the one that helps the user more: correct first, then complete, clear and \
polite. Length is no merit: of two answers that say the same, neither is better for being longer."""


class ModelEndpoint(Section):
    """A model behind an OpenAI-compatible endpoint, for instance `http://host:8000/v1`."""

    base_url: HttpUrl
    """URL of the API, without `/chat/completions`."""
    model: str = Field(min_length=1)
    """Name of the model at that endpoint."""
    api_key: SecretStr | None = None
    """Sent as a bearer token. None: no `Authorization` header."""
    attempts: int = Field(default=4, ge=1)
    """Requests per verdict, at most. Overload and malformed replies are retried."""
    timeout: Seconds = Field(default=60.0, gt=0)
    """Seconds one request may take."""

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        text = "" if key is None else key.get_secret_value()
        if not text.isascii() or not text.isprintable():
            raise ValueError("an HTTP header takes printable ASCII only: look for a line break")
        return key


class JudgeEndpoint(ModelEndpoint):
    """A judge model behind an OpenAI-compatible endpoint."""

    rubric: str = Field(default=DEFAULT_RUBRIC, min_length=1)
    """What makes an answer better; part of the judge's system prompt."""
    constitution: str | None = Field(default=None, min_length=1)
    """Written principles by which the judge decides, an earlier one before a later one: the path of
    a text file (UTF-8), or the text itself if it has a space or a line break. They follow the
    rubric in the judge's system prompt. A file is read when the server starts."""
