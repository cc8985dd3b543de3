"""The tokenizer: with the template that serving uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrain.trainer.errors import JobError
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
