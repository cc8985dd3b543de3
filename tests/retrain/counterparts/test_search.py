"""The search for counterparts: what is asked, kept, judged and frozen."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from math import exp
from pathlib import Path
from typing import Any

import pytest

from retrain.config import CounterpartsConfig, RetrainConfig, SelfPlayConfig
from retrain.counterparts import search as search_module
from retrain.counterparts.judging import CHUNK
from retrain.counterparts.rows import AnsweredQuestion
from retrain.counterparts.storage import find_frozen, open_counterparts, read_pairs
from retrain.errors import SnapshotError
from retrain.evaluation.judges import JudgeError
from retrain.evaluation.verdicts import ScoredItem
from retrain.ports import ChatError, ChatUnavailableError
from retrain.trainer.examples.rows import PairRow
from tests.database_fixture import make_database
from tests.retrain.counterparts.fakes import Ground, varied
from tests.retrain.counterparts.test_questions import pair
from tests.retrain.log import Log
from tests.retrain.world import FakeJudge

pytestmark = pytest.mark.anyio


def settings(**more: Any) -> RetrainConfig:
    return RetrainConfig(counterparts=CounterpartsConfig(**more))


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    ground = Ground(await make_database(tmp_path), tmp_path)
    yield ground
    await ground.database.close()


async def found(ground: Ground, folder: str = "counterparts") -> list[PairRow]:
    await ground.search(folder).run()
    return list(read_pairs(ground.folder / folder))


def ids(text: str) -> list[int]:
    """The token ids that the log of the tests keeps for a text."""
    return [10 + ord(mark) % 50 for mark in text]


async def test_a_disliked_answer_gets_a_better_one_and_a_liked_one_a_worse_one(
    ground: Ground,
) -> None:
    down = ground.rate("why?", "because", up=False, weight=0.5)
    up = ground.rate("how?", "good enough", up=True)
    await ground.write()
    pairs = {one.interaction_id: one for one in await found(ground)}
    better, worse = pairs[down.interaction_id], pairs[up.interaction_id]
    assert better.chosen.token_ids == ids("good answer to why?")
    assert (better.rejected, better.vouched, better.weight) == (down.completion, "rejected", 0.5)
    assert worse.rejected.token_ids == ids("answer 1 to how?")
    assert (worse.chosen, worse.vouched, worse.judge) == (up.completion, "chosen", "FakeJudge")


async def test_the_live_version_is_asked_with_the_recorded_sampling_parameters(
    ground: Ground,
) -> None:
    ground.rate("why?", "because", up=False)
    await ground.write()
    await ground.search().run()
    assert ground.chat.asked == [("pawl@base", "why?")] * 4
    assert ground.chat.requests[0] == {
        "messages": [{"role": "user", "content": "why?"}],
        "temperature": 1.0,
        "n": 1,
        "stream": False,
    }


async def test_the_figures_count_every_label_once(ground: Ground) -> None:
    ground.chat.texts = lambda question, time: {"same?": "as before"}.get(
        question, f"answer {time}"
    )
    ground.rate("why?", "good answer", up=True)
    ground.rate("same?", "as before", up=True)
    ground.rate("cut?", "good, but", up=True, truncated=True)
    ground.rate("meh?", "answer", up=False)
    await ground.write()
    figures = (await ground.search().run()).figures
    assert figures.outcomes == {"pair": 1, "identical": 1, "truncated": 1, "no_winner": 1}
    assert (figures.questions, figures.asked, figures.answers, figures.judge) == (
        3,
        3,
        12,
        "FakeJudge",
    )


async def test_an_answer_to_another_prompt_makes_no_pair(ground: Ground) -> None:
    ground.rate("why?", "because", up=False)
    ground.chat.prompt = [1, 2, 3, 4]
    await ground.write()
    assert (await ground.search().run()).figures.outcomes == {"different_prompt": 1}


async def test_a_better_answer_that_was_cut_off_is_not_chosen(ground: Ground) -> None:
    ground.rate("why?", "because", up=False)
    ground.chat.finish_reason = "length"
    await ground.write()
    assert (await ground.search().run()).figures.outcomes == {"truncated": 1}


async def test_no_more_questions_are_asked_than_the_settings_allow(ground: Ground) -> None:
    ground.config = settings(questions=2, samples=1)
    for number in range(5):
        ground.rate(f"why {number}?", "because", up=False)
    await ground.write()
    figures = (await ground.search().run()).figures
    assert len(ground.chat.asked) == 2
    assert figures.outcomes["over_budget"] == 3


async def test_no_more_answers_are_in_progress_than_the_settings_allow(ground: Ground) -> None:
    ground.config = settings(concurrency=2, samples=2)
    for number in range(6):
        ground.rate(f"why {number}?", "because", up=False)
    await ground.write()
    await ground.search().run()
    assert ground.chat.busiest == 2


async def test_when_the_time_is_up_the_rest_is_not_asked(ground: Ground) -> None:
    ground.config = settings(seconds=0.2, samples=1, concurrency=1)
    for number in range(3):
        ground.rate(f"why {number}?", "because", up=False)

    async def users_come() -> None:
        if len(ground.chat.asked) == 1:  # the engine is busy with users from here on
            await asyncio.Event().wait()

    ground.chat.before = users_come
    await ground.write()
    figures = (await ground.search().run()).figures
    assert (figures.questions, figures.asked, figures.outcomes["over_budget"]) == (3, 1, 2)


async def test_a_search_that_was_stopped_asks_what_is_missing_and_ends_with_the_same_pairs(
    ground: Ground,
) -> None:
    ground.config = settings(concurrency=1)
    ground.chat.texts = lambda question, time: varied(question, (time - 1) % 4 + 1)
    for number in range(6):
        ground.rate(f"why {number}?", "because", up=bool(number % 2))
    await ground.write()
    searching = asyncio.create_task(ground.search().run())

    async def stop() -> None:
        if len(ground.chat.asked) == 10:
            searching.cancel()
            await asyncio.sleep(0)

    ground.chat.before = stop
    with pytest.raises(asyncio.CancelledError):
        await searching
    answers = ground.folder / "counterparts" / "answers.jsonl"
    kept = answers.read_bytes()
    assert kept.count(b"\n") == 2  # four answers each; the third question was under way
    assert find_frozen(ground.folder / "counterparts") is None
    ground.chat.before, ground.chat.asked = None, []
    resumed = await found(ground)
    assert answers.read_bytes().startswith(kept)
    assert len(ground.chat.asked) == 4 * 4
    ground.chat.asked = []
    assert resumed == await found(ground, "uninterrupted")
    assert len(ground.chat.asked) == 6 * 4


async def test_the_time_that_was_spent_before_a_restart_counts(ground: Ground) -> None:
    ground.config = settings(seconds=1_000, samples=1)
    ground.rate("why?", "because", up=False)
    ground.rate("how?", "so", up=False)
    await ground.write()
    await ground.search().run()
    rows = (ground.folder / "counterparts" / "answers.jsonl").read_text().splitlines()
    spent = AnsweredQuestion.model_validate_json(rows[0]).model_copy(update={"seconds": 1_000.0})
    (ground.folder / "counterparts" / "answers.jsonl").write_text(spent.model_dump_json() + "\n")
    ground.chat.asked = []
    figures = (await ground.search().run()).figures
    assert (ground.chat.asked, figures.outcomes["over_budget"]) == ([], 1)


async def test_verdicts_are_kept_for_a_search_that_is_resumed(ground: Ground) -> None:
    judge = ground.judge = CountingJudge()
    ground.rate("why?", "because", up=False)
    await ground.write()
    first = await found(ground)
    asked = judge.asked
    (ground.folder / "counterparts" / "manifest.json").unlink()
    assert await found(ground) == first
    assert judge.asked == asked


async def test_another_judge_judges_again(ground: Ground) -> None:
    ground.rate("why?", "because", up=False)
    await ground.write()
    await ground.search().run()
    ground.judge = CountingJudge()
    assert {one.judge for one in await found(ground)} == {"CountingJudge"}


async def test_both_orders_are_judged(ground: Ground) -> None:
    ground.judge = FirstJudge()  # prefers whatever it reads first
    ground.rate("why?", "because", up=False)
    await ground.write()
    assert (await ground.search().run()).figures.outcomes == {"no_winner": 1}


async def test_a_judge_that_scores_gets_all_answers_at_once_as_token_ids(ground: Ground) -> None:
    judge = ground.judge = LengthJudge()
    down = ground.rate("why?", "because", up=False)
    ground.rate("how?", "so", up=True)
    await ground.write()
    pairs = {one.interaction_id: one for one in await found(ground)}
    assert judge.batches == 1
    chosen = pairs[down.interaction_id]
    assert chosen.chosen.token_ids == ids("good answer to why?")
    assert chosen.judge == "the longer"
    assert chosen.margin == pytest.approx(2 / (1 + exp(-12)) - 1)


async def test_a_question_without_a_verdict_is_counted_and_the_others_go_on(
    ground: Ground,
) -> None:
    ground.judge = BrokenJudge("why 1?")
    for number in range(2):
        ground.rate(f"why {number}?", "because", up=False)
    await ground.write()
    assert (await ground.search().run()).figures.outcomes == {"pair": 1, "unjudged": 1}


async def test_a_judge_that_is_out_of_order_ends_the_search(ground: Ground) -> None:
    ground.judge = BrokenJudge("why")
    for number in range(CHUNK):
        ground.rate(f"why {number}?", "because", up=False)
    await ground.write()
    with pytest.raises(JudgeError, match="out of order"):
        await ground.search().run()


async def test_without_a_judge_nothing_is_asked(ground: Ground) -> None:
    ground.judge = None
    ground.rate("why?", "because", up=False)
    await ground.write()
    figures = (await ground.search().run()).figures
    assert ground.chat.asked == []
    assert (figures.why_not, figures.outcomes) == ("no judge compares answers", {})


async def test_counterparts_can_be_switched_off(ground: Ground) -> None:
    ground.config = settings(enabled=False)
    ground.rate("why?", "because", up=False)
    await ground.write()
    figures = (await ground.search().run()).figures
    assert ground.chat.asked == []
    assert figures.why_not == "retrain.counterparts.enabled is false"


async def test_a_snapshot_of_the_release_before_has_nothing_to_ask(ground: Ground) -> None:
    ground.snapshot.mkdir()
    figures = (await ground.search().run()).figures
    assert (figures.questions, figures.pairs) == (0, 0)


async def test_a_request_that_is_gone_is_counted(ground: Ground) -> None:
    ground.rate("why?", "because", up=False)
    await ground.write()
    (ground.snapshot / "requests.jsonl").write_text("")
    assert (await ground.search().run()).figures.outcomes == {"no_request": 1}


@pytest.mark.parametrize(
    ("error", "tries"), [(ChatUnavailableError("busy"), 2), (ChatError("refused"), 1)]
)
async def test_a_question_that_cannot_be_answered_is_given_up(
    ground: Ground, error: Exception, tries: int
) -> None:
    ground.rate("why?", "because", up=False)
    await ground.write()
    asked = 0

    async def fail() -> None:
        nonlocal asked
        asked += 1
        raise error

    ground.chat.before = fail
    figures = (await ground.search().run()).figures
    assert (asked, figures.outcomes) == (tries, {"failed": 1})


async def test_an_answer_that_never_reaches_the_log_is_not_used(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.rate("why?", "because", up=False)
    await ground.write()

    async def lost(*_: object) -> None:
        """As if the database had been away."""

    monkeypatch.setattr(Log, "write", lost)
    assert (await ground.search().run()).figures.outcomes == {"failed": 1}


async def test_a_file_that_was_changed_after_the_freeze_is_noticed(ground: Ground) -> None:
    ground.rate("why?", "because", up=False)
    await ground.write()
    await ground.search().run()
    (ground.folder / "counterparts" / "pairs.jsonl").write_text("")
    with pytest.raises(SnapshotError, match="start another run"):
        open_counterparts(ground.folder / "counterparts")


async def test_progress_is_told(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "PROGRESS_SECONDS", 0)
    ground.config = settings(concurrency=1)
    for number in range(3):
        ground.rate(f"why {number}?", "because", up=False)
    await ground.write()
    await ground.search().run()
    assert [(one.asked, one.questions) for one in ground.told] == [(1, 3), (2, 3), (3, 3)]


async def test_self_play_needs_no_judge(ground: Ground) -> None:
    ground.judge = None
    ground.config = RetrainConfig(self_play=SelfPlayConfig(share=0.5))
    asked = ground.log.ask("why?", "because")
    ground.pairs.append(pair(1, asked).model_copy(update={"prompt_token_ids": [1, 2, 3]}))
    await ground.write()
    (made,) = await found(ground)
    assert (made.origin, made.vouched, made.judge) == ("self_play", "chosen", None)
    assert made.rejected.token_ids == ids("answer 1 to why?")
    assert ground.chat.asked == [("pawl@base", "why?")]


async def test_self_play_is_off_unless_it_has_a_share(ground: Ground) -> None:
    ground.pairs.append(pair(1, ground.log.ask("why?", "because")))
    await ground.write()
    assert await found(ground) == []
    assert ground.chat.asked == []


class CountingJudge(FakeJudge):
    """Counts what it is asked."""

    asked = 0

    async def compare(self, conversation: object, a: str, b: str) -> float:
        self.asked += 1
        return await super().compare(conversation, a, b)


class FirstJudge:
    """Prefers the answer that it reads first."""

    async def compare(self, conversation: object, a: str, b: str) -> float:
        del conversation, a, b
        return 1.0


class BrokenJudge(FakeJudge):
    """Gives no verdict on questions with some text."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def compare(self, conversation: Any, a: str, b: str) -> float:
        if self.text in conversation[-1]["content"]:
            raise JudgeError("out of order")
        return await super().compare(conversation, a, b)


class LengthJudge:
    """Scores an answer by the number of its tokens."""

    name = "the longer"
    batches = 0

    async def score(self, items: Sequence[ScoredItem]) -> list[float]:
        self.batches += 1
        return [float(len(item.token_ids)) for item in items]
