"""Wire types of the log. Limits that are settings are checked in `feedback/validation.py`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

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
"""Most stop sequences of a reported request; other models allow more than Pawl's engine."""
INTERACTIONS_MAX = 100
"""Most interactions in one request."""
ERRORS_READ_MAX = 100
"""If a body has more errors, none is listed: pydantic would take seconds to build the list."""
PROBLEMS_REPORTED_MAX = 5
"""Most problems of one body that are reported to the client."""


def _stop(value: Any) -> Any:
    """Check the type here, because a union would report one unhelpful error for each type."""
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
    """Base of input types: strict types, no unknown fields, no input values in errors."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, protected_namespaces=()
    )


class PreferenceValue(_In):
    """The other answer: the judged one is better (`over`), as good (`tie`), or `both_bad`.

    Exactly one of the three is given. `choice` is required if it has several answers.
    """

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [name]} for name in ("over", "tie", "both_bad")]}
    )

    over: Name | None = None
    tie: Name | None = None
    both_bad: Name | None = None
    choice: ChoiceIndex | None = None


class RankedAnswer(_In):
    """One answer in a ranking."""

    id: Name
    choice: ChoiceIndex | None = None


FeedbackValue: TypeAlias = (
    bool
    | float
    | str
    | PreferenceValue
    | list[RankedAnswer | Name | list[RankedAnswer | Name]]
    | None
)
"""What a judgement says, by its metric; see `FeedbackIn`. `feedback/validation.py` checks it."""


class FeedbackIn(_In):
    """One judgement. `value` depends on `metric_name`.

    `thumbs`: true or false. `rating`: 1 to 5. `comment`: text. `demonstration`: the better text.
    `preference`: the other answer as `{"over": id}` (it is worse), `{"tie": id}` (as good) or
    `{"both_bad": id}`, with its `choice` if there are several. `ranking`: ids or `{"id", "choice"}`
    objects, best first; a list inside the list holds equally good answers. Or a metric of the
    settings: of `feedback.metrics`, or of a ready-made set (`feedback.metric_sets`) such as
    `helpful` or `spam`. `choice` is the judged answer if there are several. The value null takes
    back the rater's earlier judgements of that answer by that metric. With a client's own `id`, a
    judgement can be resent safely.
    """

    inference_id: Name
    choice: ChoiceIndex | None = None
    metric_name: Name
    value: Annotated[Any, DescribedAs(FeedbackValue)]
    rater: Name | None = None
    source: Source = "HUMAN"
    rationale: Text | None = None
    tags: dict[Name, Text] = Field(default_factory=dict)
    id: Name | None = None


class FeedbackTokenIn(_In):
    """Request for a feedback token that is valid for `seconds`; `rater` is as in feedback."""

    inference_id: Name
    rater: Name | None = None
    seconds: Annotated[WholeNumber, Field(ge=1, le=SECONDS_MAX)] = 3600


class FeedbackTokenOut(BaseModel):
    """A feedback token, with which a browser can judge the interaction until it expires."""

    token: str
    expires_at: datetime


class FeedbackStored(BaseModel):
    """The feedback is stored durably."""

    feedback_id: str


class ChoiceIn(_In):
    """One answer, in order."""

    text: Text
    finish_reason: Name | None = None


class InteractionIn(_In):
    """A request that an application sent to Pawl or to another model, and its answers.

    Without `id` one is issued; the same `run_id` always gets the same id. `tags` are stored as
    OpenAI's `metadata` of the request. Times are in seconds. The sampling parameters are OpenAI's,
    as sent to the other model. With `shadow` the channel's live version also answers the request,
    in the background and for the log only; if it is resent with its `run_id`, only once.
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
    """Several interactions, each as in `InteractionIn`; an invalid one fails alone."""

    interactions: Annotated[
        list[Annotated[dict[str, Any], DescribedAs(InteractionIn)]],
        Field(min_length=1, max_length=INTERACTIONS_MAX),
    ]


class InteractionStored(BaseModel):
    """The interaction is stored durably and can be rated under this id."""

    inference_id: str


class RowError(BaseModel):
    """Why one of several interactions was refused; `param` is the field."""

    message: str
    param: str | None = None


class InteractionRefused(BaseModel):
    """One of several interactions that was not stored."""

    error: RowError


class InteractionsStored(BaseModel):
    """The results of several interactions, in order."""

    results: Sequence[InteractionStored | InteractionRefused]


class ChoiceOut(BaseModel):
    """One answer; `text` is null if retention has removed it.

    `message` is the assistant's message in OpenAI's format if it has more than the raw text: tool
    calls, reasoning, a refusal.
    """

    index: int
    text: str | None
    tokens: int
    finish_reason: str | None
    message: dict[str, Any] | None = None


class FeedbackOut(BaseModel):
    """One judgement as stored; `choice` and the value's choices are filled in.

    If `texts_removed_at` is set, retention has removed its rationale, tags and free-text value.
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

    That is each rater's latest judgement of each answer by each metric, and every comment.
    Of an undecided comparison: see `feedback.visibility`. If `texts_removed_at` is set,
    retention has removed its texts: `request` and the answers' `text` are null.
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
    """Return the first problems of `error`, a validation error of `model`, without input values.

    Names that the client chose (an unknown field, a tag's key) are left out of the path. If there
    are very many errors, none is listed: pydantic would take seconds to build the list.
    """
    if error.error_count() > ERRORS_READ_MAX:
        return [FieldProblem("body", f"breaks more than {ERRORS_READ_MAX} rules; {_known(model)}")]
    details = error.errors(include_url=False, include_context=False, include_input=False)
    found = (
        FieldProblem(_path(detail["loc"], model), _message(detail["type"], detail["msg"], model))
        for detail in details
    )
    return list(dict.fromkeys(found))[:PROBLEMS_REPORTED_MAX]


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
