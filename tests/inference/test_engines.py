"""Engines: eager's pixels, half precision where it belongs, and nothing that falls back in silence."""

import copy
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from skimage.data import astronaut
from torch import Tensor, nn

from eval.config import RunConfig
from eval.data.images import ImageSize
from eval.device.graphs import Recording
from eval.device.memory import live_bytes_per_pixel
from eval.device.pixels import to_tensor, to_uint8
from eval.errors import EngineError, RunError, UsageError
from eval.inference.engines import compiled, eager, packages, registry
from eval.inference.engines.choosing import same_pixels
from eval.inference.engines.cuda_graphs import replaying
from eval.inference.engines.precision import in_precision, rounded
from eval.inference.engines.preparing import prepare
from eval.inference.engines.registry import ENGINES, Engine, Execution, check_engine
from eval.inference.upscaler import Upscaler
from eval.metrics.behaviour import inspect
from eval.metrics.complexity import measure_complexity
from eval.run.model_source import ZooModel
from eval.zoo.checkpoints import find_checkpoint
from eval.zoo.loading import load_network
from eval.zoo.manifest import all_models, find_model
from tests.rounding import rounding
from tests.tasks import config_of, tiny_spec

CPU = torch.device("cpu")
SIZE = ImageSize(40, 50)
NETWORKS = [spec for spec in all_models() if spec.checkpoints]
# The ones whose output is the input's enlargement and a residual.
WITH_SHORTCUT = {"PFDNLite", "ABPN"}
WITHOUT_SHORTCUT = {"RLFN", "DIPNet", "PFDN", "EFDN", "SPAN", "IMDN", "RFDN"}


@pytest.fixture
def untrained(tmp_path: Path):
    """Make a model of the zoo with reproducible weights."""

    def make(name: str) -> ZooModel:
        spec = find_model(name)
        torch.manual_seed(0)
        torch.save(spec.build().state_dict(), tmp_path / f"{name}.pth")
        return ZooModel(spec, find_checkpoint(spec, str(tmp_path / f"{name}.pth")))

    return make


def pixels_of(model: ZooModel, config: RunConfig, lr: np.ndarray) -> np.ndarray:
    with model.open(config, SIZE) as subject:
        return subject(lr)[0]


PLAIN_ENGINES = [name for name, row in ENGINES.items() if "cpu" in row.devices and not row.compiles and name != "eager"]


@pytest.mark.parametrize("engine", PLAIN_ENGINES)
@pytest.mark.parametrize("spec", NETWORKS, ids=lambda spec: spec.name)
def test_engines_that_compile_nothing_have_eagers_pixels(spec, engine: str, untrained, random_image):
    model = untrained(spec.name)
    # Two sizes by one engine: it must not have kept the first one's.
    with model.open(config_of(tile=None, engine=engine), SIZE) as subject:
        for size in ((40, 50), (33, 71)):
            lr = random_image(*size)
            assert same_pixels(subject(lr)[0], pixels_of(model, config_of(tile=None), lr))


