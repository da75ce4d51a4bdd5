"""The zoo's table says which weights are needed, and which are here."""

from eval.cli.model_tables import zoo_table
from eval.zoo.manifest import find_model


def test_weights_that_are_needed_and_not_named_are_told_from_none():
    specs = [find_model("Bicubic"), find_model("PFDNLite").model_copy(update={"checkpoints": ()})]
    weights = next(its for its in zoo_table(specs).columns if "Weights" in str(its.header))
    assert [str(cell) for cell in weights.cells] == ["needs none", "no file named"]
