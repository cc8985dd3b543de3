"""Signs of life through a pipe: the server's event loop beats, its parent listens."""

import asyncio
import os
import select

BEAT_SECONDS = 1.0


async def beat(descriptor: int) -> None:
    """Write a byte every second, until cancelled or nobody listens any more."""
    os.set_blocking(descriptor, False)
    while True:
        try:
            os.write(descriptor, b".")
        except BlockingIOError:
            pass  # the parent is stopped: what it has not read says enough
        except OSError:
            return
        await asyncio.sleep(BEAT_SECONDS)


class Heartbeat:
    """The parent's end of the pipe: how many beats came."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.beats = 0

    def handed_over(self) -> None:
        """Close our copy of the child's end, so that the pipe ends with the child."""
        os.close(self.writer)

    def listen(self, seconds: float) -> bool:
        """Wait so long for beats; whether the pipe is still open."""
        if not select.select([self.reader], [], [], seconds)[0]:
            return True
        heard = os.read(self.reader, 4096)
        self.beats += len(heard)
        return bool(heard)

    def close(self) -> None:
        """Listen no more."""
        os.close(self.reader)
