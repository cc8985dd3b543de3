"""Demonstrations on the real engine: they continue the prompt as it was served, whatever made it.

The app answers through vLLM's own renderer, with a template that thinks; the demonstration goes
through the API, the log and a snapshot, and the trainer reads it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from retrain.config import PairsConfig, RetrainConfig
from retrain.dataset.snapshot import PAIRS, About, PairLog, freeze
from retrain.trainer.errors import TooFewPairsError
from retrain.trainer.job import read_job
from server.app import create_app, lifespan
from server.engine.config import EngineConfig
from tests.engine_fixtures import REAL_ENGINE, tiny_engine_config
from tests.lazy_modules import lazy
from tests.retrain.trainer.templates import DEEPSEEK, DEEPSEEK_HYBRID, HARMONY, QWEN3
from tests.server.running_app import client_of, test_settings

if TYPE_CHECKING:
    from server.engine.vllm.engine import VllmEngine

pytestmark = [pytest.mark.anyio, *REAL_ENGINE]

trainer_model = lazy("retrain.trainer.model")
trainer_stages = lazy("retrain.trainer.stages")

BETTER = "It costs 46 dollars."
ASKED: tuple[Mapping[str, Any], ...] = ({"role": "user", "content": "how much?"},)
OFF: Mapping[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}}


@dataclass(frozen=True, slots=True)
class Trained:
    """The texts of what the trainer is fed for one demonstration, and what was left out."""

    prompt: str
    chosen: str
    same_prompt: bool
    left_out: str = ""


def another_template(engine: "VllmEngine", model: Path, template: Path) -> Any:
    """VLLM's serving layer once more, with another template, over the engine that runs."""
    from server.engine.vllm import engine as vllm  # noqa: PLC0415  (takes seconds)

    config = tiny_engine_config(model).model_copy(update={"chat_template": str(template)})
    serving = vllm._serve(engine._llm, vllm._parse(config, cpu=True))
    front: Any = vllm.VllmEngine(engine._llm, serving, engine.info, engine._scratch)

    async def stay_open() -> None:
        """The session's engine goes on."""

    front.close = stay_open
    return front


async def trained(
    engine: "VllmEngine",
    model: Path,
    folder: Path,
    template: str,
    messages: tuple[Mapping[str, Any], ...] = ASKED,
    text: str = BETTER,
    **asked: Any,
) -> Trained:
    """Chat, demonstrate the better answer, freeze the log, and read the pair as a trainer."""
    path = folder / "template.jinja"
    path.write_text(template)
    front = another_template(engine, model, path)

    async def start(_config: EngineConfig) -> Any:
        return front

    app = create_app(test_settings(folder / "data"), start_engine=start)
    app.state.url = "http://127.0.0.1"
    async with lifespan(app), client_of(app) as client:
        body = {"model": "pawl", "messages": messages, "max_tokens": 6, **asked}
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        said = {"inference_id": answer.json()["id"], "metric_name": "demonstration", "value": text}
        assert (await client.post("/v1/feedback", json=said)).status_code == 200
        await snapshot(app.state.services.database, front, folder / "snapshot")
    return read(model, folder, path)


async def snapshot(database: Any, engine: "VllmEngine", folder: Path) -> None:
    now = datetime.now(UTC)
    config = RetrainConfig(pairs=PairsConfig(held_out_share=0))
    about = About(
        run="run",
        channel="pawl",
        tenants=None,
        since=now - timedelta(days=1),
        asked_since=now - timedelta(days=1),
        cut_off=now + timedelta(days=1),
        base_model="tiny",
        parent=None,
    )
    log = PairLog(database, about, config, engine.info.model_fingerprint)
    assert (await freeze(folder, about, log, config)).pairs == 1


