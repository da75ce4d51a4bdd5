"""Each check of an entry against a network or a file that has its fault, and against one that has not."""

import json
import math
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import pixel_shuffle

from eval.cli import checking
from eval.cli.terminal import Terminal
from eval.config import RunConfig
from eval.data.datasets import open_dataset
from eval.data.images import ImageSize, write_png
from eval.errors import UsageError
from eval.inference.engines.registry import Execution
from eval.inference.upscaler import Upscaler
from eval.metrics.figures import Flag
from eval.metrics.trials import try_network
from eval.ranking.editions import find_edition
from eval.records.record import State, means_of
from eval.run.launch import resolved
from eval.run.model_source import zoo_model
from eval.run.network_source import source_of_module
from eval.submission import source_checks
from eval.submission.checks import CHECKS, check_all
from eval.submission.findings import Finding
from eval.submission.network_checks import deploy_form, flops_counted, runs
from eval.submission.subject import Facts, Subject, _tile_difference, gather, subject_of
from eval.third_party import bubblewrap
from eval.third_party.choosing import choose_model_file
from eval.third_party.kinds import SandboxKind
from eval.third_party.remote import SandboxedUpscaler
from eval.third_party.submission import Rules
from eval.third_party.wire import Message
from eval.zoo.manifest import find_model
from tests.planted_checkout import copy_of_planted
from tests.records.test_record import make_record

EDITION = find_edition(2026)


class Enlarges(nn.Module):
    """Nearest neighbours, by a convolution with fixed weights; what others do wrong, ``around`` does."""

    def __init__(self, around: Callable[[Any, Tensor], Tensor] = lambda its, x: its.enlarged(x)) -> None:
        super().__init__()
        self.tail, self.around, self.last = nn.Conv2d(3, 48, 1), around, torch.zeros(1, 3, 256, 256)
        nn.init.zeros_(self.tail.bias)
        self.tail.weight.data = torch.eye(3).repeat_interleave(16, dim=0)[..., None, None]

    def enlarged(self, x: Tensor) -> Tensor:
        return pixel_shuffle(self.tail(x), 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.around(self, x)


def test_tiles_are_run_by_the_network_and_not_by_what_an_engine_recorded():
    """A recording of the first tile knows that tile's place, and gives it to all of one size."""

    def recorded(_x: Tensor) -> Tensor:
        called.append(1)
        return torch.zeros(1, 3, 4 * _x.shape[-2], 4 * _x.shape[-1])

    called: list[int] = []
    config = resolved(RunConfig(protocol="accuracy", device="cpu", engine="eager", tile=None))
    with source_of_module(Enlarges(), 1.0).open(config, ImageSize(96, 96)) as loaded:
        _tile_difference(replace(loaded, forward=recorded, execution=Execution("cuda-graphs")))
    assert len(called) == 1


def remembers(its: Any, x: Tensor) -> Tensor:
    out = its.enlarged(x)
    kept = 0.1 * its.last if its.last.shape == out.shape else 0
    its.last = out
    return out + kept


def writes(its: Any, x: Tensor) -> Tensor:
    its.tail.weight.data = its.tail.weight.data.clone()
    return its.enlarged(x)


def even_only(its: Any, x: Tensor) -> Tensor:
    if x.shape[-1] % 2:
        raise ValueError("only even sizes")
    return its.enlarged(x)


def depends_on_input(its: Any, x: Tensor) -> Tensor:
    out = its.enlarged(x)
    return out + 0 * its.enlarged(x) if x.std() > 0 else out


AROUND = {
    "draws": lambda its, x: its.enlarged(x) + 0.01 * torch.rand(1),
    "remembers": remembers,
    "writes": writes,
    "even only": even_only,
    "depends on input": depends_on_input,
    "halves": lambda its, x: its.enlarged(x.bfloat16().float()),
    "size of a multiple": lambda its, x: its.enlarged(F.pad(x, (0, -x.shape[-1] % 8, 0, -x.shape[-2] % 8))),
    "large only": lambda its, x: its.enlarged(F.pad(x, (8, 8, 8, 8), mode="reflect"))[..., 32:-32, 32:-32],
    "twice as large": lambda its, x: its.enlarged(x)[..., ::2, ::2],
    "NaN of black": lambda its, x: its.enlarged(x) * (x.sum() / x.sum()),
    "mixes a batch": lambda its, x: its.enlarged(x) + 0.1 * x.mean(),
    "one only": lambda its, x: its.enlarged(x.view(1, *x.shape[1:])),
    "meant for 255": lambda its, x: its.enlarged(x.clamp(min=3.0)),
}


class TwoBranches(Enlarges):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.01 * torch.relu(self.one(x) + self.two(x)))


