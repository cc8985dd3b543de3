r"""Assertion suites: prompts whose answers are checked for text, patterns, schemas and tool calls.

A suite is a TOML or JSON file::

    [[cases]]
    name = "opening hours"
    prompt = "When do you open?"
    contains = ["nine"]
    not_contains = ["cannot help"]
    regex = ['\b9(:00)? ?am\b']
    max_words = 40

    [[cases]]
    name = "as JSON"
    messages = [{ role = "user", content = "Name and price of a rose, as JSON." }]
    json_schema = { type = "object", required = ["name", "price"] }

    [[cases]]
    name = "looks the price up"
    prompt = "How much is a rose?"
    tools = [{ type = "function", function = { name = "price", parameters = { … } } }]
    calls = [{ name = "price", arguments = { required = ["flower"] } }]
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import orjson
import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic import ValidationError as FieldError
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from feedback.answer_parts import AnswerParts, ToolCall
from retrain.evaluation.json_schemas import REGEX_SECONDS, found, satisfies, violations

NOT_SUPPORTED = ("patternProperties", "$dynamicRef", "$id")


class SuiteError(Exception):
    """A suite is invalid. The message names the file, the case and the field."""


def _compiles(pattern: str) -> str:
    try:
        regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


def _is_usable_schema(schema: dict[str, Any]) -> dict[str, Any]:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"not a JSON schema: {error.message}") from error
    resource = Resource.from_contents(schema, default_specification=DRAFT202012)
    resolver = Registry().with_resource("", resource).resolver()
    for keyword, value in _keywords(schema):
        if keyword in NOT_SUPPORTED:
            raise ValueError(f"{keyword} is not supported in a suite: spell the schema out")
        if keyword == "$ref" and isinstance(value, str):
            _resolve(resolver.lookup, value)
    return schema


def _resolve(lookup: Callable[[str], object], reference: str) -> None:
    try:
        lookup(reference)
    except Unresolvable as error:
        raise ValueError(f"$ref {reference!r} leads nowhere within the schema") from error


def _keywords(node: object) -> Iterator[tuple[str, object]]:
    if isinstance(node, Mapping):
        for keyword, value in node.items():
            yield keyword, value
            yield from _keywords(value)
    elif isinstance(node, list):
        for value in node:
            yield from _keywords(value)


Schema = Annotated[dict[str, Any], AfterValidator(_is_usable_schema)]


class ExpectedCall(BaseModel):
    """A call that an answer must make. Its arguments must satisfy the JSON schema `arguments`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    arguments: Schema = {}


class Case(BaseModel):
    """One prompt and the assertions on its answer, all of which must hold.

    Attributes:
        name: Name of the case, unique in the suite.
        prompt: The question. Give either this or `messages`.
        messages: A conversation in OpenAI's format.
        contains: Texts that must occur, ignoring case. These assertions and `regex` see the text
            and each tool call as a line (`[tool call] "price" {"flower": "rose"}`).
        not_contains: Texts that must not occur, ignoring case.
        regex: Patterns that must match somewhere.
        json_schema: The whole text must be JSON that satisfies this schema.
        max_words: Most words, separated by white space.
        calls: All calls that the answer must make, in any order; an empty list forbids calls.
        tools: Tools that the answer may call.
        tool_choice: OpenAI's parameter.
        temperature: Sampling temperature.
        max_tokens: Most tokens of the answer.

    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = Field(default=None, min_length=1)
    contains: list[str] = []
    not_contains: list[str] = []
    regex: list[Pattern] = []
    json_schema: Schema | None = None
    max_words: int | None = Field(default=None, ge=0)
    calls: list[ExpectedCall] | None = None
    tools: list[dict[str, Any]] = []
    tool_choice: str | dict[str, Any] | None = None
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=512, ge=1)

    @model_validator(mode="after")
    def _asks_and_asserts(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        listed = self.contains or self.not_contains or self.regex
        single = (self.json_schema, self.max_words, self.calls)
        if not listed and all(one is None for one in single):
            raise ValueError(
                "nothing is asserted: give contains, not_contains, regex, json_schema, max_words "
                "or calls"
            )
        if self.calls and not self.tools:
            raise ValueError("calls are expected, but no tools are offered: give tools")
        return self

    def request(self) -> dict[str, Any]:
        """Return the body of the chat completion for this case."""
        messages = self.messages or [{"role": "user", "content": self.prompt}]
        request: dict[str, Any] = {
            "messages": messages,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        if self.tools:
            request["tools"] = self.tools
        return request if self.tool_choice is None else {**request, "tool_choice": self.tool_choice}


class Suite(BaseModel):
    """The cases of one file, with distinct names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cases: list[Case] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [case.name for case in self.cases]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"two cases are called {doubled[0]!r}: names must differ")
        return self


