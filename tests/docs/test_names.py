"""Every file, module, command and test that the documents name exists."""

import importlib.util
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("deploy/**/*.md"),
        *ROOT.glob("bench/*.md"),
        *ROOT.glob("client/*.md"),
    ]
)
PACKAGES = "adapters|bench|client|common|demo|deploy|docs|feedback|retrain|server|tests"
PATHS = re.compile(rf"(?<![\w/.@-])(?:{PACKAGES})/[\w./-]*[\w/]")
MODULES = re.compile(rf"python -m ((?:{PACKAGES})[\w.]*\w)")
FUNCTIONS = re.compile(r"`([\w/]+\.py)::(\w+)`")


def names(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """Each page's name with what the pattern finds in it."""
    return [
        (str(page.relative_to(ROOT)), found)
        for page in PAGES
        if page.name != "CHANGELOG.md"  # it tells of names that are gone
        for found in sorted(set(pattern.findall(page.read_text())))
    ]


@pytest.mark.parametrize(("page", "path"), names(PATHS))
def test_a_path_exists(page: str, path: str) -> None:
    places = (ROOT / path, ROOT / Path(page).parent / path)
    assert any(place.exists() for place in places), f"{page} names {path}"


@pytest.mark.parametrize(("page", "module"), names(MODULES))
def test_a_module_exists(page: str, module: str) -> None:
    assert importlib.util.find_spec(module) is not None, f"{page} names {module}"


def test_a_test_or_function_exists() -> None:
    named = [(page, *found) for page in PAGES for found in FUNCTIONS.findall(page.read_text())]
    assert named
    for page, path, function in named:
        defined = re.search(rf"def {function}\b", (ROOT / path).read_text())
        assert defined, f"{page.name} names {path}::{function}"
