"""The versions that a run has brought in, as long as they are the run's alone."""

import structlog

from adapters.errors import AdaptersError, CorruptArtifactError
from adapters.models import Version
from adapters.routing.lifecycle import State
from retrain.run.context import ACTOR, RunContext

_log = structlog.get_logger()


async def registered(context: RunContext) -> Version | None:
    """The run's candidate; also one that was registered before the run's row could say so."""
    registry, run = context.world.registry, context.run
    if run.version is not None:
        return await registry.version(run.version)
    candidates = await _open_candidates(context)
    return candidates[-1] if candidates else None


async def is_complete(context: RunContext, version: Version) -> bool:
    """Whether the version can be had here; loads it. What has moved on is not the run's any more.

    Only files that are missing or damaged say no: what else keeps it from being loaded is for the
    step that needs it to say.
    """
    if version.state != State.CANDIDATE:
        return True
    try:
        await context.world.registry.load(version.name)
    except CorruptArtifactError:
        return False
    except AdaptersError as error:
        _log.warning("candidate_not_loaded", run=context.run.id, error=type(error).__name__)
    return True


async def refuse_candidates(context: RunContext, reason: str, keep: str | None = None) -> None:
    """Refuse what the run has brought in, so that it holds no slot of the engine; not `keep`.

    A version that has begun to be rolled out is the rollout's. Raises `LeaseLostError`.
    """
    for version in await _open_candidates(context):
        if version.name == keep or await context.world.rollouts.has(version.name):
            continue
        try:
            await context.world.registry.reject(
                version.name, actor=ACTOR, reason=reason, guard=context.guard
            )
        except AdaptersError as error:
            _log.warning("candidate_not_rejected", run=context.run.id, error=type(error).__name__)


async def _open_candidates(context: RunContext) -> list[Version]:
    return [
        version
        for version in await context.world.registry.versions(context.run.channel)
        if version.run == context.run.id and version.state == State.CANDIDATE
    ]
