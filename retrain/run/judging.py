"""The judge of a run: the one that the settings name, or the one that the run trained itself."""

from retrain.evaluation.verdicts import AnyJudge
from retrain.run.context import RunContext


async def run_judge(context: RunContext) -> AnyJudge | None:
    """Return what compares answers in this run, or None if nothing does.

    Counterparts and the evaluation use the same judge. With `judge = "people"` it is None if there
    were too few votes to train one.
    """
    return context.environment.judge
