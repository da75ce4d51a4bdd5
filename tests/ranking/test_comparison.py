"""Two models side by side, by hand arithmetic."""

import math
from dataclasses import replace

import numpy as np
import pytest

from eval.config import RunConfig
from eval.errors import RunError
from eval.intervals import RESAMPLES, Interval, narrowness, paired_difference
from eval.ranking.comparison import Comparison, Side, compare_sides, psnr_between, quotient, settings_of
from eval.ranking.from_results_json import ModelResult
from eval.timing.samples import Ratio
from tests.records.test_record import changed, make_record
from tests.run.test_runner import timing_of

IMAGES = {f"{index}": 30.0 + index for index in range(8)}


def side(label: str, gain_db: float = 0.0, factor: float = 1.0, **changes) -> Side:
    rng = np.random.default_rng(0)
    samples = rng.uniform(9, 11, (8, 12)) * factor
    psnrs = {name: db + gain_db for name, db in IMAGES.items()}
    return replace(Side(label, "Set8", "a GPU", psnrs, samples, group="g"), **changes)


def test_what_is_settled_is_said():
    found = compare_sides(side("A", 0.25, 0.8), side("B"))
    # Each image gains the same, and each sample takes the same part: no spread is left.
    assert found.psnr == Interval(pytest.approx(0.25), pytest.approx(0.25), pytest.approx(0.25))
    assert found.runtime == Interval(pytest.approx(0.8), pytest.approx(0.8), pytest.approx(0.8))
    assert found.sentence == (
        "On Set8, A compared with B: its PSNR is higher (+0.250 dB [+0.250, +0.250]); "
        "it is faster (runtime ratio 0.800 [0.800, 0.800])."
    )
    other_way = compare_sides(side("B"), side("A", 0.25, 0.8)).sentence
    assert "its PSNR is lower (-0.250 dB" in other_way
    assert "it is slower (runtime ratio 1.250" in other_way


def test_what_is_not_settled_is_said_too():
    mixed = {name: db + (1 if int(name) % 2 else -1) for name, db in IMAGES.items()}
    noisy = side("A").samples_ms * np.random.default_rng(1).uniform(0.5, 1.6, (8, 12))
    found = compare_sides(side("A", psnr_db=mixed, samples_ms=noisy), side("B"))
    assert found.psnr.low < 0 < found.psnr.high
    assert "the PSNR difference is not significant (0.000 dB" in found.sentence
    assert found.runtime.low < 1 < found.runtime.high
    assert "the runtimes do not differ significantly" in found.sentence


def test_a_model_against_itself_is_no_difference():
    found = compare_sides(side("A"), side("A"))
    assert found.psnr == Interval(0, 0, 0)
    assert found.runtime == Interval(1, 1, 1)


def test_infinite_psnr_on_both_sides_is_no_difference_and_on_one_is_said():
    perfect = IMAGES | {"0": math.inf}
    assert compare_sides(side("A", psnr_db=perfect), side("B", psnr_db=perfect)).psnr == Interval(0, 0, 0)
    found = compare_sides(side("A", psnr_db=perfect), side("B"))
    assert found.psnr is None
    assert "reproduces an image exactly" in found.notes[0]


def test_other_images_are_not_compared():
    found = compare_sides(side("A", psnr_db={"0": 30.0}), side("B"))
    assert (found.psnr, found.notes) == (None, ("PSNR is not compared: the images are not the same (1 and 8 of them)",))
    assert compare_sides(side("A", psnr_db={}), side("B")).notes == ("PSNR is not compared: that of A was not taken",)
    with pytest.raises(RunError, match="expected two models on one set, got Set5 and Set8"):
        compare_sides(side("A", dataset="Set5"), side("B"))


