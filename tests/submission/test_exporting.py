"""Exports run in the programs that they are for, and give what torch gives."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

from eval.data.datasets import Dataset, open_dataset
from eval.data.finding import SAMPLE
from eval.data.images import read_image, write_png
from eval.errors import RunError, UsageError
from eval.files import module_of
from eval.submission import hub
from eval.submission.exporting import FORMATS, Exportable, export
from eval.zoo.checkpoints import find_checkpoint
from eval.zoo.loading import load_network
from eval.zoo.manifest import find_model
from tests.records.test_record import make_record


@pytest.fixture(scope="module")
def abpn() -> Exportable:
    spec = find_model("ABPN")
    return Exportable(spec, load_network(spec, find_checkpoint(spec)))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("photographs")
    for pair in open_dataset(None, SAMPLE).pairs[:2]:
        write_png(folder / f"{pair.name}.png", read_image(pair.hr)[:160, 40:240])
    return open_dataset(folder, None)


def _need(name: str) -> None:
    for package in (*FORMATS[name].writes_by, *FORMATS[name].runs_by):
        pytest.importorskip(package)


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_gives_what_torch_gives_on_five_sizes_and_a_set(name: str, abpn, photographs, tmp_path: Path):
    _need(name)
    found = export(abpn, name, tmp_path, photographs)
    assert all(path.stat().st_size for path in found.files)
    assert found.largest is not None
    # Float32 sums in another order.
    assert found.largest <= (0 if name in ("safetensors", "hub") else 5e-6)
    own, exported = found.psnr_db
    assert own == pytest.approx(exported, abs=1e-3)
    assert own > 22


def test_the_onnx_graph_has_two_free_sides_and_a_known_opset(abpn, photographs, tmp_path: Path):
    onnx = pytest.importorskip("onnx")
    (path,) = export(abpn, "onnx", tmp_path, photographs).files
    model = onnx.load(path)
    sides = [side.dim_param or side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    assert sides == [1, 3, "height", "width"]
    assert model.opset_import[0].version >= 18


@pytest.mark.slow
def test_an_anchor_of_repeats_becomes_a_convolution_for_ncnn(photographs, tmp_path: Path):
    _need("ncnn")
    spec = find_model("PFDNLite")
    torch.manual_seed(0)
    # Its untrained tail adds little to the anchor.
    exportable = Exportable(spec, spec.build().requires_grad_(False))
    found = export(exportable, "ncnn", tmp_path, photographs)
    assert found.largest < 5e-6


def test_a_hub_folder_has_config_card_and_results(abpn, photographs, tmp_path: Path):
    _need("hub")
    sha = find_checkpoint(abpn.spec).sha256
    record = make_record((24.5, 25.5), label="08_ABPN", dataset="Set5", model={"weights_sha256": sha})
    exportable = Exportable(abpn.spec, abpn.network, (record,))
    export(exportable, "hub", tmp_path, photographs)
    folder = tmp_path / "08_ABPN-hub"
    assert json.loads((folder / "config.json").read_text()) == abpn.spec.arguments
    card = (folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert (front["license"], front["pipeline_tag"]) == ("mit", "image-to-image")
    assert "25.00" in card
    (psnr, *_) = yaml.safe_load((folder / ".eval_results" / "Set5.yaml").read_text())
    assert (psnr["dataset"], psnr["value"]) == ({"id": "eugenesiow/Set5", "task_id": "psnr_db"}, 25.0)
    loaded = module_of(folder / "modeling.py", "test_of_a_hub").ABPN.from_pretrained(folder)
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    assert all(torch.equal(value, weights[key]) for key, value in loaded.state_dict().items())


def test_code_that_nowhere_says_import_torch_becomes_a_hub_folder(abpn, tmp_path: Path, monkeypatch):
    _need("hub")
    inside = "    def __init__(self):\n        super().__init__(3, 48, 1)\n"
    (tmp_path / "net.py").write_text(f"from torch.nn import Conv2d\n\n\nclass Net(Conv2d):\n{inside}")
    monkeypatch.setattr(hub, "PROJECT", tmp_path)
    spec, network = abpn.spec.model_copy(update={"target": "net:Net", "arguments": {}}), torch.nn.Conv2d(3, 48, 1)
    hub.write_hub(spec, network, (), tmp_path / "out")
    loaded = module_of(tmp_path / "out" / "modeling.py", "test_of_a_short_hub").Net.from_pretrained(tmp_path / "out")
    assert torch.equal(loaded.weight, network.weight)


def test_what_is_missing_is_told(abpn, photographs, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="needs pnnx, which is not installed"):
        export(abpn, "ncnn", tmp_path, photographs)
    assert export(abpn, "hub", tmp_path, photographs).missing == "huggingface_hub"


def test_the_command(command, photographs, tmp_path: Path):
    images = ("--data_dir", photographs.folder.parent, "--dataset", photographs.folder.name)
    done = command("-m", "eval", "export", "--model_id", "8", "--format", "safetensors", *images)
    assert (tmp_path / "exported" / "08_ABPN.safetensors").is_file()
    assert "08_ABPN in exported, compared on five sizes" in done.stdout
    command("-m", "eval", "export", "--model_id", "-1", *images, code=1)


def test_an_export_that_gives_no_numbers_at_one_size_is_an_error(abpn, photographs, tmp_path: Path, monkeypatch):
    def run(x):
        sr = abpn.network(x)
        return sr * torch.nan if tuple(x.shape[-2:]) == (17, 130) else sr

    monkeypatch.setitem(FORMATS, "safetensors", replace(FORMATS["safetensors"], run=lambda *_: run))
    with pytest.raises(RunError, match="differ by nan"):
        export(abpn, "safetensors", tmp_path, photographs)


def test_an_export_that_is_refused_leaves_nothing(abpn, photographs, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(FORMATS, "safetensors", replace(FORMATS["safetensors"], run=lambda its, _: its.spec.build()))
    with pytest.raises(RunError, match="differ by"):
        export(abpn, "safetensors", tmp_path, photographs)
    assert list(tmp_path.iterdir()) == []


class Shifty(torch.nn.Module):
    """Draws what ONNX has no operator for."""

    def forward(self, x):
        return torch.special.bessel_j0(x).repeat_interleave(4, 2).repeat_interleave(4, 3)


def test_what_a_converter_raises_is_told(abpn, photographs, tmp_path: Path, monkeypatch):
    _need("onnx")
    with pytest.raises(RunError, match=r"^08_ABPN cannot be exported as onnx: UnsupportedOperatorError: .*bessel_j0"):
        export(replace(abpn, network=Shifty()), "onnx", tmp_path, photographs)

    def run(*_):
        raise IndexError("no such node\nin detail")

    monkeypatch.setitem(FORMATS, "safetensors", replace(FORMATS["safetensors"], run=run))
    with pytest.raises(RunError, match=r"^08_ABPN cannot be run as safetensors: IndexError: no such node$"):
        export(abpn, "safetensors", tmp_path, photographs)
    assert list(tmp_path.iterdir()) == []


def test_the_hubs_results_are_those_of_float32():
    plain = make_record((24.5, 25.5), label="08_ABPN", dataset="Set5")
    half = make_record((20.0, 21.0), label="08_ABPN", dataset="Set5", second=1, settings={"precision": "bf16"})
    (psnr, *_) = yaml.safe_load(hub._results([plain, half])["Set5"])
    assert psnr["value"] == 25.0
