"""Submissions run by their own code: what stale ones need, how each kind of failure is told, and that none does harm.

The networks under tests/planted enlarge by repeating pixels, so their figures are known without running them.
"""

import io
import re
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eval.data.datasets import open_dataset
from eval.data.images import ImageSize, read_image, write_png
from eval.errors import RunError, UsageError
from eval.metrics.psnr_ssim import psnr
from eval.records.record import Record, State
from eval.run.failures import CannotRunError
from eval.run.processes import carry_out
from eval.third_party import submission, worker
from eval.third_party.apart import checked_apart
from eval.third_party.bubblewrap import Mounts
from eval.third_party.checkout import read_checkout
from eval.third_party.choosing import choose_model_file, choose_submissions
from eval.third_party.claims import checked_counts
from eval.third_party.connection import Connection
from eval.third_party.faults import SubmissionError
from eval.third_party.graphs import load_graph
from eval.third_party.guard import Limits
from eval.third_party.kinds import SandboxKind, choose_sandbox
from eval.third_party.submission import Rules
from tests.conftest import PROJECT
from tests.planted_checkout import PLANTED, copy_of_planted
from tests.tasks import config_of, task_of

SMALL = Limits(memory_bytes=2**30, scratch_bytes=2**26, processes=16)


def sandbox() -> SandboxKind:
    try:
        return choose_sandbox(None)
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_of_planted(tmp_path / "a checkout", tmp_path / "mark")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two smooth images: repeating pixels enlarges them well, and no check takes them for noise."""
    for index, size in enumerate(((48, 64), (40, 52))):
        rows, columns = (np.linspace(40, 200, side) for side in size)
        image = (rows[:, None] + columns[None, :]) / 2
        write_png(tmp_path / "photos" / f"{index}.png", np.repeat(image.round().astype(np.uint8)[..., None], 3, 2))
    return tmp_path / "photos"


def record_of(source, photos: Path, **changes) -> Record:
    return carry_out(task_of(photos, source, **changes), lambda _result: None)


@pytest.fixture
def entry(checkout: Path, photos: Path) -> Callable[..., Record]:
    def run(model_id: int, **rules) -> Record:
        (found,) = choose_submissions(
            [read_checkout(checkout)], [str(model_id)], Rules(**{"sandbox": sandbox(), "timeout_s": 3000} | rules)
        )
        return record_of(found, photos)

    return run


@pytest.fixture
def hostile(tmp_path: Path, photos: Path) -> Callable[..., Record]:
    def run(class_name: str, more: Sequence[Path] = (), **rules) -> Record:
        folder = tmp_path / "hostile"
        folder.mkdir(exist_ok=True)
        shutil.copy(PLANTED / "hostile.py", folder)
        torch.save({"weight": torch.ones(1)}, tmp_path / "one.pth")
        rules = Rules(**{"sandbox": sandbox(), "timeout_s": 300, "limits": SMALL} | rules)
        target = f"{folder / 'hostile.py'}:{class_name}"
        source = choose_model_file(target, tmp_path / "one.pth", 1.0, rules, more)
        return record_of(source, photos, protocol="official")

    return run


def nearest_psnr(photos: Path) -> list[float]:
    """What repeating pixels comes to, with LR by the exact bicubic."""
    figures = []
    for pair in open_dataset(photos, None).pairs:
        lr, hr = pair.read()
        figures.append(psnr(lr.repeat(4, 0).repeat(4, 1), hr))
    return figures


def test_a_submission_is_run_by_its_own_code_and_measured_by_ours(entry, photos: Path):
    record = entry(0)
    assert record.complete, record.reason
    assert [image.psnr_db for image in record.images] == nearest_psnr(photos)
    assert record.model.label == "a_checkout-00_Plain_baseline"
    assert record.model.data_range == 1.0
    # 3 x 48 x 3 x 3 weights and 48 biases; a multiply-add a weight and pixel; 48 outputs a pixel.
    complexity = record.complexity
    assert complexity.num_params == 3 * 48 * 9 + 48
    assert complexity.flops == 3 * 48 * 9 * 256**2
    assert (complexity.activations, complexity.num_conv) == (48 * 256**2, 1)
    assert record.model.shims == ("torch.load without map_location", "torchvision is not installed: stand-in")


@pytest.mark.parametrize(
    ("model_id", "shims"),
    [
        (1, {".cuda() on a CPU", "torch.cuda calls on a CPU"}),
        (2, {'device="cuda" on a CPU', "numpy.float"}),
        (3, {f"{package} is not installed: stand-in" for package in ("basicsr", "mmcv", "timm")}),
        (4, {"checkpoint found under another path"}),
        (5, set()),
    ],
)
def test_stale_code_is_met_by_a_shim_that_changes_no_pixel(entry, photos: Path, model_id: int, shims: set[str]):
    record = entry(model_id)
    assert record.complete, record.reason
    assert [image.psnr_db for image in record.images] == nearest_psnr(photos)
    assert shims <= set(record.model.shims)


def test_weights_may_lie_in_a_folder_of_model_zoo(entry, checkout: Path, photos: Path):
    (checkout / "model_zoo" / "deep").mkdir()
    (checkout / "model_zoo" / "team00_plain.pth").rename(checkout / "model_zoo" / "deep" / "plain.pth")
    demo = checkout / "test_demo.py"
    demo.write_text(demo.read_text().replace('"team00_plain.pth"', '"deep", "plain.pth"'))
    record = entry(0)
    assert record.complete, record.reason
    assert [image.psnr_db for image in record.images] == nearest_psnr(photos)


def test_weights_under_another_case_are_those_that_are_weighed(checkout: Path):
    file = checkout / "model_zoo" / "team00_plain.pth"
    (checkout / "spare").mkdir()
    shutil.copy(file, checkout / "spare")
    file = file.rename(file.with_name("Team00_PLAIN.pth"))
    (found,) = choose_submissions([read_checkout(checkout)], ["0"], Rules(sandbox(), timeout_s=300))
    with found.open(config_of(), ImageSize(16, 16)) as loaded:
        assert loaded.weights_bytes == file.stat().st_size
        assert "checkpoint found under another path" in loaded.info.shims


@pytest.mark.parametrize(
    ("model_id", "state", "reason"),
    [
        (6, State.FAILED_TO_BUILD, "defines no model: it was withheld"),
        (7, State.MISSING_CHECKPOINT, "model_zoo/team07_absent.pth is not in the checkout"),
        (8, State.MISSING_DEPENDENCY, "No module named 'no_such_package'"),
        (9, State.NEEDS_OPERATOR, "No module named 'natten'"),
        (10, State.REFUSED, "not plain tensors.*`run --trust` opens it, inside the sandbox only"),
        (11, State.FAILED_TO_LOAD, r"Error\(s\) in loading state_dict.*size mismatch"),
        (12, State.FAILED_TO_BUILD, "SystemExit: 0"),
    ],
)
def test_what_cannot_be_loaded_says_why(entry, tmp_path: Path, model_id: int, state: State, reason: str):
    record = entry(model_id)
    assert (record.status, record.state) == ("failed", state)
    assert re.search(reason, record.reason)
    assert "\n" not in record.reason
    assert not (tmp_path / "mark").exists()


def test_a_trusted_checkpoint_runs_its_code_inside_the_sandbox_only(entry, tmp_path: Path):
    record = entry(10, trusted=True)
    # Its code cannot even make the file that it was planted to make.
    assert record.state is State.FAILED_TO_LOAD or record.state is State.FAILED_TO_BUILD
    assert not (tmp_path / "mark").exists()
    with pytest.raises(UsageError, match="not with --sandbox none"):
        entry(10, trusted=True, sandbox=SandboxKind.NONE)


@pytest.mark.parametrize(
    ("class_name", "state", "reason"),
    [
        ("NotFinite", State.INVALID_OUTPUT, "not finite"),
        ("WrongShape", State.INVALID_OUTPUT, r"expected a float output of shape \(1, 3, 48, 64\), got float32"),
        ("WrongType", State.INVALID_OUTPUT, "got uint8"),
        (
            "Several",
            State.INVALID_OUTPUT,
            r"got a list of 2: float32 \(1, 3, 48, 64\), float32 .*; return the x4 image alone",
        ),
        ("Raises", State.FAILED_TO_RUN, "ValueError"),
        ("Leaves", State.FAILED_TO_RUN, "SystemExit"),
        ("Crashes", State.FAILED_TO_RUN, "signal 11"),
        # By the guard that looks, or by a control group, which counts files too; whichever comes first.
        ("EatsMemory", State.OUT_OF_MEMORY, "killed: over (1024 MiB|1088 MiB, files included)"),
        ("Garbles", State.FAILED_TO_RUN, "does not keep to the protocol: it sent something that is no message"),
    ],
)
def test_what_goes_wrong_while_it_runs_is_told(hostile, class_name: str, state: State, reason: str):
    record = hostile(class_name)
    assert (record.status, record.state) == ("failed", state), record.reason
    assert re.search(reason, record.reason), record.reason
    assert record.reason.isprintable()
    assert len(record.reason) < 500


def test_what_lies_beside_a_file_is_out_of_sight(hostile, tmp_path: Path):
    """A home folder holds more than a network: its file comes, a folder that is named, and no image of the set."""
    (tmp_path / "hostile" / ".ssh").mkdir(parents=True)
    (tmp_path / "hostile" / "facts").mkdir()
    (tmp_path / "hostile" / "facts" / "table.txt").touch()
    (tmp_path / "hostile" / ".ssh" / "id_rsa").write_text("secret")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "hostile" / "agent"))
        record = hostile("LooksAround", [tmp_path / "hostile" / "facts"])
    assert record.reason.endswith("ValueError: ['facts', 'hostile.py'] True []")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a forward for a second, and for all else as ever: starting a worker takes what the machine lets it."""
    ask = Connection.ask

    def ask_impatiently(self: Connection, operation: str, *arguments, **header):
        monkeypatch.setattr(self, "_timeout_s", 1 if operation in ("go", "get") else 300)
        return ask(self, operation, *arguments, **header)

    monkeypatch.setattr(Connection, "ask", ask_impatiently)


