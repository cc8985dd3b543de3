"""What can go wrong with a run. A run that failed keeps the error's class and message."""


class RetrainError(Exception):
    """A reason that is known; its message says what to do and quotes nobody's text."""


class UnknownRunError(RetrainError):
    """There is no such run."""


class RunInProgressError(RetrainError):
    """The channel has a run that has not ended."""


class SlotTakenError(RetrainError):
    """The slot's run has been started already, by this or another scheduler."""


class SlotFinishedError(RetrainError):
    """A run of the slot came to a verdict; the slot is not run again."""


class InvalidSlotError(RetrainError):
    """A slot reads `2026-w47`."""


class LeaseLostError(RetrainError):
    """Another process has taken the run over; this one must not write any more."""


class SnapshotError(RetrainError):
    """The frozen inputs of a run are missing or were changed."""


class TrainingError(RetrainError):
    """The trainer ended without an adapter."""


class TooFewFitError(RetrainError):
    """Once demonstrations were rendered, fewer pairs than the minimum could be trained on."""


class RolloutUnderWayError(RetrainError):
    """The channel, or the version, has a rollout already."""


class UnknownRolloutError(RetrainError):
    """There is no such rollout."""


class NotAwaitedError(RetrainError):
    """The rollout waits for nobody's word."""


class LiveMovedError(RetrainError):
    """Another version went live while the run was under way."""
