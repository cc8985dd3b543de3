"""The process that tries grammars: what it finds out, and that nothing ends it for good."""

import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from server.engine.config import StructuredOutputsConfig
from server.engine.grammars.trials import Grammar, TrialProcess

pytestmark = pytest.mark.anyio

WORDS = ["a", "ab", "the", "yes", "no", '"', '":', "{", "}"]


def tokenizer() -> str:
    """256 bytes and a few words."""
    import xgrammar  # noqa: PLC0415  (imports torch)

    vocabulary = [bytes([byte]) for byte in range(256)] + [word.encode() for word in WORDS]
    return xgrammar.TokenizerInfo(
        [b"</s>", *vocabulary], vocab_type=xgrammar.VocabType.RAW, stop_token_ids=[0]
    ).serialize_json()


@pytest.fixture(scope="module")
async def trials(anyio_backend: object) -> AsyncIterator[TrialProcess]:
    limits = StructuredOutputsConfig(compile_seconds=0.5)
    process = TrialProcess(tokenizer, limits, compact=False)
    yield process
    await process.close()


def schema(**keywords: Any) -> Grammar:
    return Grammar("json", json.dumps(keywords))


GOOD = [
    schema(type="object"),
    schema(enum=["red", "green"]),
    schema(type="object", properties={"name": {"type": "string", "maxLength": 20}}),
    Grammar("regex", r"\d{4}-\d{2}-\d{2}"),
    Grammar("grammar", 'root ::= "yes" | "no"'),
    Grammar("lark", 'start: "yes" | "no"'),
]


@pytest.mark.parametrize("grammar", GOOD)
async def test_what_compiles_is_good(trials: TrialProcess, grammar: Grammar) -> None:
    assert (await trials(grammar)).outcome == "good"


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar("regex", "[["),
        schema(type=5),
        Grammar("json", "{"),
        Grammar("grammar", "root ::= nothing"),
        Grammar("structural_tag", "{}"),
    ],
)
async def test_what_is_no_grammar_is_refused(trials: TrialProcess, grammar: Grammar) -> None:
    assert (await trials(grammar)).outcome == "refused"


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar("grammar", f'root ::= "{"a" * 950_000}"'),
        Grammar("regex", "((((a)+)+)+)+"),
        Grammar("regex", "(a*)*" * 15),
        Grammar("regex", "(a*)*" * 15 + "0"),
    ],
    ids=["compiles for long", "nested", "in a row", "with a way out"],
)
async def test_what_takes_too_long_is_stopped(trials: TrialProcess, grammar: Grammar) -> None:
    assert (await trials(grammar)).outcome == "slow"
    assert (await trials(schema(type="object"))).outcome == "good"


async def test_a_process_that_was_killed_is_replaced(trials: TrialProcess) -> None:
    await trials.start()
    assert trials._process is not None
    os.kill(trials._process.pid, signal.SIGKILL)
    assert (await trials(schema(type="object"))).outcome == "late"
    assert (await trials(schema(type="object"))).outcome == "good"


async def test_what_xgrammar_prints_of_a_schema_is_kept_out_of_the_log(
    trials: TrialProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    await trials(schema(**{"$ref": "#/Xyzzy-secret-4711"}))
    await trials(schema(type="integer", multipleOf=3, title="Xyzzy-secret-4711"))
    written = capfd.readouterr()
    assert written.out + written.err == ""
