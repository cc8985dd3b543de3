"""Messages over a pipe: each with its length before it."""

import struct
from typing import BinaryIO

HEADER = struct.Struct(">I")


def frame(message: bytes) -> bytes:
    """`message` as it goes over the pipe."""
    return HEADER.pack(len(message)) + message


def read_frame(source: BinaryIO) -> bytes | None:
    """The next message; None where the other side has closed the pipe."""
    header = source.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    message = source.read(length)
    return message if len(message) == length else None


def write_frame(target: BinaryIO, message: bytes) -> None:
    """Send a message at once."""
    target.write(frame(message))
    target.flush()
