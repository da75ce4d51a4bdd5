"""What notebooks import: it measures as the commands do, and leaves the process as it was."""

import importlib
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

import eval as api
from eval.data.images import read_image, write_png
from eval.data.resize import imresize
from eval.errors import RunError, UsageError
from eval.files import importing_beside
from eval.metrics.psnr_ssim import psnr, ssim
from eval.records.store import write_record
from eval.report.results import Result
from eval.run.evaluation import Evaluation
from eval.run.launch import Launch
from eval.run.model_source import zoo_model
from eval.run.network_source import source_of_module, source_of_upscaler
from eval.zoo.from_file import UNTRAINED
from eval.zoo.manifest import find_model
from tests.conftest import PROJECT
from tests.records.test_record import changed, make_record
from tests.run.test_runner import timing_of

QUIET = {"progress": False}
UNTIMED = api.RunConfig(protocol="accuracy", device="cpu", threads=1)


class Nearest(nn.Module):
    """A network that is defined where it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.gain * x).repeat_interleave(4, 2).repeat_interleave(4, 3)


OWN = f"{PROJECT}/models/team08_ABPN.py:ABPN"
ENLARGING = (
    "from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n"
    "        return x.repeat_interleave(4, 2).repeat_interleave(4, 3)\n"
)


def test_figures_of_a_network_equal_those_by_hand(hr_folder: Path):
    result = api.evaluate(Nearest(), hr_folder, config=UNTIMED, **QUIET)
    frame = result.to_frame()
    assert list(frame.columns) == ["model", "dataset", "image", "psnr_db", "ssim"]
    assert set(frame.model) == {"Nearest"}
    for row in frame.itertuples():
        hr = read_image(hr_folder / f"{row.image}.png")
        sr = imresize(hr, 0.25).repeat(4, 0).repeat(4, 1)
        assert row.psnr_db == pytest.approx(psnr(sr, hr), abs=1e-12)
        assert row.ssim == pytest.approx(ssim(sr, hr), abs=1e-12)
    assert result.summary()["psnr_db"] == pytest.approx(frame.psnr_db.mean(), abs=1e-12)
    assert result.summary()["num_params"] == 3
    assert repr(result).startswith("Result(Nearest on photos: psnr_db=")


def test_arrays_names_files_and_loaded_models_give_the_same(hr_folder: Path, tmp_path: Path):
    hrs = [read_image(path) for path in sorted(hr_folder.iterdir())]
    arrays = [(imresize(hr, 0.25), hr) for hr in hrs]
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\nfrom torch import nn\n"
        "class Nearest(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.gain = nn.Parameter(torch.zeros(1, 3, 1, 1))\n    def forward(self, x):\n"
        "        return (self.gain * x).repeat_interleave(4, 2).repeat_interleave(4, 3)\n"
    )
    torch.save(Nearest().state_dict(), tmp_path / "mine.pth")
    loaded = api.load_model(f"{file}:Nearest", tmp_path / "mine.pth")
    sr, runtime_ms = loaded(arrays[0][0])
    assert np.array_equal(sr, arrays[0][0].repeat(4, 0).repeat(4, 1))
    assert runtime_ms > 0
    results = [
        api.evaluate(model, images, config=UNTIMED, **QUIET)
        for model, images in ((Nearest(), hr_folder), (Nearest(), arrays), (loaded, arrays))
    ]
    figures = [[image.psnr_db for image in result.record.images] for result in results]
    assert figures[0] == figures[1] == figures[2]
    assert results[2].record.model.label == "mine-Nearest"
    # Zeros in place of the weights: black.
    black = api.evaluate(f"{file}:Nearest", arrays, config=UNTIMED, **QUIET)
    assert black.summary()["psnr_db"] < 10


def test_a_model_of_the_zoo_by_name(hr_folder: Path, tmp_path: Path):
    config = UNTIMED.replaced(engine="eager")
    result = api.evaluate("ABPN", hr_folder, metrics=("psnr_y",), config=config, images_dir=tmp_path / "sr", **QUIET)
    assert list(result.to_frame().columns) == ["model", "dataset", "image", "psnr_y_db"]
    assert len(list((tmp_path / "sr" / "08_ABPN" / "photos").glob("*.png"))) == 2
    assert "ABPN" in api.list_models()


def test_the_network_and_the_process_stay_as_they_were(hr_folder: Path):
    network = Nearest().train()
    before = (torch.get_num_threads(), torch.backends.cudnn.allow_tf32, torch.is_grad_enabled())
    api.evaluate(network, hr_folder, config=api.RunConfig(device="cpu", threads=before[0] + 1), **QUIET)
    assert (torch.get_num_threads(), torch.backends.cudnn.allow_tf32, torch.is_grad_enabled()) == before
    assert network.training
    assert network.gain.requires_grad


def test_a_verdict_a_pair_by_the_names_that_were_given(hr_folder: Path, tmp_path: Path):
    for folder in ("v1", "v2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(ENLARGING)
    v1, v2 = (f"{tmp_path / folder}/net.py:Net" for folder in ("v1", "v2"))
    verdict = api.compare({"mine": v1, "cubic": "Bicubic", "again": v2}, hr_folder, **QUIET)
    assert [result.record.model.label for result in verdict.results] == ["mine", "cubic", "again"]
    frame = verdict.to_frame()
    assert list(zip(frame["first"], frame["second"], strict=True)) == [
        ("mine", "cubic"), ("mine", "again"), ("cubic", "again"),
    ]  # fmt: skip
    *ratios, baseline = [result.record.timing.ratio for result in verdict.results]
    assert [ratio.baseline for ratio in ratios] == ["again", "again"]
    assert [ratio.estimate for ratio in ratios] == list(frame.runtime_ratio[1:])
    assert baseline.estimate == 1
    assert frame.psnr_difference_db[1] == 0
    means = [result.summary()["psnr_db"] for result in verdict.results]
    assert frame.psnr_difference_db[0] == pytest.approx(means[0] - means[1], abs=1e-9)
    *lines, note = str(verdict).splitlines()
    assert len(lines) == 3
    assert note == "Note: no difference in PSNR can be settled on 2 images: it takes 6."
    assert set(frame.notes) == {"no difference in PSNR can be settled on 2 images: it takes 6"}
    assert note in verdict._repr_html_()
    assert [note.partition(" ")[0] for note in verdict.notes] == ["timing"]
    assert verdict.notes[0] in verdict._repr_html_()
    assert "On photos, mine compared with cubic: " in str(verdict)
    assert "<table>" in verdict._repr_html_()
    assert "mine compared with cubic" in verdict._repr_html_()


def test_a_result_shows_itself_in_a_notebook(hr_folder: Path):
    page = api.evaluate(Nearest(), hr_folder, config=UNTIMED, **QUIET)._repr_html_()
    assert '<th scope="row">Nearest</th>' in page
    assert "PSNR and SSIM: RGB, 8 bits" in page


@pytest.mark.parametrize("progress", [False, True])
def test_what_a_run_has_to_say_is_kept_with_its_result(hr_folder: Path, progress: bool):
    config = UNTIMED.replaced(tile=64, engine="eager")
    result = api.evaluate(Nearest(), hr_folder, config=config, progress=progress)
    flags = tuple(f"Nearest: {flag.text}" for flag in result.record.flags)
    assert result.notes == ("--tile 64 has no effect on Nearest: no image is larger", *flags)
    assert "--tile 64 has no effect on Nearest" in result._repr_html_()


def test_records_are_a_tidy_frame(tmp_path: Path):
    write_record(make_record((30.0, math.inf), key="a" * 64), tmp_path / "records")
    timing = timing_of(((10.0, 14.0), (20.0, None)), image_names=("img0", "img1"))
    write_record(make_record((31.0, 32.0), "05_SPAN", key="b" * 64, second=1, timing=timing), tmp_path / "records")
    frame = api.load_records(tmp_path)
    assert len(frame) == 4
    assert list(frame[frame.model == "05_SPAN"].runtime_ms) == [12.0, 20.0]
    assert list(frame.psnr_db) == [30.0, math.inf, 31.0, 32.0]
    assert {"dataset", "protocol", "device", "machine", "status", "ssim", "lr_psnr_db"} <= set(frame.columns)
    again = (tmp_path / "records", tmp_path / "records" / ".." / "records", *(tmp_path / "records").glob("*.json"))
    assert frame.equals(api.load_records(tmp_path, *again))


def test_rows_of_records_that_share_names_can_be_told_apart(tmp_path: Path):
    own = {"checkpoint": "selftrained", "weights_file": "own.pth"}
    others = (
        {},
        {"model": own},
        {"dataset": {"sha256": "c" * 64}},
        {"settings": {"tile": 64, "tile_overlap": 0}},
        {"settings": {"tile": 64, "tile_overlap": 8}},
        {"figures_key": "other"},
    )
    for second, changes in enumerate(others):
        write_record(changed(make_record(second=second, key=str(second) * 64), **changes), tmp_path / "records")
    frame = api.load_records(tmp_path)
    assert list(frame.model.unique()) == ["03_PFDNLite", "03_PFDNLite (selftrained)"]
    told = frame.groupby(list(frame.columns[: list(frame.columns).index("weights_sha256") + 1]), dropna=False).size()
    assert list(told) == [2] * 6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda hr: api.evaluate("PFDNLit", hr, **QUIET), "no model 'PFDNLit'. Did you mean pfdnlite"),
        (lambda hr: api.evaluate("Bicubic", "NoSet", data_dir=hr, **QUIET), "NoSet"),
        (lambda hr: api.evaluate("Bicubic", hr, metrics=("lpips",), **QUIET), "--metrics lpips: no such metric"),
        (lambda hr: api.evaluate("absent.py:Net", hr, **QUIET), "absent.py: no such file"),
        (lambda _: api.load_model(OWN, PROJECT), f"{PROJECT}: a folder, no file; expected a file of weights"),
        (lambda _: api.load_model(OWN, "absent.pth"), "absent.pth: no such file; expected a file of weights"),
        (lambda _: api.open_dataset([]), "expected at least one"),
        (lambda _: api.open_dataset([(1, 2, 3)]), r"pair 0: expected \(lr, hr\)"),
        (lambda _: api.open_dataset([(np.zeros((0, 8, 3), np.uint8), None)]), "pair 0, lr: expected a uint8 array"),
        (lambda hr: api.compare(["Bicubic"], hr, **QUIET), "expected at least two models"),
        (lambda hr: api.compare("Bicubic", hr, **QUIET), "expected at least two models"),
        (lambda hr: api.compare(["Bicubic", "Bicubic"], hr, **QUIET), "names differ"),
        (
            lambda hr: api.compare({"a:b": Nearest(), "a_b": Nearest()}, hr, **QUIET),
            "names differ, also as names of folders; got a_b, a_b",
        ),
        (lambda hr: api.evaluate(Nearest(), hr, data_range=0, **QUIET), "data_range=0: expected a positive number"),
        (lambda hr: api.evaluate(Nearest(), hr, data_range="1", **QUIET), "data_range='1': expected a positive number"),
        (
            lambda hr: api.evaluate("ABPN", hr, data_range="1", **QUIET),
            "data_range=1: only for a network that is given",
        ),
        (lambda hr: api.evaluate(Nearest, hr, **QUIET), r"got Nearest itself: call it, Nearest\(\)"),
        (
            lambda hr: api.evaluate(None, hr, **QUIET),
            "expected a model's name or FILE.py:CLASS, got an object of the cl",
        ),
        (lambda _: api.load_model(Nearest()), "got an object of the class Nearest; evaluate also takes a network"),
        (lambda _: api.load_model("ABPN", weights={"a": 1}), "expected the path of one file or folder, got {'a': 1}"),
        (lambda hr: api.compare([Nearest(), Nearest()], hr, **QUIET), "compare {'mine': network}"),
        (lambda hr: api.compare(None, hr, **QUIET), "expected at least two models"),
        (lambda _: api.evaluate(Nearest(), None, **QUIET), r"expected a set's name, its folder, or .*; got None"),
        (lambda hr: api.evaluate(Nearest(), hr, config={}, **QUIET), r"config: expected RunConfig\(.* got a dict"),
        (lambda hr: api.compare(["ABPN", "Bicubic"], hr, config={}, **QUIET), r"config: expected RunConfig\("),
        (
            lambda hr: api.evaluate(Nearest(), hr, metrics=None, **QUIET),
            "--metrics None: Input should be a valid tuple",
        ),
        (lambda _: api.load_records(["a", "b"]), r"one file or folder, got \['a', 'b'\]; give several one after"),
        (lambda _: api.load_records(()), r"one file or folder, got \(\)"),
        (lambda hr: api.evaluate(Nearest().half(), hr, **QUIET), r"gain is torch.float16: call .float\(\) first"),
        (lambda hr: api.evaluate(Nearest().to("meta"), hr, **QUIET), "gain is on the device meta"),
        (lambda hr: api.evaluate("ABPN", hr, data_range=1, **QUIET), "data_range=1: only for a network that is given"),
        (lambda hr: api.evaluate(api.load_model("ABPN"), hr, data_range=255, **QUIET), "data_range=255: only for a"),
        (lambda hr: api.compare(["ABPN", "Bicubic"], hr, data_range=255, **QUIET), "data_range=255: only for a"),
        (lambda _: api.load_model("ABPN", data_range=255), "data_range=255: only for a network that is given"),
        (lambda _: api.load_model("Bicubic")(np.zeros((8, 8), np.uint8)), "expected an LR image"),
        (lambda _: api.load_model("Bicubic")("x.png"), "expected an LR image.* got str"),
        (lambda _: api.open_dataset([(np.zeros((8, 8)), None)]), r"pair 0, lr: expected a uint8 array"),
        (
            lambda _: api.open_dataset([(np.zeros((8, 8, 3), np.uint8), np.zeros((30, 32, 3), np.uint8))]),
            r"pair 0, hr: expected the shape \(32, 32, 3\)",
        ),
        (
            lambda hr: api.evaluate(Nearest(), hr, config=api.RunConfig(device="cpu", runs=2), **QUIET),
            "runs=2: each run is a process of its own",
        ),
    ],
)
def test_what_is_wrong_is_said(hr_folder: Path, call, message: str):
    with pytest.raises((UsageError, RunError), match=message):
        call(hr_folder)


@pytest.mark.parametrize(("sep", "altsep"), [("/", None), ("\\", "/")])
def test_a_name_with_any_separator_of_the_system_is_a_folder(
    hr_folder: Path, monkeypatch, sep: str, altsep: str | None
):
    monkeypatch.setattr("os.sep", sep)
    monkeypatch.setattr("os.altsep", altsep)
    monkeypatch.chdir(hr_folder.parent.parent)
    assert api.open_dataset(f"{hr_folder.parent.name}/{hr_folder.name}").name == hr_folder.name


def test_a_network_that_fails_is_an_error_with_its_reason(hr_folder: Path):
    class Wrong(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with pytest.raises(RunError, match=r"Wrong: invalid output: at image image0: .* expected a float output of shape"):
        api.evaluate(Wrong(), hr_folder, config=UNTIMED, **QUIET)


class Failing(Nearest):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.of_wrong_shape(x)

    def of_wrong_shape(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.gain[0]


@pytest.mark.parametrize("protocol", ["official", "accuracy"])
def test_the_line_of_a_network_that_failed_is_the_errors_cause(hr_folder: Path, protocol: str):
    with pytest.raises(RunError, match=r"Failing: failed to run: at image image0: .*size") as caught:
        api.evaluate(Failing(), hr_folder, config=UNTIMED.replaced(protocol=protocol), **QUIET)
    assert ", in of_wrong_shape\n    return x @ self.gain[0]" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Naïve \u00d74", "Naïve \u00d74"),
        ("Nai\u0308ve", "Naïve"),
        ("網路 {a}_$b$", "網路 {a}_$b$"),
        (5, "5"),
        ("../up\\a:b\x1b[31m\n\u202e", "up_a_b_[31m__"),
        (" -.", "network"),
        ("\u3164", "network"),
        # With what is appended, a folder's name has 255 bytes at most.
        ("é" * 200, "é" * 40),
        ("路" * 90, "路" * 26),
    ],
)
def test_a_name_keeps_what_a_folder_may_be_called(hr_folder: Path, tmp_path: Path, name: str, label: str):
    result = api.evaluate(Nearest(), hr_folder, name=name, images_dir=tmp_path / "sr", config=UNTIMED, **QUIET)
    assert result.record.model.label == label
    (folder,) = (tmp_path / "sr").iterdir()
    assert folder.name.startswith(f"{label}-{str(result.record.model.weights_sha256)[:8]}")
    assert source_of_upscaler(api.load_model("Bicubic"), name).info.label == label


def test_a_loaded_model_shows_itself_on_one_line():
    shown = "Upscaler(08_ABPN, abpn_selftrained.safetensors, 62,048 parameters, cpu, fp32 by eager)"
    assert repr(api.load_model("ABPN", device=torch.device("cpu"))) == shown


def test_importing_costs_nothing_and_needs_no_torch():
    code = (
        "import eval, sys; assert not {'torch', 'pandas', 'numpy', 'pydantic'} & sys.modules.keys(); print(dir(eval))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert "'evaluate'" in done.stdout
    with pytest.raises(AttributeError, match="module 'eval' has no attribute 'nothing'"):
        _ = api.nothing


def test_lr_arrays_alone_have_no_fidelity():
    lr = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    result = api.evaluate("Bicubic", [(lr, None)], metrics=("psnr", "lr_psnr"), config=UNTIMED, **QUIET)
    assert "psnr_db" not in result.summary()
    assert result.summary()["lr_psnr_db"] == pytest.approx(
        psnr(imresize(imresize(lr, 4), 0.25), lr, crop_border=0), abs=1e-12
    )


def test_weights_that_were_changed_are_not_taken_for_those_of_a_file(hr_folder: Path):
    model = api.load_model("ABPN")
    before = api.evaluate(model, hr_folder, config=UNTIMED, **QUIET).record
    with torch.no_grad():
        next(iter(model.network.parameters())).mul_(1.5)
    after = api.evaluate(model, hr_folder, config=UNTIMED, **QUIET).record
    assert before.means["psnr_db"] != after.means["psnr_db"]
    assert before.model.weights_sha256 != after.model.weights_sha256
    assert (after.model.origin, after.model.weights_file) == ("memory", None)


class Gained(Nearest):
    """A network that a plain attribute and a buffer that is not saved have a part in."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0
        self.register_buffer("offset", torch.zeros(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x * self.factor + self.offset)


def weakened(share: float) -> Callable:
    return lambda _module, _given, made: made * share


def forward_of(share: float) -> Callable:
    return lambda self, x: share * (self.gain * x).repeat_interleave(4, 2).repeat_interleave(4, 3)


CHANGES = {
    "hook": lambda network: network.register_forward_hook(weakened(0.97)),
    "another hook": lambda network: network.register_forward_hook(weakened(0.98)),
    "hook of a layer": lambda network: network.layer.register_forward_hook(weakened(0.97)),
    "hook before": lambda network: network.register_forward_pre_hook(lambda _module, given: (given[0] * 0.97,)),
    "partial": lambda network: network.register_forward_hook(partial(np.multiply, 0.97)),
    "buffer": lambda network: network.offset.fill_(0.1),
    "attribute": lambda network: setattr(network, "factor", 0.97),
    "tensor": lambda network: setattr(network, "factor", torch.tensor(0.97)),
    "another tensor": lambda network: setattr(network, "factor", torch.tensor(0.98)),
    "array": lambda network: setattr(network, "factor", np.array([0.97])),
    "settings": lambda network: setattr(network, "options", {"share": SimpleNamespace(of=[0.97])}),
    "stride": lambda network: setattr(network.layer, "stride", (2, 2)),
    "class": lambda network: setattr(network, "__class__", type("Gained", (Gained,), {"forward": forward_of(0.97)})),
    "another class": lambda network: setattr(
        network, "__class__", type("Gained", (Gained,), {"forward": forward_of(0.98)})
    ),
}


def made_and_changed(change: Callable = id) -> Gained:
    network = Gained()
    network.layer = nn.Conv2d(1, 1, 1)
    nn.init.ones_(network.layer.weight)
    nn.init.zeros_(network.layer.bias)
    change(network)
    return network


def test_each_change_of_a_network_makes_another_one():
    def told(network: nn.Module) -> tuple:
        info = source_of_module(network, 1.0).info
        return info.weights_sha256, info.source_sha256

    plain = told(made_and_changed())
    changed = {what: told(made_and_changed(change)) for what, change in CHANGES.items()}
    assert len({plain, *changed.values()}) == 1 + len(CHANGES)
    assert told(made_and_changed()) == plain
    assert changed == {what: told(made_and_changed(change)) for what, change in CHANGES.items()}
    assert told(made_and_changed().train()) == plain
    # A network that holds itself, and what has no words.
    holding = made_and_changed(lambda network: vars(network).update(held=[network, object()]))
    assert told(holding) != plain


@pytest.mark.parametrize("change", ["hook", "hook before"])
def test_a_loaded_model_with_a_hook_is_not_taken_for_the_one_of_the_zoo(hr_folder: Path, change: str):
    model = api.load_model("Bicubic")
    assert source_of_upscaler(model).info.origin == "zoo"
    before = api.evaluate(model, hr_folder, config=UNTIMED, **QUIET).record
    CHANGES[change](model.network)
    after = api.evaluate(model, hr_folder, config=UNTIMED, **QUIET).record
    assert before.means["psnr_db"] != after.means["psnr_db"]
    assert before.figures_key != after.figures_key
    assert (before.model.origin, after.model.origin) == ("zoo", "memory")
    assert before.model.source_sha256 != after.model.source_sha256


def test_a_forward_that_a_program_has_replaced_is_not_the_zoos(hr_folder: Path, monkeypatch):
    model = api.load_model("ABPN")
    monkeypatch.setattr(type(model.network), "forward", lambda _self, x: x.repeat_interleave(4, 2))
    assert source_of_upscaler(model).info.origin == "memory"
    told = "08_ABPN: source changed: 08_ABPN: a program has put another forward in the place of that of ABPN: "
    with pytest.raises(RunError, match=told):
        api.evaluate("ABPN", hr_folder, config=UNTIMED, **QUIET)
    with pytest.raises(RunError, match="in the place of that of ABPN"):
        api.load_model("ABPN")


@contextmanager
def also_set(what: str) -> Iterator[None]:
    """Set something that a notebook may have set for all of its networks."""
    with ExitStack() as stack:
        if what == "autocast":
            stack.enter_context(torch.autocast("cpu", dtype=torch.bfloat16))
        elif what == "float64":
            stack.callback(torch.set_default_dtype, torch.float32)
            torch.set_default_dtype(torch.float64)
        elif what == "meta":
            stack.callback(torch.set_default_device, None)
            torch.set_default_device("meta")
        else:
            stack.callback(register_module_forward_hook(lambda _module, _given, made: made * 0.97).remove)
        yield


@pytest.mark.parametrize("what", ["autocast", "float64", "meta", "hook"])
def test_figures_do_not_depend_on_what_a_notebook_has_set(hr_folder: Path, tmp_path: Path, what: str):
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.conv = nn.Conv2d(3, 3, 1)\n"
        "    def forward(self, x):\n"
        "        return self.conv(x).repeat_interleave(4, 2).repeat_interleave(4, 3) * torch.ones(1)\n"
    )
    lr = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)

    def figures() -> list:
        models = ("Bicubic", f"{tmp_path}/net.py:Net")
        records = [api.evaluate(model, hr_folder, config=UNTIMED, **QUIET).record for model in models]
        assert not any(flag.code == "precision" for record in records for flag in record.flags)
        return [*((its.means["psnr_db"], its.figures_key) for its in records), api.load_model("ABPN")(lr)[0].sum()]

    plain = figures()
    with also_set(what):
        assert figures() == plain


