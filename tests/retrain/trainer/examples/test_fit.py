"""Which pairs can be trained on: the same answer before and after demonstrations are rendered."""

from hypothesis import given
from hypothesis import strategies as st

from retrain.trainer.examples.data import Example, unfit
from retrain.trainer.examples.fit import fit_of_row, too_few
from retrain.trainer.examples.rows import CompletionRow, PairRow

IDS = st.lists(st.integers(0, 9), max_size=6)
WEIGHT = st.sampled_from([0.0, 0.5, 1.0])
LIMIT = st.integers(2, 12)


def _row(prompt: list[int], chosen: CompletionRow, rejected: list[int], weight: float) -> PairRow:
    return PairRow(
        id="a",
        prompt_token_ids=prompt,
        chosen=chosen,
        rejected=CompletionRow(token_ids=rejected),
        weight=weight,
        signal="preference",
    )


@given(IDS.filter(bool), IDS, IDS, WEIGHT, LIMIT)
def test_the_snapshot_and_the_trainer_agree_about_what_was_served(
    prompt: list[int], chosen: list[int], rejected: list[int], weight: float, limit: int
) -> None:
    row = _row(prompt, CompletionRow(token_ids=chosen), rejected, weight)
    example = Example(prompt_ids=prompt, chosen_ids=chosen, rejected_ids=rejected, weight=weight)
    assert fit_of_row(row, limit).misfit == unfit(example, limit)


@given(IDS.filter(bool), IDS.filter(bool), IDS, WEIGHT, LIMIT)
def test_what_does_not_fit_before_a_text_is_rendered_does_not_fit_after(
    prompt: list[int], rendered: list[int], rejected: list[int], weight: float, limit: int
) -> None:
    before = fit_of_row(_row(prompt, CompletionRow(text="text"), rejected, weight), limit)
    example = Example(prompt_ids=prompt, chosen_ids=rendered, rejected_ids=rejected, weight=weight)
    assert before.misfit is None or unfit(example, limit) is not None


def test_an_empty_demonstration_is_known_to_be_empty() -> None:
    assert fit_of_row(_row([1], CompletionRow(text=""), [2], 1.0), 9).misfit == "empty"


def test_the_reason_names_the_limit_the_longest_and_everything_else() -> None:
    said = too_few(2, 10, {"too_long": 9, "empty": 1}, 512, 700)
    for part in ("2 pairs", "minimum of 10", "9 more", "max_length = 512", "has 700", "empty 1"):
        assert part in said