def load_suite(path: Path) -> Suite:
    """Read a suite from a `.toml` or `.json` file.

    Raises:
        SuiteError: The file is missing, malformed or neither TOML nor JSON.

    """
    parsers: Mapping[str, Callable[[bytes], object]] = {
        ".toml": lambda raw: tomllib.loads(raw.decode()),
        ".json": orjson.loads,
    }
    parse = parsers.get(path.suffix)
    if parse is None:
        raise SuiteError(f"{path}: a suite is a .toml or a .json file")
    try:
        return Suite.model_validate(parse(path.read_bytes()))
    except OSError as error:
        raise SuiteError(f"{path}: cannot be read ({error.strerror})") from error
    except FieldError as error:
        raise SuiteError("\n".join(f"{path}: {line}" for line in _field_errors(error))) from error
    except ValueError as error:
        raise SuiteError(f"{path}: {error}") from error


def check(case: Case, answer: AnswerParts | str) -> list[str]:
    """Return one line per failed assertion. The lines do not quote the answer."""
    parts = AnswerParts(answer) if isinstance(answer, str) else answer
    whole = parts.rendered()
    return [
        *_check_texts(case, whole),
        *_check_patterns(case, whole),
        *_check_words(case, whole),
        *_check_schema(case, parts.text),
        *_check_calls(case, parts.calls),
    ]


def _field_errors(error: FieldError) -> Iterator[str]:
    """Yield one line per invalid field, such as `cases[3].regex[0]: …`."""
    for detail in error.errors():
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in detail["loc"])
        field = "".join(steps).removeprefix(".")
        yield f"{field or 'the file'}: {detail['msg'].removeprefix('Value error, ')}"


def _check_texts(case: Case, answer: str) -> Iterator[str]:
    folded = answer.casefold()
    for text in case.contains:
        if text.casefold() not in folded:
            yield f"contains: {text!r} is missing"
    for text in case.not_contains:
        if text.casefold() in folded:
            yield f"not_contains: {text!r} was found"


def _check_patterns(case: Case, answer: str) -> Iterator[str]:
    for pattern in case.regex:
        try:
            if not found(pattern, answer):
                yield f"regex: {pattern!r} is not found"
        except TimeoutError:
            yield f"regex: {pattern!r} took longer than {REGEX_SECONDS} s"


def _check_words(case: Case, answer: str) -> Iterator[str]:
    words = len(answer.split())
    if case.max_words is not None and words > case.max_words:
        yield f"max_words: {words} words, at most {case.max_words}"


def _check_schema(case: Case, answer: str) -> Iterator[str]:
    if case.json_schema is None:
        return
    try:
        value = orjson.loads(answer)
    except orjson.JSONDecodeError:
        yield "json_schema: the answer is not JSON"
        return
    try:
        for keyword in violations(case.json_schema, value):
            yield f"json_schema: {keyword} does not hold"
    except TimeoutError:
        yield f"json_schema: a pattern took longer than {REGEX_SECONDS} s"
    except RecursionError:
        yield "json_schema: nested too deeply to check"


def _check_calls(case: Case, calls: Sequence[ToolCall]) -> Iterator[str]:
    if case.calls is None:
        return
    left = list(calls)
    for expected in case.calls:
        made = next((call for call in left if _is_expected(call, expected)), None)
        if made is None:
            yield f"calls: {expected.name!r} is not called as it should be"
        else:
            left.remove(made)
    if left:
        yield f"calls: {len(left)} more than expected"


def _is_expected(call: ToolCall, expected: ExpectedCall) -> bool:
    try:
        return call.name == expected.name and satisfies(expected.arguments, call.value)
    except (ValueError, RecursionError):
        return False
