"""Every kind of wrong value of a setting: one line that names the setting, and exit status 2."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from server.config import is_host
from server.errors import SetupError
from server.exits import EXIT_SETUP, checked
from server.process.serve import settings_from
from server.settings import Settings
from server.startup.preflight import check_settings, find_start_problems

SECRET = "hunter2"

WRONG_VALUES = [
    ("adapters.channel", "Bad Name"),
    ("adapters.cluster.beat_seconds", "inf"),
    ("adapters.cluster.dead_seconds", "nan"),
    ("adapters.grace_days", "1e9"),
    ("adapters.max_bytes", "0"),
    ("adapters.store", ""),
    ("adapters.store_options", "[]"),
    ("adapters.tenant", ""),
    ("channels", {"Bad Name": {}}),
    ("channels", {"a" * 80: {}}),
    ("channels", {"a": {"tenant": ""}}),
    ("channels", {"a": {"tenant": "t" * 300}}),
    ("channels", {"a": {"tenant": "\ud800"}}),
    ("channels", {"a": {"tennant": "shop"}}),
    ("channels", []),
    ("engine.adapter_slots", "3"),
    ("engine.extra_args", [1]),
    ("engine.gpu_memory_utilization", "2"),
    ("engine.hang_seconds", "1e300"),
    ("engine.kind", "nope"),
    ("engine.max_lora_rank", "7"),
    ("feedback.metrics", {"Bad": {"type": "boolean"}}),
    ("feedback.metrics", {"solved": {"type": "category", "values": ["", ""]}}),
    ("feedback.metrics", {"thumbs": {"type": "boolean"}}),
    ("feedback.metrics", {"solved": {"type": "text", "trains": 0.5}}),
    ("feedback.metrics", {"solved": {"type": "number", "trains": 0.5}}),
    ("feedback.queue_max", "many"),
    ("feedback.retention_days", "inf"),
    ("feedback.retry_seconds", "5"),
    ("retrain.canary.votes", []),
    ("retrain.catch_up_days", "1000"),
    ("retrain.cron", ""),
    ("retrain.cron", "0 3 * *"),
    ("retrain.cron", "0 3 * * frog"),
    ("retrain.cron", "0 3 * * mon-frog"),
    ("retrain.cron", "0 3 * * 1"),
    ("retrain.cron", "99 3 * * mon"),
    ("retrain.cron", "0 25 * * mon"),
    ("retrain.cron", "0 3 L * *"),
    ("retrain.cron", "0 3 * foo *"),
    ("retrain.cron", "*/0 3 * * mon"),
    ("retrain.cron", "0 5-3 * * mon"),
    ("retrain.cron", "0 3 31 2 *"),
    ("retrain.evaluation.harms", {"rude": "nonsense"}),
    ("retrain.gate.alpha", "much"),
    ("retrain.gate.minimum", "1000"),
    ("retrain.hyper.learning_rate", "inf"),
    ("retrain.hyper.lora_target_modules", []),
    ("retrain.hyper.loss_weights", [1]),
    ("retrain.hyper.optimizer", "bogus"),
    ("retrain.judge", "nonsense"),
    ("retrain.judge", "..a:judge"),
    ("retrain.judge", {"base_url": "nonsense", "model": "m"}),
    ("retrain.judge", {"base_url": "ftp://judge/v1", "model": "m"}),
    ("retrain.judge", {"base_url": "http://", "model": "m"}),
    ("retrain.judge", {"base_url": "http://judge:99999/v1", "model": "m"}),
    ("retrain.judge", {"base_url": "http://judge/v1"}),
    ("retrain.judge", {"base_url": "http://judge/v1", "model": ""}),
    ("retrain.judge", {"base_url": "http://judge/v1", "model": "m", "api_key": f"{SECRET}\n"}),
    ("retrain.lease_seconds", "inf"),
    ("retrain.max_window_days", "99999999"),
    ("retrain.poll_seconds", "1e300"),
    ("retrain.seed", "99999999999999"),
    ("retrain.trainer.command", []),
    ("server", "5"),
    ("server.cors_origins", ["*"]),
    ("server.cors_origins", ["https://shop.example.org/"]),
    ("server.cors_origins", ["https://shop.example.org:99999"]),
    ("server.cors_origins", ["https://.."]),
    ("server.cors_origins", ["https://SHOP.example.org"]),
    ("server.database_wait_seconds", "-1"),
    ("server.host", ""),
    ("server.host", "not a host"),
    ("server.host", "256.1.1.1"),
    ("server.host", "::zz"),
    ("server.port", "99999"),
]


def _numbered(cases: Sequence[tuple[str, Any]]) -> list[str]:
    """A name for each case: the setting, and which of its wrong values it is."""
    names = [setting for setting, _ in cases]
    return [f"{name}-{names[:place].count(name)}" for place, name in enumerate(names)]


def _variable(setting: str) -> str:
    return "PAWL_" + setting.upper().replace(".", "__")


@pytest.mark.parametrize(("setting", "value"), WRONG_VALUES, ids=_numbered(WRONG_VALUES))
def test_a_wrong_value_is_one_line_that_names_the_setting(
    setting: str,
    value: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    text = value if isinstance(value, str) else json.dumps(value)
    monkeypatch.setenv(_variable(setting), text)
    with pytest.raises(SystemExit) as ended:
        checked(settings_from)
    (line,) = capsys.readouterr().err.splitlines()
    section = setting.rpartition(".")[0] or setting
    assert (ended.value.code, section in line, SECRET in line) == (EXIT_SETUP, True, False)


@pytest.mark.parametrize("content", [b"[server\nport = 1", b"\xff\xfe", b"retrain = 3"])
def test_a_wrong_file_is_one_line(
    content: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pawl.toml").write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        checked(settings_from)
    assert (ended.value.code, len(capsys.readouterr().err.splitlines())) == (EXIT_SETUP, 1)


JUDGES = """
import sys
NUMBER = 1
def two(conversation, a): return 0.5
class Empty: pass
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files that settings may name, and of modules that can be imported."""
    (tmp_path / "wrong_judges.py").write_text(JUDGES)
    (tmp_path / "raising_judge.py").write_text("raise RuntimeError('hunter2')")
    (tmp_path / "leaving_judge.py").write_text("import sys; sys.exit(3)")
    (tmp_path / "broken_judge.py").write_text("def (:")
    (tmp_path / "file").write_text("x")
    (tmp_path / "broken.toml").write_text("[[cases]")
    (tmp_path / "empty.toml").write_text("")
    (tmp_path / "broken.jinja").write_text("{% if %}")
    (tmp_path / "binary.jinja").write_bytes(b"\xff\xfe")
    (tmp_path / "no.db").write_text("no database at all")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def _settings(folder: Path, **sections: Any) -> Settings:
    engine = {"kind": "fake", "model": "fake", **sections.pop("engine", {})}
    return Settings(**{"data_dir": folder / "data", "engine": engine, **sections})


def _judge(spec: str) -> Callable[[Path], dict[str, Any]]:
    return lambda _: {"retrain": {"judge": spec}}


WRONG_HERE: list[tuple[str, Callable[[Path], dict[str, Any]]]] = [
    ("data_dir", lambda folder: {"data_dir": folder / "file"}),
    ("data_dir", lambda folder: {"data_dir": folder / "file" / "below"}),
    ("data_dir", lambda _: {"data_dir": "/proc/pawl"}),
    ("database_url", lambda _: {"database_url": "nonsense"}),
    ("database_url", lambda _: {"database_url": f"mysql://pawl:{SECRET}@host/pawl"}),
    ("database_url", lambda _: {"database_url": f"postgresql://pawl:{SECRET}@host:99999/pawl"}),
    ("database_url", lambda _: {"database_url": "postgresql://pawl@host/pawl?bogus=1"}),
    ("database_url", lambda _: {"database_url": "postgresql://pawl@host/pawl?sslmode=bogus"}),
    ("database_url", lambda _: {"database_url": "sqlite://"}),
    ("database_url", lambda _: {"database_url": "sqlite:////no/such/folder/pawl.db"}),
    ("database_url", lambda folder: {"database_url": f"sqlite:///{folder}"}),
    ("database_url", lambda folder: {"database_url": f"sqlite:///{folder}/no.db"}),
    ("database_url", lambda folder: {"database_url": f"sqlite:///{folder}/a.db?bogus=1"}),
    ("adapters.store", lambda folder: {"adapters": {"store": str(folder / "file")}}),
    ("adapters.store", lambda _: {"adapters": {"store": "/proc/pawl"}}),
    ("adapters.store", lambda _: {"adapters": {"store": "nope://bucket"}}),
    ("adapters.store", lambda _: {"adapters": {"store": "memory://bucket"}}),
    ("adapters.store", lambda _: {"adapters": {"store": "https://host/path"}}),
    ("adapters.store", lambda _: {"adapters": {"store": "s3://"}}),
    (
        "adapters.store",
        lambda _: {"adapters": {"store": "s3://b/p", "store_options": {"bogus": SECRET}}},
    ),
    (
        "adapters.store",
        lambda _: {"adapters": {"store": "s3://b/p", "store_options": {"config_kwargs": 1}}},
    ),
    (
        "adapters.store",
        lambda _: {"adapters": {"store": "s3://b/p", "store_options": {"endpoint_url": "host"}}},
    ),
    ("engine.model", lambda _: {"engine": {"kind": "vllm", "model": ""}}),
    ("engine.model", lambda _: {"engine": {"kind": "vllm", "model": "/no/such/folder"}}),
    ("engine.model", lambda folder: {"engine": {"kind": "vllm", "model": str(folder)}}),
    ("engine.chat_template", lambda _: {"engine": {"chat_template": "/no/such.jinja"}}),
    ("engine.chat_template", lambda folder: {"engine": {"chat_template": str(folder)}}),
    ("engine.chat_template", lambda _: {"engine": {"chat_template": "{% for %}"}}),
    (
        "engine.chat_template",
        lambda folder: {"engine": {"chat_template": str(folder / "broken.jinja")}},
    ),
    (
        "engine.chat_template",
        lambda folder: {"engine": {"chat_template": str(folder / "binary.jinja")}},
    ),
    ("retrain.judge", _judge("no.such.module:judge")),
    ("retrain.judge", _judge("wrong_judges:missing")),
    ("retrain.judge", _judge("wrong_judges:NUMBER")),
    ("retrain.judge", _judge("wrong_judges:two")),
    ("retrain.judge", _judge("raising_judge:judge")),
    ("retrain.judge", _judge("leaving_judge:judge")),
    ("retrain.judge", _judge("broken_judge:judge")),
    ("retrain.suite", lambda _: {"retrain": {"suite": "/no/such/suite.toml"}}),
    ("retrain.suite", lambda folder: {"retrain": {"suite": folder}}),
    ("retrain.suite", lambda folder: {"retrain": {"suite": folder / "broken.toml"}}),
    ("retrain.suite", lambda folder: {"retrain": {"suite": folder / "empty.toml"}}),
    ("retrain.suite", lambda folder: {"retrain": {"suite": folder / "wrong_judges.py"}}),
    (
        "retrain.evaluation.harms.rude",
        lambda _: {"retrain": {"evaluation": {"harms": {"rude": "no.such:metric"}}}},
    ),
    (
        "retrain.gate.harm_ceilings.rude",
        lambda _: {"retrain": {"gate": {"harm_ceilings": {"rude": 0.1}}}},
    ),
    ("retrain.canary.votes", lambda _: {"retrain": {"canary": {"votes": ["solved"]}}}),
    (
        "retrain.canary.votes",
        lambda _: {
            "retrain": {"canary": {"votes": ["note"]}},
            "feedback": {"metrics": {"note": {"type": "text"}}},
        },
    ),
    (
        "retrain.canary.votes",
        lambda _: {
            "retrain": {"canary": {"votes": ["kept"]}},
            "feedback": {"metrics": {"kept": {"type": "number", "good": 1}}},
        },
    ),
    ("retrain.minimum_pairs", lambda _: {"retrain": {"minimum_pairs": 9, "max_pairs": 3}}),
    ("retrain.trainer.command", lambda _: {"retrain": {"trainer": {"command": ["/no/such"]}}}),
]


@pytest.mark.parametrize(("setting", "wrong"), WRONG_HERE, ids=_numbered(WRONG_HERE))
def test_what_is_wrong_on_this_machine_stops_the_start_and_is_named(
    setting: str, wrong: Callable[[Path], dict[str, Any]], folder: Path
) -> None:
    with pytest.raises(SetupError) as refused:
        asyncio.run(check_settings(_settings(folder, **wrong(folder))))
    said = str(refused.value)
    assert (said.startswith(f"{setting}:"), SECRET in said, "\n" in said) == (True, False, False)


def test_good_settings_have_no_problem(folder: Path) -> None:
    (folder / "suite.toml").write_text('[[cases]]\nname = "a"\nprompt = "b"\ncontains = ["c"]')
    retrain = {
        "judge": f"{__name__}:likes_the_first",
        "suite": folder / "suite.toml",
        "evaluation": {"harms": {"rude": f"{__name__}:never_rude"}},
        "gate": {"harm_ceilings": {"rude": 0.1}},
        "canary": {"votes": ["thumbs", "solved"]},
    }
    settings = _settings(
        folder,
        retrain=retrain,
        feedback={"metrics": {"solved": {"type": "boolean"}}},
        adapters={"store": str(folder / "store")},
        engine={"chat_template": "{% generation %}{{ messages }}{% endgeneration %}"},
    )
    assert find_start_problems(settings) == []


def test_a_rank_that_the_engine_does_not_load_is_told(folder: Path) -> None:
    settings = _settings(
        folder, engine={"max_lora_rank": 8}, retrain={"judge": f"{__name__}:likes_the_first"}
    )
    (problem,) = find_start_problems(settings)
    assert (problem.setting, problem.refuses_start) == ("retrain.hyper.lora_rank", False)


def likes_the_first(_conversation: object, _a: str, _b: str) -> float:
    return 1.0


def never_rude(_conversation: object, _answer: str) -> float:
    return 0.0


@pytest.mark.parametrize(
    ("host", "good"),
    [("127.0.0.1", True), ("::1", True), ("pawl_1.shop", True), ("1.2.3", False), ("a..b", False)],
)
def test_a_host_is_an_address_or_a_name(host: str, good: bool) -> None:
    assert is_host(host) is good


def _serve(folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """`pawl serve` under its supervisor, with the fake engine."""
    quiet = {"PAWL_ENGINE__KIND": "fake", "PAWL_SERVER__PORT": "0", "PYTHONPATH": str(Path.cwd())}
    return subprocess.run(
        [sys.executable, "-m", "server.cli", "serve"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **quiet, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.slow
def test_the_supervisor_does_not_start_wrong_settings_again(tmp_path: Path) -> None:
    done = _serve(tmp_path, PAWL_RETRAIN__SUITE="/no/such/suite.toml")
    (line,) = done.stderr.splitlines() + done.stdout.splitlines()
    assert (done.returncode, "retrain.suite" in line) == (EXIT_SETUP, True)


@pytest.mark.slow
def test_a_port_in_use_ends_a_first_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = _serve(tmp_path, PAWL_SERVER__PORT=str(taken.getsockname()[1]))
    (line,) = done.stderr.splitlines() + done.stdout.splitlines()
    assert (done.returncode, "server.port" in line) == (EXIT_SETUP, True)
