"""What can go wrong in a training run, and the exit code that tells the caller which."""


class TrainerError(Exception):
    """A run that ended for a known reason; its message says what to do and quotes nobody's text."""

    exit_code = 1


class JobError(TrainerError):
    """The job file, the pairs or a model it names cannot be used."""

    exit_code = 2


class NonFiniteError(TrainerError):
    """The loss, the gradient or a weight became NaN or infinite."""

    exit_code = 3


class MemoryExhaustedError(TrainerError):
    """The batch did not fit, nor did half of it."""

    exit_code = 4


class ReferenceMismatchError(TrainerError):
    """The reference is not the policy that training starts from."""

    exit_code = 5


class TooFewPairsError(JobError):
    """Fewer pairs can be trained on than the job asks for: nothing was loaded or trained."""

    exit_code = 6