def test_runs_apart_are_compared_by_their_common_baseline():
    beside = {"baseline": "RLFN", "baseline_made_of": ("weights", "code", "eager")}
    first = side("A", group="g1", baseline_ratio=Interval(0.8, 0.78, 0.82), **beside)
    second = side("B", group="g2", machine="B GPU", baseline_ratio=Interval(1.6, 1.52, 1.68), **beside)
    found = compare_sides(first, second)
    # Relative spreads of 2.5% and 5%: together 5.6%.
    assert found.runtime.estimate == pytest.approx(0.5)
    assert found.runtime.low == pytest.approx(0.5 * (1 - 0.056), abs=0.002)
    assert found.runtime.high == pytest.approx(0.5 * (1 + 0.056), abs=0.002)
    assert found.notes == ("runtimes were taken apart, so each is taken as its ratio to RLFN's (a GPU; B GPU)",)
    assert "; relative to RLFN, each on its own machine, it is faster (runtime ratio 0.500" in found.sentence
    apart = compare_sides(first, replace(second, machine=first.machine))
    assert "; relative to RLFN, each in its own run, it is faster" in apart.sentence
    assert "; it is faster" in compare_sides(side("A", 0.5, 0.8), side("B")).sentence
    unknown = compare_sides(replace(first, baseline_made_of=None), second)
    assert unknown.runtime == found.runtime
    assert unknown.notes == (f"{found.notes[0]}, whose weights and code are not all on record",)
    apart = compare_sides(replace(first, baseline="SPAN"), second)
    assert apart.runtime is None
    assert "without a common baseline" in apart.notes[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_baseline": True}, "each as its own baseline"),
        ({"settings": "eager, fp32, 2 threads"}, "one by eager, fp32, 1 thread, one by eager, fp32, 2 threads"),
        ({"baseline_ratio": Interval(1.6, -math.inf, math.inf)}, "too few undisturbed samples"),
        ({"baseline_made_of": ("others", "code", "eager")}, "runs, beside RLFN of other weights, code or settings"),
        ({"inputs_sha256": "1"}, "the two models were timed in separate runs, on other images"),
    ],
)
def test_ratios_to_two_baselines_of_one_name_are_not_divided(changes: dict, reason: str):
    """A model that is its own baseline has the ratio 1 however fast it is, and RLFN is another one on more threads."""
    alone = {"baseline": "RLFN", "baseline_ratio": Interval(1.0, 0.9, 1.1), "settings": "eager, fp32, 1 thread"}
    alone |= {"baseline_made_of": ("weights", "code", "eager"), "inputs_sha256": "0"}
    first = side("RLFN", group="g1", is_baseline=True, **alone)
    assert compare_sides(first, side("A", group="g2", **alone)).runtime is not None
    found = compare_sides(first, side("B", group="g2", **(alone | changes)))
    assert found.runtime is None
    assert reason in found.notes[0]


def test_a_side_knows_what_its_ratio_depends_on():
    times = {"00_RLFN": 1.0, "03_PFDNLite": 2.0}
    ratios = [Ratio(baseline="00_RLFN", estimate=ms, low=ms, high=ms) for ms in times.values()]
    records = [
        make_record(label=label, timing=timing_of(((ms,), (ms,)), ratio=its, group="one", inputs_sha256="2" * 64))
        for (label, ms), its in zip(times.items(), ratios, strict=True)
    ]
    found = [Side.of_record(record) for record in records]
    assert [its.is_baseline for its in found] == [True, False]
    assert found[0].settings == "eager, fp32, 2 threads"
    assert found[0].inputs_sha256 == "2" * 64
    made_of = ("0" * 64, "1" * 64, "eager, fp32, 2 threads")
    assert [its.baseline_made_of for its in found] == [made_of, None]
    other = changed(records[0], timing={"group": "two"}, model={"weights_sha256": "f" * 64})
    assert Side.of_record(records[1], [other, records[0]]).baseline_made_of == made_of
    # A mark behind its label makes it no other model.
    marked = changed(records[0], model={"label": "00_RLFN (mine)"})
    assert Side.of_record(marked).is_baseline
    assert Side.of_record(records[1], [marked]).baseline_made_of == made_of


def test_runtimes_of_a_part_of_the_images_are_told():
    timing = timing_of(((1.0,), (None,)), group="one")
    whole, part = (Side.of_record(make_record(timing=its)) for its in (None, timing))
    assert (whole.timed_part, part.timed_part) == ("", "1 of 2 images")
    assert "on Set2 runtimes are of 1 of 2 images" in compare_sides(part, part).notes
    assert not any("runtimes are of" in note for note in compare_sides(part, whole).notes)


def test_untimed_models_are_compared_in_psnr_alone():
    found = compare_sides(side("A", 0.1, samples_ms=None), side("B"))
    assert found.runtime is None
    assert found.notes == ("runtime is not compared: A was not timed by the steady protocol",)
    assert found.sentence == "On Set8, A compared with B: its PSNR is higher (+0.100 dB [+0.100, +0.100])."
    both = compare_sides(side("A", samples_ms=None), side("B", samples_ms=None))
    assert both.notes == ("runtime is not compared: neither was timed by the steady protocol",)
    neither = compare_sides(side("A", psnr_db={}, samples_ms=None), side("B", psnr_db={}))
    assert neither.sentence == "On Set8, A and B cannot be compared."