class Tiny(nn.Module):
    """One convolution and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 48, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.conv(x) + x.repeat_interleave(16, 1), 4)


def _keeps_subnormals() -> bool:
    """Loading machine code may change how this thread computes from then on, all other networks included."""
    return (torch.tensor(1e-40) * 0.5).item() > 0


def test_the_compiled_engine_has_eagers_pixels_and_one_graph_for_all_sizes(tmp_path: Path, monkeypatch, random_image):
    monkeypatch.setenv("ESR_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    network = Tiny()
    forward = prepare(network, CPU, Execution("compiled"))
    assert _keeps_subnormals()
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    with torch.inference_mode():
        for size in ((128, 128), (200, 90), (91, 331), (8, 9), (256, 170)):
            # Strides as images have them.
            x = to_tensor(random_image(*size), 1.0)
            assert same_pixels(to_uint8(forward(x)[0], 1.0), to_uint8(network(x)[0], 1.0))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
    # Another run neither traces nor compiles, unless what was kept is damaged.
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", _never_again)
    with torch.inference_mode():
        assert torch.equal(prepare(network, CPU, Execution("compiled"))(x), forward(x))
    assert _keeps_subnormals()
    (package,) = (tmp_path / "compiled").glob("*.pt2")
    package.write_bytes(b"damaged")
    with pytest.raises(EngineError, match="compiled once more"):
        prepare(network, CPU, Execution("compiled"))
    assert list((tmp_path / "compiled").iterdir()) == [package]


def _never_again(*_given: object, **_more: object) -> None:
    raise RuntimeError("compiled once more")


def test_machine_code_is_kept_for_one_network_one_processor_and_one_number_of_threads(monkeypatch):
    torch.manual_seed(0)
    network = Tiny()
    program = compiled.exported(network)
    key = packages._key(program)
    assert packages._key(compiled.exported(copy.deepcopy(network))) == key
    others = {key}
    with torch.no_grad():
        network.conv.bias[7] += 1e-6
    others.add(packages._key(program))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    others.add(packages._key(program))
    monkeypatch.setattr(packages, "_processor", lambda: "another")
    others.add(packages._key(program))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    others.add(packages._key(program))
    network.conv.padding_mode = "reflect"
    others.add(packages._key(compiled.exported(network)))
    assert len(others) == 6


@pytest.mark.slow
@pytest.mark.parametrize("spec", NETWORKS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_compiled_engine_takes_every_network(spec, precision: str, untrained, random_image):
    # Large enough to be compiled.
    model, lr = untrained(spec.name), random_image(120, 140)

    def pixels(engine: str, its_precision: str) -> np.ndarray:
        return pixels_of(model, config_of(tile=None, engine=engine, precision=its_precision), lr).astype(int)

    # Two ways of rounding differ from each other by as much as each does from float32; none may lose clearly more.
    full = pixels("eager", "fp32")
    compiled, eager = (np.abs(pixels(engine, precision) - full).mean() for engine in ("compiled", "eager"))
    assert compiled <= 1.5 * eager + 0.05


def test_a_loaded_model_says_how_it_runs(untrained):
    with untrained("ABPN").open(config_of(engine="channels-last", precision="bf16"), SIZE) as subject:
        assert subject.execution == Execution("channels-last", "bf16")
        assert subject.execution.memory_format == "channels_last"


def test_a_model_without_weights_runs_plainly_and_says_so(random_image):
    bicubic = ZooModel(find_model("Bicubic"), None)
    with bicubic.open(config_of(engine="channels-last", precision="bf16"), SIZE) as subject:
        assert subject.execution == Execution("eager", "fp32")


@pytest.mark.parametrize("spec", NETWORKS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_leaves_image_space_in_float32(spec, precision: str, untrained, random_image):
    model, seen = untrained(spec.name), {}
    with model.open(config_of(), SIZE) as subject:
        network = subject.network
    half = in_precision(network, precision)
    convolutions = [layer for layer in half.modules() if isinstance(layer, nn.Conv2d)]
    for layer in convolutions:
        layer.register_forward_hook(lambda layer, _inputs, output: seen.update({layer: output.dtype}))
    x = to_tensor(random_image(40, 50), spec.data_range)
    with torch.no_grad():
        output = half(x)
    assert output.dtype == torch.float32
    low = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    *others, tail = seen.values()
    assert set(others) == {low}
    # A network that joins the zoo may have a shortcut or not.
    tails = dict.fromkeys(WITHOUT_SHORTCUT, torch.float32) | dict.fromkeys(WITH_SHORTCUT, low)
    assert tail == tails.get(spec.name, tail)
    # The network itself is as it was.
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_a_fused_network_rounds_only_what_layers_take_and_give(monkeypatch):
    """On a photograph, by the weights that come with the project, whichever they are.

    Written out in float64, where nothing else is rounded: the same error, but for float32's share of it.
    """
    monkeypatch.delenv("ESR_WEIGHTS", raising=False)
    spec, seen = find_model("PFDNLite"), []
    network = load_network(spec, find_checkpoint(spec, "selftrained"))
    plain, fused = in_precision(network, "bf16"), in_precision(network, "bf16", fused=True)
    for layer in fused.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _layer, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
    written_out = copy.deepcopy(network).double()
    for layer in written_out.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = rounded(layer.weight.data.float(), torch.bfloat16).double()
            layer.bias.data = layer.bias.data.bfloat16().double()
            layer.register_forward_pre_hook(lambda _layer, inputs: (inputs[0].bfloat16().double(),))
            layer.register_forward_hook(lambda _layer, _inputs, output: output.bfloat16().double())
    x = to_tensor(astronaut()[100:164, 180:260], 1.0)
    with torch.no_grad():
        expected = network.double()(x.double())
        outputs = [fused(x), plain(x), written_out(x.double())]
    assert set(seen) == {(torch.bfloat16, torch.float32)}
    errors = [(output - expected).square().mean().sqrt().item() * 255 for output in outputs]
    assert errors[0] == pytest.approx(errors[2], rel=0.02)
    assert errors[0] < 0.9 * errors[1]


def test_a_rounded_kernel_keeps_its_sum():
    # bf16 has 8 bits: steps of 1/128 from 1 to 2. Each tap hands on what it could not hold.
    kernel = torch.tensor([[1.003, 1.003], [1.003, 1.003]]).view(1, 1, 2, 2)
    assert rounded(kernel, torch.bfloat16).flatten().tolist() == [1.0, 1.0078125, 1.0, 1.0078125]
    assert kernel.bfloat16().flatten().tolist() == [1.0, 1.0, 1.0, 1.0]
    kernels = torch.randn(7, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    ours, nearest = rounded(kernels, torch.bfloat16), kernels.bfloat16()
    last_steps, sums = kernels[..., -1, -1].abs() * 2.0**-7, kernels.double().sum((2, 3))
    # Each tap's error is handed on in float32.
    slack = rounding(torch.float32, 9 * 2, kernels.abs().max().item())
    assert (ours.double().sum((2, 3)) - sums).abs().le(last_steps + slack).all()
    assert (nearest.double().sum((2, 3)) - sums).abs().max() > last_steps.median()
    assert ours.dtype == torch.bfloat16


def test_weights_that_are_no_kernels_are_rounded_to_the_nearest():
    weights = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rounded(weights, torch.bfloat16), weights.bfloat16())


def test_a_shortcut_in_float32_passes_every_grey_level():
    network = Tiny()
    nn.init.zeros_(network.conv.weight)
    nn.init.zeros_(network.conv.bias)
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    with torch.no_grad():
        output = in_precision(network, "bf16")(to_tensor(levels, 1.0))
    assert np.array_equal(to_uint8(output[0], 1.0)[::4, ::4], levels)


@pytest.fixture
def other_defaults() -> Iterator[None]:
    """A user's own defaults of torch: float64, on a device that holds no values."""
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("other_defaults")
def test_a_users_defaults_of_torch_change_nothing(random_image):
    with torch.device("cpu"):
        network = Tiny().float()
    complexity = measure_complexity(network, input_side=16)
    assert (complexity.faults, complexity.num_conv) == ({}, 1)
    assert inspect(network, 1.0) == []
    assert live_bytes_per_pixel(network) > 0
    assert in_precision(network, "bf16").conv.weight.dtype == torch.bfloat16
    assert Upscaler(tiny_spec(min_size=8), network, CPU)(random_image(3, 4))[0].shape == (12, 16, 3)


