"""Records: what they hold, that they survive, and that others are refused by name."""

import io
import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from eval.config import Protocol
from eval.errors import RunError, UsageError
from eval.metrics.figures import Complexity, Flag
from eval.records import store
from eval.records.environment import Environment, MachineState
from eval.records.record import DatasetInfo, ImageResult, Record, Settings, means_of
from eval.records.store import by_key, check_writable, find_records, read_record, read_records, write_record
from eval.zoo.model_info import ModelInfo

STATE = MachineState(load_1min=0.1, cpu_mhz=2600, gpu_mhz=None, gpu_temperature_c=None)


def changed(record: Record, **parts: Any) -> Record:
    """A copy with other parts; of a part with fields of its own, a dictionary says what is other in it."""
    for name, its in parts.items():
        own = getattr(record, name)
        if isinstance(own, BaseModel) and isinstance(its, dict):
            parts[name] = type(own)(**dict(own) | its)
    return Record(**dict(record) | parts)


def make_record(
    psnrs: tuple[float | None, ...] = (30.0, 20.0),
    label: str = "03_PFDNLite",
    dataset: str = "Set2",
    second: int = 0,
    **changes: Any,
) -> Record:
    """Make a complete record of as many images as there are PSNRs; ``changes`` are those of ``changed``."""
    images = tuple(
        ImageResult(name=f"img{i}", lr_height=8, lr_width=9, psnr_db=db, ssim=0.5, runtime_ms=100.0 / (i + 1))
        for i, db in enumerate(psnrs)
    )
    model = ModelInfo(
        id=int(label[:2]), name=label[3:], label=label, team="BSR", scale=4, data_range=1, checkpoint="released",
        weights_file="weights.pth", weights_sha256="0" * 64, source_sha256="1" * 64,
    )  # fmt: skip
    complexity = Complexity(
        input_side=256, num_params=218_288, flops=11_952_734_208, flops_by_dispatcher=11_902_402_560,
        flops_bound=218_288 * 256**2, activations=36_103_168, num_conv=24, uncounted_ops={"aten::silu": 6},
        suspect_ops=(),
    )  # fmt: skip
    environment = Environment(
        commit="abc", platform="Linux", python="3.11", torch="2.13.0", numpy="2", opencv="5", fvcore="0.1.5",
        cpu="A processor", gpu=None, cuda=None, cudnn=None, driver=None, threads=2, cudnn_benchmark=False,
        cudnn_tf32=True, matmul_tf32=False, deterministic=False,
    )  # fmt: skip
    record = Record(
        status="complete",
        started_at=datetime(2026, 1, 2, 3, 4, second, tzinfo=UTC),
        finished_at=datetime(2026, 1, 2, 3, 5, second, tzinfo=UTC),
        model=model,
        dataset=DatasetInfo(name=dataset, layout="SelfExSR", folder="/data", num_images=len(psnrs)),
        settings=Settings(protocol=Protocol.OFFICIAL, device="cpu", tile=None, tile_overlap=None),
        images=images,
        means=means_of(images),
        complexity=complexity,
        peak_memory_mib=105.456,
        peak_memory_method="by hand",
        environment=environment,
        before=STATE,
        after=STATE,
    )
    return changed(record, **changes)


def test_round_trip_keeps_every_digit(tmp_path: Path):
    record = make_record((math.pi * 10, 1e-17, math.inf))
    path = write_record(record, tmp_path / "records")
    assert read_record(path) == record
    assert [image["psnr_db"] for image in json.loads(path.read_text())["images"]] == [math.pi * 10, 1e-17, "Infinity"]


def test_means_are_unrounded_and_none_where_a_figure_was_not_taken():
    record = make_record((30.123456789, 20.0, 20.0))
    assert record.mean("psnr_db") == pytest.approx((30.123456789 + 40) / 3, abs=1e-12)
    assert record.means["psnr_db"].count == 3
    assert record.mean("runtime_ms") == pytest.approx((100 + 50 + 100 / 3) / 3)
    assert make_record((30.0, None)).mean("psnr_db") is None
    assert make_record(()).mean("psnr_db") is None
    assert make_record((30.0, math.inf)).mean("psnr_db") == math.inf


def test_two_records_never_share_a_file(tmp_path: Path):
    first = write_record(make_record(), tmp_path)
    second = write_record(make_record(second=1), tmp_path)
    assert first != second
    assert [record.started_at.second for record in read_records(tmp_path)] == [0, 1]


def keyed(count: int, status: str, second: int, runs: int = 1) -> Record:
    """Make a record of one key that holds so many images."""
    reason = None if status == "complete" else "x"
    settings = Settings(protocol=Protocol.OFFICIAL, device="cpu", tile=None, tile_overlap=None, runs=runs)
    fields = {"status": status, "reason": reason, "key": "k" * 64, "settings": settings}
    return make_record((20.0,) * count, second=second, **fields)