def test_the_quotient_of_a_ratio_and_itself_is_1():
    ratio = Interval(0.7, 0.69, 0.71)
    found = quotient(ratio, ratio)
    assert found.estimate == 1
    assert found.low < 1 < found.high


def test_sides_of_records_and_of_published_results():
    ratio = Ratio(baseline="00_RLFN", estimate=0.9, low=0.8, high=1.0)
    record = make_record((30.0, 31.0), timing=timing_of(((10.0, None), (20.0, 21.0)), ratio=ratio))
    found = Side.of_record(record)
    assert list(found.psnr_db.values()) == [30.0, 31.0]
    assert np.array_equal(found.samples_ms, [[10.0, np.nan], [20.0, 21.0]], equal_nan=True)
    assert (found.group, found.baseline, found.baseline_ratio) == ("g", "00_RLFN", Interval(0.9, 0.8, 1.0))
    assert Side.of_record(make_record((30.0,))).samples_ms is None
    plain = {"valid_memory": 1.0, "num_parameters": 1.0, "flops": 1.0, "activations": 1.0, "num_conv": 1}
    published = [
        ModelResult(
            valid_runtime=times * 3,
            valid_psnr=(27.0, 28.0) * 3,
            valid_ave_runtime=sum(times) / 2,
            valid_ave_psnr=27.5,
            **plain,
        )
        for times in ((4.0, 2.0), (8.0, 4.0))
    ]
    sides = [Side.of_published(name, its, "valid", "results.json") for name, its in zip("AB", published, strict=True)]
    assert [its.is_published for its in (*sides, found)] == [True, True, False]
    # One time an image, of which the mean counts, not the median.
    assert [its.samples_ms.shape for its in sides] == [(6, 1)] * 2
    found = compare_sides(*sides)
    assert found.runtime.estimate == 0.5
    assert found.notes == (
        "runtimes are published ones, one an image, with cold starts in them; how much another pass of the same "
        "network would differ, they do not tell",
    )
    assert "; in these passes, one a model, it is faster (runtime ratio 0.500 [" in found.sentence
    apart = compare_sides(sides[0], replace(sides[1], machine="other.json"))
    assert apart.runtime == found.runtime
    assert apart.notes[0].endswith("the two files name no GPU: of two GPUs this is their ratio as well")


def test_sets_of_one_name_and_other_images_are_not_compared():
    found = compare_sides(side("A", 0.5, images_sha256="a" * 64), side("B", images_sha256="b" * 64))
    assert (found.psnr, found.runtime) == (None, None)
    assert found.notes == ("nothing is compared: the two sets called Set8 differ in names or files",)
    # Of older records the hash is not known.
    assert compare_sides(side("A", 0.5, images_sha256="a" * 64), side("B")).psnr is not None


def test_too_few_undisturbed_samples_settle_nothing():
    samples = np.full((8, 12), np.nan)
    samples[2, :9] = (10.0, 11.0, 10.0, 11.0, 10.0, 11.0, 10.0, 11.0, 10.0)
    found = compare_sides(side("A", samples_ms=samples * 3.5), side("B", samples_ms=samples))
    assert found.runtime == Interval(pytest.approx(3.5), -math.inf, math.inf)
    assert "the runtimes cannot be told apart (runtime ratio 3.500, of too few undisturbed samples)" in found.sentence
    assert found.notes == ("no runtime ratio can be settled on 9 undisturbed samples: it takes 10",)
    samples[3, 0] = 10.0
    assert compare_sides(side("A", samples_ms=samples * 3.5), side("B", samples_ms=samples)).runtime.low > 1


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"samples_ms": None}, "runtime is not compared: A was not timed by the steady protocol"),
        (
            {"group": "g2", "samples_ms": np.ones((8, 11)), "baseline": ""},
            "the two models were timed in separate runs, without a common",
        ),
        ({"group": ""}, "the two models were timed in separate runs, without a common baseline beside them"),
        ({"baseline_ratio": None}, "the two models were timed in separate runs, without a common baseline beside them"),
        (
            {"baseline_ratio": Interval(1.0, -math.inf, math.inf)},
            "timed in separate runs, with too few undisturbed samples",
        ),
    ],
)
def test_why_runtimes_are_not_compared(changes: dict, told: str, swapped: bool):
    beside = {} if changes.get("group") == "" else {"baseline": "RLFN", "baseline_ratio": Interval(1.0, 0.9, 1.1)}
    first = side("A", **{"group": "g1", **beside, **changes})
    second = side("B", **{"group": changes.get("group", "g2"), **beside})
    found = compare_sides(second, first) if swapped else compare_sides(first, second)
    assert found.runtime is None
    assert told in found.notes[0]


