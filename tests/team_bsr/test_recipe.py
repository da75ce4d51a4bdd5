"""The factsheet's numbers, presets, and losses by hand."""

import math
import re
from dataclasses import replace

import pytest
import torch

from eval.errors import RunError, UsageError
from team_bsr.losses import LOSSES
from team_bsr.recipe import RECIPES, load_recipe

# Stage, HR patch, batch, loss, initial rate: the factsheet's "Training details", steps 1 to 4.
FACTSHEET = [
    (1, 256, 96, "l1", 0.0005),
    (1, 256, 96, "charbonnier", 0.0003),
    (1, 480, 64, "mse", 0.0001),
    (2, 480, 64, "mse", 0.0001),
]
PRESETS = sorted(path.stem for path in (RECIPES / "presets").glob("*.toml"))


def test_the_recipe_is_the_factsheet_s():
    recipe = load_recipe()
    assert [(step.stage, step.hr_patch, step.batch, step.loss, step.rate) for step in recipe] == FACTSHEET
    assert {(step.halve_every, step.iterations) for step in recipe} == {(100_000, 500_000)}
    assert [step.number for step in recipe] == [1, 2, 3, 4]
    # What it leaves open.
    ours = {(step.betas, step.weight_decay, step.ema, step.rule, step.warm_up, step.draw) for step in recipe}
    assert ours == {((0.9, 0.99), 1e-4, 0.999, "importance", 0, "uniform")}


def test_the_rate_halves_every_100k_iterations():
    step = load_recipe()[0]
    rates = [step.rate_at(iteration, iteration) for iteration in (0, 99_999, 100_000, 250_000, 499_999)]
    assert rates == [5e-4, 5e-4, 2.5e-4, 1.25e-4, 3.125e-5]


def test_the_rate_grows_over_the_warm_up():
    step = replace(load_recipe()[0], rate=1.0, halve_every=100, warm_up=3)
    rates = [step.rate_at(iteration, iteration) for iteration in (0, 1, 2, 3, 99, 100)]
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 0.5]
    # After a start that took the time of 120 iterations the first one is as careful.
    assert [step.rate_at(120 + done, done) for done in (0, 1, 3)] == [0.125, 0.25, 0.5]


def test_a_linear_schedule_falls_to_0_at_the_step_s_end():
    step = replace(load_recipe()[0], rate=1.0, iterations=200, warm_up=3, schedule="linear")
    assert [step.rate_at(done, done) for done in (1, 3, 50, 100, 199)] == [
        0.4975,
        0.985,
        0.75,
        0.5,
        pytest.approx(0.005),
    ]
    with pytest.raises(UsageError, match="schedule: expected one of halving, linear, got 'cosine'"):
        load_recipe()[0].scaled({"schedule": "cosine"})


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_keep_the_structure(preset):
    for whole, small in zip(load_recipe(), load_recipe(preset=preset), strict=True):
        kept = [(step.number, step.stage, step.loss, step.betas) for step in (whole, small)]
        assert kept[0] == kept[1]
        # Fine-tuning has the last step alone.
        assert small.iterations < whole.iterations or (preset == "finetune" and small == whole != load_recipe()[3])
        assert small.hr_patch % 4 == 0
        assert whole.iterations / whole.halve_every == 5
        assert small.iterations / small.halve_every == pytest.approx(5, rel=1e-3)


def test_factors_by_hand():
    whole = load_recipe()[0]
    step = whole.scaled({"hr_patch": "1/2", "batch": "1/6", "rate": "2", "iterations": "1/40"})
    assert (step.hr_patch, step.batch, step.rate, step.iterations) == (128, 16, 1e-3, 12_500)
    assert step.halve_every == 100_000
    assert whole.scaled({"draw": "detail", "warm_up": 200}) == replace(whole, draw="detail", warm_up=200)


