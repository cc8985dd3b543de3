"""Make pairs of rated and new answers. Pure."""

from collections.abc import Sequence

from retrain.config import CounterpartsConfig, SelfPlayConfig
from retrain.counterparts.choose import Chosen, ComparedAnswer, Reason, choose
from retrain.counterparts.rows import AnsweredQuestion, JudgedQuestion, ShownAnswer
from retrain.trainer.examples.fit import fit_of_row
from retrain.trainer.examples.rows import CompletionRow, LabelRow, PairRow


def comparable(answered: AnsweredQuestion, label: LabelRow) -> list[ShownAnswer] | Reason:
    """Return the new answers to compare with the rated one, each once, or why there are none.

    They were given exactly the rated answer's prompt, and differ from it in text or calls.
    """
    if answered.rated is None or not answered.answers:
        return "failed"
    same = answered.same_prompt(label.prompt_token_ids)
    if not same:
        return "different_prompt"
    distinct = {answered.rated.parts.key: answered.rated}
    for answer in same:
        distinct.setdefault(answer.parts.key, answer)
    return list(distinct.values())[1:] or "identical"


def counterpart_pair(
    label: LabelRow,
    answers: Sequence[ShownAnswer],
    judged: JudgedQuestion,
    config: CounterpartsConfig,
    max_length: int,
) -> PairRow | Reason:
    """Return the pair of a rated answer and one of the new answers, or why there is none.

    Args:
        label: The rated answer.
        answers: The new answers, as `comparable` returns them.
        judged: The judge's preferences for them.
        config: The least margin, and the weight.
        max_length: Tokens that a prompt and an answer may have together.

    """
    compared = [
        ComparedAnswer(preference, answer.truncated)
        for preference, answer in zip(judged.preferences, answers, strict=True)
    ]
    found = choose(compared, liked=label.label, margin=config.margin)
    if not isinstance(found, Chosen):
        return found
    new = CompletionRow(token_ids=answers[found.index].token_ids)
    chosen, rejected = (label.completion, new) if label.label else (new, label.completion)
    pair = PairRow(
        id=judged.id,
        prompt_token_ids=label.prompt_token_ids,
        chosen=chosen,
        rejected=rejected,
        weight=label.weight * config.weight,
        signal=label.signal,
        origin="counterpart",
        vouched="chosen" if label.label else "rejected",
        judge=judged.judge,
        margin=found.margin,
        interaction_id=label.interaction_id,
    )
    return _fitting(pair, max_length)


def self_play_pair(
    pair: PairRow, answered: AnsweredQuestion, config: SelfPlayConfig, max_length: int
) -> PairRow | Reason:
    """Return the pair of a preferred answer and the live version's new one, or why there is none.

    As in SPIN (arXiv:2401.01335), the new answer is the worse side without being judged.
    """
    if not answered.answers:
        return "failed"
    same = answered.same_prompt(pair.prompt_token_ids)
    if not same:
        return "different_prompt"
    new = same[0]
    if new.content == pair.chosen.text and not new.calls:
        return "identical"
    made = PairRow(
        id=answered.id,
        prompt_token_ids=pair.prompt_token_ids,
        chosen=pair.chosen,
        rejected=CompletionRow(token_ids=new.token_ids),
        turn=new.turn if pair.chosen.text is not None else None,
        weight=pair.weight * config.weight,
        signal=pair.signal,
        origin="self_play",
        vouched="chosen",
        interaction_id=pair.interaction_id,
    )
    return _fitting(made, max_length)


def _fitting(pair: PairRow, max_length: int) -> PairRow | Reason:
    """Return the pair if the trainer can use it, else why not."""
    misfit = fit_of_row(pair, max_length).misfit
    match misfit:
        case None:
            return pair
        case "identical" | "too_long":
            return misfit
        case "empty" | "weightless":
            return "unusable"
