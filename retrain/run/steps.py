"""The steps of a run.

Each may be repeated after a crash: what is whole on disk, or registered, is used again. A step
returns None to go on, or an `Ending`. Whatever it raises ends the run as `failed`: no result, no
promotion. What a step changes outside the run's row is changed under the lease's guard, in one
transaction with it: an owner that slept through the loss of its lease changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from adapters.errors import StaleRouteError
from adapters.names import BASE
from adapters.routing.lifecycle import State
from adapters.routing.route import RouteView
from retrain.config import RetrainConfig
from retrain.dataset.questions import Selection, select_prompts
from retrain.dataset.snapshot import (
    About,
    PairLog,
    SnapshotManifest,
    freeze,
    open_snapshot,
    read_held_out,
    read_question_keys,
    why_too_few,
    window_start,
)
from retrain.errors import LiveMovedError, SnapshotError, TooFewFitError
from retrain.evaluation.assertions import load_suite
from retrain.evaluation.result import AnswersByArm
from retrain.evaluation.run import evaluate
from retrain.evaluation.storage import read_evaluation, write_evaluation
from retrain.gates.offline import Verdict, decide
from retrain.preflight import in_one_line
from retrain.run.candidates import refuse_candidates
from retrain.run.context import ACTOR, ADAPTER, Ending, RunContext, RunEnvironment
from retrain.run.report import EvaluationSummary
from retrain.run.train import train_adapter
from retrain.slots import label

Step = Callable[[RunContext], Awaitable[Ending | None]]


async def snapshot(context: RunContext) -> Ending | None:
    """Freeze pairs and held-out questions; too few pairs end the run, as does a rollout."""
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
    await context.note(
        pairs=manifest.pairs,
        pairs_by_signal=manifest.pairs_by_signal,
        filters=manifest.left_out,
        held_out=manifest.held_out,
        questions=manifest.questions,
    )
    context.world.observer.run_pairs(
        context.run.channel, manifest.pairs_by_signal, manifest.left_out
    )
    return None if again else _too_few(manifest, context.world.config)


def _too_few(manifest: SnapshotManifest, config: RetrainConfig) -> Ending | None:
    """The ending of a run that has not enough to learn from."""
    reason = why_too_few(manifest, config)
    return None if reason is None else Ending("skipped", reason)


async def _useless(context: RunContext) -> Ending | None:
    """The ending of a run that could train or promote nothing: found before it trains."""
    problems = await asyncio.to_thread(context.world.problems)
    return Ending("failed", in_one_line(problems)) if problems else None


async def _no_rollout(context: RunContext) -> Ending | None:
    """A canary is compared with live: nothing new is trained until it has been decided about."""
    under_way = await context.world.rollouts.under_way(context.run.channel)
    if under_way is None:
        return None
    return Ending("skipped", f"{under_way} is being rolled out: its end comes first")


async def _freeze(context: RunContext) -> SnapshotManifest:
    world = context.world
    about = await about_now(world, context.run.id, context.run.channel)
    await context.save(parent=about.parent, cut_off=about.cut_off)
    return await freeze(context.snapshot, about, pair_log(world, about), world.config)


async def _freeze_again(context: RunContext) -> SnapshotManifest:
    """The snapshot that the candidate was trained on, lost with another machine's disk."""
    world, run = context.world, context.run
    about = await _about(world, run.id, run.channel, run.parent, run.cut_off or run.created_at)
    return await freeze(context.snapshot, about, pair_log(world, about), world.config)


async def about_now(world: RunEnvironment, run: str, channel: str) -> About:
    """What a snapshot taken now is of."""
    await world.runs.channel(channel)
    live = (await world.registry.route_now(channel)).live
    return await _about(world, run, channel, None if live == BASE else live, world.clock())


async def _about(
    world: RunEnvironment, run: str, channel_name: str, parent: str | None, now: datetime
) -> About:
    channel = await world.runs.channel(channel_name)
    # What a version has learned from that was rolled back since is looked at again.
    known = [] if parent is None else await world.registry.lineage(parent)
    last = await world.runs.cut_off_of(known)
    return About(
        run=run,
        channel=channel.name,
        tenants=None if channel.shared else frozenset({channel.tenant}),
        since=window_start(last, now, world.config.max_window_days),
        asked_since=now - timedelta(days=world.config.max_window_days),
        cut_off=now,
        base_model=world.base.name,
        base_fingerprint=world.base.fingerprint,
        parent=parent,
    )


def pair_log(world: RunEnvironment, about: About) -> PairLog:
    """The log as a run reads it: only answers of the base model that is served count."""
    return PairLog(world.database, about, world.config, world.base.fingerprint)


async def train(context: RunContext) -> Ending | None:
    """Train the adapter, one trainer at a time in this process; not for a candidate there is.

    What makes a run useless is looked for once more: a server that was started again, with other
    settings or another base model, may have taken the run up here.
    """
    if context.run.version is not None:
        return None
    ending = await _useless(context) or await _other_base(context)
    if ending is not None:
        return ending
    try:
        async with context.world.training:
            await train_adapter(context)
    except TooFewFitError as error:
        return Ending("skipped", str(error))
    return None


async def _other_base(context: RunContext) -> Ending | None:
    """The ending of a run whose pairs were sampled by another base model than is served now."""
    try:
        manifest = await asyncio.to_thread(open_snapshot, context.snapshot)
    except SnapshotError:
        return None  # a trainer without pairs says so itself
    if manifest.about.base_fingerprint in ("", context.world.base.fingerprint):
        return None
    return Ending("failed", "the base model has changed since the snapshot: start the run again")


