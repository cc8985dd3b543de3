"""The sizes of the base model's weights, to compare an adapter's updates with.

Computed when an adapter first changes a module, from the safetensors files, a few rows at a time
(4 s per billion values on one core), and kept in a file for the next start.
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
"""A tensor, and the file that holds it."""


class BaseNorms:
    """‖W‖ (Frobenius) of the linear modules of the model in `folder`, by their names.

    `tensors` gives the tensor of a module in the files where it is not `<module>.weight`. `memory`
    is the file that keeps what was computed; it is thrown away for another `fingerprint`. Without
    a folder nothing is known.
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
        """‖W‖ of the module; None where the files do not tell.

        That is so without safetensors files (then the bounds of the float type alone hold), and
        for quantised weights. Reads the weight when it is asked for the first time. Raises
        `OSError`.
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
        """Write what was computed into the file; a disk that is full is no reason to fail."""
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
            self._norms = self._remembered()
        return self._norms

    def _remembered(self) -> dict[str, float]:
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
"""Of a base model whose weights are not on this disk."""


def _read(path: Path) -> list[Tensor]:
    try:
        return read_tensors(path)
    except WeightsFormatError:  # the engine reads it, or the start has failed on it already
        return []


def _readable(tensor: Tensor) -> bool:
    """Whether the tensor is the module's own weight, in a type that numpy can read."""
    return tensor.dtype in FLOAT_TYPES and len(tensor.shape) == MATRIX