def test_errors_name_what_is_known(tmp_path):
    with pytest.raises(UsageError, match=r"--preset: expected one of .*cpu.*, got 'gpu9'"):
        load_recipe(preset="gpu9")
    with pytest.raises(UsageError, match=r"expected a factor of .*; got 'loss'"):
        load_recipe()[0].scaled({"loss": "2"})
    for number in (1, 2, 3, 4):
        (tmp_path / f"step{number}.toml").write_text((RECIPES / f"step{number}.toml").read_text())
    good = (RECIPES / "step2.toml").read_text()
    for text, message in [
        (good + "momentum = 0.9\n", r"step2.toml: expected keys of .*; got momentum"),
        (good + "number = 2\n", r"step2.toml: expected keys of .*; got number"),
        (good.replace('"charbonnier"', '"huber"'), r"step2.toml: loss: expected one of l1, .*, got 'huber'"),
        (good.replace("256", "255"), r"step2.toml: hr_patch: expected a multiple of 4, got 255"),
        (good.replace("256", "36"), r"hr_patch: expected a number of at least 40, got 36"),
        (good.replace("batch = 96", ""), r"step2.toml: batch: expected a value, got none"),
        (good.replace("batch = 96", "batch = 96.5"), r"step2.toml: batch: expected a whole number, got 96.5"),
        (good.replace("batch = 96", "batch = 0"), r"step2.toml: batch: expected a number above 0, got 0"),
        (good.replace("rate = 3e-4", 'rate = "fast"'), r"step2.toml: rate: expected a number, got 'fast'"),
        (good.replace("rate = 3e-4", "rate = nan"), r"step2.toml: rate: expected a finite number, got nan"),
        (good.replace("rate = 3e-4", "rate = inf"), r"step2.toml: rate: expected a finite number, got inf"),
        (good + "warm_up = 1.5\n", r"step2.toml: warm_up: expected a whole number, got 1.5"),
        (good + "warm_up = -1\n", r"step2.toml: warm_up: expected a number of at least 0, got -1"),
        (good + "weight_decay = -0.1\n", r"step2.toml: weight_decay: expected a number of at least 0, got -0.1"),
        (good + "ema = 1.5\n", r"step2.toml: ema: expected a number below 1, got 1.5"),
        (good + 'permute_channels = "no"\n', r"step2.toml: permute_channels: expected true or false, got 'no'"),
        (good + "betas = [0.9, 1]\n", r"step2.toml: betas.1: expected a number below 1, got 1"),
        (good + "betas = [0.9]\n", r"step2.toml: betas.1: expected a value, got none"),
        (good + "betas = [0.9, 0.9, 0.9]\n", r"step2.toml: betas: expected 2 values, got \[0.9, 0.9, 0.9\]"),
        (good.replace("256", "255") + "ema = 1\n", r"multiple of 4, got 255; ema: expected a number below 1, got 1"),
        (good.replace("batch = 96", "batch = "), r"step2.toml: Invalid value \(at line \d+, column \d+\)"),
        (good + 'draw = "best"\n', r"step2.toml: draw: expected one of uniform, detail, got 'best'"),
    ]:
        assert text != good
        (tmp_path / "step2.toml").write_text(text)
        with pytest.raises((UsageError, RunError), match=message):
            load_recipe(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step1 = 3", "expected tables step1 to step4, got step1 = 3"),
        ("[step5]", "expected tables step1 to step4, got step5"),
        ('[step2]\nloss = "mse"', "step2: expected a factor of hr_patch, batch, rate, .*; got 'loss'"),
        *(
            (f"[step1]\nrate = {given}", f'step1: rate: expected a factor above 0, .* such as "1/25"; got {came}$')
            for given, came in [
                ('"abc"', "'abc'"),
                ('"1/0"', "'1/0'"),
                ('"1e999"', "'1e999'"),
                ('"-1"', "'-1'"),
                ("nan", "nan"),
                ("inf", "inf"),
                ("true", "True"),
                ("[2]", r"\[2\]"),
            ]
        ),
        ('[step1]\nbatch = "1/1000"', "step1: batch: expected a number above 0, got 0"),
        ('[step4]\nwarm_up = "x"', "step4: warm_up: expected a whole number, got 'x'"),
        ('[step4]\npermute_channels = "no"', "step4: permute_channels: expected true or false, got 'no'"),
    ],
)
def test_a_wrong_preset_is_named_by_file_and_key(tmp_path, text, message):
    for number in (1, 2, 3, 4):
        (tmp_path / f"step{number}.toml").write_text((RECIPES / f"step{number}.toml").read_text())
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match=f"^{re.escape(str(tmp_path))}/presets/mine.toml: {message}"):
        load_recipe(tmp_path, "mine")


def test_losses_by_hand():
    sr, hr = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 0.25, 0.5])
    assert LOSSES["l1"](sr, hr).item() == 0.25
    assert LOSSES["mse"](sr, hr).item() == pytest.approx((0.0625 + 0.25) / 3)
    expected = (1e-3 + math.hypot(0.25, 1e-3) + math.hypot(0.5, 1e-3)) / 3
    assert LOSSES["charbonnier"](sr, hr).item() == pytest.approx(expected, rel=1e-6)
