"""The tokenizer: with the template that serving uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrain.trainer import job
from retrain.trainer.errors import JobError
from tests.adapters.adapter_files import make_adapter
from tests.lazy_modules import lazy
from tests.retrain.trainer.tiny import make_base

model = lazy("retrain.trainer.model")

TEMPLATE = "{% for message in messages %}[{{ message['content'] }}]{% endfor %}"


@pytest.mark.parametrize("given_as", ["text", "file"])
def test_the_engines_template_replaces_the_tokenizers_own(tmp_path: Path, given_as: str) -> None:
    make_base(tmp_path / "base")
    file = tmp_path / "template.jinja"
    file.write_text(TEMPLATE)
    tokenizer = model.load_tokenizer(
        str(tmp_path / "base"), TEMPLATE if given_as == "text" else str(file)
    )
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert rendered == "[hi]"


def test_a_template_that_is_not_there_is_named(tmp_path: Path) -> None:
    make_base(tmp_path / "base")
    with pytest.raises(JobError, match="chat_template"):
        model.load_tokenizer(str(tmp_path / "base"), str(tmp_path / "none.jinja"))


def test_named_modules_take_the_place_of_a_configs_expressions(tmp_path: Path) -> None:
    fields = {"target_modules": r"(?:[\w.]+_?)+proj", "rank_pattern": {r".*q_proj": 4}, "r": 8}
    folder = make_adapter(tmp_path / "a", config=fields)
    modules = {
        "model.layers.0.self_attn.q_proj": job.AdaptedModule(rank=4, alpha=8.0),
        "model.layers.0.mlp.up_proj": job.AdaptedModule(rank=8, alpha=16.0),
    }
    config = model.live_config(folder, modules)
    assert config.target_modules == set(modules)
    assert config.rank_pattern == {r"model\.layers\.0\.self_attn\.q_proj": 4}
    assert config.alpha_pattern == {r"model\.layers\.0\.mlp\.up_proj": 16.0}
    assert model.live_config(folder, None).target_modules == fields["target_modules"]
