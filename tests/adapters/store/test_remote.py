"""Whatever keeps the files of versions: one contract, on this disk, in a shared folder and afar."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from adapters.config import AdaptersConfig
from adapters.errors import (
    ArtifactError,
    CorruptArtifactError,
    FolderError,
    StoreAddressError,
    StoreAwayError,
)
from adapters.models import Version
from adapters.store.artifacts import Artifacts, fetched, open_artifacts
from adapters.store.filesystems import open_address
from adapters.store.manifest import Manifest, manifest_of
from adapters.store.remote import RemoteArtifactStore
from adapters.vetting.vet import vet
from tests import s3_server
from tests.adapters.adapter_files import BASE, make_adapter
from tests.adapters.store.test_local import version_of

NAME = "import-abcdef"
PLACE = f"pawl/{NAME}"
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server's address."""
    with s3_server.s3_server() as endpoint:
        yield endpoint


@dataclass(slots=True)
class Kept:
    """A kind of store; each `server` is another machine with a disk of its own."""

    folder: Path
    config: AdaptersConfig
    manifest: Manifest

    @property
    def source(self) -> Path:
        return self.folder / "source"

    def server(self, name: str) -> Artifacts:
        return open_artifacts(self.config, self.folder / name / "adapters", owner=name)

    def publish(self, name: str = "one") -> Version:
        place = self.server(name).publish(self.source, self.manifest)
        return version_of(self.manifest, place)

    def remote(self) -> tuple[Any, str]:
        """The far file system, and where the version lies in it."""
        address = str(self.config.store)
        system, root = open_address(
            address, self.config.store_options, timeout_seconds=5, attempts=1
        )
        return system, f"{root}/{PLACE}"

    def spoil(self, name: str = WEIGHTS) -> None:
        """Change the last byte of a file afar."""
        system, root = self.remote()
        content = bytearray(system.cat_file(f"{root}/{name}"))
        content[-1] ^= 1
        system.pipe_file(f"{root}/{name}", bytes(content))

    def listed(self) -> set[str]:
        """The names of what lies afar."""
        system, root = self.remote()
        try:
            return {path.rpartition("/")[2] for path in system.ls(root, detail=False)}
        except FileNotFoundError:
            return set()


def kept(folder: Path, **config: Any) -> Kept:
    source = make_adapter(folder / "source")
    settings = AdaptersConfig(**config)
    vetted = vet(source, BASE, settings)
    return Kept(folder, settings, manifest_of(vetted, BASE, channel="pawl", version=NAME))