class Normalises(Enlarges):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(48)

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle(self.norm(self.tail(x)), 4)


class NeverReads(Enlarges):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Conv2d(3, 3, 1)


@cache
def findings_of(kind: str | type[nn.Module], data_range: float = 1.0) -> dict[str, Finding]:
    network = (Enlarges(AROUND[kind]) if kind in AROUND else kind()).eval().requires_grad_(False)
    source = source_of_module(network, data_range)
    upscaler = Upscaler(source.spec, network, torch.device("cpu"), described=source.info)
    subject = Subject(source, Path("absent"), None, None, ())
    trials = try_network(network, data_range)
    facts = Facts(subject, EDITION, analysis=upscaler.analyse(), trials=trials)
    return {finding.title: finding for finding in check_all(facts)}


@pytest.mark.parametrize(
    ("network", "data_range", "title", "status", "words"),
    [
        ("draws", 1.0, "Deterministic", "fail", "the same image twice differs"),
        ("draws", 1.0, "No state", "pass", "after another one"),
        ("remembers", 1.0, "No state", "fail", "after another image"),
        ("remembers", 1.0, "Deterministic", "not checked", "keeps state"),
        ("writes", 1.0, "No writes", "fail", "1 of them (first: tail.weight)"),
        ("halves", 1.0, "Precision", "fail", "bfloat16"),
        ("even only", 1.0, "Output size", "fail", "63x61 fail; at 63x61: ValueError: only even sizes"),
        ("size of a multiple", 1.0, "Output size", "fail", "expected an output of shape (1, 3, 252, 244), got"),
        ("large only", 1.0, "Least size", "pass", "from 12x12"),
        ("twice as large", 1.0, "Least size", "fail", "no square of up to 64x64 pixels gives one that is four times"),
        ("NaN of black", 1.0, "Finite", "warn", "black"),
        ("mixes a batch", 1.0, "Batch", "fail", "together, two images differ"),
        ("one only", 1.0, "Batch", "warn", "two images together fail"),
        ("meant for 255", 1.0, "Data range", "fail", "dB with range 255"),
        ("depends on input", 1.0, "FLOPs fixed", "fail", "on noise"),
        (TwoBranches, 1.0, "Deploy form", "warn", "1 sums of branches of one input (first: 3x3 of 3 to 3"),
        (Normalises, 1.0, "Deploy form", "warn", "normalisations behind a convolution"),
        (NeverReads, 1.0, "Deploy form", "warn", "2 parameters are never read (first: unused.weight)"),
    ],
)  # fmt: skip
def test_a_fault_is_found_by_its_check(network: str | type[nn.Module], data_range, title, status, words):
    finding = findings_of(network, data_range)[title]
    assert finding.status == status, finding
    assert words in finding.why
    assert finding.fix or status in ("pass", "not checked")


def test_counts_that_are_claims_alone_do_not_pass():
    network, told = Enlarges().eval(), "its counts are claims alone: it counted no FLOPs"
    source = source_of_module(network, 1.0)
    measured = Upscaler(source.spec, network, torch.device("cpu"), described=source.info).analyse()
    analysis = replace(measured, flags=(Flag(code="counts", text=told),))
    finding = flops_counted(Facts(Subject(source, Path("absent"), None, None, ()), EDITION, analysis=analysis))
    assert (finding.status, finding.why) == ("warn", told)


