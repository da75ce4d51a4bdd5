"""One arm of a comparison: steps of a preset, shortened alike, by seed."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import training
from tests.team_bsr.test_cli import fresh_accelerate
from tests.team_bsr.test_training import images, small_step

__all__ = ["fresh_accelerate", "images"]


@pytest.mark.usefixtures("fresh_accelerate")
def test_steps_share_the_iterations_and_each_ends_with_a_figure(images: Path, monkeypatch):
    recipe = (small_step(iterations=60), small_step(2, iterations=30), small_step(3, iterations=90))
    monkeypatch.setattr(training, "load_recipe", lambda preset: recipe)
    words = ["steps", "--data", images, "--validate", images, "--steps", "1,2", "--iterations", 3, "--seeds", "4,5"]
    result = CliRunner().invoke(training.app, [*map(str, words)], catch_exceptions=False)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in result.output.splitlines() if "|" in line]
    assert [row[:3] for row in rows[2:]] == [["4", "1", "2"], ["4", "2", "1"], ["5", "1", "2"], ["5", "2", "1"]]
    assert len({row[3] for row in rows[2:]}) == 4


def test_a_shortened_step_halves_its_rate_at_each_fifth():
    step = small_step(iterations=100, halve_every=20)
    assert training._shortened(step, 50) == replace(step, iterations=50, halve_every=10)
    assert training._shortened(step, 0) == replace(step, iterations=1, halve_every=1)
