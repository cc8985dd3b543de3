"""Hold a run's judge against held-out people, and correct its win rate for its errors."""

import asyncio

from retrain.dataset.held_out_judgements import JudgedPair
from retrain.evaluation.result import Evaluation
from retrain.evaluation.verdicts import AnyJudge, judge_name
from retrain.gates.judge_agreement import (
    Agreement,
    judge_agreement,
    mutual_agreement,
    self_agreement,
)
from retrain.gates.judge_check import Basis, JudgeCheck, checked
from retrain.gates.judge_correction import Outcomes, correct
from retrain.judging.agreement import calibrations, of_versions, people_only
from retrain.judging.gather import held_out_pairs
from retrain.judging.storage import JUDGE, Ranking, read_record
from retrain.run.context import RunContext
from retrain.run.snapshots import window_snapshots


async def check_judge(context: RunContext, judge: AnyJudge, evaluation: Evaluation) -> JudgeCheck:
    """Measure how far the judge agrees with held-out people, and whether it may gate."""
    config = context.environment.config
    snapshots = list((await window_snapshots(context)).values())
    pairs = await asyncio.to_thread(held_out_pairs, snapshots)
    basis, chosen = _chosen(context, pairs)
    seen = await calibrations(
        judge,
        chosen,
        most=config.evaluation.calibration,
        seed=config.seed,
        concurrency=config.evaluation.judge_concurrency,
    )
    people, wins = people_only(pairs), evaluation.against_live()
    outcomes = Outcomes(wins.wins, wins.losses, wins.ties)
    check = JudgeCheck(
        judge=judge_name(judge),
        trained=config.judge == "people",
        basis=basis,
        agreement=judge_agreement(seen),
        people_alone=self_agreement(people),
        people_together=mutual_agreement(people),
        corrected=await asyncio.to_thread(correct, outcomes, seen, seed=config.seed),
    )
    return checked(await asyncio.to_thread(_by_thumbs, context, check), config.gate)


def _chosen(context: RunContext, pairs: list[JudgedPair]) -> tuple[Basis, list[JudgedPair]]:
    """Return the comparisons of live and candidate if they are enough, else all."""
    versions = {context.live, context.run.version or ""}
    direct = of_versions(pairs, versions)
    if len(direct) >= context.environment.config.gate.agreement_comparisons:
        return "candidate", direct
    return "comparisons", pairs


def _by_thumbs(context: RunContext, check: JudgeCheck) -> JudgeCheck:
    """Take the ranking of rated answers as agreement, where the run's judge has no more than that.

    A judge that compares cannot be held against thumbs, which are for answers to many questions.
    """
    least = context.environment.config.gate.agreement_comparisons
    compared = check.agreement.comparisons if check.agreement else 0
    if not check.trained or compared >= least:
        return check
    ranked = read_record(context.folder / JUDGE).ranking
    if ranked is None:
        return check
    return check.model_copy(update={"basis": "thumbs", "agreement": _as_agreement(ranked)})


def _as_agreement(ranked: Ranking) -> Agreement:
    return Agreement(
        rate=ranked.auroc,
        low=ranked.low,
        comparisons=ranked.good + ranked.bad,
        raters=ranked.raters,
    )
