"""Preflight checks: find problems that would make a run useless, before it starts.

`find_problems` is called when a server starts, by `pawl doctor`, by a dry run, and by every run
before its snapshot and before its training. Each check is a function in `CHECKS`.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from adapters.vetting.families import Family
from retrain.config import JudgeEndpoint, RetrainConfig
from retrain.dataset.plan import ANSWERS_PER_PAIR
from retrain.evaluation.assertions import SuiteError, load_suite
from retrain.evaluation.harms import load_harm_metric
from retrain.evaluation.judge_prompt import standard
from retrain.evaluation.judges import JudgeError, find_judge
from retrain.evaluation.next_message import find_reader

OWN_JUDGES = ("people", "none")
"""Values of `retrain.judge` that name no function. Not a set, as an endpoint has no hash."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason why no run can train or promote anything.

    `setting` is the dotted name of the setting to change; `text` says what is wrong and what to do.
    With `refuses_start`, the server does not start; otherwise it starts with a warning.
    """

    setting: str
    text: str
    refuses_start: bool = True

    def __str__(self) -> str:
        """The problem in one line."""
        return f"{self.setting}: {' '.join(self.text.split())}"


@dataclass(frozen=True, slots=True)
class Inspected:
    """The input of the checks.

    Args:
        config: The settings of the weekly run.
        judged: Whether something decides offline or online: a judge, or the users of a canary.
        served: The fingerprint of the base model that is served; None where nothing is served,
            empty where the model's files are not on this machine.
        on_disk: Gives the fingerprint of the files that a trainer would read now, empty where they
            are missing; None where they cannot have changed.
        family: The base model's family; None where its files do not tell.

    """

    config: RetrainConfig
    judged: bool
    served: str | None = None
    on_disk: Callable[[], str] | None = None
    family: Family | None = None


def find_problems(subject: Inspected) -> list[Problem]:
    """Run all checks. Reads files and imports judges and harm metrics, so it may block."""
    return [problem for check in CHECKS for problem in check(subject)]


def in_one_line(problems: Sequence[Problem]) -> str:
    """Return all problems in one line."""
    return "; ".join(str(problem) for problem in problems)


def _judge(subject: Inspected) -> Iterator[Problem]:
    spec = subject.config.judge
    if spec in OWN_JUDGES:
        yield from _own_judge(subject.config)
        return
    if isinstance(spec, str):
        try:
            find_judge(spec)
        except JudgeError as error:
            yield Problem("retrain.judge", str(error))
            return
    if isinstance(spec, JudgeEndpoint):
        yield from _constitution(spec)
    if not subject.judged:
        text = "no judge is set, so nothing can be promoted: name a function or an endpoint"
        yield Problem("retrain.judge", text, refuses_start=False)


def _own_judge(config: RetrainConfig) -> Iterator[Problem]:
    if config.judge == "none" and config.rollout != "canary":
        text = (
            'with "none" the users of a canary decide: set retrain.rollout to "canary", or name a '
            "judge"
        )
        yield Problem("retrain.judge", text)
    if config.judge == "people" and not config.pairs.held_out_share:
        text = (
            'the judge "people" is checked on users whose feedback is not trained on: raise '
            "retrain.pairs.held_out_share above 0"
        )
        yield Problem("retrain.judge", text)


def _constitution(endpoint: JudgeEndpoint) -> Iterator[Problem]:
    try:
        standard(endpoint.rubric, endpoint.constitution)
    except (OSError, UnicodeDecodeError):
        text = "it names no readable text file, nor is it a text with spaces in it"
        yield Problem("retrain.judge.constitution", text)


def _reader(subject: Inspected) -> Iterator[Problem]:
    spec = subject.config.signals.reader
    if not isinstance(spec, str) or spec == "judge":
        return
    try:
        find_reader(spec)
    except JudgeError as error:
        yield Problem("retrain.signals.reader", str(error))


def _suite(subject: Inspected) -> Iterator[Problem]:
    if subject.config.suite is None:
        return
    try:
        load_suite(subject.config.suite)
    except SuiteError as error:
        yield Problem("retrain.suite", str(error))


def _harms(subject: Inspected) -> Iterator[Problem]:
    for name, spec in subject.config.evaluation.harms.items():
        try:
            load_harm_metric(spec)
        except JudgeError as error:
            yield Problem(f"retrain.evaluation.harms.{name}", str(error))


def _ceilings(subject: Inspected) -> Iterator[Problem]:
    measured = subject.config.evaluation.harms
    for name in subject.config.gate.harm_ceilings:
        if name not in measured:
            text = "no such metric is in retrain.evaluation.harms, so nothing can be promoted"
            yield Problem(f"retrain.gate.harm_ceilings.{name}", text)


def _minimum(subject: Inspected) -> Iterator[Problem]:
    """Compare the least number of rows of the method with the most that a snapshot holds."""
    config = subject.config
    least, most = {
        "kto": ("minimum_labels", "max_labels"),
        "sft": ("minimum_demonstrations", "max_pairs"),
    }.get(config.method, ("minimum_pairs", "max_pairs"))
    limit = getattr(config, most)
    if config.method == "kto":
        limit += ANSWERS_PER_PAIR * config.max_pairs
    least_rows = getattr(config, least)
    if least_rows > limit:
        text = f"{least_rows} is above what retrain.{most} allows ({limit}): no run trains"
        yield Problem(f"retrain.{least}", text)


def _trainer(subject: Inspected) -> Iterator[Problem]:
    if shutil.which(subject.config.trainer.command[0]) is None:
        yield Problem("retrain.trainer.command", "its first word is not an executable program")


def _base_model(subject: Inspected) -> Iterator[Problem]:
    if subject.served == "":
        text = "its files are not on this machine, so no answer in the log can be attributed to it"
        yield Problem("engine.model", text, refuses_start=False)
    elif subject.on_disk is not None and subject.on_disk() != subject.served:
        text = "its files have changed since the server started: restart the server"
        yield Problem("engine.model", text, refuses_start=False)


def _family(subject: Inspected) -> Iterator[Problem]:
    reason = None if subject.family is None else subject.family.why_not_trained()
    if reason is not None:
        yield Problem("engine.model", reason, refuses_start=False)


CHECKS: tuple[Callable[[Inspected], Iterator[Problem]], ...] = (
    _judge,
    _reader,
    _suite,
    _harms,
    _ceilings,
    _minimum,
    _trainer,
    _base_model,
    _family,
)
