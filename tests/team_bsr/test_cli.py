"""The commands, from the command line to files and exit codes."""

import hashlib
import importlib.util
import tomllib
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
import typer
from accelerate.state import AcceleratorState
from PIL import Image
from typer.testing import CliRunner

from eval.data.images import write_png
from eval.errors import RunError, UsageError
from eval.submission.graphs import onnx_graph
from eval.zoo.checkpoints import find_checkpoint
from eval.zoo.manifest import all_models, find_model
from models.team03_PFDNLite import PFDNLite
from models.team08_ABPN import ABPN
from team_bsr.checkpoint import load_checkpoint, load_network, save_checkpoint, write_weights
from team_bsr.cli import app
from team_bsr.export import verify
from team_bsr.network import reparameterize
from team_bsr.plan import Habits
from team_bsr.training import TrainingError
from tests.data.test_images import PNG_RGB, png
from tests.rounding import rounding
from tests.team_bsr.test_network import ADDITIONS, random_network
from tests.team_bsr.test_training import recipe


def invoke(*arguments) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def checkpoint(path, pruned_blocks=()):
    network = random_network(pruned_blocks)
    save_checkpoint(path, {"pruned_blocks": list(pruned_blocks), "ema": network.state_dict()})
    return path, network


@pytest.fixture
def images(tmp_path):
    for number in (1, 2):
        pixels = np.random.default_rng(number).integers(0, 256, (52, 61, 3), dtype=np.uint8)
        write_png(tmp_path / "hr" / f"{number}.png", pixels)
    return tmp_path / "hr"


def test_prune_then_export_gives_weights_that_the_deploy_class_takes(tmp_path, images):
    stage1, _ = checkpoint(tmp_path / "stage1.ckpt")
    invoke("prune", stage1, tmp_path / "stage2.ckpt", "--rule", "first")
    assert load_checkpoint(tmp_path / "stage2.ckpt")["pruned_blocks"] == [2, 3]
    stage1_state, pruned = (load_checkpoint(path)["ema"] for path in (stage1, tmp_path / "stage2.ckpt"))
    # The rule "first" leaves conv3 as it is.
    assert torch.equal(pruned["block2.conv3.0.weight"], stage1_state["block2.conv3.0.weight"])
    weights = tmp_path / "weights.safetensors"
    output = invoke("export", tmp_path / "stage2.ckpt", "--weights", weights, "--images", images)
    assert f"{weights}: pruned, not trained since\n" in output
    deploy = PFDNLite()
    deploy.load_state_dict(safetensors.torch.load_file(weights), strict=True)
    x = torch.rand(1, 3, 21, 17)
    with torch.no_grad():
        expected = load_network(tmp_path / "stage2.ckpt")(x)
        assert (deploy(x) - expected).abs().max() < rounding(torch.float32, ADDITIONS, expected.abs().max().item())
    row = tomllib.loads(output[output.index("[[model.checkpoints]]") :])["model"]["checkpoints"][0]
    assert row == {
        "name": "exported",
        "file": "weights.safetensors",
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "bytes": weights.stat().st_size,
    }


def test_fuse_of_the_first_stage(tmp_path):
    stage1, network = checkpoint(tmp_path / "stage1.ckpt")
    invoke("fuse", stage1, tmp_path / "fused.safetensors")
    state = safetensors.torch.load_file(tmp_path / "fused.safetensors")
    for key, value in reparameterize(network).state_dict().items():
        assert torch.equal(state[key], value)


def test_grown_weights_are_a_start(tmp_path):
    stage2, network = checkpoint(tmp_path / "stage2.ckpt", (2, 3))
    assert "features 3 times larger" in invoke("grow", stage2, tmp_path / "grown.safetensors", "--factor", 3)
    grown, before = load_network(tmp_path / "grown.safetensors"), reparameterize(network)
    torch.testing.assert_close(reparameterize(grown).head.weight, 3 * before.head.weight)
    assert grown.pruned_blocks == (2, 3)


