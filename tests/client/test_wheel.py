"""The wheel that applications install: built, installed and used in an environment of its own."""

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
UV = Path(sysconfig.get_path("scripts")) / "uv"

PLAIN = """
import importlib.util
from pawl_client import FeedbackClient
from pawl_client.testing import stand_in_server

for name in ("server", "feedback", "retrain", "adapters", "common", "demo", "langchain_core"):
    assert importlib.util.find_spec(name) is None, name
with stand_in_server() as pawl, FeedbackClient(pawl.url) as client:
    client.rate(pawl.answered("hi"), "thumbs", value=True)
    print(pawl.feedback[0]["value"])
try:
    import pawl_client.callback
except ImportError as error:
    print(error)
"""

WITH_LANGCHAIN = """
from uuid import uuid4
from langchain_core.language_models import FakeListChatModel
from pawl_client.callback import FeedbackCallback
from pawl_client.testing import stand_in_server

with stand_in_server() as pawl:
    callback, run_id = FeedbackCallback(pawl.url), uuid4()
    FakeListChatModel(responses=["July."]).invoke("hi", {"callbacks": [callback], "run_id": run_id})
    callback.rate(run_id, "thumbs", value=True)
    callback.close()
    print(pawl.interactions[0]["choices"][0]["text"], pawl.feedback[0]["value"])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source that the server runs."""
    out = tmp_path_factory.mktemp("dist")
    build: list[str | Path] = [UV, "build", "-q", "--wheel", "--offline", "--no-build-isolation"]
    subprocess.run([*build, "--python", sys.executable, ROOT / "client", "-o", out], check=True)
    (built,) = out.glob("*.whl")
    return built


def test_it_brings_one_package_and_needs_httpx_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        folders = {name.split("/")[0] for name in archive.namelist()}
    assert folders == {"pawl_client", "pawl_client-0.1.0.dist-info"}
    required = [Requirement(line) for line in metadata.requires("pawl-client") or ()]
    assert [one.name for one in required if one.marker is None] == ["httpx"]


def test_an_application_sends_feedback_from_an_environment_of_its_own(
    wheel: Path, tmp_path: Path
) -> None:
    python = environment(wheel, tmp_path / "env", ["httpx"])
    assert run(python, PLAIN) == (
        "True\npawl_client.callback needs LangChain: pip install 'pawl-client[langchain]'\n"
    )


def test_the_callback_works_with_the_langchain_extra(wheel: Path, tmp_path: Path) -> None:
    python = environment(wheel, tmp_path / "env", ["httpx", "langchain-core"])
    assert run(python, WITH_LANGCHAIN) == "July. True\n"


def environment(wheel: Path, folder: Path, requirements: list[str]) -> Path:
    """A new environment with the wheel and copies of what it needs; its interpreter."""
    venv.create(folder, symlinks=True, with_pip=False)
    python = folder / "bin" / "python"
    target = next((folder / "lib").glob("python*")) / "site-packages"
    for name in closure(requirements):
        copy_distribution(metadata.distribution(name), target)
    install: list[str | Path] = [
        UV,
        "pip",
        "install",
        "-q",
        "--offline",
        "--no-deps",
        "--python",
        python,
        wheel,
    ]
    subprocess.run(install, check=True)
    return python


def closure(names: list[str]) -> set[str]:
    """The distributions that `names` need, themselves included, as installed here."""
    waiting, found = list(names), set[str]()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        needs = [Requirement(line) for line in metadata.requires(name) or ()]
        waiting += [one.name for one in needs if one.marker is None or one.marker.evaluate()]
    return found


def copy_distribution(distribution: metadata.Distribution, target: Path) -> None:
    for file in distribution.files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            place = target / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(str(distribution.locate_file(file))), place)


def run(python: Path, program: str) -> str:
    """What the program prints, isolated from this checkout."""
    done = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout
