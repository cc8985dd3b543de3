"""The step `counterparts`: new answers of the live version complete pairs."""

import asyncio
from collections.abc import Mapping
from functools import partial

import httpx

from retrain.counterparts.asking import LiveVersion
from retrain.counterparts.search import Search
from retrain.counterparts.storage import (
    CounterpartFigures,
    CounterpartsManifest,
    find_frozen,
)
from retrain.evaluation.verdicts import AnyJudge
from retrain.run.context import COUNTERPARTS, Ending, RunContext
from retrain.run.judging import run_judge
from retrain.run.same_base import other_base
from retrain.synthetic.making import Synthesis
from retrain.synthetic.writers import EndpointWriter, LiveWriter, Writer
from retrain.trainer.examples.rows import PairRow


async def find_counterparts(context: RunContext) -> Ending | None:
    """Ask the live version rated questions again, unless there is a candidate or all is frozen."""
    if context.run.version is not None:
        return None
    ending = await other_base(context)
    if ending is not None:
        return ending
    manifest = await asyncio.to_thread(find_frozen, context.folder / COUNTERPARTS)
    if manifest is None:
        manifest = await _search(context)
    figures = manifest.figures
    await _save(context, figures)
    context.environment.observer.run_counterparts(
        context.run.channel,
        {
            "counterpart": figures.outcomes,
            "self_play": figures.self_play,
            "synthetic": figures.synthetic,
        },
    )
    return None


async def _search(context: RunContext) -> CounterpartsManifest:
    environment = context.environment
    model = f"{context.run.channel}@{context.live}"
    if context.run.parent is not None:  # it may have been unloaded, if live has changed since
        await environment.registry.load(context.run.parent)
    live = LiveVersion(
        environment.counterpart_chat, model, environment.database, environment.config.evaluation
    )
    judge = await run_judge(context)
    search = Search(
        folder=context.folder / COUNTERPARTS,
        snapshot=context.snapshot,
        model=model,
        live=live,
        judge=judge,
        database=environment.database,
        config=environment.config,
        progress=lambda figures: _save(context, figures),
        synthetic=None if judge is None else partial(_synthesize, context, live, judge),
    )
    return await search.run()


async def _synthesize(
    context: RunContext, live: LiveVersion, judge: AnyJudge
) -> tuple[list[PairRow], Mapping[str, int]]:
    """Make synthetic pairs, if the settings ask for some."""
    environment = context.environment
    model = f"{context.run.channel}@{context.live}"
    async with httpx.AsyncClient() as client:
        chosen = environment.config.synthetic.writer
        writer: Writer = LiveWriter(environment.counterpart_chat, model)
        if chosen != "live":
            writer = EndpointWriter(chosen, client)
        made = await Synthesis(
            folder=context.folder / COUNTERPARTS,
            snapshot=context.snapshot,
            writer=writer,
            live=live,
            judge=judge,
            database=environment.database,
            config=environment.config,
        ).run()
    return made.pairs, made.outcomes


async def _save(context: RunContext, figures: CounterpartFigures) -> None:
    await context.save_figures(counterparts=figures.model_dump(mode="json"))