def test_names_tell_whose_weights_ran(hr_folder: Path):
    result, loaded = api.evaluate("ABPN", hr_folder, config=UNTIMED, **QUIET), api.load_model("ABPN")
    assert set(result.to_frame().model) == {"08_ABPN (selftrained)"} == {result.summary()["model"]}
    assert repr(result).startswith("Result(08_ABPN (selftrained) on photos: ")
    assert source_of_upscaler(loaded).info == result.record.model
    named = source_of_upscaler(loaded, "mine").info
    assert (named.full_name, named.weights_sha256) == ("mine (selftrained)", result.record.model.weights_sha256)
    assert api.evaluate(Nearest(), hr_folder, name="b c", config=UNTIMED, **QUIET).summary()["model"] == "b c"
    # A layer more, though it holds no weights.
    loaded.network.also = nn.ReLU()
    assert source_of_upscaler(loaded).info.origin == "memory"


def test_metrics_of_the_configuration_are_taken(hr_folder: Path):
    config = UNTIMED.replaced(metrics=("lr_psnr",))
    assert "lr_psnr_db" in api.evaluate("Bicubic", hr_folder, config=config, **QUIET).summary()
    named = api.evaluate("Bicubic", hr_folder, metrics="psnr_y", config=config, **QUIET).summary()
    assert ("psnr_y_db" in named, "lr_psnr_db" in named) == (True, False)


