"""The log's section of the settings."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from common.settings import Days, Seconds, Section

BUILT_IN_METRICS = frozenset(
    {"thumbs", "rating", "comment", "demonstration", "preference", "ranking"}
)

INDEXED_MAX = 512
"""Characters of a name, of four bytes at most: PostgreSQL refuses a row with an index entry over
about 2,700 bytes, and a tenant stands in the same entry."""

MetricName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class MetricConfig(Section):
    """A metric of one's own: `[feedback.metrics.solved]`, `type = "boolean"`.

    `direction` says which way is better. `min` and `max` (inclusive) bound a number; `values` are a
    category's.
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
            raise ValueError("min and max belong to a metric of type number")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        if bool(self.values) != (self.type == "category"):
            raise ValueError("a category, and nothing else, has values")
        if len(set(self.values)) != len(self.values) or not all(self.values):
            raise ValueError("the values of a category are not empty, and each is there once")
        return self


class FeedbackConfig(Section):
    """Bounds of the recorder and of what clients may send. Lengths are in characters."""

    model_config = ConfigDict(frozen=True)

    queue_max: int = Field(default=20_000, ge=1)
    """Rows that wait or are being written; past it new ones are refused and counted."""
    group_max: int = Field(default=256, ge=1, le=256)
    """Rows that share one transaction and its sync. With `ranking_max` it bounds how many ids one
    query looks for: SQLite takes 32 766."""
    commit_wait_seconds: Seconds = Field(default=0.25, ge=0)
    """How long an answer's last byte waits for the commit of its row (law 3)."""
    acknowledge_seconds: Seconds = Field(default=5.0, gt=0)
    """How long feedback waits for its commit before it is refused as unavailable."""
    database_seconds: Seconds = Field(default=1.0, gt=0)
    """A group that the database has not committed in so long goes to the spool, and what follows
    goes behind it until the database has caught up."""
    spool_max_bytes: int = Field(default=2**30, ge=2**18)
    """How large the spool may grow. Once it is full feedback is refused (503), and interactions
    wait in memory, at most `queue_max`."""
    close_seconds: Seconds = Field(default=10.0, gt=0)
    """How long a shutdown waits for the queue to be written."""
    retry_seconds: Seconds = Field(default=0.05, gt=0)
    """First pause after database and spool failed; it doubles up to `retry_seconds_max`."""
    retry_seconds_max: Seconds = Field(default=2.0, gt=0)
    metrics: dict[MetricName, MetricConfig] = Field(default_factory=dict)
    text_max: int = Field(default=20_000, ge=1)
    """A comment, a rationale, a text metric."""
    demonstration_max: int = Field(default=100_000, ge=1)
    name_max: int = Field(default=256, ge=1, le=INDEXED_MAX)
    """A rater, a user, a model, a client's id, a tag's key or value. At most 512: longer names do
    not fit into PostgreSQL's indexes."""
    tags_max: int = Field(default=16, ge=0)
    ranking_max: int = Field(default=32, ge=2, le=100)
    choices_max: int = Field(default=16, ge=1)
    """Answers in one interaction that an application sends."""
    retention_days: Days | None = Field(default=None, ge=1)
    """Texts older than this are removed, once a day; rows and numbers stay. None: all are kept.
    Not below `retrain.max_window_days`, or there is less to train on."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.retry_seconds > self.retry_seconds_max:
            raise ValueError("retry_seconds is above retry_seconds_max")
        taken = BUILT_IN_METRICS & self.metrics.keys()
        if taken:
            raise ValueError(f"{', '.join(sorted(taken))} cannot be redefined")
        return self
