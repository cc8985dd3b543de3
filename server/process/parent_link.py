"""Heartbeats through a pipe from the server's event loop to the supervisor."""

import asyncio
import os
import select

BEAT_SECONDS = 1.0
"""Seconds between two heartbeats."""


async def beat(descriptor: int) -> None:
    """Write a byte every second, until cancelled or the pipe is closed."""
    os.set_blocking(descriptor, False)
    while True:
        try:
            os.write(descriptor, b".")
        except BlockingIOError:
            pass  # the pipe is full because the parent is stopped: it will read enough beats
        except OSError:
            return
        await asyncio.sleep(BEAT_SECONDS)


class Heartbeat:
    """The supervisor's end of the pipe, which counts heartbeats."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.beats = 0

    def handed_over(self) -> None:
        """Close the parent's copy of the write end, so that the child's death closes the pipe."""
        os.close(self.writer)

    def listen(self, seconds: float) -> bool:
        """Wait up to `seconds` for heartbeats; return whether the pipe is still open."""
        if not select.select([self.reader], [], [], seconds)[0]:
            return True
        received = os.read(self.reader, 4096)
        self.beats += len(received)
        return bool(received)

    def close(self) -> None:
        """Close the read end."""
        os.close(self.reader)