def test_all_parameters_that_a_worker_never_reads_are_told():
    network = Enlarges().eval()
    network.unused = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in range(250))
    told = Message({"trials": try_network(network, 1.0).model_dump(mode="json")})
    connection = SimpleNamespace(ask=lambda _operation: (told, 0.0))
    trials = SandboxedUpscaler(None, torch.device("cpu"), connection).trials()
    facts = Facts(Subject(source_of_module(network, 1.0), Path("absent"), None, None, ()), EDITION, trials=trials)
    assert deploy_form(facts).why == "250 parameters are never read (first: unused.0)"


def test_a_network_without_faults_passes_them_all():
    found = dict(findings_of(Enlarges))
    # It has no file, and hardly more weights than the biases, which the counters leave out.
    assert (found.pop("One file").status, found.pop("FLOPs counted").status) == ("fail", "warn")
    assert {its.status for its in found.values()} == {"pass", "not checked"}
    unseen = {title for title, its in found.items() if its.status == "not checked"}
    assert not unseen & {"Data range", "Output size", "Finite", "No state", "Deploy form", "Batch"}


def test_convolutions_in_a_row_are_told_only_where_one_is_cheaper():
    class Row(nn.Module):
        def __init__(self, middle: int) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, middle, 3, padding=1), nn.Conv2d(middle, 48, 1))

        def forward(self, x: Tensor) -> Tensor:
            return pixel_shuffle(self.layers(x), 4)

    # As one: 48 * 3 * 9 = 1296 multiply-adds; by 20 channels: 540 + 960, by 4: 108 + 192.
    assert try_network(Row(20).eval(), 1.0).branches != ()
    assert try_network(Row(4).eval(), 1.0).branches == ()


@pytest.fixture
def subject(tmp_path: Path) -> Callable[[str], Subject]:
    def make(text: str, helper: str | None = None) -> Subject:
        (tmp_path / "team09_Net.py").write_text(text)
        if helper is not None:
            (tmp_path / "helper.py").write_text(helper)
        source = source_of_module(Enlarges(), 1.0)
        return Subject(source, tmp_path, "team09_Net", "Net", ())

    return make


CONSTRUCTOR = (
    "import torch\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n        {}\n"
)


@pytest.mark.parametrize(
    ("text", "title", "status", "words"),
    [
        ("import torch", "One file", "pass", "imports no other file"),
        ("import helper", "One file", "fail", "helper.py"),
        ("import torch, numpy, math", "Packages", "pass", "own code"),
        ("from einops import rearrange\nimport timm", "Packages", "warn", "imports einops, timm"),
        ("import torch\nN = 3\nTABLE = [1.0 / k for k in range(1, 9)]", "Import", "pass", "nothing else"),
        ("import torch\nprint('hello')", "Import", "fail", "line 2 runs at import: print('hello')"),
        ("import torch\nX = torch.zeros(9)", "Import", "fail", "line 2"),
        ("if __name__ == '__main__':\n    print(1)", "Import", "pass", "nothing else"),
        (CONSTRUCTOR.format("self.a = torch.nn.Conv2d(3, 48, 3)"), "Constructor", "pass", "layers"),
        (CONSTRUCTOR.format("self.cuda()(torch.randn(1, 3, 9, 9))"), "Constructor", "fail", "asks for a GPU"),
        (CONSTRUCTOR.format("self(torch.zeros(1, 3, 9, 9))"), "Constructor", "fail", "line 5, runs the network"),
        (CONSTRUCTOR.format("torch.load('x.pth')"), "Constructor", "fail", "reads a file"),
        ("import torch\ntorch.backends.cuda.matmul.allow_tf32 = True", "Switches", "fail", "line 2: allow_tf32 = True"),
        ("import torch\ntorch.backends.fp32_precision = 'bf16'", "Switches", "fail", "line 2: fp32_precision"),
        ("import torch\ntorch.backends.mkldnn.enabled = False", "Switches", "fail", "line 2: mkldnn"),
        ("def f(x):\n    return x.half()", "Switches", "fail", ".half()"),
        ("# x.half()\nN = 3", "Switches", "pass", "sets no precision"),
        ("N = 3", "File names", "pass", "two digits"),
    ],
)
def test_a_file_is_read_for_its_faults(subject, text: str, title: str, status: str, words: str):
    facts = Facts(subject(text, helper="N = 1"), EDITION)
    finding = next(its for its in check_all(facts) if its.title == title)
    assert (finding.status, words in finding.why) == (status, True), finding


