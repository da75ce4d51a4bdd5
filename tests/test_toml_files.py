"""TOML files of users: whatever encoding their editor wrote, faults are told with their line."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from eval.errors import RunError
from eval.toml_files import read_toml


class Form(BaseModel):
    """Data with one number."""

    model_config = ConfigDict(extra="forbid")
    count: int


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_wrong_key_is_told_with_its_line_in_any_encoding(tmp_path: Path, encoding: str):
    file = tmp_path / "rules.toml"
    file.write_bytes("# \u00e9\ncount = 3\n".encode(encoding))
    assert read_toml(file, Form).count == 3
    file.write_bytes("# \u00e9\ncount = 3\ncuont = 4\n".encode(encoding))
    with pytest.raises(RunError) as caught:
        read_toml(file, Form)
    assert str(caught.value) == f"{file}: cuont: Extra inputs are not permitted (line 3)"
