"""Assertion suites: what is read, what is refused and what an answer fails."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.answer_parts import AnswerParts, ToolCall
from retrain.evaluation.assertions import Case, SuiteError, check, load_suite


def case(**fields: Any) -> Case:
    return Case(name="a case", prompt="Well?", **fields)


def written(folder: Path, *cases: dict[str, Any]) -> Path:
    path = folder / "suite.json"
    path.write_text(json.dumps({"cases": cases}))
    return path


def refusal(folder: Path, *cases: dict[str, Any]) -> str:
    path = written(folder, *cases)
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_toml_suite_is_read(tmp_path: Path) -> None:
    path = tmp_path / "suite.toml"
    path.write_text(
        """
        [[cases]]
        name = "hours"
        prompt = "When do you open?"
        contains = ["nine"]
        regex = ['\\b9\\b']

        [[cases]]
        name = "as JSON"
        messages = [{ role = "user", content = "As JSON." }]
        json_schema = { type = "object" }
        """
    )
    suite = load_suite(path)
    assert [case.name for case in suite.cases] == ["hours", "as JSON"]
    assert suite.cases[0].request()["messages"][0]["content"] == "When do you open?"


def test_a_json_suite_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, {"name": "short", "prompt": "Hm?", "max_words": 3})
    assert load_suite(path).cases[0].max_words == 3


GOOD = {"name": "good", "prompt": "Hm?", "max_words": 3}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"name": "x", "prompt": "y"}, "cases[1]: nothing is asserted"),
        ({"name": "x", "max_words": 1}, "cases[1]: give either prompt or messages"),
        ({"name": "x", "prompt": "y", "regex": ["("]}, "cases[1].regex[0]: not a regular"),
        ({"name": "x", "prompt": "y", "max_words": -1}, "cases[1].max_words: "),
        ({"name": "x", "prompt": "y", "contain": ["z"]}, "cases[1].contain: "),
        ({"name": "x", "prompt": "y", "json_schema": {"type": 3}}, "cases[1].json_schema: not a"),
        (
            {"name": "x", "prompt": "y", "json_schema": {"$ref": "https://example.org/s"}},
            "cases[1].json_schema: $ref 'https://example.org/s' leads nowhere",
        ),
        (
            {"name": "x", "prompt": "y", "json_schema": {"patternProperties": {}}},
            "cases[1].json_schema: patternProperties is not supported",
        ),
    ],
)
def test_a_bad_case_is_named_by_index_and_field(
    tmp_path: Path, bad: dict[str, Any], message: str
) -> None:
    assert refusal(tmp_path, GOOD, bad).startswith(message)


def test_two_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    assert "two cases are called 'good'" in refusal(tmp_path, GOOD, GOOD)


@pytest.mark.parametrize("name", ["suite.yaml", "missing.toml"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SuiteError, match=name):
        load_suite(tmp_path / name)


@pytest.mark.parametrize("content", [b"{", b"\xff"])
@pytest.mark.parametrize("name", ["suite.toml", "suite.json"])
def test_a_malformed_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SuiteError, match=name):
        load_suite(tmp_path / name)


@pytest.mark.parametrize(
    ("fields", "good", "bad"),
    [
        ({"contains": ["Nine"]}, "we open at nine", "we open at ten"),
        ({"not_contains": ["sorry"]}, "at nine", "Sorry, no"),
        ({"regex": [r"\b9\b"]}, "at 9", "at 19"),
        ({"max_words": 2}, "at nine", "we open at nine"),
        ({"json_schema": {"required": ["a"]}}, '{"a": 1}', '{"b": 1}'),
        ({"json_schema": {"type": "object"}}, "{}", "not JSON"),
        ({"json_schema": {"type": "string", "pattern": "^a+$"}}, '"aa"', '"ab"'),
        ({"json_schema": {"$defs": {"n": {"type": "number"}}, "$ref": "#/$defs/n"}}, "1", '"1"'),
    ],
)
def test_each_assertion_passes_and_fails(fields: dict[str, Any], good: str, bad: str) -> None:
    assert check(case(**fields), good) == []
    assert len(check(case(**fields), bad)) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"regex": [r"(a|aa)+$"]},
        {"json_schema": {"pattern": r"(a|aa)+$"}},
    ],
)
def test_a_pattern_that_backtracks_without_end_is_cut_off(fields: dict[str, Any]) -> None:
    answer = json.dumps("a" * 60 + "!")
    assert "took longer" in check(case(**fields), answer)[0]


def test_json_nested_beyond_reason_fails_without_breaking_off() -> None:
    schema = {"$defs": {"n": {"items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"}
    assert check(case(json_schema=schema), "[" * 900 + "]" * 900) == [
        "json_schema: nested too deeply to check"
    ]


@given(st.text(alphabet='xyz{}[]":1 ', min_size=8).map(lambda text: f"secret-{text}"))
def test_failures_never_quote_the_answer(answer: str) -> None:
    strict = case(
        contains=["absent"],
        regex=["absent"],
        max_words=0,
        json_schema={"type": "null"},
    )
    assert not any("secret" in failure for failure in check(strict, answer))


TOOLS = [{"type": "function", "function": {"name": "price"}}]
ROSE = ToolCall("price", '{"of": "rose"}')


@pytest.mark.parametrize(
    ("expected", "made", "failures"),
    [
        ([{"name": "price"}], (ROSE,), 0),
        ([{"name": "price", "arguments": {"required": ["of"]}}], (ROSE,), 0),
        ([{"name": "price", "arguments": {"required": ["by"]}}], (ROSE,), 2),
        ([{"name": "stock"}], (ROSE,), 2),
        ([{"name": "price"}], (), 1),
        ([{"name": "price"}], (ROSE, ROSE), 1),
        ([{"name": "price"}, {"name": "price"}], (ROSE, ROSE), 0),
        ([{"name": "price"}], (ToolCall("price", "{"),), 2),
        ([], (ROSE,), 1),
        ([], (), 0),
    ],
)
def test_calls_are_those_expected(
    expected: list[dict[str, Any]], made: tuple[ToolCall, ...], failures: int
) -> None:
    found = check(case(tools=TOOLS, calls=expected), AnswerParts("", made))
    assert len(found) == failures
    assert not any("rose" in line for line in found)


def test_texts_and_patterns_look_at_calls_and_json_at_the_text() -> None:
    answer = AnswerParts("{}", (ROSE,))
    assert check(case(contains=["ROSE"], regex=["price"], json_schema={}), answer) == []
    assert check(case(not_contains=["rose"]), answer) != []


def test_a_case_offers_its_tools() -> None:
    asked = case(tools=TOOLS, tool_choice="required", calls=[]).request()
    assert (asked["tools"], asked["tool_choice"]) == (TOOLS, "required")
    assert "tools" not in case(contains=["x"]).request()


def test_calls_without_tools_are_refused(tmp_path: Path) -> None:
    named = {"name": "a", "prompt": "Well?", "calls": [{"name": "price"}]}
    assert "give tools" in refusal(tmp_path, named)
