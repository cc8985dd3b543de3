"""Errors of runs and rollouts. A failed run stores its error's class and message."""


class RetrainError(Exception):
    """Base class of known errors. Messages say what to do and contain no user text."""


class UnknownRunError(RetrainError):
    """There is no run with this id."""


class RunInProgressError(RetrainError):
    """The channel already has a run in progress."""


class SlotTakenError(RetrainError):
    """The week's scheduled run was already started, by this or another scheduler."""


class SlotFinishedError(RetrainError):
    """A run of the week has a verdict, so there is no other run in that week."""


class InvalidSlotError(RetrainError):
    """The slot is not an ISO week such as `2026-w47`."""


class LeaseLostError(RetrainError):
    """Another process has taken over the run; this process must not write to it."""


class SnapshotError(RetrainError):
    """The frozen inputs of a run are missing or were changed."""


class TrainingError(RetrainError):
    """The trainer ended without writing an adapter."""


class TooFewFitError(RetrainError):
    """After rendering demonstrations, fewer pairs than the minimum can be trained on."""


class RolloutUnderWayError(RetrainError):
    """The channel, or the version, already has a rollout."""


class UnknownRolloutError(RetrainError):
    """There is no rollout of this version."""


class NotAwaitedError(RetrainError):
    """The rollout is not waiting for approval, or has ended."""


class LiveMovedError(RetrainError):
    """Another version went live during the run."""


class JudgeError(RetrainError):
    """A judge or a reader gave no usable verdict. The message does not quote what was judged."""


class JudgeUnavailableError(JudgeError):
    """The judge was unreachable or overloaded, or its reply malformed; a retry may succeed."""


class JudgeLostError(RetrainError):
    """The record of a run's judge is missing or damaged."""