def test_images_of_two_networks_of_one_class_lie_apart(hr_folder: Path, tmp_path: Path):
    for gain in (1.0, 0.5):
        network = Nearest()
        network.gain.data.fill_(gain)
        api.evaluate(network, hr_folder, config=UNTIMED, images_dir=tmp_path / "sr", **QUIET)
    assert len(list((tmp_path / "sr").iterdir())) == 2


def test_images_of_two_codes_of_one_name_and_weights_lie_apart(hr_folder: Path, tmp_path: Path):
    text = "from torch import nn\nfrom gains import gain\nclass Net(nn.Module):\n    def forward(self, x):\n"
    for folder in ("bright", "dim"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(
            f"{text}        return gain * x.repeat_interleave(4, 2).repeat_interleave(4, 3)\n"
        )
        (tmp_path / folder / "gains.py").write_text(f"gain = {len(folder)} / 6\n")
        api.evaluate(f"{tmp_path / folder}/net.py:Net", hr_folder, config=UNTIMED, images_dir=tmp_path / "sr", **QUIET)
    assert len(pngs(tmp_path / "sr")) == len(set(pngs(tmp_path / "sr").values())) == 2


def pngs(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder).parent): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def test_images_of_two_precisions_lie_apart_though_nothing_is_kept_of_them(hr_folder: Path, tmp_path: Path):
    plain = UNTIMED.replaced(engine="eager", metrics=("psnr",))
    out, hr = tmp_path / "sr", read_image(hr_folder / "image0.png")
    made = [
        api.evaluate("ABPN", hr_folder, config=config, images_dir=out, metrics="psnr", **QUIET).record
        for config in (plain, plain.replaced(precision="bf16"))
    ]
    for record in made:
        assert record.images[0].psnr_db == psnr(read_image(out / record.images_folder / "image0.png"), hr)
    assert pngs(out).keys() == {"08_ABPN/photos", "08_ABPN-selftrained-bf16/photos"}
    again = api.evaluate("ABPN", hr_folder, config=plain, images_dir=out, metrics="psnr", **QUIET).record
    assert again.images_folder == made[0].images_folder


