"""The command line, as processes: beside a running server and without one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.adapter_files import make_adapter
from tests.integration.processes.serving_process import UNSUPERVISED, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("cli")]

PAWL = (sys.executable, "-m", "server.cli")
OFFLINE, RUNNING = "offline", "running"


class Cli:
    """`pawl` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        quiet = {"PAWL_ENGINE__KIND": "fake", "PAWL_ENGINE__MODEL": "fake", "COLUMNS": "200"}
        return subprocess.run(
            [*PAWL, *arguments],
            cwd=self.folder,
            env={**os.environ, **quiet, "PYTHONPATH": str(Path.cwd()), **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def json(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        done = self(*arguments, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def refused(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """The status and the one line of a command that fails."""
        done = self(*arguments, **variables)
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        return done.returncode, line


@pytest.fixture(scope="module", params=[OFFLINE, RUNNING])
def cli(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """`pawl` in a folder whose server runs, or does not."""
    folder = tmp_path_factory.mktemp(str(request.param))
    make_adapter(folder / "adapter")
    made = Cli(folder)
    made.refused("adapters", "promote", "none")  # makes the database
    if request.param == OFFLINE:
        yield made
        return
    with serving(folder / "pawl-data", UNSUPERVISED):
        yield made


def test_keys_are_made_listed_and_revoked(cli: Cli) -> None:
    made = cli.json("keys", "create", "--role", "admin", "--tenant", "shop")
    listed = {row["id"]: row for row in cli.json("keys", "list")}
    assert (listed[made["id"]]["role"], listed[made["id"]]["tenant"]) == ("admin", "shop")
    assert made["key"] not in json.dumps(listed)
    assert cli("keys", "revoke", made["id"]).returncode == 0
    listed = {row["id"]: row for row in cli.json("keys", "list")}
    assert listed[made["id"]]["revoked_at"] is not None


def test_an_adapter_goes_its_way(cli: Cli, request: pytest.FixtureRequest) -> None:
    added = cli.json("adapters", "add", "adapter")
    (listed,) = cli.json("adapters", "list")
    assert (listed["name"], listed["state"]) == (added["name"], "candidate")
    if request.node.callspec.params["cli"] == OFFLINE:
        code, line = cli.refused("adapters", "promote", added["name"])
        assert (code, "needs a running server" in line) == (1, True)
        assert cli.json("adapters", "reject", added["name"])["state"] == "rejected"
    else:
        assert cli.json("adapters", "promote", added["name"])["state"] == "live"
        assert cli.json("rollback")["version"] == "base"
    assert cli("adapters", "list").returncode == 0


def test_a_run_is_looked_at_before_it_is_made(cli: Cli, request: pytest.FixtureRequest) -> None:
    plan = cli.json("retrain", "--dry-run")
    assert (plan["pairs"], plan["would_train"]) == (0, False)
    if request.node.callspec.params["cli"] == OFFLINE:
        assert cli.refused("retrain", "--now")[1].count("needs a running server") == 1
        assert cli.json("runs", "list") == []
        return
    done = cli("retrain", "--now", "--json")  # without a judge: ends before it trains
    run = json.loads(done.stdout)
    assert (done.returncode, run["state"]) == (1, "failed")
    assert run["id"] == cli.json("runs", "list")[0]["id"]
    assert "retrain.judge" in cli.json("runs", "show", run["id"])["reason"]
    assert cli("runs", "show", run["id"]).returncode == 0


def test_rollouts_are_listed_and_asked_for(cli: Cli) -> None:
    assert cli.json("rollouts", "list") == []
    assert cli("rollouts", "list").returncode == 0
    assert cli.json("rollouts", "budget")["false_promotions"] == 0.05
    assert "0.02" in cli("rollouts", "budget").stdout
    for command in ("show", "approve", "refuse"):
        code, line = cli.refused("rollouts", command, "nope")
        assert (code, line.startswith("error: ")) == (1, True)


def test_pairs_are_exported_as_lines(cli: Cli) -> None:
    done = cli("export", "--format", "openai")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_doctor_looks(cli: Cli) -> None:
    findings = {finding["name"]: finding for finding in cli.json("doctor")}
    assert findings.keys() >= {"vllm", "trl", "model", "data_dir", "server", "judge"}


def test_the_database_is_upgraded_where_no_server_works_on_it(
    cli: Cli, request: pytest.FixtureRequest
) -> None:
    if request.node.callspec.params["cli"] == OFFLINE:
        assert cli("db", "upgrade").returncode == 0
    else:
        assert cli.refused("db", "upgrade")[0] == 2


def test_a_database_that_cannot_be_upgraded_is_one_line(tmp_path: Path) -> None:
    away = {"PAWL_DATABASE_URL": "postgresql://pawl:hidden@127.0.0.1:1/pawl"}
    status, line = Cli(tmp_path).refused("db", "upgrade", **away)
    assert (status, "does not answer" in line, "hidden" in line) == (1, True, False)
    status, line = Cli(tmp_path).refused("db", "upgrade", PAWL_DATABASE_URL="mysql://hidden@host/x")
    assert (status, "PostgreSQL" in line, "hidden" in line) == (2, True, False)


def test_a_backup_is_made_once_and_restored_elsewhere(cli: Cli) -> None:
    made = cli.json("backup", "copy")
    code, line = cli.refused("backup", "copy")
    assert (code, "already" in line) == (1, True)
    restored = cli.json("restore", "copy", "--data-dir", "elsewhere")
    assert restored["rows"] == made["rows"]
    assert cli.refused("restore", "copy", "--data-dir", "elsewhere")[0] == 1


def test_retention_needs_an_age(cli: Cli) -> None:
    code, line = cli.refused("retention", "--dry-run")
    assert (code, "feedback.retention_days" in line) == (1, True)


@pytest.mark.parametrize(
    "command",
    [
        "keys create --role nope",
        "adapters add .",
        "runs cancel nope",
        "export --channel nope",
    ],
)
def test_a_mistake_is_told_in_one_line(cli: Cli, command: str) -> None:
    code, line = cli.refused(*command.split())
    assert (code, line.startswith("error: ")) == (1, True)


def test_help_names_every_command(cli: Cli) -> None:
    told = cli("--help").stdout
    commands = (
        "serve demo retrain adapters rollback runs rollouts export keys db doctor "
        "backup restore retention"
    )
    assert not [command for command in commands.split() if command not in told]


@pytest.mark.parametrize(
    ("variables", "field"),
    [
        ({"PAWL_SERVER__PORT": "99999"}, "server.port"),
        ({"PAWL_RETRAIN__GATE__ALPHA": "much"}, "retrain.gate.alpha"),
        ({"PAWL_ENGINE__KIND": "nope"}, "engine.kind"),
        ({"PAWL_FEEDBACK__QUEUE": "1"}, "feedback.queue"),
        ({"PAWL_CHANNELS": "not json"}, "channels"),
    ],
)
def test_a_bad_setting_is_named_and_not_echoed(
    tmp_path: Path, variables: dict[str, str], field: str
) -> None:
    code, line = Cli(tmp_path).refused("serve", **variables)
    assert (code, field in line) == (2, True)
    assert not [value for value in variables.values() if f"'{value}'" in line]


@pytest.mark.parametrize("name", ["PAWL_SERVR__PORT", "PAWL_RETRAIN_ENABLED"])
def test_a_misspelt_variable_is_named_and_not_echoed(tmp_path: Path, name: str) -> None:
    code, line = Cli(tmp_path).refused("keys", "list", **{name: "secret"})
    assert (code, name in line, "secret" in line) == (2, True, False)


def test_the_first_key_is_made_where_a_server_without_one_is_refused(tmp_path: Path) -> None:
    there = Cli(tmp_path)
    reachable = {"PAWL_SERVER__HOST": "0.0.0.0"}  # noqa: S104  (refused before it listens)
    refused = there("serve", "--no-supervise", **reachable)
    line = refused.stderr.splitlines()[-1]  # after warnings in the log
    assert (refused.returncode, "pawl keys create --role admin" in line) == (2, True)
    made = there("keys", "create", "--role", "admin", "--json", **reachable)
    assert (made.returncode, json.loads(made.stdout)["role"]) == (0, "admin")


def test_a_bad_file_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "pawl.toml").write_text("[server\nport = 1")
    code, line = Cli(tmp_path).refused("serve")
    assert (code, "pawl.toml" in line) == (2, True)