@pytest.mark.usefixtures("impatient")
def test_one_that_sleeps_is_ended(hostile):
    record = hostile("Sleeps")
    assert (record.state, record.reason) == (State.TIMED_OUT, "at image 0: took more than 1 s for one image")


def test_a_clock_that_stands_still_there_runs_here(hostile):
    record = hostile("StopsTheClock")
    assert record.complete, record.reason
    assert record.images[0].runtime_ms > 500


def test_an_output_of_another_range_is_flagged_and_measured(hostile):
    record = hostile("WrongRange")
    assert record.complete, record.reason
    (flag,) = [flag for flag in record.flags if flag.code == "range"]
    assert "perhaps it is untrained, or the data range is another one" in flag.text


def test_work_outside_of_the_timed_forward_is_flagged(hostile):
    record = hostile("WorksBefore")
    assert record.complete
    (flag,) = [flag for flag in record.flags if flag.code == "late"]
    assert "works outside of the timed forward" in flag.text


@pytest.mark.usefixtures("impatient")
def test_a_faked_reply_gains_nothing(hostile):
    record = hostile("FakesAReply")
    # No pixels are believed that were not sent, each of them checked.
    assert record.status == "failed"
    assert record.state in (State.TIMED_OUT, State.FAILED_TO_RUN, State.INVALID_OUTPUT)


