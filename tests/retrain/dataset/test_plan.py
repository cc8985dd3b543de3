"""Which methods a run trains with."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.config import RetrainConfig
from retrain.dataset.plan import Counts, Plan, plan_stages, possible_pairs

pytestmark = pytest.mark.pure

COUNTS = st.builds(
    Counts,
    pairs=st.integers(0, 400),
    demonstrations=st.integers(0, 400),
    labels_up=st.integers(0, 400),
    labels_down=st.integers(0, 400),
    possible_pairs=st.integers(0, 200),
).filter(lambda counts: counts.demonstrations <= counts.pairs)
CONFIGS = st.builds(
    RetrainConfig,
    method=st.sampled_from(["auto", "dpo", "kto", "orpo", "sft"]),
    replay_share=st.just(0.0),
)


def methods(plan: Plan) -> list[str]:
    return [stage.method for stage in plan.stages]


def auto(judged: bool = False, **counts: Any) -> Plan:
    return plan_stages(Counts(**counts), RetrainConfig(), judged)


@given(counts=COUNTS, config=CONFIGS, judged=st.booleans())
def test_a_plan_says_why_and_stages_come_in_one_order(
    counts: Counts, config: RetrainConfig, judged: bool
) -> None:
    plan = plan_stages(counts, config, judged)
    assert plan.reasons
    assert (plan.why_not is None) == bool(plan.stages)
    assert methods(plan) == [
        method for method in ("sft", "dpo", "orpo", "kto") if plan.stage(method)
    ]


@given(counts=COUNTS, config=CONFIGS, judged=st.booleans())
def test_every_planned_stage_has_at_least_its_minimum(
    counts: Counts, config: RetrainConfig, judged: bool
) -> None:
    least = {
        "sft": config.minimum_demonstrations,
        "dpo": config.minimum_pairs,
        "orpo": config.minimum_pairs,
        "kto": config.minimum_labels,
    }
    for stage in plan_stages(counts, config, judged).stages:
        assert stage.rows >= least[stage.method]


@given(counts=COUNTS, config=CONFIGS, judged=st.booleans())
def test_a_method_that_is_set_is_the_only_one(
    counts: Counts, config: RetrainConfig, judged: bool
) -> None:
    if config.method != "auto":
        assert set(methods(plan_stages(counts, config, judged))) <= {config.method}


@given(counts=COUNTS, judged=st.booleans())
def test_more_pairs_never_end_a_training(counts: Counts, judged: bool) -> None:
    more = Counts(
        pairs=counts.pairs + 100,
        demonstrations=counts.demonstrations,
        labels_up=counts.labels_up,
        labels_down=counts.labels_down,
        possible_pairs=counts.possible_pairs,
    )
    config = RetrainConfig()
    if plan_stages(counts, config, judged).stages:
        assert plan_stages(more, config, judged).stages


def test_enough_pairs_alone_are_trained_on_with_dpo() -> None:
    plan = auto(pairs=100)
    assert methods(plan) == ["dpo"]
    assert plan.reasons == ("dpo: 100 pairs, minimum 100",)


def test_too_few_pairs_alone_are_told_as_they_always_were() -> None:
    counts = Counts(pairs=3, misfits={"too_long": 2}, longest=5000)
    plan = plan_stages(counts, RetrainConfig(), judged=True)
    assert plan.why_not == (
        "3 pairs, fewer than the minimum of 100; 2 more are longer than retrain.hyper.max_length = "
        "4096 tokens, the longest has 5000: raise it to train on them"
    )


def test_lone_thumbs_without_a_judge_are_trained_on_with_kto() -> None:
    plan = auto(pairs=10, labels_up=200, labels_down=300)
    (stage,) = plan.stages
    assert (stage.method, stage.rows, stage.unpaired) == ("kto", 520, True)


def test_only_the_answers_of_pairs_that_people_judged_are_labels() -> None:
    plan = auto(pairs=10, sides_up=10, sides_down=0, labels_up=200, labels_down=300)
    assert plan.stages[0].rows == 510
    assert plan.reasons[-1].endswith("; 10 of them are answers of pairs")


def test_lone_thumbs_follow_pairs_where_they_are_most_of_what_was_judged() -> None:
    plan = auto(pairs=100, labels_up=100, labels_down=101)
    assert methods(plan) == ["dpo", "kto"]
    assert not plan.stages[1].unpaired


def test_few_lone_thumbs_beside_many_pairs_change_nothing() -> None:
    assert methods(auto(pairs=300, labels_up=60, labels_down=100)) == ["dpo"]


def test_a_judge_finds_counterparts_in_place_of_kto() -> None:
    plan = auto(judged=True, labels_up=200, labels_down=300, possible_pairs=500)
    assert methods(plan) == ["dpo"]
    assert plan.reasons[0] == "dpo: 500 pairs, 500 of them possible, minimum 100"


@pytest.mark.parametrize(
    ("settings", "possible"),
    [({}, 50), ({"questions": 20}, 20), ({"share": 0.5}, 30), ({"share": 0.0}, 0)],
)
def test_counterparts_are_possible_as_far_as_their_settings_allow(
    settings: dict[str, Any], possible: int
) -> None:
    config = RetrainConfig.model_validate({"counterparts": settings})
    assert possible_pairs(Counts(pairs=30, labels_up=20, labels_down=30), config) == possible


def test_kto_stands_in_where_the_judge_found_too_few_counterparts() -> None:
    assert methods(auto(judged=True, pairs=20, labels_up=200, labels_down=300)) == ["kto"]


def test_enough_demonstrations_are_trained_on_first() -> None:
    assert methods(auto(pairs=150, demonstrations=120)) == ["sft", "dpo"]


def test_demonstrations_are_not_trained_on_alone_unless_it_is_said() -> None:
    counts = Counts(pairs=120, demonstrations=120)
    assert methods(plan_stages(counts, RetrainConfig(minimum_pairs=200), judged=False)) == []
    assert methods(plan_stages(counts, RetrainConfig(method="sft"), judged=False)) == ["sft"]


@pytest.mark.parametrize("labels", [{"labels_up": 500}, {"labels_down": 500}])
def test_labels_of_one_kind_do_not_make_kto(labels: dict[str, Any]) -> None:
    plan = auto(**labels)
    assert plan.why_not is not None
    assert "it needs both" in plan.why_not


def test_a_batch_of_one_leaves_kto_out() -> None:
    config = RetrainConfig.model_validate({"hyper": {"per_device_batch": 1}})
    plan = plan_stages(Counts(labels_up=300, labels_down=300), config, judged=False)
    assert plan.why_not is not None
    assert "per_device_batch" in plan.why_not
