"""The steps of a run.

Each step may be repeated after a crash, and then reuses complete files and registered versions. A
step returns None to continue, or an `Ending`. An error ends the run as `failed`. Changes outside
the run's row are made in a transaction that checks the lease (its guard), so that an owner that has
lost its lease unnoticed changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from adapters.errors import StaleRouteError
from adapters.names import BASE
from adapters.routing.lifecycle import State
from adapters.routing.route import RouteView
from retrain.config import GateConfig
from retrain.dataset.questions import Selection, select_prompts
from retrain.dataset.snapshot import (
    NEXT_MESSAGES,
    About,
    PairLog,
    SnapshotManifest,
    freeze,
    open_snapshot,
    plan_of,
    read_held_out,
    read_question_keys,
    window_start,
)
from retrain.errors import LiveMovedError, SnapshotError, TooFewFitError
from retrain.evaluation.assertions import load_suite
from retrain.evaluation.result import AnswersByArm, Evaluation
from retrain.evaluation.run import evaluate
from retrain.evaluation.storage import read_evaluation, write_evaluation
from retrain.evaluation.verdicts import AnyJudge
from retrain.gates.judge_check import JudgeCheck
from retrain.gates.offline import NO_JUDGE, Evidence, Verdict, decide
from retrain.judging.logged import logged_items
from retrain.models import ALPHA
from retrain.preflight import in_one_line
from retrain.run.candidates import refuse_candidates
from retrain.run.context import ACTOR, ADAPTER, Ending, RunContext, RunEnvironment
from retrain.run.counterparts import find_counterparts
from retrain.run.judge_checks import check_judge
from retrain.run.judging import run_judge, train_judge
from retrain.run.report import EvaluationSummary
from retrain.run.same_base import other_base
from retrain.run.train import train_adapter
from retrain.slots import EVIDENCE, label

Step = Callable[[RunContext], Awaitable[Ending | None]]


async def snapshot(context: RunContext) -> Ending | None:
    """Freeze pairs and held-out questions. Too few pairs or an open rollout end the run."""
    again = context.run.version is not None
    ending = await _no_rollout(context)
    if ending is None and not again:
        ending = await _useless(context)
    if ending is not None:
        return ending
    try:
        manifest = await asyncio.to_thread(open_snapshot, context.snapshot)
    except SnapshotError:
        manifest = await (_freeze_again(context) if again else _freeze(context))
    await context.save_figures(**manifest.figures())
    observer, channel = context.environment.observer, context.run.channel
    observer.run_pairs(channel, manifest.pairs_by_signal, manifest.left_out)
    observer.run_labels(channel, manifest.labels_up, manifest.labels_down)
    return None if again else await _too_few(context, manifest)


async def _too_few(context: RunContext, manifest: SnapshotManifest) -> Ending | None:
    """Store the plan of the training; return the ending of a run with too little to learn from."""
    environment = context.environment
    plan = plan_of(manifest, environment.config, judged=environment.finds_counterparts)
    await context.save_figures(plan=plan.model_dump(mode="json"))
    return None if plan.why_not is None else Ending("skipped", plan.why_not)


async def _useless(context: RunContext) -> Ending | None:
    """Return the ending of a run that could not train or promote anything, else None."""
    problems = await asyncio.to_thread(context.environment.problems)
    return Ending("failed", in_one_line(problems)) if problems else None


async def _no_rollout(context: RunContext) -> Ending | None:
    """Return an ending if a rollout is in progress: a candidate is compared with a fixed live."""
    under_way = await context.environment.rollouts.under_way(context.run.channel)
    if under_way is None:
        return None
    return Ending("skipped", f"{under_way} is being rolled out: wait for its end")


async def _freeze(context: RunContext) -> SnapshotManifest:
    environment = context.environment
    about = await about_now(environment, context.run.id, context.run.channel)
    await context.save(parent=about.parent, cut_off=about.cut_off)
    return await _frozen(context, about)


async def _freeze_again(context: RunContext) -> SnapshotManifest:
    """Recreate the snapshot that the candidate was trained on, which was lost with a server."""
    environment, run = context.environment, context.run
    about = await _about(
        environment, run.id, run.channel, run.parent, run.cut_off or run.created_at
    )
    return await _frozen(context, about)


async def _frozen(context: RunContext, about: About) -> SnapshotManifest:
    """Freeze the snapshot. Verdicts on next messages are kept, so that each is asked for once."""
    kept, environment = context.folder / NEXT_MESSAGES, context.environment
    log = pair_log(environment, about, kept)
    return await freeze(context.snapshot, about, log, environment.config, kept)


async def about_now(environment: RunEnvironment, run: str, channel: str) -> About:
    """Return what a snapshot taken now covers."""
    await environment.runs.channel(channel)
    live = (await environment.registry.route_now(channel)).live
    return await _about(
        environment, run, channel, None if live == BASE else live, environment.clock()
    )


async def _about(
    environment: RunEnvironment, run: str, channel_name: str, parent: str | None, now: datetime
) -> About:
    channel = await environment.runs.channel(channel_name)
    # Only the lineage of live counts: feedback that a rolled back version used is used again.
    known = [] if parent is None else await environment.registry.lineage(parent)
    last = await environment.runs.cut_off_of(known)
    return About(
        run=run,
        channel=channel.name,
        tenants=None if channel.shared else frozenset({channel.tenant}),
        since=window_start(last, now, environment.config.max_window_days),
        asked_since=now - timedelta(days=environment.config.max_window_days),
        cut_off=now,
        base_model=environment.base.name,
        base_fingerprint=environment.base.fingerprint,
        parent=parent,
    )


def pair_log(environment: RunEnvironment, about: About, kept: Path | None = None) -> PairLog:
    """Return the log as a run reads it, restricted to answers of the current base model.

    Users' next messages are read only if there is a file `kept` for the verdicts.
    """
    return PairLog(
        environment.database,
        about,
        environment.config,
        environment.base.fingerprint,
        environment.metrics,
        None if kept is None else environment.reader,
        kept,
    )


async def judge(context: RunContext) -> Ending | None:
    """Train the run's own judge on what people said, if the settings ask for one."""
    if context.environment.config.judge == "people":
        await train_judge(context)
    return None


