"""The command that runs all fault scenarios and puts their tables into a page."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.faults.__main__ import SCENARIOS, Measured, Scenario, chosen, replaced

pytestmark = pytest.mark.pure

RESULTS = Path(__file__).parents[2] / "docs" / "results.md"
ONE = Scenario(1, "A fault", ("bench.one",), ("bench.one --short",))
PAGE = "before\n<!-- fault 1 -->\nold\n<!-- /fault 1 -->\n<!-- fault 12 -->\nother\n"


def test_the_scenarios_part_of_the_page_is_replaced_and_nothing_else() -> None:
    page = replaced(PAGE, Measured(ONE, r"new \1", good=True))
    before, after = page.split("<!-- fault 1 -->")
    assert before == "before\n"
    assert r"new \1" in after
    assert "old" not in after
    assert after.endswith("<!-- fault 12 -->\nother\n")


def test_a_page_without_a_place_for_it_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for fault 1"):
        replaced("nothing", Measured(ONE, "new", good=True))


def test_the_page_of_results_has_a_place_for_every_scenario() -> None:
    page = RESULTS.read_text()
    for scenario in SCENARIOS:
        assert "new" in replaced(page, Measured(scenario, "new", good=True))


def test_every_command_names_a_module_that_is_there() -> None:
    commands = [command for one in SCENARIOS for command in (*one.commands, *one.short)]
    assert all(find_spec(command.split()[0]) for command in commands)


def test_scenarios_are_chosen_by_number() -> None:
    assert [one.number for one in chosen([4, 1])] == [1, 4]
    assert chosen([]) == list(SCENARIOS)
