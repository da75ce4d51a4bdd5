"""Messages between the harness and a worker, and what may come instead of one."""

import os
import struct
import threading
import time
from io import FileIO

import pytest

from eval.third_party.wire import MAX_HEADER_BYTES, Message, SlowError, WireError, receive, send


@pytest.fixture
def pipe():
    read, write = os.pipe()
    with FileIO(read, "r") as reader, FileIO(write, "w") as writer:
        yield reader, writer


def frame(header: bytes, payload: bytes = b"", magic: bytes = b"ESR1", length: int | None = None) -> bytes:
    return struct.pack("<4sIQ", magic, len(header), len(payload) if length is None else length) + header + payload


def soon() -> float:
    return time.monotonic() + 120


def test_a_message_arrives_as_it_was_sent_however_large(pipe):
    reader, writer = pipe
    message = Message({"op": "put", "height": 3}, os.urandom(3_000_000))
    sender = threading.Thread(target=send, args=(writer, message))
    sender.start()
    received = receive(reader, 3_000_000, soon())
    sender.join()
    assert received.header == message.header
    assert bytes(received.payload) == message.payload


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"garbage " * 10, "no message"),
        (frame(b"{}", magic=b"ESR2"), "no message"),
        (frame(b"x" * (MAX_HEADER_BYTES + 1)), "no message"),
        (frame(b"{}", length=2**63), "where at most 100 were expected"),
        (frame(b"{}", b"x" * 101), "sent 101 bytes where at most 100"),
        (frame(b"not json"), "no JSON"),
        (frame(b"\xff\xfe"), "no JSON"),
        (frame(b"[" * 100_000), "no JSON"),
        (frame(b"[1]"), "no JSON object"),
        (frame(b"{}", b"abc", length=50), "closed its pipe"),
        (b"ESR1", "closed its pipe"),
        (b"", "closed its pipe"),
    ],
)
def test_what_is_no_message_is_refused(pipe, data: bytes, reason: str):
    reader, writer = pipe

    def write() -> None:
        with writer:
            try:
                for start in range(0, len(data), 4096):
                    writer.write(data[start : start + 4096])
            except BrokenPipeError:
                pass

    sender = threading.Thread(target=write)
    sender.start()
    with pytest.raises(WireError, match=reason):
        receive(reader, 100, soon())
    reader.close()
    sender.join()


def test_one_that_says_nothing_or_only_half_is_too_slow(pipe):
    reader, writer = pipe
    with pytest.raises(SlowError, match="did not answer in time"):
        receive(reader, 100, time.monotonic() + 0.05)
    writer.write(frame(b'{"half": ')[:-3])
    with pytest.raises(SlowError):
        receive(reader, 100, time.monotonic() + 0.05)


def test_one_that_does_not_read_is_too_slow(pipe):
    _, writer = pipe
    with pytest.raises(SlowError):
        send(writer, Message({}, bytes(10_000_000)), time.monotonic() + 0.1)
