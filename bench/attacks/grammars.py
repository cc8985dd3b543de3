"""S3: schemas and patterns that would compile for a minute or take seconds for each token."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from bench.attacks.attack import HOST, Attack, AttackError, Target

_SECONDS = 120.0
LONG = "a" * 950_000


def _schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    return {"response_format": wanted}


def _tool(schema: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": "act", "parameters": schema}
    return {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}


def _ask(target: Target, wanted: Mapping[str, Any]) -> int:
    body = {"model": "pawl", "messages": [{"role": "user", "content": "When?"}], "max_tokens": 16}
    answer = httpx.post(
        f"http://{HOST}:{target.port}/v1/chat/completions",
        content=json.dumps(body | dict(wanted)),
        headers={
            "authorization": f"Bearer {target.app_key}",
            "content-type": "application/json",
        },
        timeout=_SECONDS,
    )
    return answer.status_code


def _attack(target: Target, wanted: Sequence[Mapping[str, Any]]) -> str:
    """Send all requests concurrently; each should be refused."""
    with ThreadPoolExecutor(len(wanted)) as pool:
        statuses = list(pool.map(lambda one: _ask(target, one), wanted))
    told = ", ".join(f"{statuses.count(status)} x {status}" for status in sorted(set(statuses)))
    if any(status >= httpx.codes.INTERNAL_SERVER_ERROR for status in statuses):
        raise AttackError(told)
    return told


def one_choice(target: Target) -> str:
    """Send one choice of 950,000 characters, six times."""
    return _attack(target, [{"structured_outputs": {"choice": [LONG]}}] * 6)


def schemas(target: Target) -> str:
    """Send schemas as large as a body may be, in every field that takes one."""
    values = [f"value {number}" for number in range(50_000)]
    properties: dict[str, Any] = {f"property {number}": {} for number in range(40_000)}
    return _attack(
        target,
        [
            _schema({"const": LONG}),
            _schema({"enum": values}),
            _schema({"properties": properties}),
            _tool({"properties": properties}),
            _tool({"enum": values}),
            {"structured_outputs": {"json": json.dumps({"enum": values})}},
            {"structured_outputs": {"regex": LONG}},
            {"structured_outputs": {"grammar": f'root ::= "{LONG}"'}},
        ],
    )


def patterns(target: Target) -> str:
    """Send twelve patterns within all bounds that take longer with each token."""
    bombs = ["(a*)*" * 15 + str(number) for number in range(6)]
    bombs += ["(a|aa|aaa)*" * 20 + str(number) for number in range(6)]
    return _attack(target, [{"structured_outputs": {"regex": bomb}} for bomb in bombs])


def many_schemas(target: Target) -> str:
    """Send twenty different schemas at the bound."""
    return _attack(
        target,
        [
            _schema(
                {
                    "properties": {
                        f"property {number} {place}": {"type": "string"} for place in range(200)
                    }
                }
            )
            for number in range(20)
        ],
    )


ATTACKS = tuple(
    Attack("S3", name, run, real_engine=True)
    for name, run in {
        "six choices of 950,000 characters": one_choice,
        "schemas as large as a body": schemas,
        "patterns that no bound catches": patterns,
        "20 schemas at the bound": many_schemas,
    }.items()
)
