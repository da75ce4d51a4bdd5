"""The zoo's table says which weights are needed, and which are here."""

from pathlib import Path

import pytest

from eval.cli import supplies
from eval.cli.model_tables import zoo_table
from eval.zoo.manifest import find_model


def test_weights_that_are_needed_and_not_named_are_told_from_none():
    specs = [find_model("Bicubic"), find_model("PFDNLite").model_copy(update={"checkpoints": ()})]
    weights = next(its for its in zoo_table(specs)[0].columns if "Weights" in str(its.header))
    assert [str(cell) for cell in weights.cells] == ["needs none", "no file named"]


def test_weights_that_cannot_be_used_are_told_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    """Below the table, which names them; those that are not here at all need no reason."""
    spec = find_model("PFDNLite")
    other, lacking = (known.model_copy(update={"file": f"{known.name}.bin"}) for known in (spec.checkpoints[0],) * 2)
    lacking = lacking.model_copy(update={"name": "lacking", "file": "lacking.bin"})
    monkeypatch.setattr("eval.zoo.checkpoints.MODEL_ZOO", tmp_path)
    monkeypatch.setattr(supplies, "all_models", lambda: [spec.model_copy(update={"checkpoints": (other, lacking)})])
    file = tmp_path / other.file
    file.write_bytes(b"other")
    supplies.list_models()
    said = " ".join(capsys.readouterr().out.split())
    assert f"{other.name}: unusable" in said
    assert f"{spec.label}, {other.name}: {file}: expected SHA-256 {other.sha256} ({other.bytes:,} bytes), got " in said
    assert "lacking" not in said