class Gained(Tiny):
    """A parameter of the network itself, and a layer that takes two tensors."""

    class Mixed(nn.Conv2d):
        def forward(self, x: Tensor, other: Tensor) -> Tensor:
            return super().forward(x) + other

    def __init__(self) -> None:
        super().__init__()
        self.conv = Gained.Mixed(3, 48, 3, padding=1)
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.conv(x, (self.gain * x).repeat_interleave(16, 1)), 4)


def test_what_the_network_itself_holds_and_what_else_a_layer_takes_stay_in_float32():
    network = Gained()
    nn.init.zeros_(network.conv.weight)
    nn.init.zeros_(network.conv.bias)
    # bf16 rounds it to a half.
    x = torch.full((1, 3, 4, 4), 0.501)
    with torch.no_grad():
        assert torch.equal(in_precision(network, "bf16")(x), torch.full((1, 3, 16, 16), 0.501))


def test_half_precision_needs_a_convolution():
    with pytest.raises(RunError, match="PReLU has no convolution"):
        in_precision(nn.PReLU(3), "bf16")


def test_tiles_that_must_know_their_place_are_refused_where_they_cannot(untrained):
    model = untrained("PFDNLite")
    with (
        pytest.raises(EngineError, match="--engine compiled: cannot tell tiles where they lie"),
        model.open(config_of(tile=32, engine="compiled"), SIZE),
    ):
        pass