def test_a_checkpoint_of_code_or_of_half_precision_is_told(subject, tmp_path: Path):
    torch.save({"a": torch.zeros(3).half()}, tmp_path / "team09_half.pth")
    torch.save(nn.Conv2d(3, 3, 1), tmp_path / "team09_code.pth")
    for name, status, words in (("half", "warn", "float16"), ("code", "fail", "not a file of plain tensors")):
        its = Subject(**{**vars(subject("N = 3")), "checkpoints": (tmp_path / f"team09_{name}.pth",)})
        finding = next(its for its in check_all(Facts(its, EDITION)) if its.title == "Checkpoint")
        assert (finding.status, words in finding.why) == (status, True), finding
        assert finding.why.count(f"team09_{name}.pth") == 1


def test_a_package_that_holds_code_is_another_file(subject, tmp_path: Path):
    for place, text in (("empty", '"""Blocks."""\n'), ("full", "act = abs\n")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "__init__.py").write_text(text)
    finding = source_checks.one_file(Facts(subject("import empty\nfrom full import act\n"), EDITION))
    assert (finding.status, finding.why) == ("fail", "team09_Net.py also needs full/__init__.py")


@pytest.mark.parametrize(
    ("state", "words"),
    [(State.REFUSED, "torch.save(network.state_dict(), FILE)"), (State.FAILED_TO_BUILD, "on a CPU first")],
)
def test_what_to_do_follows_from_why_it_does_not_run(subject, state: State, words: str):
    assert words in runs(Facts(subject("N = 3"), EDITION, fault="…", state=state)).fix


def test_a_checkpoint_of_others_cannot_take_all_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(source_checks, "_MOST_BYTES", 2**29)
    (tmp_path / "net.py").touch()
    torch.save({"a": torch.zeros(3).half()}, tmp_path / "half.pth")
    # A pickle of bytearray(2**30), which torch takes for plain.
    (tmp_path / "bomb.pth").write_bytes(b"\x80\x02cbuiltins\nbytearray\nJ" + struct.pack("<i", 2**30) + b"\x85R.")
    for name, status, words in (("half", "warn", "half.pth holds float16"), ("bomb", "fail", "(MemoryError)")):
        rules = Rules(SandboxKind.NONE)
        source = choose_model_file(f"{tmp_path / 'net.py'}:Net", tmp_path / f"{name}.pth", 1.0, rules)
        finding = source_checks.checkpoint(Facts(subject_of(source), EDITION))
        assert (finding.status, words in finding.why) == (status, True), finding


@pytest.mark.parametrize(
    ("psnr_db", "status", "words"),
    [
        (26.95, "pass", "(+0.0500)"),
        (26.8964, "warn", "passes as printed, and fails unrounded"),
        (26.80, "fail", "26.8000 dB against 26.90 (-0.1000): fails"),
    ],
)
def test_the_gate_is_judged_as_printed_and_unrounded(subject, psnr_db: float, status: str, words: str):
    facts = Facts(subject("N = 3"), EDITION, psnr_db={"valid": psnr_db})
    found = {its.title: its for its in check_all(facts)}
    assert (found["PSNR, valid"].status, words in found["PSNR, valid"].why) == (status, True)
    assert found["PSNR, test"].status == "not checked"


def test_a_gate_of_three_decimals_is_written_with_them(subject):
    gate = EDITION.gates[0].model_copy(update={"psnr_db": 26.775, "decimals": 3})
    facts = Facts(subject("N = 3"), EDITION.model_copy(update={"gates": (gate,)}), psnr_db={"valid": 26.77})
    found = {its.title: its for its in check_all(facts)}
    assert "26.77000 dB against 26.775 (-0.00500)" in found["PSNR, valid"].why


