"""Which records count, and in which table: nothing mixed, nothing lost, nothing twice."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from eval.config import RunConfig
from eval.ranking.from_records import select
from eval.records.conditions import Conditions, conditions_of, manner_of, names_of
from eval.records.current import complete_ones, current, failures, found_and_used, holds
from eval.records.record import Protocol, Record, Settings
from tests.records.test_record import changed, make_record
from tests.run.test_runner import timing_of


def settings(protocol: Protocol = Protocol.ACCURACY, device: str = "cpu", **changes) -> Settings:
    return Settings(protocol=protocol, device=device, **({"tile": None, "tile_overlap": None} | changes))


def on(machine: str, **changes) -> Record:
    """A record of a GPU."""
    its = settings(changes.pop("protocol", Protocol.OFFICIAL), "cuda")
    return make_record(settings=its, environment={"gpu": machine}, **changes)


def with_weights(record: Record, sha256: str | None, checkpoint: str | None, file: str | None = None) -> Record:
    return changed(record, model={"weights_sha256": sha256, "checkpoint": checkpoint, "weights_file": file})


def labels(records: list[Record]) -> list[list[str]]:
    return [[row.model.label for row in rows] for _, rows in current(records)]


def test_other_conditions_are_other_tables():
    records = [
        make_record(),
        make_record(dataset="Set3"),
        make_record(settings=settings()),
        make_record(environment={"gpu": "A GPU"}),
    ]
    groups = current(records)
    assert [len(rows) for _, rows in groups] == [1, 1, 1, 1]
    assert [conditions.title for conditions, _ in groups] == [
        "Set2 · official · A GPU, A processor",
        "Set2 · official · A processor, 2 threads",
        "Set2 · accuracy · A processor",
        "Set3 · official · A processor, 2 threads",
    ]


def test_engines_and_precisions_are_not_mixed_where_they_matter():
    def titles(protocol: Protocol, **changes) -> list[str]:
        both = [make_record(settings=settings(protocol)), make_record(settings=settings(protocol, **changes))]
        return [conditions.manner for conditions, _ in current(both)]

    assert titles(Protocol.OFFICIAL, engine="compiled", precision="bf16") == ["", "compiled, bf16"]
    assert titles(Protocol.OFFICIAL, engine="compiled") == ["", "compiled"]
    assert len(titles(Protocol.ACCURACY, engine="compiled")) == 1
    assert len(titles(Protocol.ACCURACY, precision="fp16")) == 2


def test_of_several_records_of_a_model_the_newest_complete_one_counts():
    old, new = make_record((20.0,)), make_record((21.0,), second=1)
    failed = make_record((), second=2, status="failed", reason="a fault")
    assert current([failed, new, old]) == [(conditions_of(new), [new])]
    assert current([failed]) == [(conditions_of(failed), [failed])]


def test_two_machines_that_share_a_folder_keep_both_in_every_protocol():
    for protocol in Protocol:
        both = [on("NVIDIA A100", protocol=protocol), on("NVIDIA H100", protocol=protocol, second=1)]
        host = ", A processor" if protocol != Protocol.ACCURACY else ""
        names = [f"NVIDIA A100{host}", f"NVIDIA H100{host}"]
        assert [conditions.machine for conditions, _ in current(both)] == names


def test_the_processor_beside_a_gpu_tells_machines_apart_only_where_time_was_taken():
    def machines(protocol: Protocol) -> list[str]:
        one, other = on("NVIDIA H100", protocol=protocol), on("NVIDIA H100", protocol=protocol, second=1)
        both = [one, changed(other, environment={"cpu": "Another"})]
        return [conditions.machine for conditions, _ in current(both)]

    assert machines(Protocol.ACCURACY) == ["NVIDIA H100"]
    for protocol in (Protocol.OFFICIAL, Protocol.STEADY):
        assert machines(protocol) == ["NVIDIA H100, A processor", "NVIDIA H100, Another"]


def test_threads_tell_machines_apart_only_where_time_was_taken():
    def tables(protocol: Protocol) -> int:
        one = make_record(settings=settings(protocol))
        other = make_record(label="00_RLFN", settings=settings(protocol), environment={"threads": 1})
        return len(current([one, other]))

    assert [tables(protocol) for protocol in (Protocol.ACCURACY, Protocol.OFFICIAL)] == [1, 2]


def test_two_checkpoints_of_one_network_are_two_rows_that_can_be_told_apart():
    ten, twenty = (
        with_weights(make_record((db,), second=db), sha, None, f"epoch{db}.pth") for db, sha in ((10, "a"), (20, "b"))
    )
    ((_, rows),) = current([ten, twenty])
    assert [row.model.label for row in rows] == ["03_PFDNLite (epoch10)", "03_PFDNLite (epoch20)"]
    assert [row.mean("psnr_db") for row in rows] == [10, 20]
    # Their images lie where they lay.
    assert {row.images_folder for row in rows} == {"03_PFDNLite/Set2"}


def test_checkpoints_of_one_name_are_told_apart_by_their_hashes():
    both = [with_weights(make_record(), letter * 64, None, "latest.pth") for letter in "ab"]
    assert labels(both) == [["03_PFDNLite (latest aaaaaaaa)", "03_PFDNLite (latest bbbbbbbb)"]]


def test_released_weights_keep_the_label_by_which_a_baseline_is_known():
    released, mine = (
        with_weights(make_record(label="00_RLFN", dataset=name), letter * 64, checkpoint, "mine.pth")
        for name, letter, checkpoint in (("Urban100", "a", "released"), ("Set5", "b", None))
    )
    assert labels([released, mine]) == [["00_RLFN (mine)"], ["00_RLFN"]]


def test_a_run_that_did_not_find_its_weights_is_no_other_model():
    missing = with_weights(make_record((), status="failed", reason="no weights"), None, None)
    assert labels([missing, make_record(second=1)]) == [["03_PFDNLite"]]
    assert failures([missing, make_record(second=1)]) == []


def test_two_devices_of_one_machine_are_told_apart_beside_another_machine():
    places = (("cuda", "H100"), ("cuda:1", "H100"), ("cuda", "H200"))
    tables = [Conditions("Set5", "steady", device, machine) for device, machine in places]
    assert names_of(tables) == (
        "Set, machine, device",
        ["Set5 · H100 · cuda", "Set5 · H100 · cuda:1", "Set5 · H200 · cuda"],
    )
    assert [its.title for its in tables[:2]] == ["Set5 · steady · H100", "Set5 · steady · H100 · cuda:1"]
    # Where the machine says it all, the device is left out.
    assert names_of(tables[1:])[1] == ["Set5 · H100", "Set5 · H200"]


@pytest.mark.parametrize("protocol", Protocol)
def test_the_first_gpu_is_one_device_by_either_name(protocol: Protocol):
    both = [
        make_record(label=label, settings=settings(protocol, device), environment={"gpu": "H100"})
        for label, device in (("00_RLFN", "cuda"), ("03_PFDNLite", "cuda:0"))
    ]
    ((conditions, rows),) = current(both)
    assert (conditions.device, len(rows)) == ("cuda", 2)
    assert [select(both, device=name) for name in ("cuda", "cuda:0")] == [both] * 2


def test_devices_of_one_name_are_two():
    both = [make_record(settings=settings(device=device)) for device in ("cpu", "mps")]
    assert [conditions.device for conditions, _ in current(both)] == ["cpu", "mps"]


def test_rows_are_in_the_order_of_their_ids():
    floor = make_record(label="05_SPAN", model={"id": -1, "label": "Bicubic"})
    assert labels([make_record(label="10_Ten"), make_record(label="02_Two"), floor]) == [
        ["Bicubic", "02_Two", "10_Ten"]
    ]


def test_tiles_and_averaged_runs_do_not_take_the_place_of_the_plain_run():
    official = Protocol.OFFICIAL
    records = [
        make_record(settings=settings(official)),
        make_record(settings=settings(official, tile=64, tile_overlap=16), second=1),
        make_record(settings=settings(official, runs=5), second=2),
    ]
    assert labels(records) == [["03_PFDNLite", "03_PFDNLite (5 runs)", "03_PFDNLite (tiles of 64)"]]


def test_tiles_that_overlap_otherwise_are_told_apart():
    tiled = [make_record(settings=settings(tile=64, tile_overlap=by), second=by) for by in (0, 16)]
    assert labels(tiled) == [["03_PFDNLite (tiles of 64, overlap 0)", "03_PFDNLite (tiles of 64, overlap 16)"]]
    plain = make_record(settings=settings(tile=32, tile_overlap=8))
    assert labels([plain, *tiled])[0][0] == "03_PFDNLite (tiles of 32)"


def test_sets_of_one_name_and_other_images_are_two_tables():
    def of(sha256: str | None, second: int) -> Record:
        return changed(make_record(second=second), dataset={"sha256": sha256})

    assert [its.dataset for its, _ in current([of("a" * 64, 0), of("b" * 64, 1)])] == [
        "Set2 (aaaaaaaa)",
        "Set2 (bbbbbbbb)",
    ]
    assert [its.dataset for its, _ in current([of("a" * 64, 0), of(None, 1)])] == ["Set2"]


def test_without_times_a_run_that_took_fewer_figures_loses_none():
    with_ssim = make_record(settings=settings())
    without = make_record(settings=settings(), second=1)
    without = without.model_copy(update={"means": {"psnr_db": without.means["psnr_db"]}})
    assert complete_ones(current([with_ssim, without])) == [with_ssim]
    other_code, other_torch = {"model": {"source_sha256": "2" * 64}}, {"environment": {"torch": "2.14.0"}}
    for change in (other_code, other_torch, {"images": without.images[:1]}):
        later = changed(without, **change)
        assert complete_ones(current([with_ssim, later])) == [later]
    timed = [record.model_copy(update={"settings": settings(Protocol.OFFICIAL)}) for record in (with_ssim, without)]
    assert complete_ones(current(timed)) == [timed[1]]


def steady(record: Record) -> Record:
    return changed(record, settings=settings(Protocol.STEADY), timing=timing_of(((1.0,),)))


def test_the_accuracy_pass_of_a_steady_run_is_no_table_of_its_own():
    passes = [make_record(label=label, settings=settings()) for label in ("00_RLFN", "03_PFDNLite")]
    failed = make_record((), label="09_Broken", status="failed", reason="a fault", settings=settings())
    timed = [steady(record) for record in passes]
    ((conditions, rows),) = current([*passes, failed, *timed])
    assert conditions.protocol == "steady"
    assert rows == [*timed, failed]
    assert found_and_used([*passes, failed, *timed]) == (
        "5 found, 3 used; 2 are accuracy passes whose figures stand in the steady records"
    )


def test_models_that_were_not_timed_follow_into_the_steady_table():
    passes = [make_record(label=label, settings=settings()) for label in ("00_RLFN", "03_PFDNLite", "05_SPAN")]
    timed = [steady(record) for record in passes[:2]]
    ((conditions, rows),) = current([*passes, *timed])
    assert conditions.protocol == "steady"
    assert rows == [*timed, passes[2]]
    # Of other models nothing is known to be alike.
    assert [len(rows) for _, rows in current([passes[2], *timed])] == [2, 1]


def test_a_steady_record_takes_over_what_its_accuracy_pass_alone_has():
    fuller = make_record(settings=settings())
    timed = steady(fuller)
    images = tuple(image.model_copy(update={"ssim": None}) for image in timed.images)
    timed = timed.model_copy(update={"means": {"psnr_db": timed.means["psnr_db"]}, "images": images})
    ((conditions, (row,)),) = current([fuller, timed])
    assert (conditions.protocol, row.timing) == ("steady", timed.timing)
    assert row.mean("ssim") == fuller.mean("ssim")
    assert [image.ssim for image in row.images] == [image.ssim for image in fuller.images]
    # Measured anew since, it still holds nothing that the timed one lacks.
    again = fuller.model_copy(update={"started_at": datetime(2027, 1, 1, tzinfo=UTC)})
    assert [conditions.protocol for conditions, _ in current([again, steady(fuller)])] == ["steady"]
    other_code = again.model_copy(update={"figures_key": "b"})
    assert len(current([other_code, steady(fuller.model_copy(update={"figures_key": "a"}))])) == 2


def test_a_record_has_its_place_in_the_table_into_which_it_was_folded():
    accuracy = make_record(settings=settings())
    other = make_record(dataset="Set3", settings=settings())
    tables = current([accuracy, steady(accuracy), other])
    assert [its.dataset for its, _ in tables] == ["Set2", "Set3"]
    assert [holds(table, accuracy) for table in tables] == [True, False]
    assert [holds(table, other) for table in tables] == [False, True]


def test_sets_stand_in_the_order_in_which_they_were_first_run():
    records = [
        make_record(dataset="Set9"),
        make_record(dataset="Set1", second=1),
        make_record(dataset="Set9", second=2),
    ]
    assert [its.dataset for its, _ in current(records[::-1])] == ["Set9", "Set1"]


def test_figures_of_other_measuring_code_never_stand_in_for_newer_ones():
    old = make_record((30.0,), settings=settings(), figures_key="a")
    new = make_record((31.0,), settings=settings(), figures_key="b", second=1)
    new = new.model_copy(update={"means": {"psnr_db": new.means["psnr_db"]}})
    assert complete_ones(current([old, new])) == [new]


def test_a_failed_run_of_several_or_in_tiles_is_no_other_model():
    official = Protocol.OFFICIAL
    whole = make_record(settings=settings(official, tile=16, tile_overlap=4))
    failed = make_record((), second=1, status="failed", reason="x", settings=settings(official))
    assert labels([whole, failed]) == [["03_PFDNLite"]]
    assert [record.model.label for record in failures([whole, failed])] == ["03_PFDNLite"]


def test_a_failure_after_a_complete_run_is_told_and_takes_nothing_away():
    old, failed = make_record(), make_record((), second=1, status="failed", reason="disk full")
    assert complete_ones(current([old, failed])) == [old]
    assert failures([old, failed]) == [failed]
    assert failures([failed, make_record(second=2)]) == []
    assert found_and_used([old, failed]) == "2 found, 1 used; 1 have a newer or fuller one of their kind"


@pytest.mark.parametrize(
    ("device", "protocol", "tf32", "manner"),
    [
        ("cuda", "official", True, ()),
        ("cuda", "official", False, ("no TF32",)),
        ("cuda:1", "accuracy", True, ("TF32",)),
        ("cuda", "accuracy", False, ()),
        ("cpu", "accuracy", True, ()),
    ],
)
def test_tf32_that_is_not_the_protocols_has_a_table_of_its_own(device: str, protocol: str, tf32: bool, manner: tuple):
    config = RunConfig(device=device, protocol=protocol, tf32=tf32)
    record = make_record(settings=settings(Protocol(protocol))).model_copy(update={"config": config})
    assert manner_of(record) == manner


def test_tables_are_named_by_what_they_do_not_all_share():
    one = conditions_of(make_record())
    assert names_of([one]) == ("Set", ["Set2"])
    other_set, accuracy = replace(one, dataset="Set3"), replace(one, protocol="accuracy")
    assert names_of([one, other_set]) == ("Set", ["Set2", "Set3"])
    assert names_of([one, accuracy]) == ("Set, protocol", ["Set2 · official", "Set2 · accuracy"])
    gpu = replace(one, device="cuda", machine="A GPU")
    assert names_of([one, gpu]) == ("Set, machine", ["Set2 · A processor, 2 threads", "Set2 · A GPU"])
    assert names_of([one, replace(one, device="mps")]) == ("Set, device", ["Set2 · cpu", "Set2 · mps"])


def test_a_steady_run_that_failed_takes_no_accuracy_away():
    done = make_record(settings=settings(), figures_key="a")
    failed = make_record(
        (), second=1, settings=settings(Protocol.STEADY), figures_key="a", status="failed", reason="all was disturbed"
    )
    assert complete_ones(current([done, failed])) == [done]


def test_an_accuracy_pass_that_broke_off_lends_no_figures():
    part = make_record((30.0,), settings=settings(), figures_key="a", status="interrupted", reason="x")
    timed = steady(make_record(second=1, figures_key="a"))
    timed = timed.model_copy(update={"means": {"psnr_db": timed.means["psnr_db"]}})
    assert complete_ones(current([part, timed])) == [timed]


def test_a_record_has_no_place_in_a_table_of_other_images_of_that_name():
    both = [changed(make_record(), dataset={"sha256": letter * 64}) for letter in "ab"]
    tables = current(both)
    assert [[holds(table, record) for table in tables] for record in both] == [[True, False], [False, True]]


@pytest.mark.parametrize("other", ["device", "precision"])
def test_a_pass_on_another_device_or_in_another_precision_is_no_part_of_a_steady_run(other: str):
    plain = make_record(settings=settings())
    changes = {"device": {"environment": {"gpu": "A GPU"}}, "precision": {"settings": settings(precision="bf16")}}
    passed = changed(plain, **changes[other])
    assert [its.protocol for its, _ in current([passed, steady(plain)])] == ["steady", "accuracy"]
