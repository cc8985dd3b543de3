"""The models of `report.json`, the demo's report."""

from collections.abc import Mapping

from common.frozen_model import FrozenModel
from demo.report.figures import AnswerFigures, MeasuredWinRate
from demo.report.rollout_models import RolloutReport


class StepReport(FrozenModel):
    """One logged training step. `accuracy` is the share of pairs whose chosen answer wins.

    A method that learns from single answers has no accuracy; one without a reference no margin.
    """

    step: int
    loss: float
    margin: float | None = None
    accuracy: float | None = None


class SampleAnswer(FrozenModel):
    """One held-out question, answered by base and by the version live at the end."""

    question: str
    base: str
    live: str


class WeekReport(FrozenModel):
    """One weekly run.

    Shares lie in [0, 1]; `words` is the mean length of an answer. Figures are the candidate's,
    None where the run made none (skipped). `live` is the version that answers after the verdict;
    `swap_seconds` is the time from the decision until it did.
    """

    slot: str
    pairs: int
    pairs_by_signal: Mapping[str, int]
    train_seconds: float | None = None
    win_vs_base: MeasuredWinRate | None = None
    win_vs_live: MeasuredWinRate | None = None
    correct: float | None = None
    rude: float | None = None
    words: float | None = None
    verdict: str
    reasons: tuple[str, ...] = ()
    live: str
    swap_seconds: float | None = None
    style_mix: Mapping[str, float] = {}
    steps: tuple[StepReport, ...] = ()


class DemoReport(FrozenModel):
    """The whole demo. `seconds` is its duration; `libraries` maps names to versions.

    `live_vs_base` compares the version live at the end with base.
    """

    seed: int
    seconds: float
    base: AnswerFigures
    weeks: tuple[WeekReport, ...]
    rollouts: tuple[RolloutReport, ...] = ()
    live_vs_base: MeasuredWinRate | None = None
    examples: tuple[SampleAnswer, ...] = ()
    libraries: Mapping[str, str] = {}

    @property
    def live(self) -> str:
        """The version that answers at the end."""
        return self.weeks[-1].live if self.weeks else "base"

    @property
    def live_week(self) -> WeekReport | None:
        """The week whose candidate answers at the end; None where that is base."""
        made = (week for week in self.weeks if week.live == self.live != "base")
        return next(made, None)