async def train(context: RunContext) -> Ending | None:
    """Train the adapter, unless there is a candidate; one trainer at a time in this process.

    Checks for problems again, since a restarted server may resume the run here with other settings
    or another base model.
    """
    if context.run.version is not None:
        return None
    ending = await _useless(context) or await other_base(context)
    if ending is not None:
        return ending
    try:
        async with context.environment.training:
            await train_adapter(context)
    except TooFewFitError as error:
        return Ending("skipped", str(error))
    return None


async def vet(context: RunContext) -> Ending | None:
    """Vet the adapter, register it as a candidate and load it."""
    if context.run.version is None:
        await context.save(version=await _register(context))
    await context.environment.registry.load(_candidate(context))
    return None


async def _register(context: RunContext) -> str:
    """Register the adapter and return its version.

    After a crash before the run's row is written, the version is found by its run, or the same
    files yield the same version. A candidate of an earlier owner whose files are lost is rejected.
    """
    run = context.run
    added = await context.environment.registry.add(
        context.folder / ADAPTER,
        channel=run.channel,
        actor=ACTOR,
        slot=run.slot if run.trigger == EVIDENCE else label(run.slot, run.attempt),
        run=run.id,
        parent=run.parent,
        figures={"pairs": run.figures["pairs"]},
        guard=context.guard,
    )
    await refuse_candidates(context, f"its files are lost: {added.name} replaces it", added.name)
    return added.name