def test_export_refuses_what_is_not_the_entry(tmp_path, images):
    stage1, _ = checkpoint(tmp_path / "stage1.ckpt")
    with pytest.raises(UsageError, match="expected PFDNLite of the second stage; prune it"):
        invoke("export", stage1, "--weights", tmp_path / "w.safetensors", "--images", images)
    assert not (tmp_path / "w.safetensors").exists()


def test_export_writes_a_file_of_one_s_own_beside_those_of_the_zoo(tmp_path, images, monkeypatch):
    stage2, _ = checkpoint(tmp_path / "stage2.ckpt", (2, 3))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    output = invoke("export", stage2, "--images", images)
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["pfdnlite_exported.safetensors"]
    known = {its.file for spec in all_models() for its in spec.checkpoints}
    assert "pfdnlite_exported.safetensors" not in known
    row = tomllib.loads(output[output.index("[[model.checkpoints]]") :])["model"]["checkpoints"][0]
    assert (row["name"], row["file"]) == ("exported", "pfdnlite_exported.safetensors")
    # By its name the harness evaluates it.
    found = find_checkpoint(find_model(3), "pfdnlite_exported.safetensors")
    assert (found.name, found.sha256) == (None, row["sha256"])


def test_no_file_that_the_zoo_knows_is_written_but_with_its_own_content(tmp_path, images, monkeypatch):
    """In a folder of weights of one's own, in which the zoo looks as it does in its own."""
    stage2, network = checkpoint(tmp_path / "stage2.ckpt", (2, 3))
    target = tmp_path / "weights" / "pfdnlite_selftrained.safetensors"
    target.parent.mkdir()
    target.write_bytes(b"as it was")
    monkeypatch.setenv("ESR_WEIGHTS", str(target.parent))
    for arguments in (("export", stage2, "--images", images, "--weights", target), ("fuse", stage2, target)):
        with pytest.raises(UsageError, match=r"pfdnlite_selftrained\.safetensors: expected a file of your own"):
            invoke(*arguments)
    assert target.read_bytes() == b"as it was"
    write_weights(reparameterize(network), tmp_path / target.name)
    content = (tmp_path / target.name).read_bytes()
    spec = find_model(3)
    (row,) = (its for its in spec.checkpoints if its.file == target.name)
    same = row.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
    models = (spec.model_copy(update={"checkpoints": (same,)}),)
    monkeypatch.setattr("team_bsr.outputs.all_models", lambda: models)
    invoke("fuse", stage2, target)
    assert target.read_bytes() == content


def test_export_writes_an_onnx_graph_for_any_size_that_agrees_with_torch(tmp_path, images):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    write_png(images / "3.png", np.random.default_rng(3).integers(0, 256, (92, 72, 3), dtype=np.uint8))
    stage2, network = checkpoint(tmp_path / "stage2.ckpt", (2, 3))
    graph = tmp_path / "deploy.onnx"
    output = invoke("export", stage2, "--weights", tmp_path / "w.safetensors", "--images", images, "--onnx", graph)
    assert f"{graph}: {graph.stat().st_size} bytes, ONNX of lr (1, 3, h, w) to sr (1, 3, 4h, 4w), float32" in output
    assert "ONNX Runtime - torch on 3 images of hr: " in output
    session, x = runtime.InferenceSession(graph), torch.rand(1, 3, 21, 17)
    with torch.no_grad():
        expected = network(x)
    sr = torch.from_numpy(session.run(["sr"], {"lr": x.numpy()})[0])
    assert (sr - expected).abs().max() < rounding(torch.float32, ADDITIONS, expected.abs().max().item())


