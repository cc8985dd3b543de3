"""Settings that vLLM refuses: found before an engine is built, and named."""

from pathlib import Path
from typing import Any

import pytest

from server.engine.config import EngineConfig
from server.engine.errors import EngineStartError
from tests.lazy_modules import lazy

engine = lazy("server.engine.vllm.engine")

pytestmark = [pytest.mark.slow, pytest.mark.engine]


def _configured(model: Path, **settings: Any) -> None:
    engine.configure(EngineConfig(**{"model": str(model), "max_model_len": 64, **settings}))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"dtype": "float99"}, "engine.dtype"),
        ({"max_model_len": 10**9}, "engine.max_model_len"),
        ({"tool_call_parser": "no_such_parser"}, "engine.tool_call_parser"),
        ({"reasoning_parser": "no_such_parser"}, "engine.reasoning_parser"),
        ({"extra_args": ["--no-such-flag"]}, "engine.extra_args"),
        ({"extra_args": ["--tensor-parallel-size", "many"]}, "engine.extra_args"),
        ({"extra_args": ["--tensor-parallel-size", "0"]}, "engine.extra_args"),
        ({"extra_args": ["--max-num-seqs", "-1"]}, "engine.extra_args"),
        ({"extra_args": ["--dtype", "float99"]}, "engine.extra_args"),
        ({"extra_args": ["--quantization", "no_such"]}, "engine.extra_args"),
        ({"extra_args": ["stray"]}, "engine.extra_args"),
        ({"extra_args": ["--model", "another"]}, "engine.extra_args"),
        ({"extra_args": ["--config=file.yaml"]}, "engine.extra_args"),
        ({"extra_args": ["--help"]}, "engine.extra_args"),
        ({"extra_args": ["--version"]}, "engine.extra_args"),
        ({"chat_template": "/no/such/file.jinja"}, "engine.chat_template"),
    ],
)
def test_what_vllm_refuses_is_one_line_that_names_the_setting(
    tiny_model: Path, settings: dict[str, Any], named: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EngineStartError) as refused:
        _configured(tiny_model, **settings)
    assert str(refused.value).startswith(named)
    assert "\n" not in str(refused.value)
    assert "usage:" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("model", ["no/such-model", "/no/such/folder", "not a name!"])
def test_a_model_that_is_nowhere_is_named(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EngineStartError, match=r"^engine\.model"):
        engine.configure(EngineConfig(model=model))


def test_settings_that_can_work_are_taken(tiny_model: Path) -> None:
    parsers = {"tool_call_parser": "hermes", "reasoning_parser": "qwen3"}
    _configured(tiny_model, extra_args=["--max-num-seqs", "4"], **parsers)
