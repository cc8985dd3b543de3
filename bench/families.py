"""Trains, vets and loads an adapter of each model family: `python -m bench.families`.

A tiny model of each family is trained for two steps by the trainer's own code; the adapter is
vetted as the registry does and loaded into vLLM. A good outcome is that vLLM's log-probabilities
change to those of the trainer's model (so every trained module takes effect), or that the family is
refused before training. Each family has a process of its own, forked after the imports. `--only
NAME…` selects families; `--write docs/models.md` puts the table into that page.
"""

import json
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

from vllm.model_executor.models import registry

from bench.support.tables import Row, markdown, parser, report
from bench.workloads.family_path import Passage, walk
from tests.tiny_families import BY_NAME, FAMILIES, Family

BEGIN, END = "<!-- families -->", "<!-- /families -->"
PATIENCE_SECONDS = 300.0
"""Seconds for one family; an engine that has not finished then is killed."""


def walk_apart(family: Family) -> Passage:
    """Test a family in a forked process, so that an engine that dies ends nothing else."""
    with tempfile.TemporaryDirectory(prefix="pawl-family-") as folder:
        result = Path(folder) / "passage.json"
        child = os.fork()
        if child == 0:
            _walk_and_leave(family, Path(folder), result)
        if not _ended(child):
            os.kill(child, 9)
            os.waitpid(child, 0)
            return Passage(family.name, outcome="the engine did not answer in time")
        if not result.is_file():
            return Passage(family.name, outcome="the process died")
        return Passage(**json.loads(result.read_text()))


def _walk_and_leave(family: Family, folder: Path, result: Path) -> None:
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        passage = walk(family, folder)
    except BaseException as error:  # noqa: BLE001  (any error is the outcome)
        traceback.print_exc()
        said = root_cause((folder / "log").read_text(errors="replace"))
        passage = Passage(family.name, outcome=said or type(error).__name__)
    result.write_text(json.dumps(asdict(passage)))
    os._exit(0)


def root_cause(log: str) -> str:
    """Return the first error in the log; vLLM's own error says only that its engine failed."""
    found = re.findall(r"^(?:\(.*?\] )?\s*(\w+(?:Error|Exception): .+)$", log, re.MULTILINE)
    return str(found[0])[:200] if found else ""


def _ended(child: int) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.05)
    return False


def table(passages: Sequence[Passage]) -> list[Row]:
    """Return one row for each family."""
    return [
        {
            "family": passage.family,
            "architecture": passage.architecture,
            "modules": passage.modules or "",
            "moved, nats": "" if passage.moved is None else passage.moved,
            "from the trainer, nats": "" if passage.apart is None else passage.apart,
            "outcome": passage.outcome,
        }
        for passage in passages
    ]


def replaced(page: str, rows: Sequence[Row]) -> str:
    """Return the page with the table between its marks. Raises `ValueError` without marks."""
    before, first, rest = page.partition(BEGIN)
    _, last, after = rest.partition(END)
    if not first or not last:
        raise ValueError(f"the page has no place for the table: add {BEGIN} and {END}")
    lines = markdown("", rows).splitlines()[2:]
    return before + BEGIN + "\n" + "\n".join(lines).strip() + "\n" + END + after


def main() -> int:
    """Test all families and print the table; return 1 if a family had no good outcome."""
    arguments = parser(__doc__)
    arguments.add_argument("--only", nargs="+", choices=sorted(BY_NAME), metavar="NAME")
    arguments.add_argument("--write", type=Path, metavar="PAGE", help="put the table into it")
    options = arguments.parse_args()
    warnings.simplefilter("ignore")
    # vLLM inspects a model's class in a new process (`vllm.model_executor.models.registry`), which
    # takes ten seconds; this process is a new one already.
    registry._run_in_subprocess = lambda look: look()
    chosen = [BY_NAME[name] for name in options.only] if options.only else FAMILIES
    passages = []
    for family in chosen:
        passages.append(walk_apart(family))
        print(family.name, passages[-1].outcome, file=sys.stderr, flush=True)
    if options.write is not None:
        options.write.write_text(replaced(options.write.read_text(), table(passages)))
    report({"Families": table(passages)}, as_json=options.json)
    return 0 if all(passage.good for passage in passages) else 1


if __name__ == "__main__":
    raise SystemExit(main())
