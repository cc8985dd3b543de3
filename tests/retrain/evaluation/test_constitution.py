"""A constitution: written principles in the judge's system prompt, as a file or as the text."""

from pathlib import Path

import httpx
import pytest

from retrain.config import JudgeEndpoint
from retrain.evaluation.judge_prompt import judge_messages, standard
from retrain.evaluation.judges import JudgeError, load_judge
from retrain.preflight import Inspected, find_problems
from tests.retrain.world import make_config

TEXT = "1. Never promise a refund.\n2. Name the price first, with {braces} as they are."


def endpoint(constitution: str | None) -> JudgeEndpoint:
    return JudgeEndpoint(
        base_url="http://judge/v1", model="judge", rubric="Be fair.", constitution=constitution
    )


def test_a_text_follows_the_rubric_in_the_system_prompt() -> None:
    system, _user = judge_messages(standard("Be fair.", TEXT), [], "one", "two")
    assert "Be fair." in system["content"]
    assert TEXT in system["content"]
    assert system["content"].index("Be fair.") < system["content"].index("1. Never")


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "our principles.md"
    path.write_text(TEXT)
    assert standard("Be fair.", str(path)) == standard("Be fair.", TEXT)


def test_without_one_the_rubric_stands_alone() -> None:
    assert standard("Be fair.", None) == "Be fair."


@pytest.mark.parametrize("content", [None, b"\xff\xfe no text"])
def test_a_file_that_cannot_be_read_is_found_before_a_run(
    content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "missing.md"
    if content is not None:
        path.write_bytes(content)
    spec = endpoint(str(path))
    [problem] = find_problems(Inspected(make_config(judge=spec), judged=True))
    assert problem.setting == "retrain.judge.constitution"
    with pytest.raises(JudgeError, match="constitution cannot be read"):
        load_judge(spec, httpx.AsyncClient())
