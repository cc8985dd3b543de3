"""Validate against untrusted JSON schemas: patterns have a deadline, references are not fetched."""

from collections.abc import Iterator, Mapping
from typing import Any

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

REGEX_SECONDS = 0.25
"""Seconds a regular expression may take, since backtracking can take exponential time."""


def found(pattern: str, text: str) -> bool:
    """Return whether a pattern matches somewhere in a text. Raises `TimeoutError`.

    Uses the `regex` package, since the standard library's `re` has no timeout.
    """
    return regex.search(pattern, text, timeout=REGEX_SECONDS, concurrent=True) is not None


def violations(schema: Mapping[str, Any], value: object) -> Iterator[str]:
    """Yield the keywords of a schema that a value violates.

    Raises `TimeoutError` (a pattern took too long) and `RecursionError` (nested too deeply).
    """
    for error in _Validator(schema, registry=Registry()).iter_errors(value):
        yield str(error.validator)


def satisfies(schema: Mapping[str, Any], value: object) -> bool:
    """Return whether a value satisfies an untrusted schema; true if the schema is invalid."""
    try:
        Draft202012Validator.check_schema(schema)
        return next(violations(schema, value), None) is None
    except (SchemaError, Unresolvable, TimeoutError, RecursionError, regex.error):
        return True  # the schema cannot be applied, so it proves nothing against the value


def _bounded_pattern(
    _validator: object, pattern: str, instance: object, _schema: object
) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not found(pattern, instance):
        yield ValidationError("pattern does not match")


def _bounded_pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: object, _schema: object
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, schema in patterns.items():
        for name in [name for name in instance if found(pattern, name)]:
            yield from validator.descend(instance[name], schema, path=name, schema_path=pattern)


_Validator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {"pattern": _bounded_pattern, "patternProperties": _bounded_pattern_properties},
)
