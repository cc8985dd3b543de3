"""`pawl doctor`: checks the machine, the settings and the data folder, and says what to fix."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from adapters.vetting.families import read_family
from server.cli.chat_template_check import missing_chat_template
from server.engine.dtype import dtype_for, vllm_is_for_cpus
from server.engine.fingerprint import stored_model
from server.maintenance.retention import too_short
from server.settings import Settings
from server.startup.data_lock import running_server
from server.startup.permissions import advice, open_to_others

FREE_BYTES_WANTED = 5 * 1024**3
"""Free bytes on the data folder's disk below which `pawl doctor` warns."""


class Finding(BaseModel):
    """The result of one check."""

    name: str
    state: Literal["ok", "warning", "bad"]
    text: str


def examine(settings: Settings) -> list[Finding]:
    """Run all checks, without importing heavy packages."""
    return [finding for check in CHECKS for finding in check(settings)]


def _packages(_settings: Settings) -> Iterator[Finding]:
    for package, extra in (("vllm", "gpu"), ("trl", "train"), ("peft", "train")):
        if find_spec(package) is None:
            text = f"not installed: in Pawl's checkout, pip install -e '.[{extra}]', or make setup"
            yield Finding(name=package, state="bad", text=text)
        else:
            yield Finding(name=package, state="ok", text="installed")


def _model(settings: Settings) -> Iterator[Finding]:
    model = settings.engine.model
    if not model:
        text = "none set: pawl serve --model FOLDER, or PAWL_ENGINE__MODEL"
        yield Finding(name="model", state="warning", text=text)
    elif Path(model).is_dir() and not (Path(model) / "config.json").is_file():
        yield Finding(name="model", state="bad", text=f"{model} holds no config.json")
    else:
        yield Finding(name="model", state="ok", text=model)


def _family(settings: Settings) -> Iterator[Finding]:
    """Check that the model's family can be served with adapters; `_preflight` checks training."""
    folder = stored_model(settings.engine.model)
    family = read_family(folder) if folder is not None else None
    if family is None or settings.engine.kind != "vllm":
        return
    unserved = family.why_not_served(cpu=vllm_is_for_cpus())
    if unserved is not None:
        yield Finding(name="family", state="bad", text=unserved)
    else:
        yield Finding(name="family", state="ok", text=family.model_type)


def _dtype(settings: Settings) -> Iterator[Finding]:
    """Show the type that the engine computes in, and why."""
    if settings.engine.kind == "vllm" and settings.engine.model:
        choice = dtype_for(settings.engine, cpu=vllm_is_for_cpus())
        yield Finding(name="dtype", state="ok", text=f"{choice.dtype}: {choice.reason}")


def _chat_template(settings: Settings) -> Iterator[Finding]:
    missing = missing_chat_template(settings.engine)
    if missing is not None:
        yield Finding(name="chat_template", state="warning", text=missing)


def _data_dir(settings: Settings) -> Iterator[Finding]:
    place = settings.data_dir.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    state: Literal["ok", "warning"] = "ok" if free > FREE_BYTES_WANTED else "warning"
    yield Finding(
        name="data_dir", state=state, text=f"{settings.data_dir}: {free // 2**30} GiB free"
    )
    if not os.access(place, os.W_OK):
        yield Finding(name="data_dir", state="bad", text=f"{place} cannot be written to")
    running = running_server(settings.data_dir) if settings.data_dir.exists() else None
    text = f"serving at {running.url} (process {running.pid})" if running else "not running"
    yield Finding(name="server", state="ok", text=text)


def _permissions(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    if not folder.exists():
        return
    try:
        found = list(open_to_others(folder))
    except PermissionError as error:
        yield Finding(name="permissions", state="bad", text=f"{error.filename} cannot be read")
        return
    if found:
        text = f"others on this machine may use {found[0]}{_and_more(found)}: {advice(folder)}"
        yield Finding(name="permissions", state="bad", text=text)
    else:
        yield Finding(name="permissions", state="ok", text=f"{folder} is its owner's alone")


def _and_more(found: Sequence[object]) -> str:
    return f" and {len(found) - 1} more" if len(found) > 1 else ""


def _database(settings: Settings) -> Iterator[Finding]:
    from server.database.check import check_database  # noqa: PLC0415  (loads the drivers)

    for state, text in check_database(settings.database):
        yield Finding(name="database", state=state, text=text)


def _threads(settings: Settings) -> Iterator[Finding]:
    del settings
    cores = len(os.sched_getaffinity(0))
    threads = os.environ.get("OMP_NUM_THREADS")
    if find_spec("torch") is not None and threads is None:
        text = f"not set on {cores} cores: on a shared CPU the engine may collapse; try 1 or 2"
        yield Finding(name="OMP_NUM_THREADS", state="warning", text=text)


def _preflight(settings: Settings) -> Iterator[Finding]:
    """Show the problems that prevent a start, and those that keep a run from promoting."""
    from server.startup.preflight import find_start_problems  # noqa: PLC0415  (loads the judge)

    found = find_start_problems(settings)
    for problem in found:
        state: Literal["bad", "warning"] = "bad" if problem.refuses_start else "warning"
        name = problem.setting.rpartition(".")[2]
        yield Finding(name=name, state=state, text=str(problem))
    if not any(problem.setting == "retrain.judge" for problem in found):
        yield Finding(name="judge", state="ok", text="set")


def _retention(settings: Settings) -> Iterator[Finding]:
    days = settings.feedback.retention_days
    warning = too_short(days, settings.retrain.max_window_days)
    if warning is not None:
        yield Finding(name="retention", state="warning", text=warning)
    else:
        text = "texts are kept for ever" if days is None else f"texts are kept for {days:g} days"
        yield Finding(name="retention", state="ok", text=text)


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _packages,
    _model,
    _family,
    _dtype,
    _chat_template,
    _data_dir,
    _permissions,
    _database,
    _threads,
    _preflight,
    _retention,
)
