"""What a third-party program prints: read for ever, kept in part, shown without control characters."""

import select
import threading
from io import FileIO

from eval.words import printable

_CHUNK_BYTES = 2**16
_PATIENCE_MS = 1000


class Log:
    """Reads a pipe in a thread, so that who writes is never blocked, and keeps the last ``most`` bytes."""

    def __init__(self, pipe: FileIO, most: int) -> None:
        """Take over the reading end of a pipe."""
        self._pipe, self._most = pipe, most
        self._kept = bytearray()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._drain, name="log of a sandbox", daemon=True)
        self._thread.start()

    def tail(self) -> str:
        """Return what is kept as printable characters and line ends; anything else becomes "\ufffd"."""
        with self._lock:
            text = self._kept[-self._most :].decode("utf-8", "replace")
        text = text.replace("\r\n", "\n").replace("\t", " ")
        return "\n".join(printable(line, "\ufffd") for line in text.split("\n"))

    def close(self) -> None:
        """Read what is left when the writers are gone, and close; a writer that lives on is not waited for."""
        self._thread.join(1)
        self._stop.set()
        self._thread.join()
        self._pipe.close()

    def _drain(self) -> None:
        ready = select.poll()
        ready.register(self._pipe, select.POLLIN)
        while not self._stop.is_set():
            if not ready.poll(_PATIENCE_MS):
                continue
            chunk = self._pipe.read(_CHUNK_BYTES)
            if not chunk:
                return
            with self._lock:
                self._kept += chunk
                if len(self._kept) > 2 * self._most:
                    del self._kept[: -self._most]
