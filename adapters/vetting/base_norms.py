"""Frobenius norms of the base model's weights, for comparison with an adapter's updates.

A norm is computed when an adapter first changes the module, from the safetensors files in blocks of
rows (4 s per billion values on one core), and cached in a file for the next start.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from types import MappingProxyType

import structlog

from adapters.errors import WeightsFormatError
from adapters.vetting.norms import FLOAT_TYPES, frobenius
from adapters.vetting.weights import Tensor, read_tensors

MATRIX = 2
Place = tuple[Path, Tensor]
"""A tensor and the file that contains it."""


class BaseNorms:
    """Frobenius norms ‖W‖ of the linear modules of the model in `folder`, by module name.

    `tensors` maps modules to their tensor's name in the files where that is not `<module>.weight`.
    `memory` is the cache file, which is discarded if its `fingerprint` differs. Without a folder no
    norm is known.
    """

    def __init__(
        self,
        folder: Path | None,
        fingerprint: str = "",
        memory: Path | None = None,
        tensors: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._memory = memory
        self._tensors = tensors
        self._places: dict[str, Place] | None = None
        self._norms: dict[str, float] | None = None
        self._turn = Lock()
        self._log = structlog.get_logger()

    def of(self, module: str) -> float | None:
        """Return ‖W‖ of the module, or None if it is unknown.

        It is unknown for quantised weights and without safetensors files. The first call for a
        module reads its weight. Raises `OSError`.
        """
        with self._turn:
            norms = self._known()
            if module not in norms:
                place = self._index().get(self._tensors.get(module, f"{module}.weight"))
                if place is None or not _readable(place[1]):
                    return None
                norms[module] = frobenius(*place)
            return norms[module]

    def keep(self) -> None:
        """Write the norms to the cache file; a failure is only logged."""
        with self._turn:
            if self._memory is None or not self._norms:
                return
            text = json.dumps({"fingerprint": self._fingerprint, "norms": self._norms})
            draft = self._memory.with_suffix(".new")
            try:
                draft.write_text(text)
                draft.replace(self._memory)
            except OSError as error:
                self._log.warning("base_norms_not_kept", error=error.strerror)

    def _known(self) -> dict[str, float]:
        if self._norms is None:
            self._norms = self._read_cache()
        return self._norms

    def _read_cache(self) -> dict[str, float]:
        if self._memory is None or not self._memory.is_file():
            return {}
        try:
            kept = json.loads(self._memory.read_text())
            if kept["fingerprint"] == self._fingerprint:
                return {str(name): float(norm) for name, norm in kept["norms"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._log.warning("base_norms_unreadable", error=type(error).__name__)
        return {}

    def _index(self) -> dict[str, Place]:
        if self._places is None:
            files = sorted(self._folder.glob("*.safetensors")) if self._folder else []
            self._places = {tensor.name: (path, tensor) for path in files for tensor in _read(path)}
        return self._places


UNKNOWN = BaseNorms(None)
"""For a base model whose weights are not on this disk."""


def _read(path: Path) -> list[Tensor]:
    try:
        return read_tensors(path)
    except WeightsFormatError:  # the engine supports the file, or the start would have failed
        return []


def _readable(tensor: Tensor) -> bool:
    """Whether the tensor is a matrix in a supported float type."""
    return tensor.dtype in FLOAT_TYPES and len(tensor.shape) == MATRIX