def remote_config(kind: str, folder: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    if kind == "file":
        return {"store": f"file://{folder}/far"}
    if kind == "memory":
        return {"store": f"memory://{uuid4().hex}/far"}
    endpoint = request.getfixturevalue("s3")
    address = f"s3://{s3_server.new_bucket(endpoint)}/far"
    return {"store": address, "store_options": s3_server.options(endpoint)}


@pytest.fixture(params=["local", "shared", "file", "memory", "s3"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """Every kind of store."""
    if request.param == "local":
        return kept(tmp_path)
    if request.param == "shared":
        return kept(tmp_path, store=str(tmp_path / "shared"))
    return kept(tmp_path, **remote_config(request.param, tmp_path, request))


@pytest.fixture(params=["file", "memory", "s3"])
def afar(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """Those that are reached by an address."""
    return kept(tmp_path, **remote_config(request.param, tmp_path, request))


@pytest.fixture(params=["shared", "file", "memory", "s3"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """Those that several servers have."""
    if request.param == "shared":
        return kept(tmp_path, store=str(tmp_path / "shared"))
    return kept(tmp_path, **remote_config(request.param, tmp_path, request))


@pytest.fixture
def far_folder(tmp_path: Path) -> Kept:
    """One that is reached by an address, and is quick."""
    return kept(tmp_path, store=f"file://{tmp_path}/far")


def test_what_was_published_can_be_loaded(anywhere: Kept) -> None:
    version = anywhere.publish()
    folder = fetched(anywhere.server("one"), version)
    assert {path.name for path in folder.iterdir()} == {*anywhere.manifest.files, "manifest.json"}
    assert (folder / WEIGHTS).read_bytes() == (anywhere.source / WEIGHTS).read_bytes()
    assert version.folder == PLACE


def test_the_same_may_be_published_again(anywhere: Kept) -> None:
    first = anywhere.publish()
    assert anywhere.publish().folder == first.folder
    anywhere.server("one").verify(first)


def test_files_that_changed_since_they_were_vetted_are_refused(anywhere: Kept) -> None:
    (anywhere.source / "adapter_config.json").write_text("{}")
    with pytest.raises(FolderError):
        anywhere.publish()
    assert not anywhere.server("one").exists(version_of(anywhere.manifest, PLACE))


def test_a_version_that_was_never_published_is_damaged(anywhere: Kept) -> None:
    version = anywhere.publish()
    version.name, version.folder = "import-fedcba", "pawl/import-fedcba"
    with pytest.raises(CorruptArtifactError, match=r"import-fedcba"):
        anywhere.server("one").verify(version)


def test_an_empty_store_is_away_and_no_version_is_damaged(shared: Kept) -> None:
    with pytest.raises(StoreAwayError, match="not there"):
        shared.server("one").verify(version_of(shared.manifest, PLACE))


def test_a_bucket_that_is_not_there_is_told(tmp_path: Path, s3: str) -> None:
    far = kept(tmp_path, store="s3://nobodys/far", store_options=s3_server.options(s3))
    with pytest.raises(StoreAwayError):
        far.publish()
    with pytest.raises(StoreAwayError):
        far.server("two").verify(version_of(far.manifest, PLACE))


def test_files_of_another_content_are_found(anywhere: Kept) -> None:
    version = anywhere.publish()
    version.digest = "0" * 64
    with pytest.raises(CorruptArtifactError):
        anywhere.server("one").verify(version)


def test_a_removed_version_is_gone_and_may_be_removed_again(anywhere: Kept) -> None:
    version = anywhere.publish()
    store = anywhere.server("one")
    assert store.exists(version)
    store.remove(version)
    assert not store.exists(version)
    store.remove(version)


def test_another_server_has_what_one_has_published(afar: Kept) -> None:
    version = afar.publish("one")
    folder = fetched(afar.server("two"), version)
    assert (folder / WEIGHTS).read_bytes() == (afar.source / WEIGHTS).read_bytes()
    assert afar.folder / "two" in folder.parents
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o400}


def test_a_damaged_copy_is_thrown_away_and_fetched_again(afar: Kept) -> None:
    version = afar.publish()
    weights = afar.server("one").path(version) / WEIGHTS
    weights.chmod(0o644)
    weights.write_bytes(b"half")
    folder = fetched(afar.server("one"), version)
    assert (folder / WEIGHTS).read_bytes() == (afar.source / WEIGHTS).read_bytes()


@pytest.mark.parametrize("name", [WEIGHTS, "manifest.json"])
def test_damage_afar_is_found_and_nothing_of_it_stays_here(afar: Kept, name: str) -> None:
    version = afar.publish("one")
    afar.spoil(name)
    with pytest.raises(CorruptArtifactError, match=NAME):
        afar.server("two").verify(version)
    assert list((afar.folder / "two").rglob("*.safetensors")) == []
    assert list((afar.folder / "two").rglob(".adding-*")) == []


def test_a_copy_that_is_whole_needs_nothing_from_afar(far_folder: Kept) -> None:
    version = far_folder.publish()
    far_folder.spoil()
    far_folder.server("one").verify(version)


def test_what_was_removed_by_one_is_removed_from_the_other_too(far_folder: Kept) -> None:
    version = far_folder.publish("one")
    far_folder.server("two").verify(version)
    far_folder.server("one").remove(version)
    other = far_folder.server("two")
    assert other.exists(version)
    other.remove(version)
    assert not other.exists(version)


class CrashError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("uploads", range(3))
def test_an_upload_that_was_cut_off_is_no_version_and_is_made_again(
    far_folder: Kept, monkeypatch: pytest.MonkeyPatch, uploads: int
) -> None:
    kind = type(far_folder.remote()[0])
    put_file, done = kind.put_file, list[object]()

    def put(self: Any, *arguments: Any, **options: Any) -> None:
        if len(done) == uploads:
            raise CrashError
        put_file(self, *arguments, **options)
        done.append(arguments)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "put_file", put)
        with pytest.raises(CrashError):
            far_folder.publish()
    assert "manifest.json" not in far_folder.listed()
    version = version_of(far_folder.manifest, PLACE)
    with pytest.raises(ArtifactError):
        far_folder.server("two").verify(version)
    far_folder.publish()
    far_folder.server("two").verify(version)


def test_a_failed_fetch_leaves_nothing_here(
    far_folder: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = far_folder.publish("one")

    def broken(*_: object, **__: object) -> None:
        raise ConnectionError(f"somewhere with {s3_server.SECRET}")

    with monkeypatch.context() as patch:
        patch.setattr("adapters.store.remote.fetch_file", broken)
        with pytest.raises(ArtifactError, match="cannot be reached") as caught:
            far_folder.server("two").verify(version)
    assert s3_server.SECRET not in str(caught.value)
    assert not isinstance(caught.value, CorruptArtifactError)
    assert list((far_folder.folder / "two" / "adapters" / "pawl").iterdir()) == []


def test_an_s3_that_does_not_answer_is_told_without_its_credentials(tmp_path: Path) -> None:
    with s3_server.s3_server() as endpoint:
        bucket = s3_server.new_bucket(endpoint)
    gone = kept(
        tmp_path,
        store=f"s3://{bucket}/far",
        store_options=s3_server.options(endpoint),
        store_attempts=1,
    )
    with pytest.raises(ArtifactError, match="cannot be reached") as caught:
        gone.publish()
    assert s3_server.SECRET not in str(caught.value)
    assert bucket not in str(caught.value)


def test_options_are_not_shown(tmp_path: Path) -> None:
    config = AdaptersConfig(store="s3://b/p", store_options=s3_server.options("http://x"))
    assert s3_server.SECRET not in repr(config)


def test_without_s3fs_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(fsspec_registry()._registry, "s3", raising=False)
    with pytest.raises(StoreAddressError, match=r"'\.\[s3\]'"):
        open_artifacts(AdaptersConfig(store="s3://b/p"), tmp_path, "one")


def fsspec_registry() -> Any:
    """The module: the package has something else by that name."""
    return sys.modules["fsspec.registry"]


def test_an_address_that_cannot_be_is_refused_without_repeating_it(tmp_path: Path) -> None:
    with pytest.raises(StoreAddressError) as caught:
        open_artifacts(AdaptersConfig(store="nope://somebody:secret@x"), tmp_path, "one")
    assert "secret" not in str(caught.value)


def test_a_full_disk_here_is_told_as_such(
    far_folder: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = far_folder.publish("one")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adapters.store.remote.fetch_file", full)
    with pytest.raises(ArtifactError, match="No space left"):
        far_folder.server("two").verify(version)


def test_the_files_afar_have_the_layout_of_the_folder(far_folder: Kept) -> None:
    """So that a folder can be copied to S3 by hand, and back."""
    version = far_folder.publish()
    shared = AdaptersConfig(store=str(far_folder.folder / "far"))
    open_artifacts(shared, far_folder.folder / "none", "two").verify(version)


def test_a_far_store_is_one_that_has_a_copy(far_folder: Kept) -> None:
    assert isinstance(far_folder.server("one"), RemoteArtifactStore)
