"""The log's section of the settings."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from common.settings import Days, Seconds, Section

BUILT_IN_METRICS = frozenset(
    {"thumbs", "rating", "comment", "demonstration", "preference", "ranking"}
)

INDEXED_MAX = 512
"""Upper limit of `name_max` in characters, of up to four bytes each: PostgreSQL refuses a row whose
index entry exceeds about 2,700 bytes, and the entry also contains the tenant."""

MetricName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class MetricConfig(Section):
    """A custom metric: `[feedback.metrics.solved]`, `type = "boolean"`.

    `direction` is which values are better. `min` and `max` (inclusive) are the range of a number;
    `values` are the allowed values of a category.
    """

    model_config = ConfigDict(frozen=True)

    type: Literal["boolean", "number", "text", "category"]
    direction: Literal["higher", "lower"] = "higher"
    min: float | None = Field(default=None, allow_inf_nan=False)
    max: float | None = Field(default=None, allow_inf_nan=False)
    values: tuple[str, ...] = ()

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
    def _agrees(self) -> Self:
        if self.retry_seconds > self.retry_seconds_max:
            raise ValueError("retry_seconds is above retry_seconds_max")
        taken = BUILT_IN_METRICS & self.metrics.keys()
        if taken:
            raise ValueError(f"{', '.join(sorted(taken))} cannot be redefined")
        return self