def test_whose_psnr_is_lacking_is_said():
    for first, second, lacking in ((IMAGES, {}, "B"), ({}, IMAGES, "A"), ({}, {}, "A and B")):
        found = compare_sides(side("A", psnr_db=first), side("B", psnr_db=second))
        assert found.notes[0] == f"PSNR is not compared: that of {lacking} was not taken"


def test_figures_are_flat():
    found = Comparison("A", "B", "Set8", Interval(0.2, 0.1, 0.3), None)
    psnr = {"psnr_difference_db": 0.2, "psnr_difference_db_low": 0.1, "psnr_difference_db_high": 0.3}
    assert found.figures == psnr | dict.fromkeys(("runtime_ratio", "runtime_ratio_low", "runtime_ratio_high"))


def test_neither_was_timed():
    found = compare_sides(side("A", samples_ms=None), side("B", samples_ms=None))
    assert found.notes == ("runtime is not compared: neither was timed by the steady protocol",)


def test_each_end_of_a_quotient_takes_the_divisors_other_end():
    found = quotient(Interval(1.0, 1.0, 1.0), Interval(1.0, 0.5, 1.1))
    assert (found.low, found.high) == pytest.approx((1 / 1.1, 2.0))
    found = quotient(Interval(1.0, 0.5, 1.1), Interval(1.0, 1.0, 1.0))
    assert (found.low, found.high) == pytest.approx((0.5, 1.1))


def test_a_side_knows_its_images_and_whether_it_rounded_to_tf32():
    config = RunConfig(device="cuda", protocol="official", tf32=False)
    record = changed(make_record(config=config), dataset={"sha256": "a" * 64})
    assert Side.of_record(record).images_sha256 == "a" * 64
    assert settings_of(record) == "eager, fp32, no TF32, 2 threads"


def test_models_that_were_timed_together_by_other_engines_are_told():
    first, second = (
        side(label, settings=f"{engine}, fp32") for label, engine in (("A", "channels-last"), ("B", "eager"))
    )
    found = compare_sides(first, second)
    assert found.runtime is not None
    assert found.notes == ("the two ran otherwise: A by channels-last, fp32, B by eager, fp32",)
    assert compare_sides(first, replace(second, settings=first.settings)).notes == ()


def test_images_are_paired_by_name_whatever_their_order():
    turned = dict(reversed(IMAGES.items()))
    assert compare_sides(side("A", psnr_db=turned), side("B")).psnr == Interval(0, 0, 0)


def test_psnr_between_records_is_the_comparison_of_their_images():
    first, other, perfect = (make_record(psnrs) for psnrs in ((20.0, 21.0), (20.0, 22.0, 23.0), (20.0, float("inf"))))
    failed = make_record((), status="failed", reason="x")
    assert psnr_between(first, other) is None
    assert psnr_between(first, perfect) is None
    assert psnr_between(failed, failed) is None
    assert psnr_between(make_record((20.5, 21.5)), first).estimate == pytest.approx(0.5)
    # Of an image that both reproduce exactly, the difference is 0, as `compare` has it.
    assert psnr_between(perfect, perfect).estimate == 0


def test_psnr_between_draws_the_same_images_for_every_pair():
    """The draws are kept from pair to pair, and are those of a generator that starts anew."""
    psnrs = np.random.default_rng(0).normal(27, 3, (3, 20))
    one, two, three = (make_record(tuple(row)) for row in psnrs)
    kept = [psnr_between(one, two), psnr_between(three, two), psnr_between(one, two)]
    assert kept[0] == kept[2] == paired_difference(psnrs[0][:, None], psnrs[1][:, None])
    counts = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), size=RESAMPLES)
    low, high = np.quantile((psnrs[[2, 1]] @ counts.T / 20)[0] - (psnrs[[2, 1]] @ counts.T / 20)[1], (0.025, 0.975))
    assert kept[1] == Interval(kept[1].estimate, low, high).widened(narrowness(20))