def test_tiles_by_channels_last_are_eagers(untrained, random_image):
    model, lr = untrained("PFDNLite"), random_image(40, 50)
    fast = pixels_of(model, config_of(tile=32, engine="channels-last"), lr)
    assert same_pixels(fast, pixels_of(model, config_of(tile=32), lr))


@pytest.mark.parametrize(
    ("execution", "device", "message"),
    [
        (
            Execution("tensorrt"),
            "cpu",
            f"--engine tensorrt: expected one of {', '.join(ENGINES)}, auto",
        ),
        (Execution("eager", "int8"), "cpu", "--precision int8: expected one of fp32, bf16, fp16"),
        (Execution("cuda-graphs"), "cpu", "--engine cuda-graphs: runs on cuda, not on cpu"),
        (Execution("compiled"), "mps", "--engine compiled: runs on cpu, cuda, not on mps"),
    ],
)
def test_what_cannot_be_run_is_refused(execution: Execution, device: str, message: str):
    with pytest.raises(UsageError, match=message):
        check_engine(execution, device)


def test_an_engine_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(ENGINES, "other", Engine("", needs=("no_such_package", "another")))
    with pytest.raises(UsageError, match="--engine other: not installed; pip install no_such_package another"):
        check_engine(Execution("other"), "cpu")


def test_a_precision_that_an_engine_lacks_is_refused(monkeypatch):
    monkeypatch.setitem(ENGINES, "other", Engine("", precisions=("fp32", "bf16")))
    with pytest.raises(UsageError, match="--precision fp16: not with --engine other; use one of eager, channels-last"):
        check_engine(Execution("other", "fp16"), "cpu")


def test_an_engine_that_cannot_be_prepared_says_so(monkeypatch):
    monkeypatch.setitem(registry.ENGINES, "eager", Engine("no_such_module"))
    with pytest.raises(EngineError, match="--engine eager: ModuleNotFoundError: No module named 'no_such_module'"):
        prepare(nn.Identity(), CPU, Execution())


@pytest.mark.parametrize("error", [torch.AcceleratorError("CUDA error: an illegal access"), torch.OutOfMemoryError()])
def test_what_is_wrong_with_the_device_is_not_told_of_the_engine(monkeypatch, error: Exception):
    """The state of such a failure decides whether this process goes on with the device."""

    def fail(*_given: object) -> None:
        raise error

    monkeypatch.setattr(eager, "prepare", fail)
    with pytest.raises(type(error)):
        prepare(nn.Identity(), CPU, Execution())


def test_compiling_needs_no_headers_of_python_and_says_nothing_of_them(tmp_path: Path, monkeypatch, recwarn):
    def compiles(_program: object, package_path: IO[bytes], **_options: object) -> None:
        warnings.warn("Can't find Python.h in /usr/include/python3.13", UserWarning, stacklevel=2)
        package_path.write(b"machine code")

    monkeypatch.setenv("ESR_CACHE", str(tmp_path))
    monkeypatch.setattr("torch._inductor.aoti_compile_and_package", compiles)
    monkeypatch.setattr("torch._inductor.aoti_load_package", lambda path: Path(path).read_bytes())
    assert packages.packaged(compiled.exported(Tiny())) == b"machine code"
    assert not recwarn