def test_images_that_a_record_answers_for_are_not_written_over(hr_folder: Path, tmp_path: Path):
    half = api.RunConfig(protocol="accuracy", device="cpu", threads=1, engine="eager", precision="bf16")
    out = tmp_path / "out"
    launch = Launch(save_dir=out, images_dir=out, force=True)
    (kept,) = Evaluation(half, launch).run([zoo_model(find_model("ABPN"))], [api.open_dataset(hr_folder)])
    before = pngs(out)
    assert (kept.images_folder, before.keys()) == ("08_ABPN/photos", {"08_ABPN/photos"})
    config = half.replaced(precision="fp32")
    result = api.evaluate("ABPN", hr_folder, config=config, images_dir=out, **QUIET)
    assert result.record.images_folder == "08_ABPN-selftrained/photos"
    assert pngs(out)["08_ABPN/photos"] == before["08_ABPN/photos"]


@pytest.mark.parametrize(("gain", "told"), [(255.0, "its output's mean is 1"), (0.0, "its output's mean is 0 of")])
@pytest.mark.parametrize("tile", [None, 8])
def test_an_output_of_another_range_is_flagged(hr_folder: Path, gain: float, told: str, tile: int | None):
    network = Nearest()
    network.gain.data.fill_(gain)
    result = api.evaluate(network, hr_folder, config=UNTIMED.replaced(tile=tile), **QUIET)
    (flag,) = [flag for flag in result.record.flags if flag.code == "range"]
    assert flag.text.startswith(told)
    assert flag.text.endswith("perhaps it is untrained, or the data range is another one")
    assert f"{result.record.model.label}: {flag.text}" in result.notes
    assert "perhaps it is untrained" in result._repr_html_()
    plain = api.evaluate(Nearest(), hr_folder, config=UNTIMED.replaced(tile=tile), **QUIET)
    assert not [flag for flag in plain.record.flags if flag.code == "range"]


