"""Measures the peak memory of a process, however short the peak is."""

from pathlib import Path

_RESET_PEAK = "5"
"""Resets the peak to the current resident memory (proc_pid_clear_refs(5))."""


class PeakMemory:
    """Measures from its creation on."""

    def __init__(self, pid: int) -> None:
        self._process = Path("/proc") / str(pid)
        (self._process / "clear_refs").write_text(_RESET_PEAK)
        self._before = self._peak_bytes()

    def growth_bytes(self) -> int:
        """Return the peak minus the memory at the start. Raises `OSError` for an ended process."""
        return self._peak_bytes() - self._before

    def _peak_bytes(self) -> int:
        lines = (self._process / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
