"""The command line: `pawl serve`, and everything an operator asks of it.

What a command needs is imported when it runs: `pawl --help` loads no database, no HTTP client and
no engine.
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
    help="Serve a model, learn from its users every week, keep only what is shown to be better.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
adapters = typer.Typer(help="Adapter versions: list, add, promote, reject, retire.")
runs = typer.Typer(help="Weekly runs: list, show, cancel.")
rollouts = typer.Typer(help="Versions on their way to all users: list, show, approve, refuse.")
keys = typer.Typer(help="Keys of applications and administrators.")
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
Reason = Annotated[str, typer.Option(help="Why; kept with the change.")]


def main() -> None:
    """Run the command line; what can go wrong becomes one line and exit status 1 or 2."""
    keep_private()
    try:
        app()
    except SetupError as error:
        fail(str(error), EXIT_SETUP)
    except ServerError as error:
        fail(str(error), 1)


def ask(question: Callable[["Api"], Awaitable[Any]]) -> Any:
    """Ask the API one thing."""
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
    data_dir: Annotated[Path | None, typer.Option(help="Where everything is kept.")] = None,
    engine: Annotated[str | None, typer.Option(help="vllm, or fake to try the API.")] = None,
    *,
    supervise: Annotated[
        bool, typer.Option("--supervise/--no-supervise", help="Start again after a crash.")
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
    now: Annotated[bool, typer.Option("--now", help="Start a run by hand.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would use.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for its end.")] = True,
    as_json: AsJson = False,
) -> None:
    """Train, evaluate and, if it is shown to be better, promote an adapter."""
    if dry_run:
        plan = ask(lambda api: api.call("GET", "/v1/pairs", params={"channel": channel}))
        output.show_plan(plan, as_json=as_json)
    elif now:
        run = ask(lambda api: output.run_now(api, channel, wait=wait, quiet=as_json))
        output.show_run(run, as_json=as_json)
        if wait and run["state"] == "failed":
            raise SystemExit(1)
    else:
        raise typer.BadParameter("say --now to start a run, or --dry-run to look first")


@app.command()
def rollback(
    channel: ChannelName = "pawl",
    reason: Reason = "by hand",
    *,
    as_json: AsJson = False,
) -> None:
    """Put the version before back, at once."""
    body = {"channel": channel, "reason": reason}
    output.show_swap(ask(lambda api: api.call("POST", "/v1/rollback", json=body)), as_json=as_json)


@app.command()
def export(
    channel: ChannelName = "pawl",
    style: Annotated[str, typer.Option("--format", help="trl or openai.")] = "trl",
) -> None:
    """Print the preference pairs of the log as JSON lines."""

    async def stream(api: "Api") -> None:
        parameters = {"channel": channel, "format": style}
        async for line in api.lines("/v1/pairs/export", params=parameters):
            sys.stdout.write(line + "\n")

    ask(stream)


@app.command()
def servers(*, as_json: AsJson = False) -> None:
    """List the servers on this database: who lives, what they hold, which routes they have."""
    output.show_servers(ask(lambda api: api.call("GET", "/v1/servers")), as_json=as_json)


@app.command()
def retention(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove texts that are older than `feedback.retention_days`; numbers stay."""
    found = ask(lambda api: api.call("GET" if dry_run else "POST", "/v1/retention"))
    output.show_retention(found, dry_run=dry_run, as_json=as_json)


@app.command()
def doctor(*, as_json: AsJson = False) -> None:
    """Check this machine, the settings and the data folder; say what to do."""
    from server.cli.doctor import examine  # noqa: PLC0415  (looks for heavy packages)

    findings = examine(checked(Settings))
    output.show_findings(findings, as_json=as_json)
    if any(finding.state == "bad" for finding in findings):
        raise SystemExit(1)


@adapters.command("list")
def adapters_list(channel: ChannelName = "pawl", *, as_json: AsJson = False) -> None:
    """List the versions: lineage, state, figures."""
    found = ask(lambda api: api.call("GET", "/v1/adapters", params={"channel": channel}))
    output.show_adapters(found, as_json=as_json)