async def vet(context: RunContext) -> Ending | None:
    """Have the adapter vetted and registered as a candidate, and load it."""
    if context.run.version is None:
        await context.save(version=await _register(context))
    await context.world.registry.load(_candidate(context))
    return None


async def _register(context: RunContext) -> str:
    """Bring the adapter in.

    A crash before the run's row says so is made up for: whoever goes on finds the version by its
    run, or the same files give the same version. One that an earlier owner brought in, and whose
    files went with its machine, gives way.
    """
    run = context.run
    added = await context.world.registry.add(
        context.folder / ADAPTER,
        channel=run.channel,
        actor=ACTOR,
        slot=label(run.slot, run.attempt),
        run=run.id,
        parent=run.parent,
        figures={"pairs": run.figures["pairs"]},
        guard=context.guard,
    )
    await refuse_candidates(context, f"its files are lost: {added.name} replaces it", added.name)
    return added.name


async def evaluate_candidate(context: RunContext) -> Ending | None:
    """Let candidate and live answer the held-out questions, and judge."""
    world = context.world
    await world.registry.load(_candidate(context))
    selection = await _select(context)
    evaluation = await evaluate(
        selection.prompts,
        _arms(context),
        world.chat,
        world.judge,
        load_suite(world.config.suite) if world.config.suite else None,
        world.config.evaluation,
    )
    await asyncio.to_thread(write_evaluation, context.folder, evaluation, selection.prompts)
    summary = EvaluationSummary.of(evaluation, selection)
    await context.note(evaluation=summary.model_dump(mode="json"))
    return None


async def _select(context: RunContext) -> Selection:
    """Questions that neither the candidate nor any ancestor was trained on."""
    world = context.world
    await asyncio.to_thread(open_snapshot, context.snapshot)
    trained = await asyncio.to_thread(read_question_keys, context.snapshot)
    if context.run.parent is not None:
        ancestors = await world.registry.lineage(context.run.parent)
        trained |= await world.runs.trained_texts(ancestors)
    asked = world.config.gate.comparisons
    return await asyncio.to_thread(
        lambda: select_prompts(read_held_out(context.snapshot), trained, asked, world.config.seed)
    )


def _arms(context: RunContext) -> AnswersByArm:
    channel = context.run.channel
    return AnswersByArm(
        candidate=f"{channel}@{_candidate(context)}",
        live=f"{channel}@{context.live}",
        base=f"{channel}@{BASE}" if context.run.parent is not None else None,
    )


async def decide_on(context: RunContext) -> Ending | None:
    """Put the evidence before the gate, and keep its verdict with every number.

    A verdict that there is already stays: the gate is never asked twice. What a version that was
    let through has seen is noted before it, while the snapshot is at hand; rolling out takes
    nothing from this machine's disk.
    """
    if context.run.verdict is not None:
        return None
    world = context.world
    evaluation = await asyncio.to_thread(read_evaluation, context.folder)
    verdict = await asyncio.to_thread(decide, evaluation.evidence(), world.config.gate)
    if verdict.promoted:
        keys = await asyncio.to_thread(read_question_keys, context.snapshot)
        await world.runs.replace_trained_texts(_candidate(context), keys, context.guard)
    await context.save(verdict=verdict.model_dump(mode="json"))
    world.observer.gate_decided(context.run.channel, verdict.outcome)
    return None


async def roll_out(context: RunContext) -> Ending | None:
    """Make the candidate live if the gate said so; else refuse it.

    Registry and rollout are changed first and the run's row after it. A crash in between leaves a
    run that is still rolling out, and whoever goes on with it finds the change made.
    """
    world, version = context.world, _candidate(context)
    verdict = Verdict.model_validate(context.run.verdict)
    reason = " ".join(verdict.reasons)
    figures = _version_figures(context, verdict)
    if not verdict.promoted:
        await world.registry.set_figures(version, figures, guard=context.guard)
        if (await world.registry.version(version)).state != State.REJECTED:
            await world.registry.reject(version, actor=ACTOR, reason=reason, guard=context.guard)
        return Ending("rejected", reason)
    await _route_as_compared(context, version)
    await world.registry.set_figures(version, figures, guard=context.guard)
    if world.config.staged:
        await world.rollouts.begin(
            version, context.run.channel, context.run.id, reason, guard=context.guard
        )
        return Ending("rolling_out", reason)
    await _make_live(context, version, reason)
    return Ending("promoted", reason)


async def _make_live(context: RunContext, version: str, reason: str) -> None:
    """Promote on the route that was looked at; one that has changed by then is looked at anew.

    Other servers load the version first, which takes long enough for somebody to change the route.
    """
    registry = context.world.registry
    while (route := await _route_as_compared(context, version)).live != version:
        try:
            swap = await registry.promote(
                version, actor=ACTOR, reason=reason, epoch=route.epoch, guard=context.guard
            )
        except StaleRouteError:
            continue
        await context.note(swap_seconds=swap.seconds)
        return


async def _route_as_compared(context: RunContext, version: str) -> RouteView:
    """The route, if live is what the candidate was compared with (or the candidate itself)."""
    route = await context.world.registry.route_now(context.run.channel)
    if route.live not in (version, context.live):
        raise LiveMovedError(
            f"{route.live} went live meanwhile; the candidate was compared with {context.live}"
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
    "train": train,
    "vet": vet,
    "evaluate": evaluate_candidate,
    "decide": decide_on,
    ROLL_OUT: roll_out,
}
"""In order."""
