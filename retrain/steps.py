"""The steps of a run.

Each may be repeated after a crash: what is whole on disk, or registered, is used again. A step
returns None to go on, or an `Ending`. Whatever it raises ends the run as `failed`: no result, no
promotion.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from adapters.lifecycle import State
from retrain.assertions import load_suite
from retrain.context import ACTOR, ADAPTER, BASE, Ending, RunContext, World
from retrain.dataset import (
    About,
    Manifest,
    PairLog,
    freeze,
    open_snapshot,
    read_held_out,
    read_question_keys,
    window_start,
)
from retrain.errors import LiveMovedError, NoJudgeError, SnapshotError
from retrain.evaluate import evaluate
from retrain.evaluation import Arms
from retrain.gate import Verdict, decide
from retrain.prompts import Selection, select_prompts
from retrain.report import EvaluationSummary
from retrain.results import read_evaluation, write_evaluation
from retrain.slots import label
from retrain.training import train_adapter

Step = Callable[[RunContext], Awaitable[Ending | None]]


async def snapshot(context: RunContext) -> Ending | None:
    """Freeze pairs and held-out questions; too few pairs end the run, as does a rollout."""
    ending = await _no_rollout(context)
    if ending is not None:
        return ending
    try:
        manifest = await asyncio.to_thread(open_snapshot, context.snapshot)
    except SnapshotError:
        manifest = await _freeze(context)
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
    return too_few(manifest, context.world.config.minimum_pairs)


def too_few(manifest: Manifest, minimum: int) -> Ending | None:
    """The ending of a run that has not enough to learn from."""
    if manifest.pairs >= minimum:
        return None
    return Ending("skipped", f"{manifest.pairs} pairs, fewer than the minimum of {minimum}")


async def _no_rollout(context: RunContext) -> Ending | None:
    """A canary is compared with live: nothing new is trained until it has been decided about."""
    under_way = await context.world.rollouts.under_way(context.run.channel)
    if under_way is None:
        return None
    return Ending("skipped", f"{under_way} is being rolled out: its end comes first")


async def _freeze(context: RunContext) -> Manifest:
    world = context.world
    about = await about_now(world, context.run.id, context.run.channel)
    await context.save(parent=about.parent, cut_off=about.cut_off)
    return await freeze(context.snapshot, about, pair_log(world, about), world.config)


async def about_now(world: World, run: str, channel_name: str) -> About:
    """What a snapshot taken now is of."""
    channel = await world.runs.channel(channel_name)
    live = (await world.registry.route_now(channel.name)).live
    now = world.clock()
    # What a version has learned from that was rolled back since is looked at again.
    known = [] if live == BASE else await world.registry.lineage(live)
    last = await world.runs.cut_off_of(known)
    return About(
        run=run,
        channel=channel.name,
        tenants=None if channel.shared else frozenset({channel.tenant}),
        since=window_start(last, now, world.config.max_window_days),
        asked_since=now - timedelta(days=world.config.max_window_days),
        cut_off=now,
        base_model=world.base.name,
        parent=None if live == BASE else live,
    )


def pair_log(world: World, about: About) -> PairLog:
    """The log as a run reads it: only answers of the base model that is served count."""
    return PairLog(world.database, about, world.config, world.base.fingerprint)


async def train(context: RunContext) -> Ending | None:
    """Train the adapter, one trainer at a time in this process."""
    async with context.world.training:
        await train_adapter(context)
    return None


async def vet(context: RunContext) -> Ending | None:
    """Have the adapter vetted and registered as a candidate, and load it."""
    if context.run.version is None:
        await context.save(version=await _register(context))
    await context.world.registry.load(_candidate(context))
    return None


async def _register(context: RunContext) -> str:
    world, run = context.world, context.run
    for version in await world.registry.versions(run.channel):
        if version.run == run.id:
            return version.name
    added = await world.registry.add(
        context.folder / ADAPTER,
        channel=run.channel,
        actor=ACTOR,
        slot=label(run.slot, run.attempt),
        run=run.id,
        parent=run.parent,
        figures={"pairs": run.figures["pairs"]},
    )
    return added.name


async def evaluate_candidate(context: RunContext) -> Ending | None:
    """Let candidate and live answer the held-out questions, and judge."""
    world = context.world
    if world.judge is None:
        raise NoJudgeError("no judge is configured: set retrain.judge, then start the run again")
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


def _arms(context: RunContext) -> Arms:
    channel = context.run.channel
    return Arms(
        candidate=f"{channel}@{_candidate(context)}",
        live=f"{channel}@{context.live}",
        base=f"{channel}@{BASE}" if context.run.parent is not None else None,
    )


async def decide_on(context: RunContext) -> Ending | None:
    """Put the evidence before the gate, and keep its verdict with every number."""
    evaluation = await asyncio.to_thread(read_evaluation, context.folder)
    verdict = await asyncio.to_thread(decide, evaluation.evidence(), context.world.config.gate)
    await context.save(verdict=verdict.model_dump(mode="json"))
    context.world.observer.gate_decided(context.run.channel, verdict.outcome)
    return None


async def roll_out(context: RunContext) -> Ending | None:
    """Make the candidate live if the gate said so; else refuse it."""
    world, version = context.world, _candidate(context)
    verdict = Verdict.model_validate(context.run.verdict)
    reason = " ".join(verdict.reasons)
    figures = _version_figures(context, verdict)
    if not verdict.promoted:
        await world.registry.set_figures(version, figures)
        if (await world.registry.version(version)).state != State.REJECTED:
            await world.registry.reject(version, actor=ACTOR, reason=reason)
        return Ending("rejected", reason)
    live = (await world.registry.route_now(context.run.channel)).live
    if live not in (version, context.live):
        raise LiveMovedError(
            f"{live} went live meanwhile; the candidate was compared with {context.live}"
        )
    await world.runs.replace_trained_texts(version, read_question_keys(context.snapshot))
    await context.save(step=ROLL_OUT)  # the last look at the lease before anybody is answered
    await world.registry.set_figures(version, figures)
    if world.config.staged:
        await world.rollouts.begin(version, context.run.channel, context.run.id, reason)
        return Ending("rolling_out", reason)
    if live != version:
        swap = await world.registry.promote(version, actor=ACTOR, reason=reason)
        await context.note(swap_seconds=swap.seconds)
    return Ending("promoted", reason)


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
