"""A run with synthetic questions, from the snapshot to the training set."""

import json
from itertools import count
from typing import Any

import pytest

from retrain.config import CounterpartsConfig, SyntheticConfig
from retrain.run.context import COUNTERPARTS
from retrain.synthetic.making import QUESTIONS
from tests.retrain.counterparts.fakes import ReanswersChat
from tests.retrain.runs import RUN, ran
from tests.retrain.world import House, make_config

pytestmark = pytest.mark.anyio
FIRST = ("orchid", "passport", "invoice", "garden", "Vienna", "shoes", "violin")
SECOND = ("museum", "bicycle", "kettle", "umbrella", "ladder", "compass", "lantern")
WORDS = (*FIRST, *SECOND)


def replies(house: House) -> ReanswersChat:
    """A live version that writes a new question whenever it is asked to, and answers it."""
    numbers = count()

    def text(question: str, time: int) -> str:
        if not question.startswith("==="):
            return f"{'good' if time == 2 else 'bad'} answer to {question}"
        number = next(numbers)
        if number % 2:
            return json.dumps({"answerable": True})
        one, other = WORDS[number // 2 % 14], WORDS[(5 * number // 2 + 3) % 14]
        return json.dumps({"question": f"What has the {one} of {number} to do with {other}s?"})

    house.counterpart_chat = chat = ReanswersChat(house.database, text)
    return chat


def made(house: House, name: str) -> list[dict[str, Any]]:
    lines = (house.folder / RUN / COUNTERPARTS / name).read_text().splitlines()
    return [json.loads(line) for line in lines]


async def test_a_run_trains_on_synthetic_pairs_up_to_their_share(house: House) -> None:
    house.config = make_config(
        counterparts=CounterpartsConfig(enabled=False),
        synthetic=SyntheticConfig(share=0.05, questions=12, concurrency=1, similarity=0.9),
    )
    replies(house)
    run = await ran(house)
    assert run.state == "promoted", run.reason
    outcomes = run.figures["counterparts"]["synthetic"]
    assert outcomes["pair"] == len(made(house, "pairs.jsonl")) > 1
    by_origin = run.figures["training"]["pairs_by_origin"]
    assert 0 < by_origin["synthetic"] <= 0.05 * sum(by_origin.values())
    assert "synthetic questions" in (house.folder / RUN / "report.md").read_text()
    held_out = (house.folder / RUN / "snapshot" / "held_out.jsonl").read_text()
    assert not any(row["question"] in held_out for row in made(house, QUESTIONS))