def read(model: Path, folder: Path, template: Path) -> Trained:
    job = {
        "base_model": str(model),
        "pairs": f"snapshot/{PAIRS}",
        "output": "adapter",
        "chat_template": str(template),
    }
    (folder / "job.json").write_text(json.dumps(job))
    read_back = read_job(folder / "job.json")
    tokenizer = trainer_model.load_tokenizer(read_back.base_model, read_back.chat_template)
    (row,) = [json.loads(line) for line in (folder / "snapshot" / PAIRS).read_text().splitlines()]
    try:
        setup = trainer_stages.Setup.of(read_back, folder)
        prepared = trainer_stages.read_stage(setup, read_back.planned[0])
    except TooFewPairsError as error:
        return Trained("", "", same_prompt=False, left_out=str(error))
    (example,) = prepared.examples
    return Trained(
        prompt=tokenizer.decode(example["prompt_ids"]),
        chosen=tokenizer.decode(example["chosen_ids"]),
        same_prompt=example["prompt_ids"] == row["prompt_token_ids"],
    )


@pytest.mark.parametrize(
    ("template", "asked", "prompt_end", "chosen"),
    [
        (QWEN3, OFF, "<think>\n\n</think>\n\n", BETTER),
        (QWEN3, {"reasoning_effort": "none"}, "<think>\n\n</think>\n\n", BETTER),
        (QWEN3, {}, "<|im_start|>assistant\n", f"<think>\n\n</think>\n\n{BETTER}"),
        (DEEPSEEK_HYBRID, {}, "</think>", BETTER),
        (
            HARMONY,
            {"reasoning_effort": "high"},
            "<|start|>assistant",
            f"<|channel|>final<|message|>{BETTER}",
        ),
    ],
    ids=["off", "no effort", "on", "closed by the prompt", "channels"],
)
async def test_a_demonstration_continues_the_prompt_as_served(
    real_engine: "VllmEngine",
    tiny_model: Path,
    tmp_path: Path,
    template: str,
    asked: Mapping[str, Any],
    prompt_end: str,
    chosen: str,
) -> None:
    found = await trained(real_engine, tiny_model, tmp_path, template, **asked)
    assert found.same_prompt
    assert found.prompt.endswith(prompt_end)
    assert found.chosen == f"{chosen}<|im_end|>"


async def test_a_developers_turn_is_in_the_prompt_that_is_continued(
    real_engine: "VllmEngine", tiny_model: Path, tmp_path: Path
) -> None:
    told = {"role": "developer", "content": "Be brief."}
    found = await trained(real_engine, tiny_model, tmp_path, HARMONY, (told, *ASKED))
    assert "developer" in found.prompt
    assert "Be brief." in found.prompt
    assert found.chosen == f"<|channel|>final<|message|>{BETTER}<|im_end|>"


async def test_a_final_message_is_continued(
    real_engine: "VllmEngine", tiny_model: Path, tmp_path: Path
) -> None:
    found = await trained(
        real_engine,
        tiny_model,
        tmp_path,
        QWEN3,
        (*ASKED, {"role": "assistant", "content": "The bench:"}),
        add_generation_prompt=False,
        continue_final_message=True,
    )
    assert found.prompt.endswith("The bench:")
    assert found.chosen == f"{BETTER}<|im_end|>"


@pytest.mark.parametrize(
    ("template", "asked"),
    [(DEEPSEEK, {}), (DEEPSEEK_HYBRID, {"chat_template_kwargs": {"thinking": True}})],
    ids=["always", "asked to think"],
)
async def test_reasoning_that_the_served_answer_did_not_close_gives_no_pair(
    real_engine: "VllmEngine",
    tiny_model: Path,
    tmp_path: Path,
    template: str,
    asked: Mapping[str, Any],
) -> None:
    found = await trained(real_engine, tiny_model, tmp_path, template, **asked)
    assert "reasoning_not_closed 1" in found.left_out


async def test_a_demonstration_with_reasoning_of_its_own_is_taken(
    real_engine: "VllmEngine", tiny_model: Path, tmp_path: Path
) -> None:
    text = f"Cheap.\n</think>\n\n{BETTER}"
    found = await trained(real_engine, tiny_model, tmp_path, DEEPSEEK, text=text)
    assert found.prompt.endswith("<think>\n")
    assert found.chosen == f"{text}<|im_end|>"