def test_a_score_is_held_against_the_baselines(subject):
    for own, status in ((7.0, "pass"), (8.0, "warn")):
        facts = Facts(subject("N = 3"), EDITION, score=(own, 7.389))
        assert next(its for its in check_all(facts) if its.title == "Score").status == status


def test_a_model_of_the_zoo_is_measured_on_the_sets_at_hand(tmp_path: Path, random_image):
    write_png(tmp_path / "photos" / "a.png", random_image(48, 64))
    dataset = open_dataset(tmp_path / "photos", None)
    config = resolved(RunConfig(device="cpu"))
    facts = gather(subject_of(zoo_model(find_model("ABPN"))), EDITION, {"valid": dataset}, config)
    assert facts.fault is None
    assert 0 < facts.psnr_db["valid"] < 20
    assert facts.tiles is not None
    statuses = {its.title: its.status for its in check_all(facts)}
    # Noise is no photograph; nothing else keeps a model of the zoo out.
    assert [title for title, status in statuses.items() if status == "fail"] == ["PSNR, valid"]
    assert statuses["Checkpoint"] == statuses["Builds and runs"] == "pass"


NET = """import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.tail = nn.Conv2d(3, 48, 1)
        {}
    def forward(self, x):
        return nn.functional.pixel_shuffle(self.tail(x), 4)
"""


def test_the_command_checks_a_file_in_a_sandbox(command, tmp_path: Path):
    (tmp_path / "team09_Net.py").write_text(NET.format("self.cuda()"))
    torch.save({f"module.{key}": value for key, value in Enlarges().state_dict().items()}, tmp_path / "team09_net.pth")
    file = ("--model_file", "team09_Net.py:Net", "--checkpoint", "team09_net.pth", "--data_range", "1")
    done = command("-m", "eval", "check", *file, "--sandbox", "none", "--json", "found.json", code=1)
    (findings,) = json.loads((tmp_path / "found.json").read_text()).values()
    found = {its["title"]: its for its in findings}
    assert list(found) == list(CHECKS)
    assert found["Constructor"]["status"] == "fail"
    assert found["Builds and runs"]["status"] == "warn", found["Builds and runs"]
    told = (found["Checkpoint"]["status"], found["Checkpoint"]["why"])
    assert told == ("note", "team09_net.pth: the prefix module. was taken off")
    assert [found[its]["status"] for its in ("Data range", "Output size", "Batch", "Tiles")] == ["pass"] * 4
    assert "Constructor" in done.stdout


@pytest.mark.parametrize("name", ["check", "pack"])
def test_hr_images_that_the_entry_could_read_are_refused(command, tmp_path, random_image, monkeypatch, name: str):
    write_png(tmp_path / "eval" / "photos" / "0.png", random_image(48, 48))
    monkeypatch.setattr(bubblewrap, "OURS", tmp_path / "eval")
    monkeypatch.setattr(checking, "challenge_sets", lambda _edition, folder: {"valid": open_dataset(folder, None)})
    (tmp_path / "team09_Net.py").write_text(NET.format("pass"))
    torch.save(Enlarges().state_dict(), tmp_path / "team09_net.pth")
    file = ("--model_file", "team09_Net.py:Net", "--checkpoint", "team09_net.pth", "--data_range", "1")
    asked = (*file, "--data_dir", tmp_path / "eval" / "photos", "--sandbox", "none", "--device", "cpu")
    done = command("-m", "eval", name, *asked, code=2)
    assert "third-party code can read 0.png there" in done.stderr


