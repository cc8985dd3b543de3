"""How much memory a process has come to use, however short the peak was."""

from pathlib import Path

_RESET_PEAK = "5"
"""proc_pid_clear_refs(5): the peak becomes what is resident now."""


class PeakMemory:
    """Counts from when it is made."""

    def __init__(self, pid: int) -> None:
        self._process = Path("/proc") / str(pid)
        (self._process / "clear_refs").write_text(_RESET_PEAK)
        self._before = self._peak_bytes()

    def growth_bytes(self) -> int:
        """By how much the peak is over what was resident; raises `OSError` once it ended."""
        return self._peak_bytes() - self._before

    def _peak_bytes(self) -> int:
        lines = (self._process / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