def test_counts_that_are_no_counts_are_not_believed_and_cost_no_image(hostile, photos: Path):
    record = hostile("ClaimsNothing")
    assert record.complete, record.reason
    assert [image.psnr_db for image in record.images] == nearest_psnr(photos)
    assert record.complexity is None
    (flag,) = record.flags
    assert (flag.code, flag.text) == (
        "uncounted",
        "could not be counted (failed to run): its process returned no counts",
    )


def test_an_error_while_counting_costs_what_could_not_be_counted(hostile, photos: Path):
    record = hostile("Picky")
    assert record.complete, record.reason
    assert [image.psnr_db for image in record.images] == nearest_psnr(photos)
    assert (record.complexity.num_params, record.complexity.flops, record.complexity.activations) == (1, None, None)
    assert [(flag.code, flag.text) for flag in record.flags] == [
        (
            "uncounted",
            "could not be counted: activations and convolutions, FLOPs, FLOPs by torch's dispatcher, FLOPs on noise "
            "(ValueError: only small sizes)",
        ),
        ("uncounted", "could not be inspected with images of 64x64 (ValueError: only small sizes)"),
        ("counts", "its counts are claims alone: it counted no FLOPs"),
    ]


def counts_told(record: Record) -> list[str]:
    return [flag.text for flag in record.flags if flag.code == "counts"]


