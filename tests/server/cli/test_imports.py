"""What the command line and the settings load before anything is asked of them."""

import subprocess
import sys

import pytest

HEAVY = {
    "alembic",
    "apscheduler",
    "fastapi",
    "fsspec",
    "httpx",
    "langchain_core",
    "numpy",
    "psycopg",
    "py3langid",
    "rensa",
    "scipy",
    "sqlalchemy",
    "sqlmodel",
    "starlette",
    "torch",
    "transformers",
    "uvicorn",
    "vllm",
}

LOADED = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"


def _loaded(code: str) -> set[str]:
    """The packages that are loaded once `code` has run in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{LOADED}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


HELP = """
import sys
from server.cli.main import app
sys.argv = ["pawl", *{arguments}]
try:
    app()
except SystemExit:
    pass
"""


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["runs", "--help"]])
def test_help_loads_no_heavy_package(arguments: list[str]) -> None:
    assert _loaded(HELP.format(arguments=arguments)) & HEAVY == set()


@pytest.mark.parametrize(
    "module", ["server.settings", "retrain.config", "server.errors", "server.exits"]
)
def test_settings_load_no_heavy_package(module: str) -> None:
    assert _loaded(f"import {module}") & HEAVY == set()


def test_reading_the_default_settings_loads_no_heavy_package() -> None:
    assert _loaded("from server.settings import Settings; Settings()") & HEAVY == set()


def test_the_trainer_reads_its_job_without_the_training_libraries() -> None:
    assert _loaded("import retrain.trainer.job") & HEAVY == set()
