"""The process that tries grammars: `python -m server.engine.grammars.trial_process PARENT_PID`.

It reads the tokenizer and then one grammar after another from standard input. It forks a child that
compiles each grammar and walks some steps through the result, stops the child at a limit, and
writes the result to standard output. It starts no thread itself, so that forking is safe; the
children share the tokenizer's memory with it.
"""

import gc
import os
import random
import resource
import select
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic, process_time
from typing import Any, BinaryIO

import orjson
import xgrammar as xgr

from common.parent_death import die_with
from server.engine.grammars.frames import read_frame, write_frame

THREADS = 8
"""Threads of the compiler, as in `vllm.v1.structured_output.backend_xgrammar`."""
_WALK_TOKENS = 256
"""Tokens of all walks through a grammar together."""
_WALKS = 16
"""Maximum number of walks."""
_AGAIN = 0.99
"""Probability that a walk repeats the token before, if that is allowed."""
_LOOK_SECONDS = 0.01
"""Seconds between two looks at the child."""
_PATIENCE = 10
"""Multiple of its limit for which a trial may run by the clock, since other load slows it down."""
_MEMORY_BYTES = 2 * 1024**3
"""Memory that a child may allocate, in bytes."""
_WORD_BITS = 32
_TICK = os.sysconf("SC_CLK_TCK")


def compiled(compiler: xgr.GrammarCompiler, job: Mapping[str, Any]) -> xgr.CompiledGrammar:
    """Compile a grammar as vLLM's xgrammar backend does, after vLLM's own preprocessing."""
    kind, text = job["kind"], job["text"]
    if kind == "json":
        separators = (",", ":") if job["compact"] else None
        xgr.Grammar.from_json_schema(text)
        return compiler.compile_json_schema(
            text, any_whitespace=not job["compact"], separators=separators
        )
    if kind == "structural_tag":
        xgr.Grammar.from_structural_tag(text)
        return compiler.compile_structural_tag(text)
    readers: dict[str, tuple[Callable[[str], object], Callable[[str], xgr.CompiledGrammar]]] = {
        "regex": (xgr.Grammar.from_regex, compiler.compile_regex),
        "lark": (xgr.Grammar.from_lark, compiler.compile_lark),
        "grammar": (xgr.Grammar.from_ebnf, compiler.compile_grammar),
    }
    read, compile_it = readers[kind]
    read(text)
    return compile_it(text)


def longest_step(grammar: xgr.CompiledGrammar, seed: int) -> float:
    """Return the seconds of the longest step of random walks through `grammar`.

    The walks have 256 tokens together; one that reaches the end of the grammar is followed by a new
    one. A walk mostly repeats its last token, since ambiguity shows in loops.
    """
    chance, longest, left = random.Random(seed), 0.0, _WALK_TOKENS
    for _ in range(_WALKS):
        taken, slowest = _walk(grammar, chance, left)
        longest, left = max(longest, slowest), left - taken
        if left <= 0:
            break
    return longest


def _walk(grammar: xgr.CompiledGrammar, chance: random.Random, most: int) -> tuple[int, float]:
    """Return the number of tokens of one walk and the seconds of its longest step."""
    stops = list(grammar.tokenizer_info.stop_token_ids)
    matcher = xgr.GrammarMatcher(grammar)
    mask = xgr.allocate_token_bitmask(1, grammar.tokenizer_info.vocab_size)
    token, longest = None, 0.0
    for taken in range(most):
        began = process_time()
        matcher.fill_next_token_bitmask(mask)
        token = _allowed(mask, stops, chance, token)
        if token is None or not matcher.accept_token(token) or matcher.is_terminated():
            return taken + 1, longest
        longest = max(longest, process_time() - began)
    return most, longest