def test_a_file_is_called_by_model_set_protocol_and_key_or_time(tmp_path: Path):
    assert write_record(keyed(2, "complete", 0), tmp_path).name == f"03_PFDNLite_Set2_official_{'k' * 16}.json"
    # Without a key nothing can be the same run, and nothing is replaced, whatever became of it.
    failed = keyed(2, "interrupted", 0).model_copy(update={"key": None})
    assert re.fullmatch(r"03_PFDNLite_Set2_official_20260102T030400\d+Z_\d+\.json", write_record(failed, tmp_path).name)


def test_of_complete_records_of_one_key_the_newest_answers():
    new, old = keyed(2, "complete", 5), keyed(2, "complete", 1)
    assert by_key([new, old, keyed(2, "interrupted", 9)]) == {new.key: new}


def test_counts_of_another_key_are_not_taken(tmp_path: Path):
    former = keyed(2, "complete", 0)
    write_record(former, tmp_path)
    uncounted = former.model_copy(update={"complexity": None})
    # Keys that begin alike share a file's name.
    other = uncounted.model_copy(update={"key": "k" * 63 + "l"})
    assert read_record(write_record(other, tmp_path)).complexity is None
    write_record(former, tmp_path)
    assert read_record(write_record(uncounted, tmp_path)).complexity == former.complexity


def test_fewer_finished_runs_do_not_replace_more(tmp_path: Path):
    for second, runs in enumerate((3, 1, 3, 4)):
        write_record(keyed(2, "interrupted", second, runs), tmp_path)
    assert sorted((record.started_at.second, record.settings.runs) for record in read_records(tmp_path)) == [
        (1, 1),
        (3, 4),
    ]


def test_counts_that_fail_this_time_are_kept_from_before(tmp_path: Path):
    counted = keyed(2, "complete", 0)
    write_record(counted, tmp_path)
    flag = Flag(code="uncounted", text="x")
    write_record(keyed(2, "complete", 1).model_copy(update={"complexity": None, "flags": (flag,)}), tmp_path)
    (kept,) = read_records(tmp_path)
    assert (kept.started_at.second, kept.complexity, kept.flags) == (1, counted.complexity, ())
    partly = counted.complexity.model_copy(update={"flops": None, "faults": {"FLOPs": "x"}})
    write_record(keyed(2, "complete", 2).model_copy(update={"complexity": partly}), tmp_path)
    assert read_records(tmp_path)[0].complexity == counted.complexity
    # What is counted anew stands.
    other = counted.complexity.model_copy(update={"num_conv": 99})
    write_record(keyed(2, "complete", 3).model_copy(update={"complexity": other}), tmp_path)
    assert read_records(tmp_path)[0].complexity.num_conv == 99


def test_a_poorer_record_never_replaces_a_better_one(tmp_path: Path):
    for second, (count, status) in enumerate(
        ((2, "complete"), (1, "interrupted"), (0, "failed"), (2, "interrupted"), (1, "failed"))
    ):
        write_record(keyed(count, status, second), tmp_path)
    kept = [(record.status, len(record.images)) for record in read_records(tmp_path)]
    assert ("complete", 2) in kept
    assert ("interrupted", 2) in kept
    assert by_key(read_records(tmp_path))["k" * 64].complete
    # A complete one takes the place of all that is not more than it.
    write_record(keyed(2, "complete", 9), tmp_path)
    assert [record.started_at.second for record in read_records(tmp_path) if record.complete] == [9]


def test_a_complete_record_takes_the_place_of_what_did_not_finish(tmp_path: Path):
    write_record(keyed(1, "interrupted", 0), tmp_path)
    write_record(keyed(2, "complete", 1), tmp_path)
    assert [record.status for record in read_records(tmp_path)] == ["complete"]


def test_a_full_disk_leaves_the_former_record(tmp_path: Path, monkeypatch):
    write_record(keyed(2, "complete", 0), tmp_path)

    def full(path: Path, content: bytes):
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_record(keyed(2, "complete", 1), tmp_path)
    assert [record.started_at.second for record in read_records(tmp_path)] == [0]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["n" * 235, "ü" * 117])
def test_long_names_of_sets_and_models_make_no_name_that_a_file_cannot_have(tmp_path: Path, name: str):
    path = write_record(make_record(dataset=name, label=f"01_{name}", key="k" * 64, status="failed"), tmp_path)
    assert read_record(path).dataset.name == name


def test_where_records_cannot_be_written_is_told_before_the_work(tmp_path: Path):
    check_writable(tmp_path / "a", "records")
    assert list((tmp_path / "a" / "records").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"--save_dir .*file: cannot be written: Not a directory; name another folder"):
        check_writable(tmp_path / "file", "records")


def test_a_devices_name_comes_from_one_place():
    its = make_record().environment
    assert (its.device_name, its.machine) == ("A processor", "A processor, 2 threads")
    told = its.model_copy(update={"instructions": "AVX2"})
    assert (told.device_name, told.machine) == ("A processor, AVX2", "A processor, AVX2, 2 threads")
    nvidia = its.model_copy(update={"gpu": "NVIDIA H100"})
    assert (nvidia.device_name, nvidia.machine) == ("NVIDIA H100", "NVIDIA H100, A processor")
    apple = its.model_copy(update={"cpu": "Apple M2", "gpu": "Apple M2, MPS"})
    assert (apple.device_name, apple.machine) == ("Apple M2, MPS", "Apple M2, MPS")


