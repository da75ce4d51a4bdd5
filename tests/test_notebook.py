"""The notebook of docs: its cells run in order, and hold no output that could be stale."""

import json

import matplotlib

from tests.conftest import PROJECT


def test_its_cells_run_in_order(monkeypatch, tmp_path):
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    for variable in ("ESR_WEIGHTS", "ESR_DATA"):
        monkeypatch.delenv(variable, raising=False)
    notebook = json.loads((PROJECT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell.get("outputs", []) == [] for cell in notebook["cells"])
    names: dict = {"__name__": "__main__"}
    for cell in cells:
        exec(compile(cell, "notebook cell", "exec"), names)
    height, width = names["lr"].shape[:2]
    assert names["sr"].shape == (4 * height, 4 * width, 3)
    assert names["theirs"].summary()["psnr_db"] > names["mine"].summary()["psnr_db"]
    assert "bilinear compared with ABPN (selftrained): " in str(names["verdict"])
    assert list(tmp_path.iterdir()) == []