def test_a_forward_of_another_object_is_refused(hr_folder: Path):
    network = Nearest()
    network.forward = lambda x: x.repeat_interleave(4, 2).repeat_interleave(4, 3)
    with pytest.raises(UsageError, match=r"its forward was set on the object.* define it in the class"):
        api.evaluate(network, hr_folder, **QUIET)
    with pytest.raises(UsageError, match="Sequential: the forward of 0 was set on the object"):
        api.evaluate(nn.Sequential(network), hr_folder, **QUIET)


def test_a_part_that_is_compiled_is_copied():
    network = nn.Sequential(Nearest())
    network[0] = torch.compile(network[0])
    copied = source_of_module(network, 1.0)._copy()
    assert copied[0]._orig_mod is not network[0]._orig_mod
    assert copied[0].forward is not network[0].forward


def test_a_scripted_network_runs(hr_folder: Path):
    result = api.evaluate(torch.jit.script(Nearest()), hr_folder, metrics=("psnr",), config=UNTIMED, **QUIET)
    plain = api.evaluate(Nearest(), hr_folder, metrics=("psnr",), config=UNTIMED, **QUIET)
    assert result.summary()["psnr_db"] == plain.summary()["psnr_db"]


def test_a_steady_results_frame_has_its_times():
    record = make_record((31.0, 32.0))
    images = tuple(image.model_copy(update={"runtime_ms": None}) for image in record.images)
    timing = timing_of(((10.0, 14.0), (20.0, None)), image_names=tuple(image.name for image in images))
    steady = record.model_copy(update={"images": images, "timing": timing})
    assert list(Result(steady).to_frame().runtime_ms) == [12.0, 20.0]


