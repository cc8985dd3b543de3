"""Compares Pawl with vLLM's own server on one model: `python -m bench.serving [--rounds 12]`.

Three servers run and one of them at a time is under load: Pawl, vLLM, and a second vLLM, whose
ratio to the first is the noise floor. In each round and at each number of streams they get the same
number of requests in a random order; ratios are taken within rounds. vLLM gets the same arguments
as Pawl's engine. At the end Pawl's log must have a row for each request.
"""

import asyncio
import random
import sqlite3
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from bench.support.load import Load, drive
from bench.support.servers import ServerProcess, start_pawl, start_vllm, stopping
from bench.support.stats import Ratio, paired_ratio
from bench.support.tables import Row, parser, report
from server.engine.config import EngineConfig
from server.engine.vllm.arguments import vllm_arguments
from tests.tiny_model import make_tiny_model

STREAMS = (1, 8, 32)
TOKENS = 32
TARGET = 0.97
"""The target: a lower bound of the ratio of requests per second."""
KV_CACHE_GIB = 0.5
SETTINGS = {
    "PAWL_ENGINE__KV_CACHE_GIB": str(KV_CACHE_GIB),
    "PAWL_ENGINE__DTYPE": "float32",
    "PAWL_RETRAIN__ENABLED": "false",
}
FIGURES: Mapping[str, str] = {
    "requests_per_second": "requests/s",
    "first_token_p50": "first token p50",
    "first_token_p99": "first token p99",
    "api_cpu_per_request": "API CPU per request",
}
PAWL, VLLM, SECOND = "pawl", "vllm", "vllm 2"


@dataclass(slots=True)
class Outcome:
    """All measurements by streams and server, in order of rounds, and Pawl's log."""

    loads: dict[int, dict[str, list[Load]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    sent: int = 0
    logged: int = 0

    @property
    def errors(self) -> int:
        """Requests that failed, on any server."""
        stretches = (load for servers in self.loads.values() for load in servers.values())
        return sum(load.errors for loads in stretches for load in loads)

    def ratio(self, streams: int, figure: str, over: str) -> Ratio:
        """A server's figure over the first vLLM's."""
        ours, theirs = (
            [getattr(load, figure) for load in self.loads[streams][name]] for name in (over, VLLM)
        )
        return paired_ratio(ours, theirs)


def run(folder: Path, *, rounds: int, seconds: float, seed: int) -> Outcome:
    """Start the three servers on a tiny model; each measurement takes about `seconds`."""
    model = make_tiny_model(folder / "model")
    config = EngineConfig(model=str(model), kv_cache_gib=KV_CACHE_GIB, dtype="float32")
    arguments = vllm_arguments(config, cpu=True)
    with ExitStack() as stack:
        servers = {VLLM: start_vllm(folder, model=model, name="vllm", arguments=arguments)}
        stack.enter_context(stopping(servers[VLLM]))
        servers[SECOND] = start_vllm(folder, model=model, name="vllm-2", arguments=arguments)
        stack.enter_context(stopping(servers[SECOND]))
        servers[PAWL] = start_pawl(folder / "data", model=model, settings=SETTINGS)
        stack.enter_context(stopping(servers[PAWL]))
        outcome = asyncio.run(_measure(servers, rounds, seconds, random.Random(seed)))
        outcome.logged = _rows_in_log(folder / "data" / "pawl.db")
    return outcome


async def _measure(
    servers: Mapping[str, ServerProcess], rounds: int, seconds: float, rng: random.Random
) -> Outcome:
    outcome = Outcome()
    for streams in STREAMS:
        requests = await _warm_up(servers, streams, seconds, rng, outcome)
        for _ in range(rounds):
            for name in rng.sample(sorted(servers), len(servers)):
                load = await _drive(servers[name], streams, requests, rng, outcome)
                outcome.loads[streams][name].append(load)
    return outcome


async def _warm_up(
    servers: Mapping[str, ServerProcess],
    streams: int,
    seconds: float,
    rng: random.Random,
    outcome: Outcome,
) -> int:
    """Warm up each server; return the number of requests that takes about `seconds`."""
    paces = []
    for server in servers.values():
        load = await _drive(server, streams, 16 + 3 * streams, rng, outcome)
        paces.append(load.requests_per_second)
    return max(2 * streams, round(statistics.median(paces) * seconds))


async def _drive(
    server: ServerProcess, streams: int, requests: int, rng: random.Random, outcome: Outcome
) -> Load:
    if server.name == PAWL:
        outcome.sent += requests
    return await drive(server, streams=streams, requests=requests, tokens=TOKENS, rng=rng)


def _rows_in_log(path: Path) -> int:
    """Interactions that the log holds as complete."""
    query = "SELECT count(*) FROM interaction WHERE status = 'complete'"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return int(database.execute(query).fetchone()[0])


def verdict(ratio: Ratio) -> str:
    """Return whether requests per second reach the target, if the noise permits a verdict."""
    if ratio.low >= TARGET:
        return "met"
    return "missed" if ratio.high < TARGET else "unresolved at this noise"


def ratios(outcome: Outcome) -> list[Row]:
    """Return paired ratios with 95 % intervals, a row for each figure and number of streams."""
    return [
        {
            "streams": streams,
            "figure": label,
            "Pawl / vLLM": str(outcome.ratio(streams, figure, PAWL)),
            "vLLM 2 / vLLM (noise)": str(outcome.ratio(streams, figure, SECOND)),
            f"at least {TARGET}": verdict(outcome.ratio(streams, figure, PAWL))
            if figure == "requests_per_second"
            else "",
        }
        for streams in outcome.loads
        for figure, label in FIGURES.items()
    ]


def medians(outcome: Outcome) -> list[Row]:
    """Return the medians over the rounds."""
    return [
        {
            "streams": streams,
            "server": name,
            "requests/s": _median(loads, "requests_per_second"),
            "first token p50, ms": 1000 * _median(loads, "first_token_p50"),
            "first token p99, ms": 1000 * _median(loads, "first_token_p99"),
            "API CPU per request, ms": 1000 * _median(loads, "api_cpu_per_request"),
            "requests a round": loads[0].requests,
        }
        for streams, servers in outcome.loads.items()
        for name, loads in sorted(servers.items())
    ]


def _median(loads: Sequence[Load], figure: str) -> float:
    return float(statistics.median(getattr(load, figure) for load in loads))


def main() -> None:
    """Print the tables; exit with 1 for errors, or if the log's rows are not the requests."""
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=12)
    made.add_argument("--seconds", type=float, default=5.0, help="of load, per server and round")
    arguments = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="pawl-serving-") as folder:
        outcome = run(
            Path(folder), rounds=arguments.rounds, seconds=arguments.seconds, seed=arguments.seed
        )
    log: Row = {"requests": outcome.sent, "rows": outcome.logged, "errors": outcome.errors}
    tables = {
        f"Pawl against vLLM, {arguments.rounds} rounds": ratios(outcome),
        "Medians": medians(outcome),
        "Pawl's log": [log],
    }
    report(tables, as_json=arguments.json)
    raise SystemExit(1 if outcome.errors or outcome.logged != outcome.sent else 0)


if __name__ == "__main__":
    main()
