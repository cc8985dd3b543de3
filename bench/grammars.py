"""Compile times of schemas, patterns and choices at their bounds: `python -m bench.grammars`.

Each kind is as large as `[engine.structured_outputs]` allows, is checked against those settings,
and is tried in the server's trial process with its time limits. The vocabulary is Mistral's Tekken
with 131,072 tokens, which vLLM's requirements install: compile time grows with the vocabulary, and
the tests' tiny models have small ones. Seconds are processor time divided by the cores that a
compilation can use, so that other load does not count.
"""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from bench.support.tables import Row, parser, report
from server.engine.config import StructuredOutputsConfig
from server.engine.errors import RequestRefusedError
from server.engine.grammars.trials import Grammar, Trial, TrialProcess
from server.engine.requests.structured_outputs import bounded_structure

LIMITS = StructuredOutputsConfig()
_SPECIAL_TOKENS = 1_000
_VOCABULARY = 131_072
Schema = dict[str, Any]


def tekken() -> str:
    """Return xgrammar's serialized tokenizer."""
    import xgrammar  # noqa: PLC0415  (imports torch)

    path = files("mistral_common").joinpath("data/tekken_240911.json")
    words = [
        base64.b64decode(token["token_bytes"]) for token in json.loads(path.read_text())["vocab"]
    ]
    special = [f"<special_{number}>".encode() for number in range(_SPECIAL_TOKENS)]
    vocabulary = (special + words)[:_VOCABULARY]
    return xgrammar.TokenizerInfo(
        vocabulary, vocab_type=xgrammar.VocabType.RAW, stop_token_ids=[2]
    ).serialize_json()


def _object(count: int, value: Schema, *, required: bool) -> Schema:
    properties = {f"property_{number}": value for number in range(count)}
    named = {"required": list(properties)} if required else {}
    return {"type": "object", "properties": properties, **named}


def _nested(levels: int) -> Schema:
    schema: Schema = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def _references(count: int) -> Schema:
    tree = {
        f"d{number}": {"anyOf": [next_one, {"type": "array", "items": next_one}]}
        for number in range(count)
        for next_one in [{"$ref": f"#/$defs/d{number + 1}"}]
    }
    return {"$defs": {**tree, f"d{count}": {"type": "string"}}, "$ref": "#/$defs/d0"}