def test_a_home_folder_is_expanded_in_every_place(hr_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    api.evaluate(Nearest(), "~/photos", config=UNTIMED, images_dir="~/out", **QUIET)
    assert sorted(path.name for path in (tmp_path / "out").glob("*/photos/*.png")) == ["image0.png", "image1.png"]
    write_record(make_record((30.0,)), tmp_path / "kept" / "records")
    assert list(api.load_records("~/kept").psnr_db) == [30.0]
    assert not (tmp_path / "~").exists()


def test_a_folder_of_sets_that_is_given_is_looked_in_first(tmp_path: Path, random_image, monkeypatch):
    for place, side in ((tmp_path, 16), (tmp_path / "data", 24)):
        write_png(place / "own" / "test" / "image.png", random_image(side, side))
    monkeypatch.chdir(tmp_path)

    def lr_side(*given: str) -> int:
        return api.open_dataset(*given).lr_sizes[0].height

    assert (lr_side("own/test"), lr_side("own/test", "data"), lr_side("data/own/test", "data")) == (4, 6, 6)
    assert lr_side(str(tmp_path / "own" / "test"), "data") == 4


def test_files_of_two_folders_take_each_what_lies_beside_it(hr_folder: Path, tmp_path: Path):
    text = "from torch import nn\nfrom blocks import gain\nclass Net(nn.Module):\n    def forward(self, x):\n"
    for folder, value in (("a", 1.0), ("b", 0.5)):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "net.py").write_text(
            f"{text}        return gain * x.repeat_interleave(4, 2).repeat_interleave(4, 3)\n"
        )
        (tmp_path / folder / "blocks.py").write_text("from deep.parts import gain\n")
        (tmp_path / folder / "deep" / "parts.py").write_text(f"gain = {value}\n")
    # A folder that is no package is none beside one of its name.
    (tmp_path / "a" / "tomllib").mkdir()
    before, finders = sys.modules.keys() - {"network_in_net"}, list(sys.meta_path)

    def psnr_of(model: object) -> float:
        return api.evaluate(model, hr_folder, metrics=("psnr",), config=UNTIMED, **QUIET).summary()["psnr_db"]

    class Half(Nearest):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 0.5 * super().forward(x)

    found = [psnr_of(f"{tmp_path / folder}/net.py:Net") for folder in ("a", "b")]
    assert found == [psnr_of(Nearest()), psnr_of(Half())]
    assert (sys.modules.keys() - before, sys.meta_path) == ({"network_in_net"}, finders)


