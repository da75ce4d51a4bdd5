"""The manifest and its rows: what is refused, what is found, and that every row builds."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from torch import nn

from eval.cli.model_tables import zoo_table
from eval.errors import RunError, UsageError
from eval.zoo.manifest import MANIFEST, CheckpointSpec, ModelSpec, all_models, find_model, read_manifest
from tests.refusals import said

ROW = {
    "id": "7",
    "name": '"Net"',
    "team": '"T"',
    "edition": '"E"',
    "note": '"N"',
    "target": '"torch.nn:Conv2d"',
    "arguments": "{in_channels = 3, out_channels = 8, kernel_size = 3}",
    "scale": "4",
    "data_range": "255.0",
    "min_size": "1",
    "license": '"MIT"',
    "paper": '"https://example.org"',
}
CHECKPOINT = {"name": '"released"', "file": '"net.pth"', "sha256": f'"{"0a" * 32}"', "bytes": "12"}
WRONG_COUNTS = ["0", "-1", "2.5", '"3"', "true", "4.0", "[4]"]
WRONG = {
    "id": ["-2", *WRONG_COUNTS[2:]],
    "name": ['""', '"a/b"', '"../up"', '".hidden"', '"two words"', '"line\\n"', "7"],
    "target": ['"os.path"', '"os:system:x"', '"os system:x"'],
    "arguments": ["[1]"],
    "scale": WRONG_COUNTS,
    "data_range": ["0.0", "-1.0", "nan", "inf", "-inf"],
    "min_size": WRONG_COUNTS,
    "tile_step": WRONG_COUNTS,
}
WRONG_IN_CHECKPOINT = {
    "file": ['"../net.pth"', '"/tmp/net.pth"', '"a\\\\b.pth"'],
    "name": ['"a b"'],
    "sha256": ['"0a"', f'"{"0A" * 32}"', f'"{"0g" * 32}"'],
    "bytes": WRONG_COUNTS,
    "url": ["5"],
}
COUNTING = " (model.N counts the rows from 0)"
KNOWN_IDS = dict(enumerate("Bicubic RLFN DIPNet PFDN PFDNLite EFDN SPAN IMDN RFDN".split(), -1))


def table(header: str, row: dict[str, str | None]) -> str:
    return "\n".join([header, *(f"{key} = {value}" for key, value in row.items() if value is not None)]) + "\n"


def model(**changes: str | None) -> str:
    return table("[[model]]", ROW | changes)


def checkpoint(**changes: str | None) -> str:
    return table("[[model.checkpoints]]", CHECKPOINT | changes)


@pytest.fixture
def manifest(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "manifest.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(path: Path) -> str:
    message = said(RunError, read_manifest, path)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "pydantic" not in message.lower()
    return message.removeprefix(f"{path}: ")


def told(path: Path) -> list[str]:
    """Return the faults of rows that the one error lists, each as "where: what"; their lines are tested elsewhere."""
    message = refusal(path)
    assert message.endswith(COUNTING)
    return re.sub(r" \(line [\d, ]+\)$", "", message.removesuffix(COUNTING)).split("; ")


@pytest.fixture(params=all_models(), ids=lambda spec: spec.name)
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    return request.param


class TestProject:
    def test_known_ids_have_their_names(self):
        assert KNOWN_IDS.items() <= {spec.id: spec.name for spec in all_models()}.items()

    def test_ids_names_and_files_are_unique(self):
        specs = all_models()
        files = [known.file for spec in specs for known in spec.checkpoints]
        digests = [known.sha256 for spec in specs for known in spec.checkpoints]
        for values in ([spec.id for spec in specs], [spec.name.lower() for spec in specs], files, digests):
            assert len(values) == len(set(values))

    def test_a_row_builds_in_eval_mode_on_the_cpu(self, spec: ModelSpec):
        network = spec.build()
        assert isinstance(network, nn.Module)
        assert not any(module.training for module in network.modules())
        assert {parameter.device.type for parameter in network.parameters()} <= {"cpu"}
        assert bool(list(network.parameters())) == bool(spec.checkpoints)

    def test_a_row_is_for_x4_and_names_its_sources(self, spec: ModelSpec):
        assert spec.scale == 4
        assert spec.data_range in (1.0, 255.0)
        assert spec.paper.startswith("https://")
        assert all(known.url is None or known.url.startswith("https://") for known in spec.checkpoints)

    def test_published_files_have_the_stated_sizes(self, spec: ModelSpec, esr_weights: Path):
        published = [known for known in spec.checkpoints if known.url and (esr_weights / known.file).exists()]
        assert [(esr_weights / known.file).stat().st_size for known in published] == [
            known.bytes for known in published
        ]


class TestReading:
    def test_a_row_keeps_every_value(self, manifest):
        address = "https://example.org/net.pth"
        text = model(tile_step="6") + checkpoint(url=f'"{address}"') + checkpoint(name='"mine"', file='"mine.pth"')
        (spec,) = read_manifest(manifest(text))
        assert spec == ModelSpec(
            id=7,
            name="Net",
            team="T",
            edition="E",
            note="N",
            target="torch.nn:Conv2d",
            arguments={"in_channels": 3, "out_channels": 8, "kernel_size": 3},
            scale=4,
            data_range=255.0,
            min_size=1,
            tile_step=6,
            license="MIT",
            paper="https://example.org",
            checkpoints=(
                CheckpointSpec(name="released", file="net.pth", sha256="0a" * 32, bytes=12, url=address),
                CheckpointSpec(name="mine", file="mine.pth", sha256="0a" * 32, bytes=12),
            ),
        )
        network = spec.build()
        assert (network.in_channels, network.out_channels, network.training) == (3, 8, False)

    def test_defaults(self, manifest):
        (spec,) = read_manifest(manifest(model(arguments=None)))
        assert (spec.arguments, spec.tile_step, spec.checkpoints) == ({}, 1, ())

    def test_rows_keep_their_order(self, manifest):
        text = model(id="9", name='"B"') + model(id="2", name='"A"')
        assert [spec.name for spec in read_manifest(manifest(text))] == ["B", "A"]

    def test_missing_keys_are_named(self, manifest):
        row = [f"model.0.{key}: Field required" for key in ROW if key not in ("id", "arguments")]
        assert told(manifest("[[model]]\nid = 7\n")) == row
        known = [f"model.0.checkpoints.0.{key}: Field required" for key in CHECKPOINT]
        assert told(manifest(model() + "[[model.checkpoints]]\n")) == known

    def test_unknown_keys_are_named(self, manifest):
        assert told(manifest(model(scales="4") + checkpoint(sha='"0"'))) == [
            "model.0.checkpoints.0.sha: Extra inputs are not permitted",
            "model.0.scales: Extra inputs are not permitted",
        ]

    def test_faults_of_several_rows_say_which(self, manifest):
        text = model() + model(id="8", name='"B"', scale="0", team=None) + checkpoint() + checkpoint(bytes=None)
        text += model(id="9", name='"C"', note=None)
        assert [fault.split(": ")[0] for fault in told(manifest(text))] == [
            "model.1.team",
            "model.1.scale",
            "model.1.checkpoints.1.bytes",
            "model.2.note",
        ]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", ["model: Field required"]),
            (
                model().replace("[[model]]", "[[modle]]"),
                ["model: Field required", "modle: Extra inputs are not permitted"],
            ),
            (
                model() + model(id="8", name='"B"').replace("[[model]]", "[[modle]]"),
                ["modle: Extra inputs are not permitted"],
            ),
            ("edition = 2023\n" + model(), ["edition: Extra inputs are not permitted"]),
            ("model = 3\n", ["model: Input should be a valid tuple"]),
        ],
        ids=["empty", "misspelt", "one of two misspelt", "a key before the rows", "no rows"],
    )
    def test_what_is_no_row_is_refused(self, manifest, text: str, expected: list[str]):
        assert told(manifest(text)) == expected

    def test_what_is_not_utf8_is_refused(self, tmp_path: Path):
        path = tmp_path / "manifest.toml"
        path.write_bytes(model(team='"Zürich"').encode("latin-1"))
        assert re.fullmatch(r"'utf-8' codec can't decode byte 0xfc in position \d+: invalid start byte", refusal(path))

    def test_utf8_is_read_whatever_the_locale(self, manifest, program):
        code = "import sys, eval.zoo.manifest as its\nprint(ascii(its.read_manifest(its.Path(sys.argv[1]))[0].team))"
        path = manifest(model(team='"Zürich 日本"'))
        told = program("-c", code, path, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", LC_ALL="C")
        assert told.stdout.strip() == ascii("Zürich 日本"), told.stderr

    def test_a_whole_data_range_is_a_number_too(self, manifest):
        (spec,) = read_manifest(manifest(model(data_range="1")))
        assert (spec.data_range, type(spec.data_range)) == (1.0, float)

    def test_a_wrong_value_is_named(self, manifest):
        for key, value in ((key, value) for key, values in WRONG.items() for value in values):
            (fault,) = told(manifest(model(**{key: value})))
            assert re.match(rf"model\.0\.{key}: (Input|String) should ", fault), value
        for key, value in ((key, value) for key, values in WRONG_IN_CHECKPOINT.items() for value in values):
            (fault,) = told(manifest(model() + checkpoint(**{key: value})))
            assert re.match(rf"model\.0\.checkpoints\.0\.{key}: (Input|String) should ", fault), value

    def test_broken_toml_says_where(self, manifest):
        assert "line 2" in refusal(manifest("[[model]]\nid = \n"))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (model() + model(name='"Other"'), "every id must be unique; repeated: 7"),
            (model() + model(id="8", name='"NET"'), "every name must be unique; repeated: net"),
            (
                model() + checkpoint() + model(id="8", name='"B"') + checkpoint(),
                "every checkpoint file must be unique; repeated: net.pth",
            ),
            (
                model() + checkpoint() + checkpoint(name='"mine"'),
                "every checkpoint file must be unique; repeated: net.pth",
            ),
            (
                "".join(model(id=str(i), name=f'"N{k}"') for k, i in enumerate((1, 2, 1, 3, 2))),
                "every id must be unique; repeated: 1, 2",
            ),
            (
                model() + checkpoint() + checkpoint(file='"other.pth"'),
                "every checkpoint of a model must be unique; repeated: Net released",
            ),
        ],
        ids=["id", "name", "file of two models", "file of one model", "two ids", "name of a checkpoint"],
    )
    def test_what_occurs_twice_is_named(self, manifest, text: str, expected: str):
        assert refusal(manifest(text)) == expected

    def test_checkpoints_of_two_models_may_have_one_name(self, manifest):
        text = model() + checkpoint() + model(id="8", name='"B"') + checkpoint(file='"other.pth"')
        specs = read_manifest(manifest(text))
        assert [[known.name for known in spec.checkpoints] for spec in specs] == [["released"], ["released"]]


class TestBuilding:
    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("models.team08_ABPN:ABPM", "models.team08_ABPN has no class ABPM. Did you mean ABPN?"),
            ("models.team08_ABPM:ABPN", "there is no module models.team08_ABPM. Did you mean models.team08_ABPN?"),
            ("modles.team08_ABPN:ABPN", "there is no module modles.team08_ABPN."),
        ],
    )
    def test_a_misspelt_target_names_the_row_and_the_nearest(self, target: str, message: str):
        spec = find_model("ABPN").model_copy(update={"target": target})
        assert said(RunError, spec.build) == f"manifest.toml: the row of 08_ABPN: target '{target}': {message}"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"in_features": 2, "out": 3}, "missing a required argument: 'out_features'"),
            ({"in_features": 2, "out_features": 3, "bais": True}, "got an unexpected keyword argument 'bais'"),
        ],
    )
    def test_arguments_that_the_class_does_not_take_name_the_row_and_the_key(self, arguments: dict, message: str):
        spec = find_model("ABPN").model_copy(update={"target": "torch.nn:Linear", "arguments": arguments})
        told = said(RunError, spec.build)
        assert told.startswith(f"manifest.toml: the row of 08_ABPN: arguments {arguments!r}: Linear(in_features: int, ")
        assert told.endswith(f"): {message}")

    def test_what_a_networks_own_file_lacks_is_not_a_misspelt_target(self, tmp_path: Path, monkeypatch):
        (tmp_path / "brand_new.py").write_text("import no_such_package\n")
        monkeypatch.syspath_prepend(tmp_path)
        spec = find_model("ABPN").model_copy(update={"target": "brand_new:Net"})
        with pytest.raises(ModuleNotFoundError, match="no_such_package"):
            spec.build()

    def test_another_scale_is_refused(self, tmp_path: Path):
        text = MANIFEST.read_text(encoding="utf-8").replace("scale = 4", "scale = 2", 1)
        (tmp_path / "manifest.toml").write_text(text, encoding="utf-8")
        with pytest.raises(RunError, match=r"model\.0\.scale: .*expected 4, got 2: images, metrics"):
            read_manifest(tmp_path / "manifest.toml")


class TestFinding:
    def test_by_id_name_and_label_in_any_case(self, spec: ModelSpec):
        keys = [spec.id, str(spec.id), spec.name, spec.name.upper(), spec.name.lower(), f" {spec.name} "]
        keys += [spec.label, spec.label.lower(), spec.label.upper()]
        assert [find_model(key) for key in keys] == [spec] * len(keys)

    def test_labels_are_the_challenges(self):
        assert [find_model(key).label for key in (-1, 0, 3)] == ["Bicubic", "00_RLFN", "03_PFDNLite"]
        assert find_model(3).model_copy(update={"id": 123}).label == "123_PFDNLite"

    def test_leading_zeros_do_not_matter(self):
        assert find_model("03").name == find_model("003").name == "PFDNLite"

    @pytest.mark.parametrize(
        ("key", "nearest"),
        [
            ("PFDNLit", "pfdnlite"),
            ("pfdn-lite", "pfdnlite"),
            ("Bicubik", "bicubic"),
            ("dipnett", "dipnet"),
            ("3 PFDNLite", "pfdnlite"),
        ],
    )
    def test_a_misspelt_name_gets_the_nearest(self, key: str, nearest: str):
        with pytest.raises(UsageError) as caught:
            find_model(key)
        known = ", ".join(f"{spec.id} {spec.name}" for spec in all_models())
        assert str(caught.value) == f"no model '{key}'. Did you mean {nearest}? There are: {known}"

    @pytest.mark.parametrize("key", [99, "-2", "", "zzzz", "3.0", "--"])
    def test_what_is_near_to_nothing_lists_all(self, key: str | int):
        message = said(UsageError, find_model, key)
        assert message.startswith(f"no model '{key}'. There are: -1 Bicubic, 0 RLFN, 1 DIPNet, 2 PFDN, 3 PFDNLite, ")
        assert re.findall(r"(-?\d+) \w+", message.partition("There are: ")[2]) == [
            str(spec.id) for spec in all_models()
        ]


def test_one_row_that_cannot_be_built_is_told_beside_the_others():
    misspelt = find_model("ABPN").model_copy(update={"target": "models.team08_ABPN:ABPM"})
    console = Console(file=io.StringIO(), width=300)
    console.print(zoo_table([misspelt, find_model("Bicubic")])[0])
    text = console.file.getvalue()
    assert "cannot be built: manifest.toml: the row of 08_ABPN" in " ".join(text.split())
    assert "Bicubic" in text
