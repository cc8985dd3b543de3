"""The process that tries grammars: `python -m server.engine.grammars.trial_process PARENT_PID`.

It reads the tokenizer once and then a grammar at a time from its standard input, compiles each in
a child that it forks and can stop, walks a little way through the result, and writes what that took
to its standard output. It starts no thread itself, so that a fork is safe; the children share the
tokenizer's memory with it.
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
"""As vLLM's own compiler has them."""
_WALK_TOKENS = 256
_WALKS = 16
_AGAIN = 0.99
_LOOK_SECONDS = 0.01
_PATIENCE = 10
"""Other load may stretch a trial to so many times its limit before it is given up."""
_MEMORY_BYTES = 2 * 1024**3
_WORD_BITS = 32
_TICK = os.sysconf("SC_CLK_TCK")


def compiled(compiler: xgr.GrammarCompiler, job: Mapping[str, Any]) -> xgr.CompiledGrammar:
    """Compile as vLLM's xgrammar backend does, with the reading of it that its front end does."""
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
    """Seconds of the longest step on random ways through `grammar`, 256 tokens in all.

    A way mostly takes the token before once more, since what is ambiguous shows in loops; one that
    has come to its end is begun anew.
    """
    chance, longest, left = random.Random(seed), 0.0, _WALK_TOKENS
    for _ in range(_WALKS):
        taken, slowest = _walk(grammar, chance, left)
        longest, left = max(longest, slowest), left - taken
        if left <= 0:
            break
    return longest


def _walk(grammar: xgr.CompiledGrammar, chance: random.Random, most: int) -> tuple[int, float]:
    """How many tokens one way had, and the seconds of its longest step."""
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
    """A token that `mask` allows and that does not end the answer; None where there is none."""
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
    """The child: compile, say so, walk, say what the longest step took."""
    compiler = xgr.GrammarCompiler(tokenizer, max_threads=THREADS, cache_enabled=False)
    try:
        grammar = compiled(compiler, job)
    except Exception:  # noqa: BLE001  (whatever the libraries raise at somebody's text)
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
    """How long `pid` would have taken alone on the machine.

    That is the processor time of its busiest thread, or of all threads over the cores they share.
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
    """Try one grammar in a child; returns its `outcome` and the `seconds` that compiling took.

    The outcome is `good`, `refused` (no grammar), `slow` (over a limit), `died` (memory, a crash),
    or `late` (the machine was too busy to tell).
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
    """Read the tokenizer, then try grammars until the source ends."""
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
