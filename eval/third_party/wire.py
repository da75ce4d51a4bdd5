"""Messages between the harness and a worker: a JSON header and raw bytes, each of a stated length.

What comes from a worker is third-party data: it is read with limits on size and time, and nothing of it is executed.
"""

import json
import os
import select
import struct
import time
from dataclasses import dataclass, field
from io import FileIO

_FRAME = struct.Struct("<4sIQ")
_MAGIC = b"ESR1"
MAX_HEADER_BYTES = 2**20
MAX_GRAPH_BYTES = 2**28
_CHUNK_BYTES = 2**20


class WireError(Exception):
    """The other side sent something that is no message, or has closed the pipe."""


class SlowError(WireError):
    """No whole message came in time."""


@dataclass(frozen=True)
class Message:
    """One message."""

    header: dict = field(default_factory=dict)
    payload: bytes | bytearray | memoryview = b""


def send(pipe: FileIO, message: Message, deadline: float | None = None) -> None:
    """Write a message whole, by a deadline on the monotonic clock; the worker may wait for ever, by None.

    Raises:
        SlowError: the other side does not read.
        OSError: nobody reads.
    """
    header = json.dumps(message.header).encode()
    for part in (_FRAME.pack(_MAGIC, len(header), len(message.payload)) + header, message.payload):
        view = memoryview(part)
        while view:
            _wait(pipe, deadline, writing=True)
            view = view[os.write(pipe.fileno(), view[: select.PIPE_BUF if deadline else _CHUNK_BYTES]) :]


def receive(pipe: FileIO, max_payload: int, deadline: float | None = None) -> Message:
    """Read one message of at most ``max_payload`` bytes, by a deadline on the monotonic clock, or waiting for ever.

    Raises:
        SlowError: the deadline passed.
        WireError: the pipe is closed, or what comes is no message within the limits.
    """
    magic, header_bytes, payload_bytes = _FRAME.unpack(_read(pipe, _FRAME.size, deadline))
    if magic != _MAGIC or header_bytes > MAX_HEADER_BYTES:
        raise WireError("it sent something that is no message")
    if payload_bytes > max_payload:
        raise WireError(f"it sent {payload_bytes:,} bytes where at most {max_payload:,} were expected")
    try:
        header = json.loads(_read(pipe, header_bytes, deadline))
    except (ValueError, RecursionError) as error:
        raise WireError("it sent a message whose header is no JSON") from error
    if not isinstance(header, dict):
        raise WireError("it sent a message whose header is no JSON object")
    return Message(header, _read(pipe, payload_bytes, deadline))


def _read(pipe: FileIO, count: int, deadline: float | None) -> bytearray:
    data = bytearray()
    while len(data) < count:
        _wait(pipe, deadline, writing=False)
        chunk = os.read(pipe.fileno(), min(count - len(data), _CHUNK_BYTES))
        if not chunk:
            raise WireError("it closed its pipe")
        data += chunk
    return data


def _wait(pipe: FileIO, deadline: float | None, writing: bool) -> None:
    """Wait until the pipe is ready."""
    if deadline is None:
        return
    lists = ([], [pipe], []) if writing else ([pipe], [], [])
    if not any(select.select(*lists, max(deadline - time.monotonic(), 0))):
        raise SlowError("it did not answer in time")
