"""Interfaces that the log calls; the server implements them."""


class RecorderObserver:
    """Receives events of the writer, for metrics. Called on the event loop; must not raise."""

    def queue_depth(self, rows: int) -> None:
        """The number of rows in the queue, including those being written, has changed."""

    def committed(self, rows: int, seconds: float) -> None:
        """One batch was committed; `seconds` is the duration of its transaction."""

    def retried(self, rows: int) -> None:
        """Writing a batch failed; it will be retried."""

    def failed(self, rows: int, reason: str) -> None:
        """Rows will not be stored; `reason` is the class of the error."""

    def feedback_stored(self, metric_name: str, version: str | None) -> None:
        """New feedback was committed; `version` is None if its interaction is not stored yet."""

    def feedback_retracted(self, metric_name: str) -> None:
        """A retraction of feedback was committed."""


class SpoolObserver:
    """Receives events of the spool, for metrics. Called on the event loop; must not raise."""

    def spool_size(self, rows: int, size_bytes: int) -> None:
        """The number of rows in the spool, or their size, has changed."""

    def spooled(self, rows: int) -> None:
        """New rows were committed to the spool."""

    def forwarded(self, rows: int) -> None:
        """Rows of the spool were committed to the database."""

    def refused(self, reason: str) -> None:
        """The database refused a row of the spool for good; `reason` is the class of the error."""

    def database_answered(self) -> None:
        """The database committed a batch."""

    def database_failed(self) -> None:
        """The database failed to commit a batch in time."""