def test_a_graph_that_is_not_the_network_s_is_not_written(tmp_path, images, monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    stage2, _ = checkpoint(tmp_path / "stage2.ckpt", (2, 3))
    monkeypatch.setattr("team_bsr.export.graphs.onnx_graph", lambda _network: onnx_graph(random_network()))
    arguments = ("export", stage2, "--weights", tmp_path / "w.safetensors", "--images", images, "--onnx")
    with pytest.raises(RunError, match=r"torch and ONNX Runtime differ by .*; expected at most 3e-04"):
        invoke(*arguments, tmp_path / "deploy.onnx")
    assert not (tmp_path / "deploy.onnx").exists()


@pytest.mark.parametrize(
    ("absent", "said"),
    [("onnx", "--onnx: the onnx package is not installed"), ("onnxruntime", "not compared with torch: onnxruntime")],
)
def test_export_without_a_package_says_how_to_get_it(tmp_path, images, monkeypatch, absent, said):
    if absent != "onnx":
        pytest.importorskip("onnx")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == absent else found(name))
    stage2, _ = checkpoint(tmp_path / "stage2.ckpt", (2, 3))
    arguments = ("export", stage2, "--weights", tmp_path / "w.safetensors", "--images", images, "--onnx")
    try:
        output = invoke(*arguments, tmp_path / "deploy.onnx")
    except UsageError as error:
        output = str(error)
    assert said in output
    assert "pip install -e '.[export]'" in output
    assert (tmp_path / "deploy.onnx").exists() == (absent != "onnx")


def test_verify_fails_where_fusing_is_wrong(monkeypatch):
    from team_bsr import export

    def wrong(network):
        deploy = reparameterize(network)
        deploy.tail[0].bias.data[0] += 1e-4
        return deploy

    monkeypatch.setattr(export, "reparameterize", wrong)
    image = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    with pytest.raises(RunError, match=r"fused and unfused differ by 1\.0e-04 in torch\.float64"):
        verify(random_network((2, 3)), [image])

    def wrong_in_float32(network):
        deploy = reparameterize(network)
        deploy.tail[0].bias.data[0] += 1e-3 if deploy.tail[0].bias.dtype == torch.float32 else 0
        return deploy

    monkeypatch.setattr(export, "reparameterize", wrong_in_float32)
    with pytest.raises(RunError, match=r"fused and unfused differ by 1\.0e-03 in torch\.float32"):
        verify(random_network((2, 3)), [image])


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path, images):
    steps = recipe(tmp_path / "recipe", iterations=(4, 2, 2, 3))
    output = invoke("train", "--run_dir", tmp_path / "run", "--data", images, "--recipe", steps, "--cpu", "--dry_run")
    assert f"images   2 of 2 in {images}\n" in output
    assert "LR       made by exact bicubic\n" in output
    assert "step 1   stage 1, 4 iterations of 4 patches of 40x40, l1, rate 0.001 halved every 4" in output
    assert "step 4   stage 2, 3 iterations of 4 patches of 40x40, mse" in output
    assert "expected 0:00:0" in output
    assert not (tmp_path / "run").exists()
    with (steps / "step1.toml").open("a") as file:
        file.write('schedule = "linear"\n')
    output = invoke("train", "--run_dir", tmp_path / "run", "--data", images, "--recipe", steps, "--cpu", "--dry_run")
    assert "l1, rate 0.001 falling linearly to 0, adamw" in output


def test_train_says_what_is_used_and_what_is_not_before_it_trains(tmp_path, images):
    write_png(images / "LR" / "1x4.png", np.zeros((13, 15, 3), np.uint8))
    write_png(images / "3.png", np.full((40, 90, 3), 9, np.uint8))
    steps = recipe(tmp_path / "recipe", iterations=(1, 1, 1, 1))
    (steps / "step2.toml").write_text((steps / "step2.toml").read_text().replace("hr_patch = 40", "hr_patch = 48"))
    arguments = ["train", "--run_dir", tmp_path / "run", "--data", images, "--recipe", steps, "--cpu"]
    told = (
        f"images   3 of 4 in {images}; left out: 1 LR images by their names (1x4.png)\n"
        "LR       made by exact bicubic\n"
        f"step 2   leaves out 1 of 3 images, which are smaller than its patches of 48 pixels: {images / '3.png'}\n"
    )
    warning = (
        f"warning: 3 of 3 validation images of hr are trained on, so its PSNR says little: 1 ({images / '1.png'}), "
        f"2 ({images / '2.png'}), 3 ({images / '3.png'})\n"
    )
    output = invoke(*arguments, "--validate", images, "--dry_run")
    assert output.startswith(told)
    assert warning in output
    output = invoke(*arguments, "--validate", images, "--steps", "1,2")
    assert output.startswith(told + warning)
    assert "3 images, cpu" in output
    assert "step 2  1/1  charbonnier" in output


