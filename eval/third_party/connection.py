"""A conversation with the worker in a sandbox: requests with limits, and faults in words that are safe to print."""

import signal
import time
from typing import Any

from eval.records.record import State
from eval.run.failures import CannotRunError
from eval.third_party.faults import one_line, plain_lines
from eval.third_party.sandbox import Sandboxed
from eval.third_party.wire import Message, SlowError, WireError, receive, send

_ASKED = {
    "load": "to be built and loaded",
    "examine": "to be counted",
    "graph": "to give its graph",
    "count": "to be counted",
    "try": "to be tried",
    "state": "to name its weights",
}
# What a worker can know of itself. Other states are the harness's to give: "device failed" ends more than one model.
_TOLD = (
    *(State.REFUSED, State.MISSING_CHECKPOINT, State.MISSING_DEPENDENCY, State.NEEDS_OPERATOR, State.FAILED_TO_BUILD),
    *(State.FAILED_TO_LOAD, State.FAILED_TO_RUN, State.OUT_OF_MEMORY, State.INVALID_OUTPUT, State.IO_FAILED),
)


class Connection:
    """A conversation with the worker in a sandbox, which is killed after ``timeout_s`` for one request."""

    def __init__(self, sandboxed: Sandboxed, timeout_s: float) -> None:
        self.sandboxed, self._timeout_s = sandboxed, timeout_s
        self.out_of_turn_s = 0.0

    def ask(self, operation: str, payload: bytes = b"", max_payload: int = 0, **header: Any) -> tuple[Message, float]:
        """Send a request; return the answer, and the seconds until its end, by this process's clock.

        Raises:
            CannotRunError: the worker says what failed, is not heard of in time, dies, or sends what is no answer.
        """
        self.out_of_turn_s += self.sandboxed.go_on()
        deadline = time.monotonic() + self._timeout_s
        start_s = time.perf_counter()
        try:
            send(self.sandboxed.to_worker, Message({"op": operation, **header}, payload), deadline)
            answer = receive(self.sandboxed.from_worker, max_payload, deadline)
        except SlowError:
            self.sandboxed.kill()
            what = _ASKED.get(operation, "for one image")
            raise CannotRunError(State.TIMED_OUT, f"took more than {self._timeout_s:g} s {what}") from None
        except (WireError, OSError) as error:
            raise self._ending(error) from None
        elapsed_s = time.perf_counter() - start_s
        if "fault" in answer.header:
            raise _told(answer.header["fault"])
        return answer, elapsed_s

    def _ending(self, error: Exception) -> CannotRunError:
        """Say why there is no answer: because the worker died, or for what it sent."""
        deadline = time.monotonic() + 2
        while (reason := self.sandboxed.exit_reason()) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if reason is None:
            self.sandboxed.kill()
            return CannotRunError(State.FAILED_TO_RUN, f"its process does not keep to the protocol: {error}")
        # By these signals it was somebody else: a crash of its own has another one.
        killed = [f"by signal {number.value}" for number in (signal.SIGKILL, signal.SIGTERM)]
        signs = {State.OUT_OF_MEMORY: ["MiB", "memory"], State.TIMED_OUT: ["processor time"], State.KILLED: killed}
        states = [state for state, words in signs.items() if any(word in reason for word in words)]
        state = states[0] if states else State.FAILED_TO_RUN
        last = one_line(self.sandboxed.log_tail()[-300:])
        return CannotRunError(state, f"its process ended ({reason})" + (f"; it said: {last}" if last else ""))


def _told(fault: Any) -> CannotRunError:
    """Return the fault that a worker reports, with a state of ours and a text that is safe to print."""
    fields = fault if isinstance(fault, dict) else {}
    state = next((state for state in _TOLD if state == fields.get("state")), State.FAILED_TO_RUN)
    text, trace = fields.get("text"), fields.get("trace")
    return CannotRunError(state, one_line(str(text or "no reason")), plain_lines(str(trace)) if trace else None)
