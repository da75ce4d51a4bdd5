"""What only reads needs no torch: of records or published results no OpenCV or matplotlib either, plotly for a page."""

import json
from pathlib import Path

from eval.records.store import write_record
from tests.conftest import PROJECT
from tests.ranking.test_audit import result
from tests.records.test_record import make_record

COMMANDS = """
import sys
from pathlib import Path
from eval.cli import judging

records = [Path("r")]
judging.score(records, 2024)
judging.audit(Path("results.json"), 2024)
judging.factsheet(Path(sys.argv[1]), records)
assert "plotly" not in sys.modules
judging.report(records, latex=True)
print([name for name in ("torch", "cv2", "PIL", "matplotlib", "pandas") if name in sys.modules])
"""


def test_commands_that_read_import_neither_torch_nor_opencv_nor_matplotlib(program, tmp_path: Path):
    for label in ("00_RLFN", "03_PFDNLite"):
        write_record(make_record(label=label), tmp_path / "r" / "records")
    (tmp_path / "results.json").write_text(json.dumps({"00_RLFN_baseline": result([1.0, 2.0])}))
    done = program("-c", COMMANDS, PROJECT / "team_bsr" / "team.toml")
    assert done.stdout.splitlines()[-1] == "[]"
    assert {"score.md", "audit.md", "factsheet.tex", "challenge.tex", "index.html"} <= {
        path.name for path in (tmp_path / "results").iterdir()
    }


def test_looking_at_images_and_shrinking_them_imports_no_torch(program, hr_folder: Path, tmp_path: Path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom eval.cli import image_sets, supplies\n"
        "folder, out = map(Path, sys.argv[1:])\nimage_sets.show_data(folder)\nsupplies.make_lr(folder, out)\n"
        "print('torch' in sys.modules)"
    )
    done = program("-c", code, hr_folder, tmp_path / "lr")
    assert done.stdout.splitlines()[-1:] == ["False"], done.stderr
