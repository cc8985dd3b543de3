"""S1: adapters with huge but finite weights, against the real engine on a tiny model.

Each is added as by an administrator. An adapter that is accepted gets a long question; then others
ask live and the base model, and their answers are compared with those before. The second table is
the same without vetting's bound, so that only the NaN alarm protects others.

    python -m bench.attacks.huge_adapter
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from bench.support.servers import FAST, ServerProcess, start_pawl, stopping
from bench.support.tables import parser, report
from server.startup.data_lock import RunningServer
from tests.tiny_model import make_random_adapter, make_tiny_model

CHAT = "/v1/chat/completions"
ENGINE = {
    "PAWL_ENGINE__DTYPE": "float32",
    "PAWL_ENGINE__KV_CACHE_GIB": "0.25",
    "PAWL_RETRAIN__ENABLED": "false",
    "PAWL_SERVER__RESTART_SECONDS": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
WITHOUT_BOUND = {"PAWL_ADAPTERS__MAX_UPDATE_RATIO": "1e308"}
OTHERS, RESTART_SECONDS_MAX = 40, 300.0

HUGE: Mapping[str, Mapping[str, Any]] = {
    "lora_alpha 1e38": {"lora_alpha": 1e38},
    "lora_alpha 1e36": {"lora_alpha": 1e36},
    "lora_alpha 1e25": {"lora_alpha": 1e25},
    "lora_alpha 1e25, rsLoRA": {"lora_alpha": 1e25, "use_rslora": True},
    "alpha_pattern 1e36, an expression": {"alpha_pattern": {r"(mlp|self_attn)\.\w+": 1e36}},
}


@dataclass(slots=True)
class Attacked:
    """A server that restarts by itself, and its current process."""

    server: ServerProcess
    data_dir: Path

    @property
    def now(self) -> RunningServer:
        """Return the process that serves now."""
        return RunningServer(**json.loads((self.data_dir / "server.json").read_text()))

    def client(self) -> httpx.Client:
        """Return an administrator's client."""
        headers = {"authorization": f"Bearer {self.now.token}"}
        return httpx.Client(base_url=self.now.url, headers=headers, timeout=60)

    def others(self) -> list[str]:
        """Return the answers of live and the base model to `OTHERS` questions, or their status."""
        with self.client() as client:
            models = ["pawl", "pawl@base"]
            return [_said(ask(client, models[n % 2], f"What of {n}?")) for n in range(OTHERS)]

    def wait_for_another(self, pid: int) -> float:
        """Wait for a ready server with another id than `pid`; return the seconds it took."""
        began = time.monotonic()
        while time.monotonic() - began < RESTART_SECONDS_MAX:
            try:
                ready = httpx.get(f"{self.now.url}/health/ready", timeout=5).is_success
                if ready and self.now.pid != pid:
                    return time.monotonic() - began
            except (OSError, ValueError, httpx.HTTPError):
                pass
            time.sleep(0.05)
        raise TimeoutError


def main() -> None:
    """Attack both ways; exit with 1 where others were harmed."""
    options = parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="pawl-huge-") as name:
        model = make_tiny_model(Path(name) / "model")
        vetted = _run(Path(name) / "vetted", model, {})
        alarmed = _run(Path(name) / "alarm", model, WITHOUT_BOUND)
    report({"As shipped": vetted, "Without the bound": alarmed}, as_json=options.json)
    if any(row["others' wrong answers"] for row in (*vetted, *alarmed)):
        sys.exit(1)


def _run(folder: Path, model: Path, settings: Mapping[str, str]) -> list[dict[str, Any]]:
    with _attacked(folder, model, settings) as attacked:
        with attacked.client() as client:
            live = _add(client, make_random_adapter(folder / "live", base=model, seed=1))
            name = live.json()["name"]
            promoted = client.post(f"/v1/adapters/{name}/promote", json={"reason": "bench"})
            promoted.raise_for_status()
        right = attacked.others()
        return [
            _attack(attacked, what, _huge(folder / f"huge-{number}", model, number, fields), right)
            for number, (what, fields) in enumerate(HUGE.items())
        ]


@contextmanager
def _attacked(folder: Path, model: Path, settings: Mapping[str, str]) -> Iterator[Attacked]:
    folder.mkdir()
    data = folder / "data"
    server = start_pawl(data, model=model, settings={**ENGINE, **settings}, serve=FAST)
    # Signals go to the supervising parent: it starts another server after the alarm.
    with stopping(replace(server, pid=server.started.process.pid)):
        yield Attacked(server, data)


def _attack(attacked: Attacked, what: str, folder: Path, right: list[str]) -> dict[str, Any]:
    pid, restart, answer = attacked.now.pid, 0.0, ""
    with attacked.client() as client:
        added = _add(client, folder)
        if added.is_success:
            spoiled = ask(client, f"pawl@{added.json()['name']}", "tomatoes " * 60)
            answer = str(spoiled.status_code)
    if answer == str(httpx.codes.SERVICE_UNAVAILABLE.value):
        restart = attacked.wait_for_another(pid)
    wrong = sum(now != before for now, before in zip(attacked.others(), right, strict=True))
    return {
        "adapter": what,
        "brought in": "yes" if added.is_success else f"no ({added.status_code})",
        "its answer": answer,
        "back after (s)": round(restart, 1),
        "others' answers": OTHERS,
        "others' wrong answers": wrong,
    }


def _huge(folder: Path, model: Path, number: int, fields: Mapping[str, Any]) -> Path:
    make_random_adapter(folder, base=model, seed=100 + number)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return folder


def _add(client: httpx.Client, folder: Path) -> httpx.Response:
    return client.post("/v1/adapters", json={"path": str(folder)})


def ask(client: httpx.Client, model: str, text: str) -> httpx.Response:
    """Send a greedy chat of eight tokens."""
    body = {"model": model, "max_tokens": 8, "temperature": 0}
    return client.post(CHAT, json={**body, "messages": [{"role": "user", "content": text}]})


def _said(answer: httpx.Response) -> str:
    if not answer.is_success:
        return str(answer.status_code)
    return str(answer.json()["choices"][0]["message"]["content"])


if __name__ == "__main__":
    main()