def _allowed(mask: Any, stops: list[int], chance: random.Random, last: int | None) -> int | None:
    """Return a token that `mask` allows and that does not end the answer, or None."""
    words = mask.numpy()[0].view("uint32")
    for stop in stops:
        words[stop // _WORD_BITS] &= ~(1 << stop % _WORD_BITS) & 0xFFFFFFFF
    again = last is not None and int(words[last // _WORD_BITS]) >> last % _WORD_BITS & 1
    if again and chance.random() < _AGAIN:
        return last
    places = words.nonzero()[0]
    if not len(places):
        return None
    place = int(places[chance.randrange(len(places))])
    bits = [bit for bit in range(_WORD_BITS) if int(words[place]) >> bit & 1]
    return place * _WORD_BITS + chance.choice(bits)


def _work(tokenizer: xgr.TokenizerInfo, job: Mapping[str, Any], out: int) -> None:
    """Run in the child: compile, report it, walk, report whether the longest step was in time."""
    compiler = xgr.GrammarCompiler(tokenizer, max_threads=THREADS, cache_enabled=False)
    try:
        grammar = compiled(compiler, job)
    except Exception:  # noqa: BLE001  (the libraries raise many classes)
        os.write(out, b"r")
        return
    os.write(out, b"c")
    longest = max(longest_step(grammar, seed) for seed in range(2))
    os.write(out, b"w" if longest <= job["step_seconds"] else b"s")


def _child(tokenizer: xgr.TokenizerInfo, job: Mapping[str, Any], out: int, parent: int) -> None:
    try:
        die_with(parent)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)  # xgrammar writes parts of the schema to stderr
        size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (size + _MEMORY_BYTES, size + _MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _work(tokenizer, job, out)
    finally:
        os._exit(0)


def critical_seconds(pid: int, cores: int) -> float:
    """Return the seconds that `pid` would have taken without other load.

    That is the larger of its busiest thread's processor time and of all threads' processor time
    divided by `cores`.
    """
    busiest = 0.0
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):
            busiest = max(busiest, _processor_seconds(stat))
    with suppress(OSError):
        return max(busiest, _processor_seconds(Path(f"/proc/{pid}/stat")) / cores)
    return busiest


def _processor_seconds(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def attempt(tokenizer: xgr.TokenizerInfo, job: Mapping[str, Any]) -> dict[str, Any]:
    """Try one grammar in a child; return its `outcome` and the `seconds` that compiling took.

    `Trial` in `server.engine.grammars.trials` lists the outcomes.
    """
    parent = os.getpid()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(tokenizer, job, write, parent)
    os.close(write)
    try:
        return _watched(pid, read, float(job["compile_seconds"]))
    finally:
        os.close(read)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _watched(pid: int, read: int, limit: float) -> dict[str, Any]:
    cores = min(THREADS, len(os.sched_getaffinity(0)))
    began, before, compiling = monotonic(), 0.0, None
    while True:
        said = os.read(read, 1) if select.select([read], [], [], _LOOK_SECONDS)[0] else None
        spent = critical_seconds(pid, cores)
        if said == b"c":
            compiling = before = spent
        elif said is not None:
            outcome = {b"r": "refused", b"w": "good", b"s": "slow", b"": "died"}[said]
            return {"outcome": outcome, "seconds": spent if compiling is None else compiling}
        if spent - before > limit or (compiling or 0.0) > limit:
            return {"outcome": "slow", "seconds": spent}
        if monotonic() - began > limit * _PATIENCE:
            return {"outcome": "late", "seconds": spent}


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Read the tokenizer, then try grammars until `source` ends."""
    first = read_frame(source)
    if first is None:
        return
    tokenizer = xgr.TokenizerInfo.deserialize_json(first.decode())
    gc.freeze()
    write_frame(target, b"{}")
    while (frame := read_frame(source)) is not None:
        write_frame(target, orjson.dumps(attempt(tokenizer, orjson.loads(frame))))


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    serve(sys.stdin.buffer, sys.stdout.buffer)