def test_records_are_sorted_by_time_and_an_absent_folder_has_none(tmp_path: Path):
    for second, label in ((2, "00_RLFN"), (1, "05_SPAN")):
        write_record(make_record(label=label, second=second), tmp_path)
    assert [record.model.label for record in read_records(tmp_path)] == ["05_SPAN", "00_RLFN"]
    assert read_records(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"images": "none"}, "images"),
        ({"surprise": 1}, "surprise"),
        ({"status": "fine"}, "status"),
        ({"started_at": "2026-01-02T03:04:05"}, "started_at"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, change: dict, message: str):
    path = write_record(make_record(), tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunError, match=f"{path.name}: not a record of schema version 1 .*{message}"):
        read_records(tmp_path)


@pytest.mark.parametrize("content", [b'{"schema_version": 1, "status": ', b"{\x80}"], ids=["torn", "no text"])
def test_what_is_no_record_is_refused_by_name(tmp_path: Path, content: bytes):
    (tmp_path / "odd.json").write_bytes(content)
    for read in (read_records, lambda folder: read_record(folder / "odd.json")):
        with pytest.raises(RunError, match=r"odd\.json: not a record of schema version 1"):
            read(tmp_path)


def test_a_torn_record_is_told_with_the_byte_where_it_ends(tmp_path: Path):
    (tmp_path / "odd.json").write_text('{"schema_version": 1, "status": ')
    with pytest.raises(RunError, match=r"\(it ends early, at byte 32: copy or download it again\); move it out"):
        read_record(tmp_path / "odd.json")


def test_what_another_command_takes_away_meanwhile_is_passed_over(tmp_path: Path, monkeypatch):
    kept = write_record(make_record(), tmp_path)
    # Its name is there, and what it stood for is gone.
    (tmp_path / "gone_incomplete.json").symlink_to(tmp_path / "absent")
    assert read_records(tmp_path) == [read_record(kept)]

    def gone(path: Path) -> Record:
        raise FileNotFoundError(path)

    for status in ("complete", "interrupted"):
        write_record(keyed(2, status, 0), tmp_path / status)
        with monkeypatch.context() as patch:
            patch.setattr(store, "read_record", gone)
            assert write_record(keyed(2, status, 1), tmp_path / status).exists()


@pytest.mark.parametrize("status", ["complete", "interrupted"])
def test_records_of_two_keys_never_share_a_file(tmp_path: Path, status: str):
    for second, letter in enumerate("ab"):
        write_record(keyed(2, status, second).model_copy(update={"key": letter * 64}), tmp_path)
    assert [record.key for record in read_records(tmp_path)] == ["a" * 64, "b" * 64]


def test_records_are_found_in_files_in_folders_and_below_them(tmp_path: Path):
    file = write_record(make_record(second=3), tmp_path / "loose")
    write_record(make_record(second=2), tmp_path / "run" / "records")
    write_record(make_record(second=1), tmp_path / "bare")
    found = find_records([file, tmp_path / "run", tmp_path / "bare"])
    assert [record.started_at.second for record in found] == [1, 2, 3]
    (tmp_path / "empty").mkdir()
    for name, what in (("empty", "no records found"), ("absent", "no such file or folder")):
        with pytest.raises(UsageError, match=f"{name}: {what}; expected"):
            find_records([file, tmp_path / name])


def test_what_was_never_counted_is_measured_again_and_counted_then(tmp_path: Path):
    for second in (0, 1):
        write_record(keyed(2, "complete", second).model_copy(update={"complexity": None}), tmp_path)
    (kept,) = read_records(tmp_path)
    assert (kept.started_at.second, kept.complexity) == (1, None)
    write_record(keyed(2, "complete", 2), tmp_path)
    assert read_records(tmp_path)[0].complexity == make_record().complexity


def test_with_its_counts_a_networks_flags_are_kept_and_those_of_a_run_are_its_own(tmp_path: Path):
    network, former, own = (Flag(code=code, text="x") for code in ("weights", "late", "turn"))
    write_record(keyed(2, "complete", 0).model_copy(update={"flags": (network, former)}), tmp_path)
    write_record(keyed(2, "complete", 1).model_copy(update={"complexity": None, "flags": (own,)}), tmp_path)
    assert read_records(tmp_path)[0].flags == (network, own)


def test_a_full_disk_is_told_before_the_work(tmp_path: Path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, content) -> int:
            if len(content) > 2**14:
                raise OSError(28, "No space left on device")
            return len(content)

    monkeypatch.setattr("eval.records.store.tempfile.TemporaryFile", lambda **_where: Full())
    with pytest.raises(UsageError, match="cannot be written: No space left on device; name another folder"):
        check_writable(tmp_path)
