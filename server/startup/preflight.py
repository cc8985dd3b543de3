"""Checks before startup of settings that depend on this machine, such as paths and models.

A server refuses to start with such a problem; `pawl doctor` shows all of them.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile

import structlog

from adapters.errors import StoreAddressError
from adapters.store.artifacts import open_artifacts
from adapters.store.filesystems import KEEP_NOTHING, is_address, protocol_of
from adapters.vetting.families import Family, read_family
from retrain.preflight import Inspected, Problem, find_problems, in_one_line
from server.database.database import check_address
from server.engine.config import EngineConfig
from server.engine.errors import EngineStartError
from server.engine.fingerprint import base_fingerprint, is_hub_id, stored_model
from server.engine.templates import check_template
from server.errors import SetupError, path_errors
from server.settings import Settings

BUILT_IN_VOTES = frozenset({"thumbs", "rating"})

_log = structlog.get_logger()


def find_start_problems(settings: Settings) -> list[Problem]:
    """Run all checks that need neither a database nor an engine; may block on disk and network."""
    return [problem for check in CHECKS for problem in check(settings)]


def _folder(settings: Settings) -> Iterator[Problem]:
    yield from _unless("data_dir", lambda: _writable(settings.data_dir))


def _database(settings: Settings) -> Iterator[Problem]:
    yield from _unless("database_url", lambda: check_address(settings.database, settings.data_dir))


def _store(settings: Settings) -> Iterator[Problem]:
    store = settings.adapters.store
    if store is not None and not is_address(store):
        yield from _unless("adapters.store", lambda: _writable(Path(store).expanduser()))
    elif store is not None and protocol_of(store) in KEEP_NOTHING:
        yield Problem("adapters.store", "no files are kept there: name a folder or a store like S3")
    elif store is not None:
        local = settings.data_dir / "adapters"
        yield from _unless("adapters.store", lambda: open_artifacts(settings.adapters, local, ""))


def _model(settings: Settings) -> Iterator[Problem]:
    """Check that a model folder is complete; a hub id may still be downloaded."""
    engine = settings.engine
    if engine.kind == "fake":
        return
    if not engine.model:
        yield Problem("engine.model", "name a model: a folder or a hub id (pawl serve --model)")
    elif Path(engine.model).is_dir() or not is_hub_id(engine.model):
        yield from _unless("engine.model", lambda: base_fingerprint(engine))


def _chat_template(settings: Settings) -> Iterator[Problem]:
    template = settings.engine.chat_template
    if template is not None:
        yield from _unless("engine.chat_template", lambda: check_template(template))


def _votes(settings: Settings) -> Iterator[Problem]:
    """Check that metrics that count as votes exist and can say both good and bad."""
    own = settings.feedback.metrics
    for name in sorted(settings.retrain.canary.votes - BUILT_IN_VOTES):
        if name not in own:
            yield Problem("retrain.canary.votes", f"there is no metric {name} in feedback.metrics")
        elif not own[name].votes:
            text = (
                f"{name} is no vote: it must be a boolean, a number with both good and bad, or a "
                "category with both good_values and bad_values"
            )
            yield Problem("retrain.canary.votes", text)


def _rank(settings: Settings) -> Iterator[Problem]:
    """The rank of a fresh adapter; one that starts from the live version keeps that one's rank."""
    rank, highest = settings.retrain.hyper.lora_rank, settings.engine.max_lora_rank
    if rank > highest:
        text = f"{rank} is above engine.max_lora_rank ({highest}): no first adapter would load"
        yield Problem("retrain.hyper.lora_rank", text, refuses_start=False)


def _weekly_run(settings: Settings) -> Iterator[Problem]:
    subject = Inspected(
        settings.retrain,
        judged=settings.retrain.judge is not None,
        family=_family(settings.engine),
    )
    yield from find_problems(subject)


CHECKS = (_folder, _database, _store, _model, _chat_template, _votes, _rank, _weekly_run)


def _unless(setting: str, check: Callable[[], object]) -> Iterator[Problem]:
    """Run `check` and yield its error as a problem of `setting`."""
    try:
        with path_errors(setting):
            check()
    except (SetupError, StoreAddressError, EngineStartError) as error:
        yield Problem(setting, str(error).removeprefix(f"{setting}: "))


def _writable(folder: Path) -> None:
    """Raise `OSError` unless a file can be created in `folder`, or the folder itself.

    Leaves no file or folder behind.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with TemporaryFile(dir=folder):
        pass


def _family(engine: EngineConfig) -> Family | None:
    """Return the base model's family; None if its files are not here or do not name it."""
    folder = stored_model(engine.model) if engine.kind == "vllm" else None
    return read_family(folder) if folder is not None else None


async def check_settings(settings: Settings) -> None:
    """Run the checks before the engine starts, which may take minutes.

    Problems that allow serving but no weekly run are logged as warnings.

    Raises:
        SetupError: If a problem prevents serving.

    """
    problems = await asyncio.to_thread(find_start_problems, settings)
    refusing = [problem for problem in problems if problem.refuses_start]
    if refusing:
        raise SetupError(in_one_line(refusing))
    for problem in problems:
        _log.warning("no_run_can_promote", setting=problem.setting, reason=problem.text)
