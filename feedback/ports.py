"""What the log asks of its surroundings."""


class RecorderObserver:
    """Hears what happens to the log: for metrics. Called on the event loop; must not raise."""

    def queue_depth(self, rows: int) -> None:
        """Rows that wait or are being written now."""

    def committed(self, rows: int, seconds: float) -> None:
        """One group is durable; `seconds` is the time of its transaction."""

    def retried(self, rows: int) -> None:
        """The database failed a group; it will be tried again."""

    def failed(self, rows: int, reason: str) -> None:
        """Rows that will not be stored; `reason` is a class of error."""

    def feedback_stored(self, metric_name: str, version: str | None) -> None:
        """New feedback is durable; `version` is None where its interaction is not known yet."""

    def feedback_retracted(self, metric_name: str) -> None:
        """It is durable that feedback was taken back."""


class SpoolObserver:
    """Hears what happens to the spool: for metrics. Called on the event loop; must not raise."""

    def spool_size(self, rows: int, size_bytes: int) -> None:
        """Rows that wait in the spool now, and the bytes that they take."""

    def spooled(self, rows: int) -> None:
        """New rows are durable in the spool."""

    def forwarded(self, rows: int) -> None:
        """Rows of the spool are durable in the database."""

    def refused(self, reason: str) -> None:
        """The database refused a row of the spool for good; `reason` is a class of error."""

    def database_answered(self) -> None:
        """The database took what it was given."""

    def database_failed(self) -> None:
        """The database took nothing, or not in time."""
