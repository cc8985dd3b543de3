"""The commands `pawl backup` and `pawl restore`."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TaskID

from common.clock import system_clock
from server.exits import checked
from server.maintenance.backup.manifest import BackupManifest
from server.settings import Settings

NICENESS = 10
"""The process's niceness: a backup must not slow down a running server."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def backup(
    destination: Annotated[str, typer.Argument(help="A new folder, or an address such as s3://…")],
    *,
    as_json: AsJson = False,
) -> None:
    """Copy the database and the adapter files to one place; a server may be running."""
    from server.maintenance.backup.take import take_backup  # noqa: PLC0415  (slow to import)

    settings = checked(Settings)
    os.nice(NICENESS)
    began = perf_counter()
    with _bars(quiet=as_json) as progress:
        manifest = take_backup(settings, destination, system_clock, progress)
    _show("backed up", manifest, perf_counter() - began, as_json=as_json)


def restore(
    source: Annotated[str, typer.Argument(help="What 'pawl backup' wrote.")],
    data_dir: Annotated[Path | None, typer.Option(help="Folder of all data.")] = None,
    database_url: Annotated[
        str | None,
        typer.Option(help="The database to restore into, instead of that of the settings."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into an empty database and the adapter store; overwrites nothing."""
    from server.maintenance.backup.restore import restore_backup  # noqa: PLC0415  (slow to import)

    given = {"data_dir": data_dir, "database_url": database_url}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings = checked(lambda: Settings(**options))
    began = perf_counter()
    with _bars(quiet=as_json) as progress:
        manifest = restore_backup(settings, source, progress)
    _show("restored", manifest, perf_counter() - began, as_json=as_json)


class _Bar:
    """Shows a progress bar for each table."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)


@contextmanager
def _bars(*, quiet: bool) -> Iterator[_Bar]:
    console = Console(stderr=True)
    with Bars(console=console, transient=True, disable=quiet or not console.is_terminal) as bars:
        yield _Bar(bars)


def _show(done: str, manifest: BackupManifest, seconds: float, *, as_json: bool) -> None:
    gone = [version.name for version in manifest.versions if not version.present]
    summary = {
        "began_at": manifest.began_at.isoformat(),
        "database": manifest.database,
        "revision": manifest.revision,
        "rows": {table.name: table.rows for table in manifest.tables},
        "versions": len(manifest.versions) - len(gone),
        "versions_without_files": gone,
        "spooled_rows": manifest.spooled_rows,
        "size_bytes": manifest.size_bytes,
        "seconds": round(seconds, 2),
        "processor_seconds": round(process_time(), 2),
    }
    out = Console()
    if as_json:
        out.print_json(json.dumps(summary))
        return
    rows = sum(table.rows for table in manifest.tables)
    out.print(
        f"{done}: {rows} rows, {summary['versions']} adapter versions, "
        f"{manifest.size_bytes / 1e6:.1f} MB, in {seconds:.1f} s"
    )
    if gone:
        out.print(f"ended, without files: {', '.join(gone)}")
    if manifest.spooled_rows:
        out.print(
            f"[yellow]{manifest.spooled_rows} rows waited in the server's spool and are not in it: "
            "back up again once it is drained[/]"
        )