@pytest.mark.parametrize("more", [(), ("--dry_run",)])
def test_a_dry_run_refuses_what_the_run_refuses(tmp_path, images, more):
    steps = recipe(tmp_path / "recipe")
    (steps / "step3.toml").write_text((steps / "step3.toml").read_text().replace("hr_patch = 40", "hr_patch = 96"))
    arguments = ["train", "--run_dir", tmp_path / "run", "--data", images, "--recipe", steps, "--cpu", *more]
    with pytest.raises(RunError, match=r"step 3: expected images of at least 96 pixels a side"):
        invoke(*arguments)
    pruned, _ = checkpoint(tmp_path / "stage2.ckpt", (2, 3))
    with pytest.raises(TrainingError, match="step 1 trains the unpruned network; --start is pruned already"):
        invoke(*arguments, "--steps", "1", "--start", pruned)
    Image.fromarray(np.zeros((100, 100), np.uint16)).save(images / "deep.png")
    with pytest.raises(RunError, match=r"deep\.png: has 16 bits"):
        invoke(*arguments)
    # Pillow calls 16-bit colour by the mode of 8 bits.
    (images / "deep.png").write_bytes(png(np.zeros((100, 100, 3), ">u2"), 16, PNG_RGB, 100))
    with pytest.raises(RunError, match=r"deep\.png: has 16 bits"):
        invoke(*arguments)
    assert not (tmp_path / "run").exists()


def test_the_training_form_that_export_writes_is_a_start(tmp_path, images):
    """Float16 on disk: each weight is the checkpoint's, rounded to 11 bits."""
    stage2, network = checkpoint(tmp_path / "stage2.ckpt", (2, 3))
    state = {**load_checkpoint(stage2), "step": 4, "iteration": 7, "plan": {"seed": 3}}
    save_checkpoint(stage2, state)
    written = tmp_path / "training.safetensors"
    invoke("export", stage2, "--weights", tmp_path / "w.safetensors", "--images", images, "--training", written)
    with safetensors.safe_open(written, "pt") as file:
        assert file.metadata() == {"step": "4", "iteration": "7", "recipe": '{"seed": 3}'}
    state = safetensors.torch.load_file(written)
    with safetensors.safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert file.metadata() is None
    # Written files are the user's umask's, as any file.
    (tmp_path / "plain").touch()
    assert written.stat().st_mode == (tmp_path / "plain").stat().st_mode
    invoke("fuse", written, tmp_path / "fused.safetensors")
    fused, exact = (safetensors.torch.load_file(tmp_path / name) for name in ("fused.safetensors", "w.safetensors"))
    for key, value in exact.items():
        assert (fused[key] - value).abs().max() < 2e-3 * max(value.abs().max(), 1), key
    for key, value in network.state_dict().items():
        assert state[key].dtype == torch.float16
        assert torch.equal(state[key], value.half()), key
    steps = recipe(tmp_path / "recipe", iterations=(1, 1, 1, 1))
    more = ("--recipe", steps, "--cpu", "--start", written, "--steps", "4")
    assert "step4-0000001.ckpt" in invoke("train", "--run_dir", tmp_path / "run", "--data", images, *more)