async def evaluate_candidate(context: RunContext) -> Ending | None:
    """Have candidate and live answer the held-out questions, and judge the answers."""
    environment = context.environment
    await environment.registry.load(_candidate(context))
    await _take_alpha(context)
    selection, judge = await _select(context), await run_judge(context)
    evaluation = await _evaluation(context, selection, judge)
    await asyncio.to_thread(write_evaluation, context.folder, evaluation, selection.prompts)
    summary = EvaluationSummary.of(evaluation, selection)
    await context.save_figures(evaluation=summary.model_dump(mode="json"))
    if judge is not None:
        check = await check_judge(context, judge, evaluation)
        await context.save_figures(judge_check=check.model_dump(mode="json"))
    return None


async def _evaluation(
    context: RunContext, selection: Selection, judge: AnyJudge | None
) -> Evaluation:
    """Evaluate; without a judge only if the users of a canary can decide in its place."""
    environment = context.environment
    if judge is None and not environment.config.users_may_decide:
        return Evaluation(arms=_arms(context), asked=0, rows=[], failed={}, judged=False)
    return await evaluate(
        selection.prompts,
        _arms(context),
        environment.chat,
        judge,
        load_suite(environment.config.suite) if environment.config.suite else None,
        environment.config.evaluation,
        partial(logged_items, environment.database),
    )


async def _take_alpha(context: RunContext) -> None:
    """Without a canary, take the alpha of the sign test from the yearly budget, if that applies.

    It is stored before the first question is asked, and kept when the step is repeated. The lease
    keeps another server from taking one at the same time.
    """
    config, rollouts = context.environment.config, context.environment.rollouts
    if config.staged or not config.budgeted(judged=True) or ALPHA in context.run.figures:
        return
    now = context.environment.clock()
    spent = await rollouts.rows.spendings(context.run.channel)
    await context.save_figures(alpha=rollouts.budget.grant(spent, now, config.gate.alpha))


def _gate(context: RunContext) -> GateConfig:
    """Return the settings of the offline gate, with the alpha that this run has taken."""
    gate, alpha = context.environment.config.gate, context.run.figures.get(ALPHA)
    return gate if alpha is None else gate.model_copy(update={"alpha": min(alpha, gate.alpha)})


async def _select(context: RunContext) -> Selection:
    """Return questions that neither the candidate nor any ancestor was trained on."""
    environment = context.environment
    await asyncio.to_thread(open_snapshot, context.snapshot)
    trained = await _trained_questions(context)
    if context.run.parent is not None:
        ancestors = await environment.registry.lineage(context.run.parent)
        trained |= await environment.runs.trained_texts(ancestors)
    asked = environment.config.gate.comparisons
    return await asyncio.to_thread(
        lambda: select_prompts(
            read_held_out(context.snapshot), trained, asked, environment.config.seed
        )
    )


async def _trained_questions(context: RunContext) -> set[str]:
    """Return the keys of the questions that the candidate was trained on.

    Those of answers judged by themselves are among them if KTO was trained on the answers, or if
    counterparts were found for them.
    """
    figures = context.run.figures
    methods = {stage["method"] for stage in figures.get("plan", {}).get("stages", [])}
    origins = figures.get("training", {}).get("pairs_by_origin", {})
    labels = "kto" in methods or "counterpart" in origins
    return await asyncio.to_thread(read_question_keys, context.snapshot, labels=labels)


def _arms(context: RunContext) -> AnswersByArm:
    channel = context.run.channel
    return AnswersByArm(
        candidate=f"{channel}@{_candidate(context)}",
        live=f"{channel}@{context.live}",
        base=f"{channel}@{BASE}" if context.run.parent is not None else None,
    )


async def decide_on(context: RunContext) -> Ending | None:
    """Apply the offline gate, and store its verdict.

    An existing verdict is kept: the gate is applied once. For a promoted version, the questions
    that it was trained on are stored first, while the snapshot is available; the step `roll out`
    does not need this machine's files.
    """
    if context.run.verdict is not None:
        return None
    environment = context.environment
    evaluation = await asyncio.to_thread(read_evaluation, context.folder)
    evidence = await asyncio.to_thread(_evidence, context, evaluation)
    verdict = await asyncio.to_thread(decide, evidence, _gate(context))
    if verdict.promoted:
        keys = await _trained_questions(context)
        await environment.runs.replace_trained_texts(_candidate(context), keys, context.guard)
    await context.save(verdict=verdict.model_dump(mode="json"))
    environment.observer.gate_decided(context.run.channel, verdict.outcome)
    return None


