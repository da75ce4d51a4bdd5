"""Networks that cheat, break or attack. Each is an enlargement by repeating pixels, and does one thing more."""

import dataclasses
import gc
import glob
import io
import json
import os
import signal
import sys
import time

import torch
from torch import nn


CLOCK = time.monotonic


def its_worker():
    """Return the worker that this code runs in, which it shares the process with."""
    return next(found for found in gc.get_objects() if type(found).__name__ == "Worker")


def answer_by(operation, answer):
    """Have ``answer`` answer an operation in the worker's place: it is given what would, and the request."""
    worker = its_worker()
    honest = getattr(worker, f"_{operation}")
    setattr(worker, f"_{operation}", lambda request: answer(honest, request))


def message(header, payload=b""):
    """Return a message as the worker sends it."""
    return sys.modules["eval.third_party.wire"].Message(header, payload)


class Honest(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return (x * self.weight).repeat_interleave(4, 2).repeat_interleave(4, 3)


class NotFinite(Honest):
    def forward(self, x):
        return super().forward(x) / 0


class WrongShape(Honest):
    def forward(self, x):
        return super().forward(x)[..., :-1]


class WrongType(Honest):
    def forward(self, x):
        return (super().forward(x) * 255).to(torch.uint8)


class Several(Honest):
    def forward(self, x):
        return [super().forward(x), x]


class WrongRange(Honest):
    def forward(self, x):
        return super().forward(x) * 255


class Raises(Honest):
    def forward(self, x):
        raise ValueError("\x1b[2J no \n good " + "long " * 1000)


class Leaves(Honest):
    def forward(self, x):
        sys.exit(0)


class Crashes(Honest):
    def forward(self, x):
        os.kill(os.getpid(), signal.SIGSEGV)


class Sleeps(Honest):
    def forward(self, x):
        time.sleep(600)


class EatsMemory(Honest):
    def forward(self, x):
        held = []
        while True:
            held.append(torch.ones(2**24))


class LooksAround(Honest):
    """Tells what lies beside its file, and whether the photographs of the set ``sample`` can be read."""

    def forward(self, x):
        import skimage

        beside = sorted(os.listdir(os.path.dirname(__file__)))
        folders = {os.path.join(place, "skimage", "data") for place in sys.path}
        folders |= {folder.replace("/lib/", "/lib64/") for folder in folders} | {os.path.dirname(skimage.__file__)}
        folders |= {os.path.realpath(folder) for folder in folders}
        photos = [file for folder in folders for file in glob.glob(f"{folder}/**/astronaut.png", recursive=True)]
        read = []
        for photo in photos:
            try:
                read.append(open(photo, "rb").read(4))
            except OSError:
                continue
        raise ValueError(f"{beside} {len(photos) > 0} {read}")


class Garbles(Honest):
    """Writes to the pipe of replies, which it can find among its open files."""

    def forward(self, x):
        for fd in range(3, 64):
            try:
                os.write(fd, b"garbage " * 100)
            except OSError:
                continue
        return super().forward(x)


class FakesAReply(Honest):
    """Answers for the worker: an output of ones, at once, and counts of zero."""

    def forward(self, x):
        header = json.dumps({"shape": [1, 3, 4 * x.shape[-2], 4 * x.shape[-1]], "dtype": "float32"}).encode()
        frame = b"ESR1" + len(header).to_bytes(4, "little") + (0).to_bytes(8, "little") + header
        for fd in range(3, 64):
            try:
                os.write(fd, frame)
            except OSError:
                continue
        time.sleep(600)


class StopsTheClock(Honest):
    """Makes every clock of its process stand still, and works for half a second."""

    def forward(self, x):
        end = CLOCK() + 0.5
        while CLOCK() < end:
            pass
        time.perf_counter = time.perf_counter_ns = time.time = time.monotonic = lambda: 0
        return super().forward(x)


class WorksBefore(Honest):
    """Does its work when the input is handed over, and has it ready when the clock runs."""

    def __init__(self):
        super().__init__()
        answer_by("put", self.put_and_work)

    def put_and_work(self, put, request):
        answer = put(request)
        time.sleep(1.0)
        return answer


class Random(Honest):
    def forward(self, x):
        return super().forward(x) + 0.01 * torch.randn(1)


class Picky(Honest):
    """Takes no image of the sizes that networks are counted at."""

    def forward(self, x):
        if x.shape[-1] >= 64:
            raise ValueError("only small sizes")
        return super().forward(x)


class ClaimsNothing(Honest):
    """Reports counts and flags of its own invention."""

    def __init__(self):
        super().__init__()
        invented = {"complexity": {"num_params": -1}, "flags": [{"code": "<script>"}]}
        answer_by("examine", lambda _examine, _request: message(invented))


class Blurs(Honest):
    """Multiplies: 27 weights for each of three outputs of a pixel."""

    def forward(self, x):
        kernel = torch.full((3, 3, 3, 3), 1 / 27)
        return super().forward(nn.functional.conv2d(x, kernel, padding=1))


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.factor = 2
        return x * ctx.factor

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor


class BlursByFunctions(Blurs):
    """Honest; part of it is an ``autograd.Function``."""

    def forward(self, x):
        return super().forward(_Doubled.apply(x) / 2)


class ClaimsLess(Blurs):
    """Does a tenth of its work, so it says."""

    def __init__(self):
        super().__init__()
        answer_by("examine", self.claim)

    def claim(self, examine, request):
        answer = examine(request)
        for name in ("flops", "flops_by_dispatcher", "flops_on_noise"):
            answer.header["complexity"][name] //= 10
        return answer


class ClaimsNoFlops(ClaimsLess):
    """Says that it counted no FLOPs, and names a quarter of its parameters."""

    def claim(self, examine, request):
        answer = examine(request)
        claim = answer.header["complexity"]
        claim |= dict.fromkeys(("flops", "flops_by_dispatcher", "flops_on_noise"))
        claim |= {"num_params": claim["num_params"] // 4, "faults": {}}
        return answer


class GivesAnotherGraph(ClaimsLess):
    """Gives the graph of a smaller network as its own."""

    def __init__(self):
        super().__init__()
        answer_by("graph", self.give)

    def give(self, graph, request):
        worker = its_worker()
        mine, worker.loaded = worker.loaded, dataclasses.replace(worker.loaded, network=Honest())
        try:
            return graph(request)
        finally:
            worker.loaded = mine


class _ByHand(Honest):
    """The blur without a convolution: products that no counter counts."""

    def forward(self, x):
        kernel = torch.full((3, 27, 1), 1 / 27)
        parts = nn.functional.unfold(x, 3, padding=1)
        return super().forward((parts * kernel).sum(1).view(1, 3, *x.shape[2:]))


class _Once(Honest):
    """Blurs the first time only."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 1:
            x = nn.functional.conv2d(x, torch.full((3, 3, 3, 3), 1 / 27), padding=1)
        return (x * self.weight).repeat_interleave(4, 2).repeat_interleave(4, 3)


class _CheapOnZeros(Honest):
    """Blurs but for the image that counters use."""

    def forward(self, x):
        if bool((x != 0).any()):
            x = nn.functional.conv2d(x, torch.full((3, 3, 3, 3), 1 / 27), padding=1)
        return (x * self.weight).repeat_interleave(4, 2).repeat_interleave(4, 3)


class _GivesScript(ClaimsLess):
    """Gives a graph that does the same with fewer counts."""

    def __init__(self, graph):
        super().__init__()
        buffer = io.BytesIO()
        torch.jit.save(graph, buffer)
        answer_by("graph", lambda _graph, _request: message({}, buffer.getvalue()))


class GivesAGraphByHand(_GivesScript):
    def __init__(self):
        super().__init__(torch.jit.trace(_ByHand(), torch.rand(1, 3, 256, 256)))


class GivesAGraphThatWorksOnce(_GivesScript):
    def __init__(self):
        super().__init__(torch.jit.script(_Once()))


class GivesAGraphCheapOnZeros(_GivesScript):
    def __init__(self):
        super().__init__(torch.jit.script(_CheapOnZeros()))


class IsCheapOnNoise(Blurs):
    """Tells photographs, which are smooth, from what networks are counted on."""

    def forward(self, x):
        rough = (x[..., 1:] - x[..., :-1]).abs().mean() > 0.1
        return Honest.forward(self, x) if rough or x.max() == 0 else super().forward(x)


class ClaimsLessWhereItIsPublished(ClaimsLess):
    """Claims less of one count: the one that stands in tables."""

    def claim(self, examine, request):
        answer = examine(request)
        answer.header["complexity"]["flops"] //= 10
        return answer


class HidesOneCount(ClaimsLess):
    """Leaves out what is compared."""

    def claim(self, examine, request):
        answer = super().claim(examine, request)
        answer.header["complexity"]["flops_by_dispatcher"] = None
        return answer


class GivesNoGraph(Blurs):
    def __init__(self):
        super().__init__()
        answer_by("graph", lambda _graph, _request: message({}, b"no graph"))


class PatchesTorch(Honest):
    """Makes torch and the worker's own tools lie about everything."""

    def __init__(self):
        super().__init__()
        torch.isfinite = lambda x: torch.ones(1, dtype=torch.bool)
        torch.set_num_threads = lambda _count: None
        sys.modules["eval.metrics.psnr_ssim"] = None
        sys.modules["eval.data.images"].to_uint8 = lambda *_: None

    def forward(self, x):
        return super().forward(x) * float("nan")


def burn(seconds):
    """Use a processor for so long, by its own clock."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class WorksWhenTheImageArrives(Honest):
    """As ``WorksBefore``, in less than what a slow pipe could take."""

    def __init__(self):
        super().__init__()
        answer_by("put", self.work_and_put)

    def work_and_put(self, put, request):
        burn(0.084)
        return put(request)


class BurnsOnTheSide(Honest):
    """Leaves a process that never stops computing: others are slower beside it."""

    def __init__(self):
        super().__init__()
        if os.fork() == 0:
            while True:
                pass


class UsesTwoProcessors(Honest):
    """Halves its time by a second process, once it has taken all processors that it can get."""

    def forward(self, x):
        try:
            os.sched_setaffinity(0, range(os.cpu_count()))
        except OSError:
            pass
        other = os.fork()
        burn(0.05)
        if other == 0:
            os._exit(0)
        os.waitpid(other, 0)
        return super().forward(x)
