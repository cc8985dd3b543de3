"""The log's section of the settings."""

import math
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from common.settings import Days, Seconds, Section
from feedback.metric_sets import METRIC_SETS, MetricSet

BUILT_IN_METRICS = frozenset(
    {"thumbs", "rating", "comment", "demonstration", "preference", "ranking"}
)

INDEXED_MAX = 512
"""Upper limit of `name_max` in characters, of up to four bytes each: PostgreSQL refuses a row whose
index entry exceeds about 2,700 bytes, and the entry also contains the tenant."""

MetricName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class MetricConfig(Section):
    """A custom metric: `[feedback.metrics.solved]`, `type = "boolean"`.

    Its values can be trained on and can count as votes on a canary (`retrain.canary.votes`) once it
    is said which of them are good and which are bad; `feedback/metrics/verdict.py` decides.
    """

    model_config = ConfigDict(frozen=True)

    type: Literal["boolean", "number", "text", "category"]
    direction: Literal["higher", "lower"] = "higher"
    """Which values are better. Of a boolean, true is good with `higher` and false with `lower`."""
    min: float | None = Field(default=None, allow_inf_nan=False)
    """Smallest accepted number (inclusive)."""
    max: float | None = Field(default=None, allow_inf_nan=False)
    """Largest accepted number (inclusive)."""
    values: tuple[str, ...] = ()
    """Accepted values of a category."""
    trains: float = Field(default=0, ge=0, le=1)
    """Weight with which the metric is trained on: a good value counts as that much of a thumb up, a
    bad one as that much of a thumb down. 0 does not train, since a metric may be meant for figures
    only. A text cannot train."""
    good: float | None = Field(default=None, allow_inf_nan=False)
    """A number from which on (inclusive) an answer is good; with `direction = "lower"`, the largest
    good number. Numbers between `good` and `bad` say nothing."""
    bad: float | None = Field(default=None, allow_inf_nan=False)
    """A number up to which (inclusive) an answer is bad; with `direction = "lower"`, the smallest
    bad number."""
    good_values: tuple[str, ...] = ()
    """Values of a category that call an answer good; values in neither list say nothing."""
    bad_values: tuple[str, ...] = ()
    """Values of a category that call an answer bad."""

    @property
    def votes(self) -> bool:
        """Whether it can say both good and bad, as a vote on a canary must."""
        match self.type:
            case "boolean":
                return True
            case "number":
                return self.good is not None and self.bad is not None
            case "category":
                return bool(self.good_values and self.bad_values)
            case "text":
                return False

    @model_validator(mode="after")
    def _fits_type(self) -> Self:
        bounded = self.min is not None or self.max is not None
        if bounded and self.type != "number":
            raise ValueError("min and max are allowed only for a metric of type number")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        if bool(self.values) != (self.type == "category"):
            raise ValueError("values are required for a category and allowed for no other type")
        if len(set(self.values)) != len(self.values) or not all(self.values):
            raise ValueError("the values of a category must be distinct and not empty")
        return self

    @model_validator(mode="after")
    def _thresholds_fit(self) -> Self:
        given = [one for one in (self.good, self.bad) if one is not None]
        if given and self.type != "number":
            raise ValueError("good and bad are allowed only for a metric of type number")
        if self.good is not None and self.bad is not None:
            apart = self.good - self.bad if self.direction == "higher" else self.bad - self.good
            if apart <= 0:
                better = "above" if self.direction == "higher" else "below"
                raise ValueError(f"good must be {better} bad: direction is {self.direction}")
        low = -math.inf if self.min is None else self.min
        high = math.inf if self.max is None else self.max
        if not all(low <= one <= high for one in given):
            raise ValueError("good and bad must lie between min and max")
        return self

    @model_validator(mode="after")
    def _good_values_fit(self) -> Self:
        good, bad = set(self.good_values), set(self.bad_values)
        if (good or bad) and self.type != "category":
            raise ValueError("good_values and bad_values are allowed only for a category")
        if not good | bad <= set(self.values):
            raise ValueError("good_values and bad_values must be among values")
        if good & bad:
            raise ValueError("a value cannot be in both good_values and bad_values")
        return self

    @model_validator(mode="after")
    def _can_train(self) -> Self:
        if not self.trains:
            return self
        if self.type == "text":
            raise ValueError("a text cannot train: set trains = 0, or choose another type")
        if self.type == "number" and self.good is None and self.bad is None:
            raise ValueError("a number that trains needs a threshold: set good, bad or both")
        if self.type == "category" and not (self.good_values or self.bad_values):
            raise ValueError("a category that trains needs good_values, bad_values or both")
        return self


