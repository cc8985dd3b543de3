"""Several servers on one folder: none takes another's work in progress for a leftover."""

import os
import time
from pathlib import Path

import pytest

from adapters.config import AdaptersConfig
from adapters.errors import FolderError
from adapters.store.local import LEFTOVER_SECONDS, ArtifactStore
from adapters.store.manifest import manifest_of
from adapters.vetting.vet import vet
from tests.adapters.adapter_files import BASE, make_adapter
from tests.adapters.store.test_local import NAME, PLACE, version_of


class Case:
    """Two servers, one folder, one adapter."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "shared"
        self.one, self.two = (ArtifactStore(self.root, name) for name in ("one", "two"))
        self.source = make_adapter(folder / "source")
        vetted = vet(self.source, BASE, AdaptersConfig())
        self.manifest = manifest_of(vetted, BASE, channel="pawl", version=NAME)

    def hidden(self) -> list[str]:
        return [path.name for path in self.root.glob("*/.*")]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_start_leaves_the_work_of_another_server_alone(case: Case) -> None:
    def meanwhile(draft: Path) -> None:
        assert case.two.clear_leftovers() == 0
        assert draft.is_dir()
        raise FolderError("enough seen")

    with pytest.raises(FolderError, match="enough seen"):
        case.one.put(case.manifest, meanwhile)
    assert case.hidden() == []


def test_a_start_removes_what_this_server_left(case: Case) -> None:
    (case.root / "pawl" / ".adding-one-1").mkdir(parents=True)
    (case.root / "pawl" / ".removing-two-2").mkdir()
    assert case.one.clear_leftovers() == 1
    assert case.hidden() == [".removing-two-2"]


def test_what_another_server_left_long_ago_is_removed(case: Case) -> None:
    left = case.root / "pawl" / ".adding-two-1"
    left.mkdir(parents=True)
    long_ago = time.time() - LEFTOVER_SECONDS - 60
    os.utime(left, (long_ago, long_ago))
    assert case.one.clear_leftovers() == 1


def test_the_same_published_by_two_at_once_is_there_once(case: Case) -> None:
    def overtaken(draft: Path) -> None:
        case.two.publish(case.source, case.manifest)
        for name in case.manifest.files:
            (draft / name).write_bytes((case.source / name).read_bytes())

    assert case.one.put(case.manifest, overtaken) == PLACE
    assert case.hidden() == []
    for store in (case.one, case.two):
        store.verify(version_of(case.manifest, PLACE))
