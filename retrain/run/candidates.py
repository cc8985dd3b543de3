"""The candidates of a run: versions that it registered and that are not rolled out yet."""

import structlog

from adapters.errors import AdaptersError, CorruptArtifactError
from adapters.models import Version
from adapters.routing.lifecycle import State
from retrain.run.context import ACTOR, RunContext

_log = structlog.get_logger()


async def registered(context: RunContext) -> Version | None:
    """Return the run's candidate, even if a crash kept it from being stored in the run's row."""
    registry, run = context.environment.registry, context.run
    if run.version is not None:
        return await registry.version(run.version)
    candidates = await _open_candidates(context)
    return candidates[-1] if candidates else None


async def is_complete(context: RunContext, version: Version) -> bool:
    """Load a candidate and return whether its files are intact; true for other versions.

    Other errors of loading are only logged: the step that needs the version will raise them.
    """
    if version.state != State.CANDIDATE:
        return True
    try:
        await context.environment.registry.load(version.name)
    except CorruptArtifactError:
        return False
    except AdaptersError as error:
        _log.warning("candidate_not_loaded", run=context.run.id, error=type(error).__name__)
    return True


async def refuse_candidates(context: RunContext, reason: str, keep: str | None = None) -> None:
    """Reject the run's candidates except `keep`, to free their adapter slots in the engine.

    Versions with a rollout are left to the rollout. Raises `LeaseLostError`.
    """
    for version in await _open_candidates(context):
        if version.name == keep or await context.environment.rollouts.has(version.name):
            continue
        try:
            await context.environment.registry.reject(
                version.name, actor=ACTOR, reason=reason, guard=context.guard
            )
        except AdaptersError as error:
            _log.warning("candidate_not_rejected", run=context.run.id, error=type(error).__name__)


async def _open_candidates(context: RunContext) -> list[Version]:
    return [
        version
        for version in await context.environment.registry.versions(context.run.channel)
        if version.run == context.run.id and version.state == State.CANDIDATE
    ]
