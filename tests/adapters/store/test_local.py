"""The files of a version: whole or not there, and checked before they are loaded."""

import os
from pathlib import Path
from typing import Any

import pytest

from adapters.config import AdaptersConfig
from adapters.errors import ArtifactError, CorruptArtifactError, FolderError
from adapters.models import Version
from adapters.store.local import ArtifactStore
from adapters.store.manifest import Manifest, content_digest, manifest_of
from adapters.vetting.vet import FileDigest, vet
from tests.adapters.adapter_files import BASE, make_adapter
from tests.adapters.world import START

NAME = "import-abcdef"
PLACE = f"pawl/{NAME}"


class Case:
    """A vetted adapter and a store to put it in."""

    def __init__(self, folder: Path) -> None:
        self.source = make_adapter(folder / "source")
        self.root = folder / "data" / "adapters"
        self.store = ArtifactStore(self.root)
        vetted = vet(self.source, BASE, AdaptersConfig())
        self.manifest = manifest_of(vetted, BASE, channel="pawl", version=NAME)

    def publish(self) -> Version:
        return version_of(self.manifest, self.store.publish(self.source, self.manifest))

    def hidden(self) -> list[str]:
        """What a crash left unfinished."""
        return [path.name for path in self.root.glob("*/.*")]


def version_of(manifest: Manifest, place: str) -> Version:
    return Version(
        name=manifest.version,
        channel=manifest.channel,
        state="candidate",
        parent=None,
        run=None,
        base_model=manifest.base_model,
        base_fingerprint=manifest.base_fingerprint,
        folder=place,
        digest=manifest.digest,
        rank=manifest.rank,
        size_bytes=1,
        created_at=START,
        created_by="a test",
        figures={},
    )


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_published_version_holds_the_adapter_and_its_manifest(case: Case) -> None:
    version = case.publish()
    folder = case.store.path(version)
    names = {path.name for path in folder.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "manifest.json"}
    assert folder == case.root / PLACE
    case.store.verify(version)


def test_published_files_are_read_only(case: Case) -> None:
    folder = case.store.path(case.publish())
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o400}


def test_the_digest_depends_on_channel_base_model_and_files() -> None:
    files = {"a": FileDigest("0" * 64, 1)}
    others = {"a": FileDigest("1" * 64, 1)}
    digests = {
        content_digest("pawl", "f", files),
        content_digest("shop", "f", files),
        content_digest("pawl", "g", files),
        content_digest("pawl", "f", others),
    }
    assert len(digests) == 4


def test_publishing_the_same_again_keeps_what_is_there(case: Case) -> None:
    folder = case.store.path(case.publish())
    before = folder.stat().st_ino
    case.publish()
    assert folder.stat().st_ino == before


def test_a_half_published_folder_of_the_name_is_replaced(case: Case) -> None:
    (case.root / PLACE).mkdir(parents=True)
    (case.root / PLACE / "adapter_model.safetensors").write_bytes(b"half")
    case.store.verify(case.publish())
    assert case.hidden() == []


def test_files_that_changed_since_they_were_vetted_are_refused(case: Case) -> None:
    (case.source / "adapter_config.json").write_text("{}")
    with pytest.raises(FolderError, match="changed while it was added"):
        case.publish()
    assert not (case.root / PLACE).exists()


def test_a_file_swapped_for_a_link_is_not_followed(case: Case) -> None:
    config = case.source / "adapter_config.json"
    config.rename(case.source / "elsewhere")
    config.symlink_to(case.source / "elsewhere")
    with pytest.raises(ArtifactError):
        case.publish()


@pytest.mark.parametrize("name", ["../x", "/x", "import-abcdef/..", ".adding-1", ""])
def test_a_name_that_leads_elsewhere_is_refused(case: Case, name: str) -> None:
    manifest = case.manifest.model_copy(update={"version": name})
    with pytest.raises(ArtifactError):
        case.store.publish(case.source, manifest)