class FeedbackConfig(Section):
    """The log: its writer, limits on what clients may send, and retention.

    Lengths of texts are in characters.
    """

    model_config = ConfigDict(frozen=True)

    queue_max: int = Field(default=20_000, ge=1)
    """Most rows in the writer's queue, including those being written. Beyond it, new rows are
    refused and counted. It bounds the memory that an outage may take."""
    group_max: int = Field(default=256, ge=1, le=256)
    """Most rows per transaction (group commit). Its upper limit keeps queries below the 32,766
    parameters that SQLite allows: one query looks up to `ranking_max` ids for each row."""
    commit_wait_seconds: Seconds = Field(default=0.25, ge=0)
    """Seconds that the last byte of an answer waits for the commit of its row, so that a client can
    refer to the answer at once. After that the answer is sent while the row waits."""
    acknowledge_seconds: Seconds = Field(default=5.0, gt=0)
    """Seconds that feedback waits for its commit before the request is refused (503)."""
    database_seconds: Seconds = Field(default=1.0, gt=0)
    """Seconds that the database may take to commit a batch. After that the batch and all later ones
    are written to the spool, until the database has caught up."""
    spool_max_bytes: int = Field(default=2**30, ge=2**18)
    """Largest size of the spool in bytes. Once it is full, feedback is refused (503), and up to
    `queue_max` interactions wait in memory. The default is 1 GiB."""
    close_seconds: Seconds = Field(default=10.0, gt=0)
    """Seconds that a shutdown waits for the queue to be written."""
    retry_seconds: Seconds = Field(default=0.05, gt=0)
    """Seconds before the first retry when both database and spool failed; each further pause is
    twice as long, up to `retry_seconds_max`."""
    retry_seconds_max: Seconds = Field(default=2.0, gt=0)
    """Longest pause between retries, in seconds."""
    metric_sets: tuple[MetricSet, ...] = ()
    """Ready-made metrics that are added to `metrics`: `hhh` (helpful, honest, harmless) and
    `openassistant` (quality, spam, humor, toxicity, …); docs/api.md lists them. They do not train.
    A metric of the same name and type in `metrics` is used instead, for instance to set `trains`;
    one of another type is refused."""
    metrics: dict[MetricName, MetricConfig] = Field(default_factory=dict)
    """Custom metrics by name, besides the built-in ones."""
    text_max: int = Field(default=20_000, ge=1)
    """Longest comment, rationale or value of a text metric."""
    demonstration_max: int = Field(default=100_000, ge=1)
    """Longest demonstration: an answer that a rater has rewritten."""
    name_max: int = Field(default=256, ge=1, le=INDEXED_MAX)
    """Longest name: of a rater, a user or a model, a client's id, a tag's key or value. At most
    512, because longer names do not fit into PostgreSQL's indexes."""
    tags_max: int = Field(default=16, ge=0)
    """Most tags of one judgement or reported interaction."""
    ranking_max: int = Field(default=32, ge=2, le=100)
    """Most answers in one ranking."""
    choices_max: int = Field(default=16, ge=1)
    """Most answers (choices) in one interaction that an application reports."""
    retention_days: Days | None = Field(default=None, ge=1)
    """Days after which texts are removed from the log, once a day; rows and numbers are kept. By
    default all are kept. A value below `retrain.max_window_days` reduces the training data."""

    @model_validator(mode="after")
    def _with_sets(self) -> Self:
        """Add the metrics of the sets; a settings' own definition of the same type stays."""
        for name_of_set in self.metric_sets:
            for name, definition in METRIC_SETS[name_of_set].items():
                ready_made = MetricConfig.model_validate(definition)
                own = self.metrics.setdefault(name, ready_made)
                if own.type != ready_made.type:
                    raise ValueError(
                        f"metrics.{name} is a {own.type}, but metric_sets has {name_of_set}, whose "
                        f"{name} is a {ready_made.type}: rename yours, or leave out the set"
                    )
        return self

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.retry_seconds > self.retry_seconds_max:
            raise ValueError("retry_seconds is above retry_seconds_max")
        taken = BUILT_IN_METRICS & self.metrics.keys()
        if taken:
            raise ValueError(f"{', '.join(sorted(taken))} cannot be redefined")
        return self
