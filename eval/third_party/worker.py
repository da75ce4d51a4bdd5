"""The program inside the sandbox: builds one submission by its own code, and runs it as it is asked to.

It shares its process with third-party code. What it says is therefore a claim, which the harness checks or labels.
"""

import contextlib
import os
import re
import sys
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eval.config import AUTO
from eval.data.pairs import SCALE
from eval.device.clock import kernels_ms
from eval.device.memory import device_peak_mib, keep_freed_memory, reset_device_peak, return_free_memory
from eval.device.numerics import set_cudnn_switches, set_full_precision_on_cpu
from eval.device.pixels import to_tensor
from eval.device.placing import finish, pick_device
from eval.inference.outputs import output_in_words, what_to_return
from eval.metrics.behaviour import inspect
from eval.metrics.complexity import attempt, measure_complexity
from eval.metrics.trials import try_network
from eval.records.record import State
from eval.third_party.faults import NO_GPU, SubmissionError, described
from eval.third_party.graphs import counted_forward, graph_of, load_graph
from eval.third_party.loading import Loaded, load_entry, load_model_file
from eval.third_party.shims import install
from eval.third_party.shims.cuda import OnCpu, wants_gpu
from eval.third_party.wire import Message, WireError, receive, send

MAX_INPUT_BYTES = 2**31


class Worker:
    """Answers requests about one submission."""

    def __init__(self) -> None:
        # Asked for before third-party code, which may change it.
        self._scratch = os.environ.get("ESR_SCRATCH")
        # Set by the first request.
        self.loaded: Loaded
        self.notes: set[str] = set()
        # Whether TF32 is allowed; None where the submission has the last word, as with the template.
        self.tf32: bool | None = None
        # Entered for every forward of a network that asks for a CUDA device while it runs.
        self.mode: OnCpu | None = None
        self.lr = self.sr = torch.empty(0)

    def answer(self, request: Message) -> Message:
        """Carry out one request; an error of the submission's is an answer, too."""
        operation = request.header["op"]
        try:
            return getattr(self, f"_{operation}")(request)
        except BaseException as error:
            # Third-party code can raise anything, SystemExit and KeyboardInterrupt included.
            otherwise = State.FAILED_TO_BUILD if operation in ("give", "load") else State.FAILED_TO_RUN
            return Message({"fault": described(error, otherwise, self._as_handed_over)})

    def _as_handed_over(self, said: str) -> str:
        """Name files in a text as they are called where they came from, not by where they lie here."""
        return re.sub(rf"{re.escape(f'{self._scratch}/given/')}(code/|checkpoint/)?", "", said)

    def _give(self, request: Message) -> Message:
        _place(request.header["place"]).write_bytes(request.payload)
        return Message()

    def _load(self, request: Message) -> Message:
        header = request.header
        torch.set_num_threads(header["threads"])
        set_cudnn_switches(header["tf32"])
        if not header["as_template"]:
            keep_freed_memory()
            self.tf32 = header["tf32"]
        device = torch.device(header["device"])
        if device.type == "cuda" and pick_device(AUTO).type != "cuda":
            raise SubmissionError(State.MISSING_DEPENDENCY, NO_GPU.format("torch finds none there"))
        self.notes = install(device, trusted=header["trusted"], weights_folders=[str(_given() / "model_zoo")])
        _forget_our_models()
        with OnCpu(self.notes) if device.type == "cpu" else contextlib.nullcontext():
            self.loaded = _load(request, device)
        loaded = self.loaded
        told = {"steps": loaded.weights.steps, "stored": loaded.weights.stored} if loaded.weights else {}
        header = {"data_range": loaded.data_range, "shims": sorted(self.notes)}
        return Message({**header, "weights": told})

    def _put(self, request: Message) -> Message:
        height, width = request.header["height"], request.header["width"]
        lr = np.frombuffer(request.payload, np.uint8).reshape(height, width, 3)
        self.lr = to_tensor(lr, self.loaded.data_range).to(self.loaded.device)
        self.sr = torch.empty(0)
        # Its code may have set them otherwise; before each image, for it is the forward that is timed.
        set_full_precision_on_cpu()
        if self.tf32 is not None:
            set_cudnn_switches(self.tf32)
        # Some draw noise even at inference: this way at least the same every time.
        torch.manual_seed(0)
        return Message()

    def _go(self, _request: Message) -> Message:
        try:
            return self._forward()
        except (AssertionError, RuntimeError) as error:
            if self.mode or self.loaded.device.type != "cpu" or not wants_gpu(error):
                raise
            self.mode = OnCpu(self.notes)
            return self._forward()

    def _forward(self) -> Message:
        with torch.no_grad(), self.mode or contextlib.nullcontext():
            self.sr = self.loaded.forward(self.lr)
        finish(self.loaded.device)
        return Message(self._output_told())

    def _output_told(self) -> dict[str, Any]:
        """Return what is said of the output, which may be no tensor, or one with a will of its own."""
        if isinstance(self.sr, torch.Tensor) and type(self.sr) is not torch.Tensor:
            words = f"{type(self.sr).__name__}, a subclass of torch.Tensor, {output_in_words(self.sr)}"
            return {"shape": [], "dtype": f"{words}; return a plain tensor: sr.detach().as_subclass(torch.Tensor)"}
        if type(self.sr) is not torch.Tensor:
            height, width = (side * SCALE for side in self.lr.shape[-2:])
            advice = what_to_return(self.sr, (1, 3, height, width))
            return {"shape": [], "dtype": f"{output_in_words(self.sr)}{advice}"}
        return {"shape": list(self.sr.shape), "dtype": str(self.sr.dtype).removeprefix("torch.")}

    def _get(self, _request: Message) -> Message:
        sr = self.sr.detach().float().cpu().contiguous().numpy()
        return Message({}, sr.data.cast("B"))

    def _alone(self, _request: Message) -> Message:
        with torch.no_grad():
            return Message({"ms": kernels_ms(self.loaded.forward, self.lr)})

    def _state(self, _request: Message) -> Message:
        state = self.loaded.network.state_dict()
        types = {name: str(value.dtype).removeprefix("torch.") for name, value in state.items()}
        return Message({"state": types, "is_held": self.loaded.is_held})

    def _settle(self, _request: Message) -> Message:
        """Give back what building has freed, so that it does not hide what images take; a GPU's peak begins here."""
        return_free_memory()
        if self.loaded.device.type == "cuda":
            reset_device_peak(self.loaded.device)
        return Message()

    def _peak(self, _request: Message) -> Message:
        return Message({"mib": device_peak_mib(self.loaded.device)})

    def _examine(self, _request: Message) -> Message:
        loaded = self.loaded
        complexity = measure_complexity(loaded.network, data_range=loaded.data_range).model_dump()
        if loaded.count_with_hooks is not None:
            what = "FLOPs by the counter of 2022"
            complexity["flops_by_hooks"] = attempt(complexity["faults"], what, loaded.count_with_hooks)
        flags = [flag.model_dump() for flag in inspect(loaded.network, loaded.data_range)]
        return Message({"complexity": complexity, "flags": flags})

    def _graph(self, _request: Message) -> Message:
        with self.mode or contextlib.nullcontext():
            return Message({}, graph_of(self.loaded))

    def _count(self, _request: Message) -> Message:
        self.sr, counts = counted_forward(self.loaded.network, self.lr)
        return Message({**self._output_told(), "counts": counts})

    def _try(self, _request: Message) -> Message:
        loaded = self.loaded
        with self.mode or contextlib.nullcontext():
            return Message({"trials": try_network(loaded.network, loaded.data_range, loaded.forward).model_dump()})