# 3 x 3 x 3 weights for each of three outputs of each of 256 x 256 pixels.
BLUR_FLOPS = 81 * 256**2


@pytest.mark.parametrize("class_name", ["Blurs", "BlursByFunctions"])
def test_counts_of_its_graph_stand_beside_its_own(hostile, class_name):
    record = hostile(class_name)
    assert record.complexity.flops_by_dispatcher == record.complexity.flops_apart == BLUR_FLOPS
    assert counts_told(record) == []


def test_who_claims_to_have_counted_no_flops_is_told(hostile):
    record = hostile("ClaimsNoFlops")
    assert (record.complexity.num_params, record.complexity.flops, record.complexity.faults) == (0, None, {})
    assert counts_told(record) == ["its counts are claims alone: it counted no FLOPs"]


@pytest.mark.parametrize(
    "class_name",
    [
        "ClaimsLess",
        "GivesAGraphThatWorksOnce",
        "GivesAGraphCheapOnZeros",
        "HidesOneCount",
        "ClaimsLessWhereItIsPublished",
    ],
)
def test_who_claims_less_than_its_graph_does_is_told(hostile, class_name):
    record = hostile(class_name)
    own = {"HidesOneCount": None, "ClaimsLessWhereItIsPublished": BLUR_FLOPS}.get(class_name, BLUR_FLOPS // 10)
    assert (record.complexity.flops_by_dispatcher, record.complexity.flops_apart) == (own, BLUR_FLOPS)
    assert counts_told(record) == [
        f"FLOPs {BLUR_FLOPS:,} in the graph of what it computes, {BLUR_FLOPS // 10:,} by its own process"
    ]


def test_work_that_no_counter_counts_is_told(hostile):
    record = hostile("GivesAGraphByHand")
    assert record.complexity.flops_apart == 0
    # 81 products for each of 256 x 256 pixels, and Honest's weight.
    assert counts_told(record) == [f"{(81 + 3) * 256**2:,} values are computed one by one, which no counter counts"]


def test_the_image_that_is_compared_is_like_those_that_are_judged(hostile):
    (told,) = counts_told(hostile("IsCheapOnNoise"))
    assert told == "its counts are claims alone: the graph that it gives of itself has other pixels than it has"


@pytest.mark.parametrize(
    ("class_name", "reason"),
    [
        ("GivesAnotherGraph", "the graph that it gives of itself has other pixels than it has"),
        ("GivesNoGraph", "BadZipFile: File is not a zip file"),
    ],
)
def test_a_graph_that_is_not_its_own_proves_nothing(hostile, class_name, reason):
    record = hostile(class_name)
    assert record.complete, record.reason
    assert record.complexity.flops_apart is None
    (told,) = counts_told(record)
    assert told.startswith(f"its counts are claims alone: {reason}")


def test_what_it_makes_of_torch_counts_for_nothing_here(hostile):
    record = hostile("PatchesTorch")
    assert record.state is State.INVALID_OUTPUT
    assert "not finite" in record.reason


def test_noise_is_the_same_every_time_and_flagged(hostile):
    first, second = hostile("Random"), hostile("Random")
    assert first.complete
    assert [image.psnr_db for image in first.images] == [image.psnr_db for image in second.images]
    assert "state" in [flag.code for flag in first.flags]


def test_without_a_sandbox_honest_code_runs_as_well(hostile, photos: Path):
    record = hostile("Honest", sandbox=SandboxKind.NONE)
    assert record.complete, record.reason
    assert [image.psnr_db for image in record.images] == nearest_psnr(photos)
    assert record.images[0].runtime_ms > 0


def test_our_models_are_out_of_a_submissions_way(monkeypatch: pytest.MonkeyPatch):
    installed_in_place = type("Finder", (), {"__module__": "__editable___pfdnlite_esr_0_1_0_finder"})
    monkeypatch.setattr(sys, "path", [*sys.path, str(PROJECT)])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, installed_in_place])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    worker._forget_our_models()
    assert str(PROJECT) not in sys.path
    assert installed_in_place not in sys.meta_path
    assert not [name for name in sys.modules if name.split(".")[0] == "models"]


