"""Errors of a training run, each with the exit code by which the caller recognises it."""


class TrainerError(Exception):
    """Base class of known errors. Messages say what to do and contain no user text."""

    exit_code = 1


class JobError(TrainerError):
    """The job file, the pairs or a model it names cannot be used."""

    exit_code = 2


class NonFiniteError(TrainerError):
    """The loss, the gradient or a weight became NaN or infinite."""

    exit_code = 3


class MemoryExhaustedError(TrainerError):
    """Neither the batch nor half of it fits into memory."""

    exit_code = 4


class ReferenceMismatchError(TrainerError):
    """The reference model differs from the policy before the first step."""

    exit_code = 5


class TooFewPairsError(JobError):
    """Fewer pairs can be trained on than the job requires; nothing was trained."""

    exit_code = 6


class JudgeMismatchError(TrainerError):
    """A stored reward model does not score as it did when it was trained."""

    exit_code = 7
