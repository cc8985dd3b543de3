"""The command line `pawl`.

A command's modules are imported when it runs, so `pawl --help` loads no database driver, HTTP
client or engine.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli import output
from server.cli.backup import backup, restore
from server.errors import ServerError, SetupError
from server.exits import EXIT_SETUP, checked, fail
from server.process.supervisor import server_command, supervisor
from server.settings import Settings
from server.startup.permissions import keep_private

if TYPE_CHECKING:
    from server.cli.api_client import Api

app = typer.Typer(
    help="Serve a model, retrain it weekly on users' feedback, promote only what proves better.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
adapters = typer.Typer(help="Adapter versions: list, add, promote, reject, retire.")
runs = typer.Typer(help="Weekly runs: list, show, cancel.")
rollouts = typer.Typer(help="Rollouts of new versions: list, show, budget, approve, refuse.")
keys = typer.Typer(help="API keys of applications and administrators.")
database = typer.Typer(help="The database.")
for _command in entry_points(group="pawl.commands"):
    app.add_typer(_command.load(), name=_command.name)
app.add_typer(adapters, name="adapters", no_args_is_help=True)
app.add_typer(runs, name="runs", no_args_is_help=True)
app.add_typer(rollouts, name="rollouts", no_args_is_help=True)
app.add_typer(keys, name="keys", no_args_is_help=True)
app.add_typer(database, name="db", no_args_is_help=True)
app.command()(backup)
app.command()(restore)


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ChannelName = Annotated[str, typer.Option(help="The channel.")]
Reason = Annotated[str, typer.Option(help="The reason, which is stored with the change.")]


def main() -> None:
    """Run the command line; an expected error prints one line and exits with 1 or 2."""
    keep_private()
    try:
        app()
    except SetupError as error:
        fail(str(error), EXIT_SETUP)
    except ServerError as error:
        fail(str(error), 1)


def ask(question: Callable[["Api"], Awaitable[Any]]) -> Any:
    """Call the API and return the result."""
    import httpx  # noqa: PLC0415  (see the module)

    from server.cli.api_client import open_api  # noqa: PLC0415

    async def asked() -> Any:
        async with open_api(checked(Settings)) as api:
            return await question(api)

    try:
        return asyncio.run(asked())
    except httpx.HTTPError as error:
        fail(f"the server does not answer ({type(error).__name__}): is it still running?", 1)


@app.command()
def serve(
    model: Annotated[str | None, typer.Option(help="Folder or hub id of the base model.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of all data.")] = None,
    engine: Annotated[str | None, typer.Option(help="vllm, or fake to try the API.")] = None,
    *,
    supervise: Annotated[
        bool, typer.Option("--supervise/--no-supervise", help="Restart after a crash.")
    ] = True,
) -> None:
    """Serve the base model and its adapters behind the OpenAI API."""
    options: dict[str, Any] = {
        "model": model,
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "engine": engine,
    }
    from server.process.serve import run, settings_from  # noqa: PLC0415  (imports the whole server)

    settings = checked(lambda: settings_from(**options))
    if not supervise:
        raise SystemExit(run(settings))
    command = server_command(output.options(**options))
    raise SystemExit(supervisor(command, settings.server).run())


@app.command()
def retrain(
    channel: ChannelName = "pawl",
    *,
    now: Annotated[bool, typer.Option("--now", help="Start a run now.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would use.")] = False,
    read_messages: Annotated[
        bool, typer.Option("--read-messages", help="In a dry run, read users' next messages.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the run ends.")] = True,
    as_json: AsJson = False,
) -> None:
    """Train an adapter, evaluate it and, if it passes the gate, promote it."""
    if dry_run:
        asked = {"channel": channel, "read_messages": str(read_messages).lower()}
        plan = ask(lambda api: api.call("GET", "/v1/pairs", params=asked))
        output.show_plan(plan, as_json=as_json)
    elif now:
        run = ask(lambda api: output.run_now(api, channel, wait=wait, quiet=as_json))
        output.show_run(run, as_json=as_json)
        if wait and run["state"] == "failed":
            raise SystemExit(1)
    else:
        raise typer.BadParameter("use --now to start a run, or --dry-run to see what it would use")


@app.command()
def rollback(
    channel: ChannelName = "pawl",
    reason: Reason = "by hand",
    *,
    as_json: AsJson = False,
) -> None:
    """Make the previous version live again, at once."""
    body = {"channel": channel, "reason": reason}
    output.show_swap(ask(lambda api: api.call("POST", "/v1/rollback", json=body)), as_json=as_json)


@app.command()
def export(
    channel: ChannelName = "pawl",
    style: Annotated[str, typer.Option("--format", help="trl, openai or kto (labels).")] = "trl",
) -> None:
    """Print the log's preference pairs, or its labels, as JSON lines."""

    async def stream(api: "Api") -> None:
        parameters = {"channel": channel, "format": style}
        async for line in api.lines("/v1/pairs/export", params=parameters):
            sys.stdout.write(line + "\n")

    ask(stream)


