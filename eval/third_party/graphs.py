"""A network as a graph of torch's operators: given by its worker, run by one that holds none of its code."""

import io
import warnings
import zipfile
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from eval.device.following import Call, Following
from eval.metrics.complexity import INPUT_SIDE
from eval.records.record import State
from eval.third_party.faults import SubmissionError
from eval.third_party.loading import Loaded
from eval.third_party.wire import MAX_GRAPH_BYTES

# By torch's names, besides views and what reads no tensor: these move values, choose some, or add them up.
_FREE = frozenset(
    "clone copy _to_copy lift_fresh_copy _unsafe_view fill zero cat stack repeat repeat_interleave roll flip "
    "rot90 tril triu index _unsafe_index index_select index_put gather scatter_add select_scatter "
    "slice_scatter masked_select nonzero constant_pad_nd reflection_pad1d reflection_pad2d replication_pad2d "
    "pixel_shuffle pixel_unshuffle complex native_channel_shuffle im2col col2im embedding upsample_nearest2d "
    "_upsample_nearest_exact2d sum mean amax amin max min aminmax argmax argmin any all sort topk cumsum "
    "max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d bernoulli exponential normal "
    "uniform equal item _local_scalar_dense".split()
)
# Besides what torch marks as pointwise, which of some operators is one form alone: each value meets few others.
_ONE_BY_ONE = frozenset(
    "abs rsub gelu mish threshold masked_fill eq ne ge le gt lt floor_divide _prelu_kernel hardswish glu polar "
    "log_sigmoid_forward _softmax _log_softmax logsumexp native_batch_norm cudnn_batch_norm _native_batch_norm_legit "
    "_native_batch_norm_legit_no_training native_group_norm native_layer_norm _fused_rms_norm var var_mean std "
    "std_mean norm linalg_vector_norm _weight_norm_interface native_dropout scatter index_add upsample_bilinear2d "
    "upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa grid_sampler_2d _fft_r2c _fft_c2r "
    "_fft_c2c".split()
)
# What a graph may call: torch's own operators, and ours; but nothing that its counter would not see.
_KNOWN_SPACES = ("aten", "prim", "prims", "esr")
_UNSEEN = ("prim::fork", "prim::awaitable", "prim::tolist", "prim::CallMethod", "prim::CallFunction")
# What runs while a graph is loaded, or beside it.
_RUN_BESIDE = (b"__setstate__", b"__forward_pre_hooks__", b"__forward_hooks__")
_MOST_CODE_BYTES = 2**26


def graph_of(loaded: Loaded) -> memoryview:
    """Return the graph of a network for inputs of 256x256, weights included, in TorchScript's format.

    Raises:
        SubmissionError: it is too large.
        Exception: whatever its code raises, or the tracer.
    """
    generator = torch.Generator().manual_seed(0)
    x = loaded.data_range * torch.rand((1, 3, INPUT_SIDE, INPUT_SIDE), generator=generator)
    buffer = io.BytesIO()
    as_computed = patch.object(torch.autograd.Function, "apply", _apply)
    # Warned of are sizes that become constants, which they may, and TorchScript's age.
    with torch.no_grad(), warnings.catch_warnings(action="ignore"), as_computed:
        torch.jit.save(torch.jit.trace(loaded.network, x.to(loaded.device), check_trace=False, strict=False), buffer)
    if buffer.tell() > MAX_GRAPH_BYTES:
        raise SubmissionError(State.FAILED_TO_RUN, f"its graph has {buffer.tell():,} bytes, more than can be checked")
    return buffer.getbuffer()


class _NoGradients:
    """Stands for which inputs need a gradient: none, however many there are."""

    def __getitem__(self, _index: int) -> bool:
        return False

    def __iter__(self) -> Any:
        return iter(())


class _Context:
    """What the forward of an ``autograd.Function`` notes for its backward, which is never run."""

    needs_input_grad = _NoGradients()

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_args, **_kwargs: None


@classmethod
def _apply(cls: type[torch.autograd.Function], *args: Any, **kwargs: Any) -> Any:
    """Call an ``autograd.Function`` as what it computes: a graph holds no function of Python's."""
    apart = cls.setup_context is not torch.autograd.Function.setup_context
    return cls.forward(*args, **kwargs) if apart else cls.forward(_Context(), *args, **kwargs)


def load_graph(data: bytes | bytearray | memoryview, data_range: float, device: torch.device) -> Loaded:
    """Load a graph as a network.

    Raises:
        SubmissionError: it would call more than torch's own operators, or by ways on which they cannot be counted.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        code = [file for file in archive.infolist() if file.filename.endswith(".py")]
        if sum(file.file_size for file in code) > _MOST_CODE_BYTES:
            raise SubmissionError(State.FAILED_TO_LOAD, "its graph is too long to be read")
        texts = [archive.read(file) for file in code]
    if beside := [name.decode() for name in _RUN_BESIDE if any(name in text for text in texts)]:
        raise SubmissionError(State.FAILED_TO_LOAD, f"its graph calls {', '.join(beside)}")
    with warnings.catch_warnings(action="ignore"):
        network = torch.jit.load(io.BytesIO(data), map_location=device).eval()
    called = set(_called(network.inlined_graph))
    if others := sorted(its for its in called if its.partition("::")[0] not in _KNOWN_SPACES or its in _UNSEEN):
        raise SubmissionError(State.FAILED_TO_LOAD, f"its graph calls {', '.join(others)}")
    return Loaded(data_range, network, device, network)


def _called(block: Any) -> Iterator[str]:
    """Yield what a block of a graph calls, and the blocks in it."""
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from _called(inner)


class _Uncounted:
    """What no counter counts: values that are computed one by one, and operators that are not known."""

    def __init__(self) -> None:
        self.values, self.unknown = 0, set()

    def note(self, call: Call) -> None:
        name, its = call.name, call.operator
        takes_form_alone = name.endswith("_like") or name.startswith("new_")
        if its._overloadpacket in flop_registry or its.is_view or not call.read or takes_form_alone or name in _FREE:
            return
        if torch.Tag.pointwise in its.tags or name in _ONE_BY_ONE:
            self.values += max(tensor.numel() for tensor in (*call.read, *call.made))
        else:
            self.unknown.add(f"{its.namespace}::{name}")


def counted_forward(network: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Return a graph's output for an image, and what was counted while it was computed."""
    uncounted, counter = _Uncounted(), FlopCounterMode(display=False)
    with torch.no_grad(), warnings.catch_warnings(action="ignore"), Following(uncounted.note), counter:
        sr = network(x)
    num_params = sum(parameter.numel() for parameter in network.parameters())
    counts = {"num_params": num_params, "flops": counter.get_total_flops() // 2, "values": uncounted.values}
    return sr, counts | {"unknown": sorted(uncounted.unknown)}
