"""One evaluated prompt: the answers of all arms, and what the judge made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retrain.dataset.questions import HeldOutPrompt
from retrain.evaluation.answers import JudgedAnswer, Question
from retrain.evaluation.judges import JudgeError
from retrain.evaluation.result import Arm
from retrain.evaluation.verdicts import AnswerPair, ScoredItem
from retrain.ports import Answer

NOT_REPLAYED = frozenset(
    {
        "model",
        "n",
        "stream",
        "stream_options",
        "seed",
        "logprobs",
        "top_logprobs",
        "user",
        "safety_identifier",
        "metadata",
        "store",
        "priority",
    }
)
"""Fields of a recorded request that are dropped, since they concern delivery, not sampling."""


def evaluation_request(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded request with its sampling parameters, for one answer without streaming."""
    kept = {key: value for key, value in recorded.items() if key not in NOT_REPLAYED}
    return {**kept, "n": 1, "stream": False}


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt, the request that was sent, and every arm's answer."""

    prompt: HeldOutPrompt
    request: Mapping[str, Any]
    answers: Mapping[Arm, Answer]

    @property
    def interaction_ids(self) -> list[str]:
        """The answers' interactions."""
        return [answer.interaction_id for answer in self.answers.values()]

    @property
    def others(self) -> list[Arm]:
        """The arms that the candidate is compared with."""
        return [arm for arm in self.answers if arm != "candidate"]

    def pair(self, against: Arm, items: Mapping[str, ScoredItem]) -> AnswerPair:
        """Return the candidate's answer and another arm's, for a judge."""
        first, second = self.answers["candidate"], self.answers[against]
        tools = self.request.get("tools") or self.request.get("functions") or ()
        return AnswerPair(
            Question(self.request["messages"], tools),
            JudgedAnswer(first.parts, first.finish_reason),
            JudgedAnswer(second.parts, second.finish_reason),
            items.get(first.interaction_id),
            items.get(second.interaction_id),
        )


@dataclass(frozen=True, slots=True)
class Scored:
    """An answered prompt with the judge's verdicts by the arm compared with; none without a judge.

    A verdict is the preference for the candidate's answer, or the error in its place.
    """

    answered: Answered
    verdicts: Mapping[Arm, float | JudgeError] = field(default_factory=dict)

    def scores(self) -> dict[Arm, float]:
        """Return the preferences. Raises the first error."""
        found = {}
        for arm, verdict in self.verdicts.items():
            if isinstance(verdict, JudgeError):
                raise verdict
            found[arm] = verdict
        return found
