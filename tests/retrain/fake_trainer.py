"""A trainer that trains nothing: `python fake_trainer.py BEHAVIOUR job.json`.

The behaviours:
`good` writes an adapter's folder; `chatters` does so and prints lines that are not events;
`fails` reports an error; `too_few` reports that too few pairs fit; `dies` exits without a report;
`hangs` waits to be stopped; `forks` does so with a child process; `leaves` is killed and leaves a
child that holds its pipes; `escapes` leaves one in a session of its own; `floods` fills standard
error; `deaf` hangs and ignores SIGTERM; `killed` is killed as often as the job's seed says, then
writes an adapter's folder. All of them score answers by their length if the job asks for scores.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FAILURES = {
    "fails": ("NonFiniteError", "lower learning_rate", 3),
    "too_few": ("TooFewPairsError", "2 pairs, fewer than the minimum of 10", 6),
}


def say(**event: object) -> None:
    """One event line."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def step(number: int) -> None:
    """One optimiser step."""
    figures = {"loss": 1 / number, "reward_margin": 0.1 * number, "reward_accuracy": 0.5}
    rest = {"learning_rate": 1e-5, "grad_norm": 1.0, "tokens": 10}
    say(event="step", step=number, of=2, **figures, **rest)


def save(output: Path) -> None:
    """Write the complete folder of an adapter."""
    output.mkdir()
    (output / "adapter_model.safetensors").write_bytes(b"weights")
    say(event="saved", folder=str(output), sha256="0" * 64, seconds=1.5)


def be_killed(tries: Path, times: int) -> None:
    """Die by a signal that cannot be caught, in the first `times` tries."""
    with tries.open("a") as count:
        count.write("x")
    if tries.stat().st_size <= times:
        os.kill(os.getpid(), signal.SIGKILL)


def have_child(pid_file: Path, behaviour: str) -> None:
    """Start a child that inherits the pipes, then wait with it or be killed."""
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(command, start_new_session=behaviour == "escapes")
    pid_file.write_text(str(child.pid))
    if behaviour != "forks":
        os.kill(os.getpid(), signal.SIGKILL)
    say(event="dropped", reasons={})
    time.sleep(600)


def score(job: dict[str, str]) -> int:
    """Score each answer by its number of tokens."""
    rows = Path(job["rows"]).read_text().splitlines()
    scores = [f"{len(json.loads(row)['token_ids'])}.0\n" for row in rows]
    Path(job["output"]).write_text("".join(scores))
    say(event="saved", folder=job["output"], sha256="0" * 64, seconds=0.1)
    return 0


def main(behaviour: str, job: dict[str, str]) -> int:
    """Run the behaviour and return the exit code."""
    step(1)
    sys.stderr.write("a warning\n")
    match behaviour:
        case "good" | "chatters":
            if behaviour == "chatters":
                sys.stdout.write("Loading checkpoint shards\n{}\n")
            step(2)
            save(Path(job["output"]))
        case "killed":
            be_killed(Path(job["output"]).with_name("tries"), int(job["seed"]))
            save(Path(job["output"]))
        case "fails" | "too_few":
            reason, message, code = FAILURES[behaviour]
            say(event="failed", reason=reason, message=message, exit_code=code)
            return code
        case "dies":
            os._exit(9)
        case "floods":
            for _ in range(40):
                sys.stderr.write("x" * 20_000)
        case "forks" | "leaves" | "escapes":
            have_child(Path(job["output"]).with_name("child"), behaviour)
        case "hangs" | "deaf":
            hearing = signal.SIG_IGN if behaviour == "deaf" else signal.SIG_DFL
            signal.signal(signal.SIGTERM, hearing)
            say(event="dropped", reasons={})
            time.sleep(600)
    return 0


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[2]).read_text())
    sys.exit(score(given) if given.get("kind") == "score" else main(sys.argv[1], given))