STRING: Schema = {"type": "string"}
SCHEMAS: Mapping[str, Callable[[int], tuple[int, Schema]]] = {
    "one constant": lambda _: (LIMITS.text_chars, {"const": "a" * LIMITS.text_chars}),
    "constants": lambda _: (
        6,
        {"enum": [str(i) + "a" * (LIMITS.text_chars - 1) for i in range(6)]},
    ),
    "an enum": lambda _: (
        LIMITS.entries,
        {"enum": [f"option number {i}" for i in range(LIMITS.entries)]},
    ),
    "optional properties": lambda _: (
        LIMITS.optional_properties,
        _object(LIMITS.optional_properties, STRING, required=False),
    ),
    "optional properties, some of them needed": lambda _: (
        LIMITS.optional_properties,
        _object(LIMITS.optional_properties, STRING, required=False) | {"minProperties": 100},
    ),
    "required properties": lambda _: (
        LIMITS.entries,
        _object(LIMITS.entries, STRING, required=True),
    ),
    "integers in ranges": lambda _: (
        700,
        _object(700, {"type": "integer", "minimum": 1, "maximum": 99_999}, required=True),
    ),
    "strings with formats": lambda _: (
        900,
        _object(900, {"type": "string", "format": "date-time"}, required=True),
    ),
    "strings with patterns": lambda _: (
        900,
        _object(900, {"type": "string", "pattern": "^[a-z]{1,20}$"}, required=True),
    ),
    "branches": lambda _: (
        400,
        {"anyOf": [_object(1, {"const": i}, required=True) for i in range(400)]},
    ),
    "branches that call themselves": lambda _: (
        900,
        {
            "$defs": {"t": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/t"}}] * 900}},
            "$ref": "#/$defs/t",
        },
    ),
    "levels": lambda _: (14, _nested(14)),
    "references to references": lambda _: (400, _references(400)),
    "maxLength": lambda n: (n, {"type": "string", "maxLength": n}),
    "minLength": lambda n: (n, {"type": "string", "minLength": n}),
    "maxItems": lambda n: (n, {"type": "array", "items": STRING, "maxItems": n}),
    "minItems within minItems": lambda n: (
        n,
        {
            "type": "array",
            "minItems": n,
            "items": {"type": "array", "minItems": n, "items": STRING},
        },
    ),
    "prefixItems": lambda _: (
        LIMITS.entries,
        {"type": "array", "prefixItems": [STRING] * LIMITS.entries},
    ),
    "maxProperties": lambda n: (
        n,
        {"type": "object", "additionalProperties": STRING, "maxProperties": n},
    ),
}
SMALLER = {"maxLength": (20, 100)}
"""Common sizes of some kinds, measured in addition to the bound."""
PATTERNS: Mapping[str, str] = {
    "a pattern of letters": "a" * LIMITS.pattern_chars,
    "a counted class": f"[a-z]{{{LIMITS.repeats}}}",
    "a counted dot": f".{{0,{LIMITS.repeats}}}",
    "counts within counts": "([a-z]{1,64}){1,64}",
    "stars in a row": "[a-z]*" * LIMITS.pattern_quantifiers,
    "dots and stars in a row": ".*" * LIMITS.pattern_quantifiers,
    "words with hyphens": "[a-z0-9]+(-[a-z0-9]+)*",
    "a star within a star": r"(\w+\s?)*",
    "stars within stars in a row": "(a*)*" * 15,
    "alternatives": "|".join(f"word{i}" for i in range(125)),
    "alternatives that overlap, repeated": "(a|b|ab)*" * 32,
}


def _requests() -> Sequence[tuple[str, int, Mapping[str, Any], Grammar]]:
    made: list[tuple[str, int, Mapping[str, Any], Grammar]] = []
    for name, make in SCHEMAS.items():
        for size in (*SMALLER.get(name, ()), LIMITS.repeats):
            count, schema = make(size)
            made.append((name, count, {"json": schema}, Grammar("json", json.dumps(schema))))
    for name, pattern in PATTERNS.items():
        made.append((name, len(pattern), {"regex": pattern}, Grammar("regex", pattern)))
    for name, choices in {
        "one choice": ["a" * LIMITS.text_chars],
        "choices": [f"option number {i}" for i in range(LIMITS.entries)],
        "choices, each the beginning of the next": ["ab" * (i + 1) for i in range(250)],
    }.items():
        text = " | ".join(json.dumps(choice) for choice in choices)
        made.append(
            (name, len(choices), {"choice": choices}, Grammar("grammar", f"root ::= {text}"))
        )
    return made


def _bounded(kind: Mapping[str, Any]) -> str:
    try:
        bounded_structure({"structured_outputs": kind}, LIMITS)
    except RequestRefusedError as refused:
        return str(refused)
    return ""


OUTCOMES = {"good": "let through", "slow": "refused: too slow", "died": "refused: too large"}


def _row(name: str, size: int, grammar: Grammar, trial: Trial) -> Row:
    return {
        "kind": name,
        "size": size,
        "characters": len(grammar.text),
        "seconds": f"{trial.seconds:.2f}",
        "outcome": OUTCOMES.get(trial.outcome, trial.outcome),
    }


async def measure() -> Sequence[Row]:
    """Return one row for each kind."""
    trials = TrialProcess(tekken, LIMITS, compact=False)
    rows = []
    for name, size, kind, grammar in _requests():
        if why := _bounded(kind):
            raise SystemExit(f"{name} is above a bound: {why}")
        rows.append(_row(name, size, grammar, await trials(grammar)))
    await trials.close()
    return rows


def main() -> None:
    """Print the table."""
    options = parser(__doc__).parse_args()
    report({"Grammars at their bounds": asyncio.run(measure())}, as_json=options.json)


if __name__ == "__main__":
    main()