def test_unknown_steps_are_wrong_usage(tmp_path, images):
    arguments = ("train", "--run_dir", tmp_path / "run", "--data", images, "--recipe", recipe(tmp_path / "recipe"))
    with pytest.raises(UsageError, match="--steps: expected numbers of 1, 2, 3, 4, got 5"):
        invoke(*arguments, "--steps", "1,5")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"no checkpoint"), "expected a training checkpoint [(]"),
        (lambda path: torch.save({"params": {}}, path), "got one with no 'format'"),
        (lambda path: torch.save(SimpleNamespace(), path), "expected a training checkpoint [(]"),
    ],
)
def test_foreign_files_are_no_checkpoints(tmp_path, write, message):
    write(tmp_path / "x.ckpt")
    with pytest.raises(RunError, match=message):
        load_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, value):
    network = random_network()
    network.tail[0].bias.data[3] = value
    with pytest.raises(ValueError, match=r"not written, for tail\.0\.bias is not finite"):
        save_checkpoint(tmp_path / "x.ckpt", {"pruned_blocks": [], "ema": network.state_dict()})
    assert not list(tmp_path.iterdir())


@pytest.fixture
def fresh_accelerate():
    """Let accelerate take a precision anew, which it keeps for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("fresh_accelerate")
def test_every_flag_of_train_reaches_the_run(tmp_path, images, monkeypatch):
    """All with values that are not their defaults; what trains is caught in place of training."""
    caught = {}

    def catch(plan, habits, run, accelerator):
        caught.update(plan=plan, habits=habits, run=run, accelerator=accelerator)
        return "caught"

    monkeypatch.setattr("team_bsr.cli.train", catch)
    (images / "bad.png").write_bytes(b"no image")
    write_weights(ABPN(), tmp_path / "start.safetensors")
    for number in (1, 2):
        write_png(tmp_path / "small" / f"{number}x4.png", np.full((13, 15, 3), number, np.uint8))
    write_png(tmp_path / "valid" / "v.png", np.zeros((52, 60, 3), np.uint8))
    steps = recipe(tmp_path / "recipe", iterations=(4, 2, 2, 3))
    (steps / "presets").mkdir()
    (steps / "presets" / "half.toml").write_text('[step1]\niterations = "1/2"\n')
    flags = {
        "--run_dir": tmp_path / "run",
        "--data": images,
        "--lr_data": tmp_path / "small",
        "--validate": tmp_path / "valid",
        "--recipe": steps,
        "--network": "abpn",
        "--preset": "half",
        "--steps": "1,3",
        "--start": tmp_path / "start.safetensors",
        "--minutes": 7,
        "--seed": 5,
        "--precision": "bf16",
        "--workers": 1,
        "--log_every": 11,
        "--validate_every": 12,
        "--checkpoint_every": 13,
        "--keep": 4,
    }
    switches = ("--cpu", "--skip_bad", "--resident", "--not_recorded", "--compiled")
    invoke("train", *(item for pair in flags.items() for item in pair), *switches)
    plan, habits, run, accelerator = (caught[name] for name in ("plan", "habits", "run", "accelerator"))
    assert [(step.number, step.iterations) for step in plan.steps] == [(1, 2), (3, 2)]
    assert (plan.seed, plan.precision, plan.network) == (5, "bf16", "abpn")
    assert habits == Habits(
        11, 12, checkpoint_every=13, keep=4, workers=1, resident=True, recorded=False, compiled=True
    )
    assert (run.folder, run.start, run.minutes) == (tmp_path / "run", tmp_path / "start.safetensors", 7)
    assert [pair.name for dataset in run.sets for pair in dataset.pairs] == ["v"]
    assert [lr[0, 0, 0] for _, lr in run.pairs] == [1, 2]
    assert (accelerator.device.type, accelerator.mixed_precision) == ("cpu", "bf16")
    known = {name for option in typer.main.get_command(app).commands["train"].params for name in option.opts}
    assert known == {*flags, "--cpu", "--skip_bad", "--dry_run", "--resident", "--recorded", "--compiled"}