def _load(request: Message, device: torch.device) -> Loaded:
    folder, header = _given(), request.header
    for place, path in header["shown"].items():
        _place(place).symlink_to(path)
    if "graph_range" in header:
        return load_graph(request.payload, header["graph_range"], device)
    if "model_file" in header:
        return load_model_file(folder, header["model_file"], device)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    return load_entry(folder, header["entry"], device)


def _given() -> Path:
    """Return the folder of what the submission is given; its code may write there."""
    return Path(os.environ["ESR_SCRATCH"]) / "given"


def _place(place: str) -> Path:
    """Return the path of a given file, in a folder that is there."""
    path = _given() / place
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _forget_our_models() -> None:
    """Make ``import models`` and ``import utils`` find the submission's."""
    project = str(Path(__file__).resolve().parent.parent.parent)
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != project]
    # Where the project is installed in place, a finder would go on finding ours.
    sys.meta_path[:] = [its for its in sys.meta_path if not getattr(its, "__module__", "").startswith("__editable__")]
    for name in [name for name in sys.modules if name.split(".")[0] in ("models", "utils", "test_demo")]:
        del sys.modules[name]


def main() -> None:
    """Answer requests until the harness closes the pipe."""
    requests = FileIO(int(os.environ.pop("ESR_REQUESTS_FD")), "r")
    replies = FileIO(int(os.environ.pop("ESR_REPLIES_FD")), "w")
    worker = Worker()
    with contextlib.suppress(WireError):
        while True:
            send(replies, worker.answer(receive(requests, MAX_INPUT_BYTES)))


if __name__ == "__main__":
    main()
