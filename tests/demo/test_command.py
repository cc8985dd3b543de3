from pathlib import Path

from typer.testing import CliRunner

from server.cli.main import app


def test_weeks_are_refused_with_a_canary_and_nothing_is_made(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    asked = ["demo", "--rollout", "canary", "--weeks", "2", "--out", str(out)]
    result = CliRunner().invoke(app, asked, env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 2
    assert "leave --weeks out" in result.output
    assert not out.exists()


def test_a_canary_is_refused_on_the_pretrained_model(tmp_path: Path) -> None:
    asked = ["demo", "--rollout", "canary", "--model", "smollm2", "--out", str(tmp_path / "demo")]
    result = CliRunner().invoke(app, asked, env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 2
    assert not (tmp_path / "demo").exists()
