"""Length-prefixed messages over a pipe."""

import struct
from typing import BinaryIO

HEADER = struct.Struct(">I")


def frame(message: bytes) -> bytes:
    """Return `message` with its length before it."""
    return HEADER.pack(len(message)) + message


def read_frame(source: BinaryIO) -> bytes | None:
    """Read the next message; return None if the other side has closed the pipe."""
    header = source.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    message = source.read(length)
    return message if len(message) == length else None


def write_frame(target: BinaryIO, message: bytes) -> None:
    """Write a message and flush."""
    target.write(frame(message))
    target.flush()
