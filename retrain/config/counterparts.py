"""`[retrain.counterparts]` and `[retrain.self_play]`: new answers that complete pairs."""

from pydantic import Field

from common.settings import Seconds, Section


class CounterpartsConfig(Section):
    """Pairs from lone thumbs: the live version answers again, and the judge compares.

    An answer with a thumb down is paired with the best new answer that beats it, one with a thumb
    up with the worst that loses to it. Needs a judge; without one nothing is asked. The requests
    are recorded apart (mode `counterpart`), have the engine's lowest priority, and wait while users
    need it (`server.shadow.busy_streams`).
    """

    enabled: bool = True
    """Whether answers that were judged by themselves get counterparts, where there is a judge."""
    samples: int = Field(default=4, ge=1, le=64)
    """New answers per question. With four, the live version's answers to most questions differ
    enough for one to be clearly better or worse; each more costs as much and adds less. A question
    that was asked at temperature 0 is asked once, since all answers would be the same."""
    questions: int = Field(default=500, ge=0)
    """Questions asked again in a run, at most; of more than that a random sample is drawn with
    `retrain.seed`. Four answers of 200 tokens to each of 500 questions take half an hour at 220
    tokens per second."""
    seconds: Seconds = Field(default=1_800, gt=0)
    """Seconds that a run may ask for, waiting for users included; what is not asked by then is
    counted as `over_budget`. Half an hour is little beside a week, and bounds a busy server's
    work."""
    concurrency: int = Field(default=4, ge=1)
    """New answers in progress at once. Low, because they share the engine with users; as many as an
    evaluation asks for. `server.limits.evaluation_concurrency` applies as well."""
    margin: float = Field(default=0.15, ge=0, lt=1)
    """By how much the judge must prefer one of the two answers: 0 is a tie, 1 is certainty. A judge
    model that is asked in both orders and decides for one answer in only one of them, with a tie in
    the other, gives 0.5; a reward model gives 0.15 for a difference of 0.3 logits, below which its
    choices were hardly better than chance."""
    weight: float = Field(default=1.0, gt=0, le=1)
    """Factor of such a pair's weight; the other factor is the weight of the thumb. 1 trusts the
    judge about the new answer as much as the person about the rated one."""
    share: float = Field(default=1.0, ge=0, le=1)
    """Largest share of such pairs among all pairs of a run. 1 is no limit: where every question is
    asked once, all pairs are such pairs."""


class SelfPlayConfig(Section):
    """Self-play (SPIN, arXiv:2401.01335): the live version's new answers are the worse side.

    A demonstration or a preferred answer is paired with a new answer of the live version to the
    same question, which it is to be told from. The answers are renewed in each run, so the pairs
    end by themselves when the version answers as people would. `retrain.counterparts` bounds the
    seconds and the requests in progress.
    """

    share: float = Field(default=0.0, ge=0, lt=1)
    """Largest share of such pairs among all pairs of a run; 0 switches self-play off. Off, because
    it takes every preferred answer for better than what live answers now, which no one judged."""
    weight: float = Field(default=0.5, gt=0, le=1)
    """Factor of such a pair's weight; the other factor is the weight of the pair that it comes
    from. Half, since nobody judged its worse side."""
