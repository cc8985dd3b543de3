"""Wire types of the log. Bounds that are settings are checked in `validation.py`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from common.json_schema import DescribedAs
from common.json_values import PlainText, WholeNumber
from feedback.errors import FieldProblem
from feedback.feedback_tokens import SECONDS_MAX

Source = Literal["HUMAN", "LLM_JUDGE", "CODE"]
Status = Literal["complete", "aborted", "failed"]

CHOICE_MAX = 1023
STOPS_MAX = 64
"""Other models take more than Pawl's own engine does."""
INTERACTIONS_MAX = 100
"""How many interactions one request brings."""
ERRORS_READ_MAX = 100
"""Of more errors in one body the first are not looked for."""
PROBLEMS_TOLD_MAX = 5
"""How many problems of one body a client is told."""


def _stop(value: Any) -> Any:
    """Check here what a union of types would report as one error a type, none of them helpful."""
    texts = [value] if isinstance(value, str) else value
    good = isinstance(texts, list) and 1 <= len(texts) <= STOPS_MAX
    if not good or not all(isinstance(one, str) and one and "\x00" not in one for one in texts):
        expected = f"must be a text or a list of 1 to {STOPS_MAX} texts, none empty"
        raise PydanticCustomError("stop", expected)
    return value


Text = PlainText
Name = Annotated[PlainText, StringConstraints(min_length=1)]
ChoiceIndex = Annotated[WholeNumber, Field(ge=0, le=CHOICE_MAX)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _In(BaseModel):
    """What clients send: no silent conversions, no unknown fields, no echo in errors."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, protected_namespaces=()
    )


class FeedbackIn(_In):
    """One judgement. `value` depends on `metric_name`.

    `thumbs`: true or false. `rating`: 1 to 5. `comment`: text. `demonstration`: the better text.
    `preference`: `{"over": id, "choice"?: index}`, the side that lost. `ranking`: ids, or
    `{"id", "choice"}` objects, best first. Or a metric of the settings. `choice` is the answer that
    is meant, where there are several. The value null takes back what the rater has said before by
    that metric of that answer. With an `id` of the client's it can be sent again safely.
    """

    inference_id: Name
    choice: ChoiceIndex | None = None
    metric_name: Name
    value: Any
    rater: Name | None = None
    source: Source = "HUMAN"
    rationale: Text | None = None
    tags: dict[Name, Text] = Field(default_factory=dict)
    id: Name | None = None


class FeedbackTokenIn(_In):
    """For what a feedback token is wanted; `rater` as in feedback, `seconds` from now on."""

    inference_id: Name
    rater: Name | None = None
    seconds: Annotated[WholeNumber, Field(ge=1, le=SECONDS_MAX)] = 3600


class FeedbackTokenOut(BaseModel):
    """The bearer of `token` may judge that interaction until then."""

    token: str
    expires_at: datetime


class FeedbackStored(BaseModel):
    """The feedback is durable."""

    feedback_id: str


class PreferenceValue(_In):
    """The side that lost; `choice` where it has several answers."""

    over: Name
    choice: ChoiceIndex | None = None


class RankedAnswer(_In):
    """One place in a ranking."""

    id: Name
    choice: ChoiceIndex | None = None


class ChoiceIn(_In):
    """One answer, in order."""

    text: Text
    finish_reason: Name | None = None


class InteractionIn(_In):
    """A request that an application made, to Pawl or to another model, and its answers.

    Without `id` one is issued; the same `run_id` always gets the same id. `tags` are kept as
    OpenAI's `metadata` of the request. Times are seconds. The sampling parameters are OpenAI's, as
    the other model was asked. With `shadow` the channel's live version answers the same, in the
    background and for the log only; sent again with its `run_id`, it is not answered again.
    """

    id: Name | None = None
    run_id: Name | None = None
    channel: Name | None = None
    model: Name
    messages: Annotated[list[dict[str, Any]], Field(fail_fast=True)] | None = None
    prompt: Text | None = None
    tools: Annotated[list[dict[str, Any]], Field(fail_fast=True)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[WholeNumber, Field(ge=1, lt=2**31)] | None = None
    stop: Annotated[str | list[str], BeforeValidator(_stop)] | None = None
    choices: list[ChoiceIn] = Field(default_factory=list, fail_fast=True)
    user: Name | None = None
    tags: dict[Name, Text] = Field(default_factory=dict)
    parent: Name | None = None
    status: Status = "complete"
    first_token_seconds: Seconds | None = None
    duration_seconds: Seconds | None = None
    mode: Literal["external"] = "external"
    shadow: bool = False


class InteractionsIn(_In):
    """Several interactions, each as in `InteractionIn`; one that breaks a rule fails alone."""

    interactions: Annotated[
        list[Annotated[dict[str, Any], DescribedAs(InteractionIn)]],
        Field(min_length=1, max_length=INTERACTIONS_MAX),
    ]


class InteractionStored(BaseModel):
    """The interaction is durable and can be rated under this id."""

    inference_id: str


class RowError(BaseModel):
    """Why one of several was refused; `param` names the field."""

    message: str
    param: str | None = None


class InteractionRefused(BaseModel):
    """One of several that was not stored."""

    error: RowError


class InteractionsStored(BaseModel):
    """What became of each, in order."""

    results: Sequence[InteractionStored | InteractionRefused]


class ChoiceOut(BaseModel):
    """One answer; `text` is null where it was removed for its age.

    `message` is the assistant's message in OpenAI's form where the raw text is not all of it: tool
    calls, reasoning, a refusal.
    """

    index: int
    text: str | None
    tokens: int
    finish_reason: str | None
    message: dict[str, Any] | None = None


class FeedbackOut(BaseModel):
    """One judgement as it was stored; `choice` and the value's choices are filled in.

    With `texts_removed_at` its texts are gone for their age: rationale, tags, a value that was one.
    """

    id: str
    received_at: datetime
    choice: int
    metric_name: str
    value: Any
    rater: str | None
    source: str
    rationale: str | None
    tags: dict[str, str]
    texts_removed_at: datetime | None


class InteractionOut(BaseModel):
    """One interaction with its answers and the feedback that counts, oldest first.

    Of each rater that is the last word by each metric of each answer, and every comment.
    Of an undecided comparison: see `feedback.visibility`. With `texts_removed_at` its texts are
    gone for their age: `request` and the answers' `text` are null.
    """

    id: str
    received_at: datetime
    channel: str
    endpoint: str
    mode: str
    role: str
    model: str
    version: str | None
    user: str | None
    parent: str | None
    comparison: str | None
    run_id: str | None
    request: dict[str, Any] | None
    texts_removed_at: datetime | None
    prompt_tokens: int
    completion_tokens: int
    status: str
    error: str | None
    first_token_seconds: float | None
    duration_seconds: float | None
    choices: Sequence[ChoiceOut]
    feedback: Sequence[FeedbackOut]


def problems(error: ValidationError, model: type[BaseModel]) -> list[FieldProblem]:
    """The first problems that `error` of `model` names, without a word of the input.

    Names that the client made up (an unknown field, a tag's key) are left out of the path. Of very
    many errors none is read: pydantic makes all of its list or nothing, which takes seconds.
    """
    if error.error_count() > ERRORS_READ_MAX:
        return [FieldProblem("body", f"breaks more than {ERRORS_READ_MAX} rules; {_known(model)}")]
    details = error.errors(include_url=False, include_context=False, include_input=False)
    told = (
        FieldProblem(_path(detail["loc"], model), _message(detail["type"], detail["msg"], model))
        for detail in details
    )
    return list(dict.fromkeys(told))[:PROBLEMS_TOLD_MAX]


def _path(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    if not location or location[0] not in model.model_fields:
        return "body"
    ours = ChoiceIn.model_fields if location[0] == "choices" else ()
    inner = [str(part) for part in location[1:] if isinstance(part, int) or part in ours]
    return ".".join([str(location[0]), *inner])


def _message(kind: str, message: str, model: type[BaseModel]) -> str:
    if kind == "extra_forbidden":
        return f"has an unknown field; {_known(model)}"
    return message


def _known(model: type[BaseModel]) -> str:
    return f"known are {', '.join(model.model_fields)}"