def test_without_a_compiler_it_says_what_to_install(tmp_path: Path, monkeypatch):
    from torch._inductor import cpp_builder, exc

    def none_found(_search: object) -> str:
        raise exc.InvalidCxxCompiler

    monkeypatch.setenv("ESR_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    monkeypatch.setattr(cpp_builder, "cpp_compiler_search", none_found)
    with pytest.raises(EngineError, match=r"needs a C\+\+ compiler; install g\+\+, or use --engine channels-last"):
        prepare(Tiny(), CPU, Execution("compiled"))


class Replay:
    """Stands in for a recorded graph: doubles its input when it is replayed."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.sr, self.replays = x.clone(), torch.full_like(x, torch.nan), 0

    def replay(self) -> None:
        self.sr.copy_(2 * self.x)
        self.replays += 1


def test_each_size_is_recorded_once_and_an_output_outlives_the_next_replay():
    graphs: list[Replay] = []

    def record(x: Tensor) -> Recording:
        graphs.append(Replay(x))
        return Recording(graphs[-1], graphs[-1].x, graphs[-1].sr, torch.nn.Identity())

    forward = replaying(record, 2**20)
    first, second = forward(torch.ones(1, 3, 4, 5)), forward(torch.full((1, 3, 4, 5), 3.0))
    assert (first.unique().tolist(), second.unique().tolist()) == ([2.0], [6.0])
    forward(torch.ones(1, 3, 5, 4))
    assert [graph.replays for graph in graphs] == [2, 1]


def test_recordings_are_bounded_by_bytes_and_the_least_recently_used_goes():
    sizes: list[int] = []

    def record(x: Tensor) -> Recording:
        sizes.append(x.shape[-1])
        graph = Replay(x)
        return Recording(graph, graph.x, graph.sr, torch.nn.Identity())

    # Input and output of a width keep 24 bytes a pixel: 3 and 2 fit, 3 and 2 and 1 do not.
    forward = replaying(record, 24 * 5)
    for width in (2, 3, 2, 1, 2, 3):
        forward(torch.ones(1, 3, 1, width))
    assert sizes == [2, 3, 1, 3]
    # One recording stays, however large.
    forward(torch.ones(1, 3, 1, 9))
    forward(torch.ones(1, 3, 1, 9))
    assert sizes == [2, 3, 1, 3, 9]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("spec", NETWORKS if torch.cuda.is_available() else NETWORKS[:1], ids=lambda spec: spec.name)
def test_recorded_networks_have_eagers_pixels(spec, untrained, random_image):
    model = untrained(spec.name)
    with model.open(config_of(device="cuda", tile=None, engine="cuda-graphs"), SIZE) as subject:
        for size in ((40, 50), (33, 71), (40, 50)):
            lr = random_image(*size)
            assert same_pixels(subject(lr)[0], pixels_of(model, config_of(device="cuda", tile=None), lr))


def test_preparing_leaves_the_network_as_it_was(random_image):
    network = find_model("SPAN").build()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    prepare(network, CPU, Execution("channels-last", "bf16"))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.is_contiguous()


@pytest.mark.parametrize(("folder", "named"), [("cache", True), ("my cache", False)])
def test_the_compiler_works_in_no_folder_with_a_space_which_it_cannot_name(tmp_path, monkeypatch, folder, named):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "x")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    with compiled._compiling_in(tmp_path / folder):
        place = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
        assert (place == tmp_path / folder) is named
        assert not any(map(str.isspace, str(place)))
        assert named or place.is_dir()
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    assert not place.exists()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "of a user")
    with compiled._compiling_in(tmp_path / folder):
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "of a user"


def test_compiling_leaves_the_environment_as_it_was(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("ESR_CACHE", str(tmp_path))
    # Set first, so that its removal is undone afterwards in any case.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "x")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setattr(compiled, "exported", lambda _network: None)
    seen = []
    monkeypatch.setattr(compiled, "_compiled", lambda *_: seen.append(os.environ["TORCHINDUCTOR_CACHE_DIR"]))
    before = dict(os.environ)
    prepare(Tiny(), CPU, Execution("compiled"))
    assert dict(os.environ) == before
    assert seen == [str(tmp_path / "inductor")]