def spoil_byte(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def cut(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.chmod(0o644)
    os.truncate(path, 10)


def lose_file(folder: Path) -> None:
    (folder / "adapter_config.json").unlink()


def lose_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def spoil_manifest(folder: Path) -> None:
    (folder / "manifest.json").chmod(0o644)
    (folder / "manifest.json").write_bytes(b"\xff{")


def add_file(folder: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(b"pickle")


def link_file(folder: Path) -> None:
    (folder / "adapter_config.json").rename(folder.parent / "config")
    (folder / "adapter_config.json").symlink_to(folder.parent / "config")


@pytest.mark.parametrize(
    "damage", [spoil_byte, cut, lose_file, lose_manifest, spoil_manifest, add_file, link_file]
)
def test_damage_is_found(case: Case, damage: Any) -> None:
    version = case.publish()
    damage(case.store.path(version))
    with pytest.raises(CorruptArtifactError, match=NAME):
        case.store.verify(version)


def test_files_of_another_content_are_found(case: Case) -> None:
    version = case.publish()
    version.digest = "0" * 64
    with pytest.raises(CorruptArtifactError, match="checksums"):
        case.store.verify(version)


def test_a_disk_that_gives_no_files_is_no_damage(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = case.publish()

    def broken(*_: object, **__: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("adapters.vetting.vet.os.open", broken)
    with pytest.raises(ArtifactError, match="look at the disk") as caught:
        case.store.verify(version)
    assert not isinstance(caught.value, CorruptArtifactError)


def test_a_removed_version_is_gone(case: Case) -> None:
    version = case.publish()
    case.store.remove(version)
    assert not case.store.exists(version)
    assert case.hidden() == []


def test_leftovers_are_cleared_and_versions_stay(case: Case) -> None:
    version = case.publish()
    for name in (".adding-1", ".removing-2"):
        (case.root / "pawl" / name / "deep").mkdir(parents=True)
    assert case.store.clear_leftovers() == 2
    case.store.verify(version)
    assert case.hidden() == []


def test_an_empty_store_has_no_leftovers(tmp_path: Path) -> None:
    assert ArtifactStore(tmp_path / "none").clear_leftovers() == 0


class Disk:
    """Lets `after` calls of fsync and rename through, then fails each: a dying disk or a crash."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int, error: BaseException) -> None:
        self.calls = 0
        self.after = after
        self.error = error
        fsync, rename = os.fsync, Path.rename
        monkeypatch.setattr(os, "fsync", lambda fd: self._pass(fsync, fd))
        monkeypatch.setattr(Path, "rename", lambda path, target: self._pass(rename, path, target))

    def _pass(self, call: Any, *arguments: Any) -> Any:
        if self.calls >= self.after:
            raise self.error
        self.calls += 1
        return call(*arguments)


STEPS = range(9)
"""Each call that publishing makes: 3 parents, 2 files, manifest, folder, rename, parent."""


@pytest.mark.parametrize("after", STEPS)
def test_a_failing_disk_leaves_a_whole_version_or_none(
    case: Case, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    with monkeypatch.context() as patch:
        Disk(patch, after, OSError(28, "No space left on device"))
        with pytest.raises(ArtifactError, match="No space left"):
            case.publish()
    assert case.hidden() == []
    if (case.root / PLACE).exists():
        case.store.verify(version_of(case.manifest, PLACE))
    case.store.verify(case.publish())


class CrashError(BaseException):
    """The process ends here: nothing after it runs."""


@pytest.mark.parametrize("after", STEPS)
def test_a_crash_leaves_a_whole_version_or_a_leftover(
    case: Case, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    with monkeypatch.context() as patch:
        Disk(patch, after, CrashError())
        patch.setattr("adapters.store.local.shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(CrashError):
            case.publish()
    if (case.root / PLACE).exists():
        case.store.verify(version_of(case.manifest, PLACE))
    case.store.clear_leftovers()
    assert case.hidden() == []
    case.store.verify(case.publish())


def test_the_files_are_synced_before_they_are_seen(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def traced_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        seen.append(f"sync {path.name}")
        fsync(descriptor)

    def traced_rename(path: Path, target: Path) -> Path:
        seen.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(Path, "rename", traced_rename)
    case.publish()
    temporary = seen[-3].removeprefix("sync ")
    assert temporary.startswith(".adding-")
    assert seen[-6:] == [
        "sync adapter_config.json",
        "sync adapter_model.safetensors",
        "sync manifest.json",
        f"sync {temporary}",
        "rename",
        "sync pawl",
    ]