def test_a_file_takes_what_lies_beside_it_whatever_was_imported_under_its_name(tmp_path: Path, monkeypatch):
    text = "import eval\nfrom torch import nn\nfrom blocks import gain\nfrom models.parts import depth\n"
    for folder, gain in (("v1", 1.0), ("v2", 0.25)):
        (tmp_path / folder / "models").mkdir(parents=True)
        (tmp_path / folder / "models" / "parts.py").write_text(f"depth = '{folder}'\n")
        (tmp_path / folder / "blocks.py").write_text(f"gain = {gain}\n")
        (tmp_path / folder / "net.py").write_text(
            f"{text}class Net(nn.Module):\n    found = gain, depth, getattr(eval, 'whose', 'ours')\n"
        )
    (tmp_path / "v2" / "models" / "__init__.py").touch()
    (tmp_path / "v2" / "eval.py").write_text("whose = 'theirs'\n")
    monkeypatch.syspath_prepend(tmp_path / "v1")
    importlib.import_module("blocks")
    monkeypatch.setitem(sys.modules, "blocks", sys.modules.pop("blocks"))
    before = {name: its for name, its in sys.modules.items() if not name.startswith("network_in_")}

    def found(folder: str) -> tuple:
        return api.load_model(f"{tmp_path / folder}/net.py:Net").network.found

    assert [found(folder) for folder in ("v2", "v1")] == [(0.25, "v2", "theirs"), (1.0, "v1", "ours")]
    (tmp_path / "v1" / "blocks.py").write_text("gain = 0.125\n")
    assert found("v1") == (0.125, "v1", "ours")
    assert all(sys.modules[name] is its for name, its in before.items())
    assert importlib.import_module("models.team01_DIPNet").__file__ == str(PROJECT / "models" / "team01_DIPNet.py")


