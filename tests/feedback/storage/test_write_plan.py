from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.errors import ConflictError, InvalidInputError
from feedback.records import Subject
from feedback.storage.write_plan import KnownInteraction, Stored, plan_feedback, plan_interactions
from feedback.validation import StoredAnswers
from tests.feedback.examples import NOW, TENANT, interaction, judgement

pytestmark = pytest.mark.pure


def known(id_: str, mode: str, run_id: str | None = None) -> KnownInteraction:
    return KnownInteraction(id_, TENANT, mode, run_id, NOW - timedelta(hours=1))


def test_what_the_server_answered_is_not_overwritten() -> None:
    plan = plan_interactions([interaction("a", mode="external")], [known("a", "live")])
    assert plan.outcomes == [Stored("a", new=False)]
    assert not plan.write


def test_the_servers_own_record_wins_over_an_earlier_report() -> None:
    plan = plan_interactions([interaction("a")], [known("a", "external", "run")])
    assert plan.replaced == {"a"}
    assert plan.write["a"].mode == "live"
    assert plan.write["a"].run_id == "run"


def test_the_servers_own_record_wins_within_a_group() -> None:
    reports = [
        interaction("a", mode="external"),
        interaction("a"),
        interaction("a", mode="external"),
    ]
    plan = plan_interactions(reports, [])
    assert [record.mode for record in plan.write.values()] == ["live"]
    assert not plan.replaced


def test_a_second_report_replaces_the_first_and_keeps_its_arrival() -> None:
    plan = plan_interactions([interaction("a", mode="external")], [known("a", "external")])
    assert plan.write["a"].received_at == NOW - timedelta(hours=1)
    assert plan.replaced == {"a"}


def test_one_run_is_one_interaction() -> None:
    first, second = (interaction(id_, mode="external", run_id="run") for id_ in "ab")
    plan = plan_interactions([first, second], [])
    assert plan.outcomes == [Stored("a", new=True), Stored("a", new=False)]
    assert list(plan.write) == ["a"]


def test_a_stored_run_keeps_its_id() -> None:
    report = interaction("b", mode="external", run_id="run")
    plan = plan_interactions([report], [known("a", "external", "run")])
    assert plan.outcomes == [Stored("a", new=False)]


def test_runs_of_two_tenants_are_two_interactions() -> None:
    other = interaction("b", mode="external", run_id="run", tenant="other")
    plan = plan_interactions([other], [known("a", "external", "run")])
    assert plan.outcomes == [Stored("b", new=True)]


IDS = st.sampled_from("abc")
RUNS = st.none() | st.sampled_from(("r", "s"))
MODES = st.sampled_from(("live", "external"))


@given(
    st.lists(st.tuples(IDS, MODES, RUNS), max_size=6),
    st.dictionaries(IDS, MODES, max_size=3),
)
def test_what_is_written_never_breaks_the_unique_run_ids(
    reports: list[tuple[str, str, str | None]], before: dict[str, str]
) -> None:
    rows = [known(id_, mode, run) for (id_, mode), run in zip(before.items(), "rst", strict=False)]
    records = [interaction(id_, mode=mode, run_id=run) for id_, mode, run in reports]
    plan = plan_interactions(records, rows)
    kept = [row.run_id for row in rows if row.id not in plan.write]
    runs = [run for run in (*kept, *(r.run_id for r in plan.write.values())) if run is not None]
    assert len(runs) == len(set(runs))
    assert len(plan.outcomes) == len(records)


def test_feedback_is_written_once_for_an_id() -> None:
    same = judgement("f")
    new, outcomes = plan_feedback([same, replace(same), judgement("f", digest="two")], {}, {})
    assert new == [same]
    assert outcomes[:2] == [Stored("f", new=True), Stored("f", new=False)]
    assert isinstance(outcomes[2], ConflictError)


def test_stored_feedback_is_not_written_again() -> None:
    digests = {(TENANT, "f"): "one"}
    new, outcomes = plan_feedback([judgement("f"), judgement("f", digest="two")], digests, {})
    assert not new
    assert outcomes[0] == Stored("f", new=False)
    assert isinstance(outcomes[1], ConflictError)


def test_feedback_ids_belong_to_their_tenant() -> None:
    new, _ = plan_feedback([judgement("f", tenant="other")], {(TENANT, "f"): "two"}, {})
    assert len(new) == 1


def test_stored_feedback_is_acknowledged_even_where_it_would_not_fit_any_more() -> None:
    record = judgement("f", subjects=[Subject("choice", "chatcmpl-x", 3, named=True)])
    answers = {"chatcmpl-x": StoredAnswers("c", 1, "base")}
    _, (again,) = plan_feedback([record], {(TENANT, "f"): "one"}, answers)
    assert again == Stored("f", new=False)
    new, (first,) = plan_feedback([record], {}, answers)
    assert not new
    assert isinstance(first, InvalidInputError)