@adapters.command("add")
def adapters_add(
    path: Annotated[Path, typer.Argument(help="A folder that PEFT wrote.", exists=True)],
    channel: ChannelName = "pawl",
    *,
    as_json: AsJson = False,
) -> None:
    """Vet an adapter and bring it in as a candidate."""
    body = {"channel": channel, "path": str(path.resolve())}
    version = ask(lambda api: api.call("POST", "/v1/adapters", json=body))
    output.show_added(version, as_json=as_json)


def _change(action: str, version: str, reason: str, *, as_json: bool) -> None:
    path = f"/v1/adapters/{version}/{action}"
    done = ask(lambda api: api.call("POST", path, json={"reason": reason}))
    output.show_version(done, as_json=as_json)


@adapters.command("promote")
def adapters_promote(version: str, reason: Reason = "by hand", *, as_json: AsJson = False) -> None:
    """Make a version live, whatever the gate said."""
    _change("promote", version, reason, as_json=as_json)


@adapters.command("reject")
def adapters_reject(version: str, reason: Reason = "by hand", *, as_json: AsJson = False) -> None:
    """Refuse a candidate."""
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
    """Show a run: figures, verdict, reasons."""
    output.show_run(ask(lambda api: api.call("GET", f"/v1/runs/{run}")), as_json=as_json)


@runs.command("cancel")
def runs_cancel(run: str, *, as_json: AsJson = False) -> None:
    """Stop a run at whatever step it is."""
    output.show_run(ask(lambda api: api.call("POST", f"/v1/runs/{run}/cancel")), as_json=as_json)


@rollouts.command("list")
def rollouts_list(channel: ChannelName = "pawl", *, as_json: AsJson = False) -> None:
    """List the rollouts, newest first."""
    found = ask(lambda api: api.call("GET", "/v1/rollouts", params={"channel": channel}))
    output.show_rollouts(found, as_json=as_json)


@rollouts.command("show")
def rollouts_show(version: str, *, as_json: AsJson = False) -> None:
    """Show what users have decided so far about a version, and how far the evidence is."""
    found = ask(lambda api: api.call("GET", f"/v1/rollouts/{version}"))
    output.show_rollout(found, as_json=as_json)


def _say(word: str, version: str, reason: str, *, as_json: bool) -> None:
    path = f"/v1/rollouts/{version}/{word}"
    found = ask(lambda api: api.call("POST", path, json={"reason": reason}))
    output.show_rollout(found, as_json=as_json)


@rollouts.command("approve")
def rollouts_approve(version: str, reason: Reason = "by hand", *, as_json: AsJson = False) -> None:
    """Let a version through that waits for your word (`retrain.approval = "manual"`)."""
    _say("approve", version, reason, as_json=as_json)


@rollouts.command("refuse")
def rollouts_refuse(version: str, reason: Reason = "by hand", *, as_json: AsJson = False) -> None:
    """End a rollout at whatever phase it is: what was live before answers everybody."""
    _say("refuse", version, reason, as_json=as_json)


@keys.command("create")
def keys_create(
    role: Annotated[str, typer.Option(help="app or admin.")] = "app",
    tenant: Annotated[str, typer.Option(help="Whose key.")] = "default",
    *,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once."""
    body = {"role": role, "tenant": tenant}
    output.show_new_key(ask(lambda api: api.call("POST", "/v1/keys", json=body)), as_json=as_json)


@keys.command("list")
def keys_list(*, as_json: AsJson = False) -> None:
    """List the keys (only hashes of them are kept)."""
    output.show_keys(ask(lambda api: api.call("GET", "/v1/keys")), as_json=as_json)


@keys.command("revoke")
def keys_revoke(identifier: str) -> None:
    """End a key at once."""
    ask(lambda api: api.call("DELETE", f"/v1/keys/{identifier}"))


@database.command("upgrade")
def database_upgrade() -> None:
    """Run the migrations that the database lacks."""
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
