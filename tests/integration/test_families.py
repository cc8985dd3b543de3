"""A trained adapter is served as it was trained, where a family packs its modules; in small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(300),
]


def test_families_are_served_as_trained_or_refused_at_the_start() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.families", "--json", "--only", "phi3", "gpt2"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout[done.stdout.index('{\n  "Families"') :])["Families"]
    assert [row["family"] for row in rows] == ["phi3", "gpt2"]
    assert rows[0]["outcome"] == "trained, vetted, loaded, answers"
    assert rows[1]["outcome"].startswith("refused at start: vLLM serves no adapters on the family")
