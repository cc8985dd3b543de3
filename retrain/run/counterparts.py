"""The step `counterparts`: new answers of the live version complete pairs."""

import asyncio

from retrain.counterparts.asking import LiveVersion
from retrain.counterparts.search import Search
from retrain.counterparts.storage import (
    CounterpartFigures,
    CounterpartsManifest,
    find_frozen,
)
from retrain.run.context import COUNTERPARTS, Ending, RunContext
from retrain.run.judging import run_judge
from retrain.run.same_base import other_base


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
        context.run.channel, {"counterpart": figures.outcomes, "self_play": figures.self_play}
    )
    return None


async def _search(context: RunContext) -> CounterpartsManifest:
    environment = context.environment
    model = f"{context.run.channel}@{context.live}"
    if context.run.parent is not None:  # it may have been unloaded, if live has changed since
        await environment.registry.load(context.run.parent)
    search = Search(
        folder=context.folder / COUNTERPARTS,
        snapshot=context.snapshot,
        model=model,
        live=LiveVersion(
            environment.counterpart_chat, model, environment.database, environment.config.evaluation
        ),
        judge=await run_judge(context),
        database=environment.database,
        config=environment.config,
        progress=lambda figures: _save(context, figures),
    )
    return await search.run()


async def _save(context: RunContext, figures: CounterpartFigures) -> None:
    await context.save_figures(counterparts=figures.model_dump(mode="json"))