def test_relative_imports_of_a_file_find_what_lies_beside_it_as_it_is_now(tmp_path: Path):
    text = "from torch import nn\nfrom .blocks import gain\nclass Net(nn.Module):\n    found = gain\n"
    for folder, gain in (("v1", 1.0), ("v2", 0.25)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(text)
        (tmp_path / folder / "blocks.py").write_text(f"gain = {gain}\n")

    def found(folder: str) -> float:
        return api.load_model(f"{tmp_path / folder}/net.py:Net").network.found

    assert [found("v1"), found("v2")] == [1.0, 0.25]
    (tmp_path / "v2" / "blocks.py").write_text("gain = 0.125\n")
    assert found("v2") == 0.125


def test_a_file_of_the_project_takes_the_projects_own_packages(tmp_path: Path):
    module = sys.modules["models.window"]
    with importing_beside(PROJECT / "net.py"):
        assert importlib.import_module("models.window") is module


CONVOLUTION = (
    "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.conv = nn.Conv2d(3, 48, 3, padding=1)\n    def forward(self, x):\n"
    "        return nn.functional.pixel_shuffle(self.conv(x), 4)\n"
)


def test_a_network_of_a_file_without_weights_says_so_and_is_the_same_each_time(hr_folder: Path, tmp_path: Path):
    (tmp_path / "net.py").write_text(CONVOLUTION)
    state = torch.get_rng_state()
    first, again = (api.evaluate(f"{tmp_path}/net.py:Net", hr_folder, config=UNTIMED, **QUIET) for _ in range(2))
    assert first.record.model.weights_steps == (UNTRAINED,)
    assert f"weights net-Net: {UNTRAINED}" in first.notes
    loaded = api.load_model(f"{tmp_path}/net.py:Net")
    assert api.evaluate(loaded, hr_folder, config=UNTIMED, **QUIET).record.model.weights_steps == (UNTRAINED,)
    loaded.network.conv.weight.data.fill_(0.1)
    assert api.evaluate(loaded, hr_folder, config=UNTIMED, **QUIET).record.model.weights_steps == ()
    assert first.record.model.weights_sha256 == again.record.model.weights_sha256
    assert torch.equal(torch.get_rng_state(), state)


def test_what_the_code_of_a_file_raises_is_told_with_the_file(tmp_path: Path):
    (tmp_path / "net.py").write_text("raise OSError('no such thing')\n")
    with pytest.raises(RunError, match=r"net\.py:Net: its code failed: OSError: no such thing"):
        api.load_model(f"{tmp_path}/net.py:Net")