def _evidence(context: RunContext, evaluation: Evaluation) -> Evidence:
    """Return the gate's input: the evaluation, and what is known about the judge."""
    config, figures = context.environment.config, context.run.figures
    check = figures.get("judge_check")
    unjudged = NO_JUDGE
    if config.judge == "none":
        unjudged = 'No judge compared the answers, as retrain.judge is "none".'
    elif config.judge == "people":
        unjudged = f"The run has no judge: {figures.get('judge', {}).get('reason', 'unknown')}."
    return evaluation.evidence().model_copy(
        update={
            "unjudged": unjudged,
            "judge": check and JudgeCheck.model_validate(check),
            "canary": config.users_may_decide,
        }
    )


async def roll_out(context: RunContext) -> Ending | None:
    """Promote the candidate or start its rollout if the gate passed it, else reject it.

    The registry and the rollout are changed before the run's row. After a crash in between, the run
    is resumed at this step, and finds the change made.
    """
    environment, version = context.environment, _candidate(context)
    verdict = Verdict.model_validate(context.run.verdict)
    reason = " ".join(verdict.reasons)
    figures = _version_figures(context, verdict)
    if not verdict.promoted:
        await environment.registry.set_figures(version, figures, guard=context.guard)
        if (await environment.registry.version(version)).state != State.REJECTED:
            await environment.registry.reject(
                version, actor=ACTOR, reason=reason, guard=context.guard
            )
        return Ending("rejected", reason)
    await _route_as_compared(context, version)
    await environment.registry.set_figures(version, figures, guard=context.guard)
    if environment.config.staged:
        await environment.rollouts.begin(
            version,
            context.run.channel,
            context.run.id,
            reason,
            guard=context.guard,
            judged=verdict.judged,
        )
        return Ending("rolling_out", reason)
    await _make_live(context, version, reason)
    return Ending("promoted", reason)


async def _make_live(context: RunContext, version: str, reason: str) -> None:
    """Promote the version; if the route has changed in the meantime, check it again and retry.

    Other servers load the version first, which takes long enough for the route to change.
    """
    registry = context.environment.registry
    while (route := await _route_as_compared(context, version)).live != version:
        try:
            swap = await registry.promote(
                version, actor=ACTOR, reason=reason, epoch=route.epoch, guard=context.guard
            )
        except StaleRouteError:
            continue
        await context.save_figures(swap_seconds=swap.seconds)
        return


async def _route_as_compared(context: RunContext, version: str) -> RouteView:
    """Return the route. Raise `LiveMovedError` if live is not what the candidate was compared with.

    Live may also be the candidate itself.
    """
    route = await context.environment.registry.route_now(context.run.channel)
    if route.live not in (version, context.live):
        raise LiveMovedError(
            f"{route.live} is live now; the candidate was compared with {context.live}"
        )
    return route


def _version_figures(context: RunContext, verdict: Verdict) -> dict[str, object]:
    figures = context.run.figures
    evaluation = figures["evaluation"]
    return {
        "pairs": figures["pairs"],
        "train_seconds": figures.get("train_seconds"),
        "win_vs_live": evaluation["against_live"]["rate"],
        "win_vs_base": evaluation["against_base"]["rate"],
        "p": verdict.p,
        "verdict": verdict.outcome,
    }


def _candidate(context: RunContext) -> str:
    version = context.run.version
    if version is None:
        raise SnapshotError("the run has no candidate: start another run")
    return version


ROLL_OUT = "roll out"

STEPS: Mapping[str, Step] = {
    "snapshot": snapshot,
    "judge": judge,
    "counterparts": find_counterparts,
    "train": train,
    "vet": vet,
    "evaluate": evaluate_candidate,
    "decide": decide_on,
    ROLL_OUT: roll_out,
}
"""All steps by name, in order."""
