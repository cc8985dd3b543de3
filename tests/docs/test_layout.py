"""The layout stays readable: small folders, and no class name that means two things."""

import ast
from collections import Counter, defaultdict
from pathlib import Path

import pytest

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]
PACKAGES = ("adapters", "client", "common", "demo", "feedback", "retrain", "server")
MODULES_MAX = 18
SAME_NAME = {"Database"}
"""The interface in common/ and what implements it."""


def modules() -> list[Path]:
    return [
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if "versions" not in path.parts  # migrations: one a release, for ever
    ]


def test_no_folder_is_crowded() -> None:
    sizes = Counter(path.parent.relative_to(ROOT) for path in modules())
    assert {str(folder): n for folder, n in sizes.items() if n > MODULES_MAX} == {}


def test_a_class_name_means_one_thing() -> None:
    defined = defaultdict[str, list[str]](list)
    for path in modules():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                defined[node.name].append(str(path.relative_to(ROOT)))
    twice = {name: places for name, places in defined.items() if len(places) > 1}
    assert set(twice) <= SAME_NAME, twice
