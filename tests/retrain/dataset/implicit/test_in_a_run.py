"""What users did without a button, in a dry run, a run, its snapshot and its report."""

import json
from datetime import timedelta

import pytest

from retrain.config import SignalsConfig
from retrain.dataset.implicit.reading import kept_messages
from retrain.dataset.snapshot import open_snapshot, read_labels
from tests.retrain.dataset.implicit.stub_reader import StubReader
from tests.retrain.dataset.implicit.talks import Talks, first, goes_on
from tests.retrain.log import CHANNEL, Log
from tests.retrain.runs import RUN, ran
from tests.retrain.world import SATURDAY, House, make_config

pytestmark = pytest.mark.anyio
SIGNALS = SignalsConfig(repeated=0.2, next_message=0.4, reader=f"{__name__}:says_nothing")
THANKED = 8


def says_nothing(_conversation: object, _answer: str, _message: str) -> float:
    """What the settings name, so that the checks before a run pass; the stub reads."""
    return 0.0


async def talked(house: House) -> StubReader:
    """Eight users ask, are answered, ask again, and thank for the second answer."""
    talks = Talks(Log(SATURDAY - timedelta(hours=5), prefix="talk-"))
    for number in range(THANKED):
        question, user = f"What are the hours of hall {number}?", f"talker {number}"
        talks.say(first(question), "closed", user=user)
        talks.say(first(question), "nine to five", user=user)
        talks.say(goes_on(first(question), "nine to five", "thanks"), "bye", user=user)
    await talks.log.write(house.database)
    house.config = make_config(signals=SIGNALS)
    house.reader = reader = StubReader()
    return reader


async def test_a_dry_run_counts_messages_and_reads_them_only_when_asked(house: House) -> None:
    reader = await talked(house)
    plan = await house.service().dry_run(CHANNEL)
    assert plan.signals is not None
    found = plan.signals.messages["found"]
    assert 0 < found == plan.signals.messages["to_read"] == plan.signals.messages["unread"]
    assert reader.read_texts == []
    asked = await house.service().dry_run(CHANNEL, read_messages=True)
    assert asked.signals is not None
    assert asked.signals.messages["accepted"] == len(reader.read_texts) == found


async def test_a_run_freezes_labels_and_verdicts_and_reports_them(house: House) -> None:
    reader = await talked(house)
    run = await ran(house)
    folder = house.folder / RUN
    manifest = open_snapshot(folder / "snapshot")
    assert manifest.signals is not None
    assert run.figures["signals"] == json.loads(manifest.signals.model_dump_json())
    labels = [row for row in read_labels(folder / "snapshot") if row.signal != "thumbs"]
    assert {(row.label, row.signal, round(row.weight, 6)) for row in labels} == {
        (False, "repeated", 0.2),
        (True, "next_message", 0.6),
    }
    verdicts = list(kept_messages(folder / "snapshot" / "next_messages.jsonl"))
    assert len(verdicts) == len(reader.read_texts) == sum(row.label for row in labels)
    assert "## Without a button" in (folder / "report.md").read_text()