@pytest.mark.slow
def test_the_command_checks_entries_of_a_checkout(command, tmp_path: Path):
    checkout = copy_of_planted(tmp_path / "checkout")
    demo = checkout / "test_demo.py"
    demo.write_text(demo.read_text() + "\n# model = your_model()\n")
    asked = ("--checkout", checkout, "--models", "3,6", "--sandbox", "none", "--json", "found.json")
    command("-m", "eval", "check", *asked, code=1)
    by_label = json.loads((tmp_path / "found.json").read_text())
    third, sixth = ({its["title"]: its for its in findings} for findings in by_label.values())
    assert third["Checkpoint"]["why"] == "select_model loads with strict=False, which hides missing keys"
    assert third["File names"]["why"] == "team00_plain.pth is of another team than 03"
    assert third["Placeholder"]["status"] == "fail"
    assert third["Output size"]["status"] == "pass"
    assert sixth["select_model"]["why"] == "the branch of id 6 defines no model"
    assert sixth["Builds and runs"]["status"] == "fail"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected one of --model_id, --model_file and --checkout, got none"),
        (("--model_id", "3", "--checkout", "x"), "got --model_id and --checkout"),
        (("--model_id", "absent"), "no model 'absent'"),
        (("--model_id", "-1"), "Bicubic: expected a network with weights"),
        (("--model_id", "3", "--models", "4"), "--models 4: only with --checkout"),
        (
            ("--model_id", "3", "--data_range", "1"),
            "--data_range: only with --model_file; weights of the zoo are named by --weights",
        ),
        (("--model_file", "a.py:Net", "--weights", "x"), "--weights: only with --model_id"),
    ],
)
def test_wrong_usage_is_told(command, arguments, message: str):
    done = command("-m", "eval", "check", *arguments, code=2)
    assert message in done.stderr, done.stderr


def _of_a_stub(monkeypatch, make) -> Finding:
    """Return the finding of the score where the records that timing gives are ``make``'s."""
    stub = type("Stub", (), {"__init__": lambda *_: None, "run": lambda *_: make()})
    monkeypatch.setattr(checking, "Evaluation", stub)
    subject = subject_of(zoo_model(find_model("ABPN")))
    facts = checking._with_score(Facts(subject, EDITION), resolved(RunConfig(device="cpu")), Terminal())
    return next(its for its in check_all(facts) if its.title == "Score")


def test_a_busy_machine_is_no_fault_of_the_entrys(monkeypatch, esr_weights):
    broken = make_record((30.0,), label="08_ABPN", status="failed", reason="disturbed")
    finding = _of_a_stub(monkeypatch, lambda: [make_record((30.0,), label="05_SPAN"), broken])
    assert (finding.status, finding.why) == ("not checked", "08_ABPN: failed: disturbed")


def test_an_entry_is_scored_beside_the_baseline_timed_with_it(monkeypatch, esr_weights):
    def records() -> list:
        own = make_record((30.0,), label="08_ABPN")
        half = tuple(image.model_copy(update={"runtime_ms": image.runtime_ms / 2}) for image in own.images)
        own = own.model_copy(update={"images": half, "means": means_of(half)})
        return [make_record((30.0,), label="05_SPAN"), own]

    finding = _of_a_stub(monkeypatch, records)
    assert finding.status == "pass", finding
    # Half the runtime, as many FLOPs and parameters: 0.8 e + 0.2 e².
    expected = 0.8 * math.e + 0.2 * math.e**2
    assert finding.why.startswith(f"{expected:.3f}, the baseline {math.e**2:.3f}")


def test_a_folder_of_sets_that_is_not_there_or_is_not_clear_is_refused(tmp_path: Path, random_image):
    with pytest.raises(UsageError, match=r"absent: no such folder"):
        checking.challenge_sets(EDITION, tmp_path / "absent")
    assert checking.challenge_sets(EDITION, tmp_path) == {}
    name = EDITION.gates[0].sets[0]
    write_png(tmp_path / f"{name}_HR" / "0.png", random_image(48, 48))
    for place in (f"{name}_LR", f"{name}_LR_bicubic/X4"):
        write_png(tmp_path / place / "0.png", random_image(12, 12))
    with pytest.raises(UsageError, match=r"in more than one layout: .*; keep one"):
        checking.challenge_sets(EDITION, tmp_path)
