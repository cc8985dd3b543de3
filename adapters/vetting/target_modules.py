"""Matches module names against the regular expressions of an adapter's config.

PEFT takes `target_modules` and `exclude_modules` as one expression, and each key of `rank_pattern`
and `alpha_pattern` as the end of one (`check_target_module_exists` in `tuners/tuners_utils.py` and
`get_pattern_key` in `utils/other.py`, PEFT 0.21); Unsloth writes such configs. The expressions
are untrusted, and backtracking can take exponential time, so matching has a time limit for all
expressions of an adapter together.
"""

import time
from collections.abc import Callable, Iterable

import regex

from adapters.errors import ConfigError

LENGTH_MAX = 8192
"""Largest length of one expression in characters; Unsloth's longest have about 700."""

KEYS_MAX = 450
"""Most keys of `rank_pattern` or `alpha_pattern`. vLLM compiles them through the cache of the
`regex` package, which holds 500 expressions: with more, loading the adapter would compile each of
them again for each module."""

SECONDS = 2.0
"""Seconds for all matches of one adapter. vLLM matches the keys again without a timeout, with the
same package and names, so an adapter that passes blocks the engine no longer than this."""

_NOT_PYTHON = regex.compile(r"\{(?!\d*,?\d*\})|\[\[|\\[pPNGKLXRmM]|\(\?[&PR0-9|(]")
"""Syntax that the `regex` package interprets differently from Python's `re`, which PEFT uses: fuzzy
matches, recursion, further character classes."""

Named = list[str] | str | None
"""Modules by the ends of their names, or one expression for the whole name."""


class BoundedMatcher:
    """Matches names against a config's expressions, for `seconds` in total.

    Every method raises `ConfigError` if the time is used up or an expression is invalid.
    """

    def __init__(
        self, seconds: float = SECONDS, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._deadline = monotonic() + seconds
        self._monotonic = monotonic

    def names(self, named: Named, module: str) -> bool:
        """Return whether `named` selects `module`, by PEFT's rule for `target_modules`."""
        if named is None:
            return False
        if isinstance(named, str):
            return self._matches(named, module)
        return any(f".{module}".endswith(f".{end}") for end in named)

    def first_key(self, keys: Iterable[str], module: str) -> str | None:
        """Return the first of `keys` that matches the end of `module`: PEFT's and vLLM's rule."""
        for key in keys:
            if self._matches(rf"(.*\.)?({key})$", module, whole=False):
                return key
        return None

    def _matches(self, pattern: str, module: str, *, whole: bool = True) -> bool:
        left = self._deadline - self._monotonic()
        if left <= 0:
            raise _too_slow()
        match = regex.fullmatch if whole else regex.match
        try:
            # `concurrent` releases the GIL, so that requests are answered meanwhile.
            return match(pattern, module, timeout=left, concurrent=True) is not None
        except TimeoutError:
            raise _too_slow() from None
        except (regex.error, RecursionError, OverflowError):
            raise _unreadable() from None


def check_pattern(pattern: str) -> str:
    """Return `pattern`; raises `ValueError` if `re` and `regex` may interpret it differently."""
    if len(pattern) > LENGTH_MAX or not pattern.isprintable() or _NOT_PYTHON.search(pattern):
        raise ValueError("an expression that is too long or not Python's")
    return pattern


def _too_slow() -> ConfigError:
    return ConfigError(
        "adapter_config.json has regular expressions that take too long to match (target_modules, "
        "exclude_modules, rank_pattern, alpha_pattern): name the modules one by one instead"
    )


def _unreadable() -> ConfigError:
    return ConfigError(
        "adapter_config.json has something that is no regular expression in target_modules, "
        "exclude_modules, rank_pattern or alpha_pattern: save the adapter again with PEFT"
    )