def test_saved_images_are_the_pixels_that_were_judged(checkout: Path, photos: Path, tmp_path: Path):
    (found,) = choose_submissions([read_checkout(checkout)], ["0"], Rules(sandbox(), timeout_s=300))
    record_of(found, photos, images_dir=tmp_path / "sr")
    for pair in open_dataset(photos, None).pairs:
        lr, _ = pair.read()
        assert np.array_equal(read_image(tmp_path / "sr" / f"{pair.name}.png"), lr.repeat(4, 0).repeat(4, 1))


def test_a_worker_counts_gpus_in_the_order_of_the_harness(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.setenv("SECRET", "1")
    environment = submission._environment(1, "1")
    assert (environment["CUDA_DEVICE_ORDER"], environment["CUDA_VISIBLE_DEVICES"]) == ("PCI_BUS_ID", "1")
    assert "SECRET" not in environment


@pytest.mark.parametrize(
    "told",
    [None, {}, {"num_params": 1, "flops": -1}, {"num_params": 1, "flops": 10**400}, {"num_params": True, "flops": 1}],
)
def test_counts_of_a_graph_are_within_limits(told):
    counts = {"values": 0, "unknown": [], **(told or {})} if told is not None else told
    with pytest.raises(CannotRunError, match="its graph could not be counted"):
        checked_counts(counts)


def test_a_graph_that_calls_more_than_torchs_own_operators_is_refused():
    """``_reinterpret_tensor`` reads memory beyond its tensor."""

    @torch.jit.script
    def reads(x: torch.Tensor) -> torch.Tensor:
        return torch.ops.inductor._reinterpret_tensor(x, [8], [1], 4)

    written = io.BytesIO()
    torch.jit.save(reads, written)
    with pytest.raises(SubmissionError, match="its graph calls inductor::_reinterpret_tensor"):
        load_graph(written.getvalue(), 1.0, torch.device("cpu"))


def test_a_full_disk_or_a_worker_that_does_not_start_costs_the_proof_alone():
    claimed = SimpleNamespace()

    class Entry:
        def graph(self) -> bytes:
            raise OSError(28, "No space left on device")

    complexity, (flag,) = checked_apart(Entry(), claimed, None, lambda _graph: None)
    assert complexity is claimed
    assert flag.text.startswith("its counts are claims alone: ")
    assert "No space left on device" in flag.text


def test_a_worker_is_shown_the_files_of_gpus_and_none_starts_without_them(monkeypatch: pytest.MonkeyPatch):
    def start(_command: object, _kind: object, mounts: Mounts, *_more: object) -> None:
        shown.append(mounts.devices)
        raise RunError("no worker")

    def open_on(device: str, kind: SandboxKind, files: list[Path]) -> None:
        monkeypatch.setattr(submission, "gpu_files", lambda: files)
        with submission.opened(None, Rules(kind), config_of(device=device), {}):
            pass

    shown: list[tuple[Path, ...]] = []
    monkeypatch.setattr(submission, "start", start)
    for device, kind, files in (
        ("cpu", SandboxKind.BUBBLEWRAP, [Path("/dev/dxg")]),
        ("cuda", SandboxKind.BUBBLEWRAP, [Path("/dev/dxg")]),
        ("cuda", SandboxKind.NONE, []),
    ):
        with pytest.raises(RunError, match="no worker"):
            open_on(device, kind, files)
    assert shown == [(), (Path("/dev/dxg"),), ()]
    with pytest.raises(
        CannotRunError, match=r"^--device cuda: the sandbox has no GPU: there is no /dev/.*--device cpu"
    ):
        open_on("cuda", SandboxKind.BUBBLEWRAP, [])
    assert len(shown) == 3