@app.command()
def servers(*, as_json: AsJson = False) -> None:
    """List the live servers on this database, their loaded versions and their routes."""
    output.show_servers(ask(lambda api: api.call("GET", "/v1/servers")), as_json=as_json)


@app.command()
def retention(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove texts older than `feedback.retention_days`; the numbers stay."""
    found = ask(lambda api: api.call("GET" if dry_run else "POST", "/v1/retention"))
    output.show_retention(found, dry_run=dry_run, as_json=as_json)


@app.command()
def doctor(*, as_json: AsJson = False) -> None:
    """Check this machine, the settings and the data folder, and say what to fix."""
    from server.cli.doctor import examine  # noqa: PLC0415  (looks for heavy packages)

    findings = examine(checked(Settings))
    output.show_findings(findings, as_json=as_json)
    if any(finding.state == "bad" for finding in findings):
        raise SystemExit(1)


@adapters.command("list")
def adapters_list(channel: ChannelName = "pawl", *, as_json: AsJson = False) -> None:
    """List the versions with their lineage, state and figures."""
    found = ask(lambda api: api.call("GET", "/v1/adapters", params={"channel": channel}))
    output.show_adapters(found, as_json=as_json)


@adapters.command("add")
def adapters_add(
    path: Annotated[Path, typer.Argument(help="A folder that PEFT wrote.", exists=True)],
    channel: ChannelName = "pawl",
    *,
    as_json: AsJson = False,
) -> None:
    """Vet an adapter and add it as a candidate."""
    body = {"channel": channel, "path": str(path.resolve())}
    version = ask(lambda api: api.call("POST", "/v1/adapters", json=body))
    output.show_added(version, as_json=as_json)


def _change(action: str, version: str, reason: str, *, as_json: bool) -> None:
    path = f"/v1/adapters/{version}/{action}"
    done = ask(lambda api: api.call("POST", path, json={"reason": reason}))
    output.show_version(done, as_json=as_json)


@adapters.command("promote")
def adapters_promote(version: str, reason: Reason = "by hand", *, as_json: AsJson = False) -> None:
    """Make a version live, regardless of the gate."""
    _change("promote", version, reason, as_json=as_json)


@adapters.command("reject")
def adapters_reject(version: str, reason: Reason = "by hand", *, as_json: AsJson = False) -> None:
    """Reject a candidate."""
    _change("reject", version, reason, as_json=as_json)


@adapters.command("retire")
def adapters_retire(version: str, reason: Reason = "by hand", *, as_json: AsJson = False) -> None:
    """Drain a version and unload it."""
    _change("retire", version, reason, as_json=as_json)


@runs.command("list")
def runs_list(channel: ChannelName = "pawl", *, as_json: AsJson = False) -> None:
    """List the runs, newest first."""
    found = ask(lambda api: api.call("GET", "/v1/runs", params={"channel": channel}))
    output.show_runs(found, as_json=as_json)


@runs.command("show")
def runs_show(run: str, *, as_json: AsJson = False) -> None:
    """Show a run with its figures, verdict and reasons."""
    output.show_run(ask(lambda api: api.call("GET", f"/v1/runs/{run}")), as_json=as_json)


@runs.command("cancel")
def runs_cancel(run: str, *, as_json: AsJson = False) -> None:
    """Cancel a run, at any step."""
    output.show_run(ask(lambda api: api.call("POST", f"/v1/runs/{run}/cancel")), as_json=as_json)


@rollouts.command("list")
def rollouts_list(channel: ChannelName = "pawl", *, as_json: AsJson = False) -> None:
    """List the rollouts, newest first."""
    found = ask(lambda api: api.call("GET", "/v1/rollouts", params={"channel": channel}))
    output.show_rollouts(found, as_json=as_json)


@rollouts.command("budget")
def rollouts_budget(channel: ChannelName = "pawl", *, as_json: AsJson = False) -> None:
    """Show what is left of the yearly budget of false promotions."""
    found = ask(lambda api: api.call("GET", "/v1/budget", params={"channel": channel}))
    output.show_budget(found, as_json=as_json)


@rollouts.command("show")
def rollouts_show(version: str, *, as_json: AsJson = False) -> None:
    """Show a rollout: its decisions so far, and the evidence from users."""
    found = ask(lambda api: api.call("GET", f"/v1/rollouts/{version}"))
    output.show_rollout(found, as_json=as_json)


def _decide(action: str, version: str, reason: str, *, as_json: bool) -> None:
    path = f"/v1/rollouts/{version}/{action}"
    found = ask(lambda api: api.call("POST", path, json={"reason": reason}))
    output.show_rollout(found, as_json=as_json)


@rollouts.command("approve")
def rollouts_approve(version: str, reason: Reason = "by hand", *, as_json: AsJson = False) -> None:
    """Approve a version that waits for approval (`retrain.approval = "manual"`)."""
    _decide("approve", version, reason, as_json=as_json)


@rollouts.command("refuse")
def rollouts_refuse(version: str, reason: Reason = "by hand", *, as_json: AsJson = False) -> None:
    """Abort a rollout, at any phase; the version that was live before serves all users."""
    _decide("refuse", version, reason, as_json=as_json)


@keys.command("create")
def keys_create(
    role: Annotated[str, typer.Option(help="app or admin.")] = "app",
    tenant: Annotated[str, typer.Option(help="The key's tenant.")] = "default",
    *,
    as_json: AsJson = False,
) -> None:
    """Create a key and print it; it cannot be shown again."""
    body = {"role": role, "tenant": tenant}
    output.show_new_key(ask(lambda api: api.call("POST", "/v1/keys", json=body)), as_json=as_json)


@keys.command("list")
def keys_list(*, as_json: AsJson = False) -> None:
    """List the keys; only their hashes are stored."""
    output.show_keys(ask(lambda api: api.call("GET", "/v1/keys")), as_json=as_json)


@keys.command("revoke")
def keys_revoke(identifier: str) -> None:
    """Revoke a key at once."""
    ask(lambda api: api.call("DELETE", f"/v1/keys/{identifier}"))


@database.command("upgrade")
def database_upgrade() -> None:
    """Run the missing migrations of the database."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from server.database.migrate import upgrade  # noqa: PLC0415
    from server.startup.data_lock import DataLock  # noqa: PLC0415

    settings = checked(Settings)
    lock = DataLock(settings.data_dir).acquire()
    try:
        asyncio.run(upgrade(settings.database))
    except SQLAlchemyError as error:
        raise ServerError(
            f"the database does not answer ({type(error).__name__}): 'pawl doctor' says more"
        ) from None
    finally:
        lock.release()


if __name__ == "__main__":
    main()
