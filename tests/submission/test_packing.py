"""What a team sends: one file with the same pixels, and a zip that the server's script takes."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import eval.cli.packing
from eval.data.images import read_image, write_png
from eval.errors import RunError, UsageError
from eval.files import module_of
from eval.run.model_source import zoo_model
from eval.run.network_source import source_of_module
from eval.submission import packing
from eval.submission.archive import score_archive
from eval.submission.inlining import one_file
from eval.submission.packing import bundle_of, pack_code, result_name
from eval.submission.subject import Subject, subject_of
from eval.third_party.checkout import read_checkout
from eval.third_party.choosing import choose_model_file
from eval.third_party.kinds import SandboxKind
from eval.third_party.submission import ModelFile, Rules
from eval.zoo.loading import load_network, read_state
from eval.zoo.manifest import all_models, find_model
from tests.conftest import PROJECT
from tests.submission.test_checks import NET


@pytest.mark.parametrize("spec", [spec for spec in all_models() if spec.checkpoints], ids=lambda spec: spec.name)
def test_a_network_of_the_zoo_becomes_one_file_with_the_same_output(spec, tmp_path: Path):
    module, _, class_name = spec.target.partition(":")
    text = one_file(PROJECT, module)
    assert "models." not in text.replace("models.window", "").partition('"""')[0]
    assert not [line for line in text.splitlines() if line.startswith(("from models", "import models"))]
    (tmp_path / "one.py").write_text(text)
    network = getattr(module_of(tmp_path / "one.py", f"inlined_{spec.name}"), class_name)(**spec.arguments).eval()
    original = spec.build()
    network.load_state_dict(original.state_dict(), strict=True)
    x = torch.rand(1, 3, 24, 20)
    with torch.inference_mode():
        assert torch.equal(network(x), original(x))


def _written(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)


def test_only_what_is_needed_is_taken_and_comments_and_decorators_stay(tmp_path: Path):
    _written(
        tmp_path,
        net='"""Net."""\nfrom __future__ import annotations\nimport math\nfrom parts import f\n\n\n'
        "# why\nN = f(math.pi)\n",
        parts="import functools\nimport json\nfrom deep import g\n\n\n"
        "@functools.cache\ndef f(x):\n    return g(x)\n\n\ndef unused(x):\n    return json.dumps(x)\n",
        deep="from math import floor, ceil\n\n\ndef g(x):\n    return floor(x)\n",
    )
    assert one_file(tmp_path, "net") == (
        '"""Net."""\n\nfrom __future__ import annotations\nimport functools\nimport math\n'
        "from math import ceil, floor\n\n"
        "def g(x):\n    return floor(x)\n\n\n@functools.cache\ndef f(x):\n    return g(x)\n\n\n# why\nN = f(math.pi)\n"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import parts", "import the names that you need"),
        ("from parts import f as g", "as they are called"),
        ("from parts import *", "as they are called"),
        ("from parts import f\ndef f(x):\n    return x", "f is defined in another of its modules too"),
        ("from parts import f\na, (f, *b) = 1, (2, 3)", "f is defined in another of its modules too"),
        ("from parts import f\nf += 1", "f is defined in another of its modules too"),
        ("from parts import f\nfor f in range(3):\n    pass", "f is defined in another of its modules too"),
        (
            "from math import pow as f\nfrom other import h\nN = f(2, 3) + h",
            "f is defined in another of its modules too",
        ),
        ("from parts import sum\nfrom other import h\nN = h", "sum is defined in another of its modules too"),
        (
            "import os\ntry:\n    from parts import f\nexcept ImportError:\n    f = None",
            "net.py line 3: import from parts at",
        ),
        (
            "class N:\n    def g(self):\n        from parts import f",
            "net.py line 3: import from parts at the top, not in a f",
        ),
        ("if True:\n    import parts", "net.py line 2: import the names that you need"),
        ("from folder import deep", "net.py line 1: import the names that you need"),
        ("from circle import f", "circle.py: net imports it in turn; move"),
    ],
)
def test_what_cannot_be_put_into_one_file_is_refused(tmp_path: Path, line: str, message: str):
    _written(tmp_path, net=line, parts="def f(x):\n    return x\n\n\ndef sum(x):\n    return x\n")
    _written(tmp_path, other="from parts import f\nh = f(sum([1]))\n", circle="from net import g\nf = 1\n")
    (tmp_path / "folder").mkdir()
    _written(tmp_path / "folder", deep="")
    with pytest.raises(RunError, match=message):
        one_file(tmp_path, "net")


ONE = """
def f(x):
    return x


class Net:
    pass


Net.a = 1; Net.b = [f(2)]; Net.b.append(3)
N = 1
N = N + 1
Net.b[0] = 4


def f(x):
    return x + N + sum(Net.b)
"""


def test_one_file_may_define_a_name_twice_and_set_what_a_name_holds(tmp_path: Path):
    _written(tmp_path, net=ONE)
    found: dict = {}
    exec(one_file(tmp_path, "net"), found)
    assert (found["Net"].a, found["Net"].b, found["N"]) == (1, [4, 3], 2)
    # 5, and 2, 4 and 3 besides.
    assert found["f"](5) == 14


def test_what_a_module_holds_is_set_by_the_module_that_takes_it_too(tmp_path: Path):
    _written(tmp_path, net="from parts import Net\nNet.a = 1\n", parts="class Net:\n    pass\n\n\nNet.b = 2\n")
    found: dict = {}
    exec(one_file(tmp_path, "net"), found)
    assert (found["Net"].a, found["Net"].b) == (1, 2)


HELPER = """
from settings import KINDS

N = 1
N += 1
N += 1
if N > 2:
    SIZE = "large"
else:
    SIZE = "small"
try:
    import no_such_package
except ImportError:
    no_such_package = None
TABLE = {}
TABLE.update(a=N)
for key in "bc":
    TABLE[key] = [its for its in range(N)]
unused = 1
unused += 1
if __name__ == "__main__":
    raise SystemExit
if TYPE_CHECKING:
    from absent import Nothing


def f():
    return N, SIZE, no_such_package, KINDS
"""


def test_what_runs_when_a_helper_is_imported_runs_in_the_one_file(tmp_path: Path):
    """Nobody asks for what is set in ``settings``, and its first import comes behind a statement."""
    _written(
        tmp_path,
        net="import json\njson.said = ['net']\nfrom helper import TABLE, f\nfrom again import g\n"
        "json.said.append('end')\n",
        helper=f"import json\njson.said.append('helper')\n{HELPER}",
        settings="import json\nKINDS = json.said[:]\njson.said.append('settings')\n",
        again=f"from helper import f\ng = f\n{HELPER[HELPER.index('try') : HELPER.index('TABLE')]}",
    )
    found: dict = {}
    try:
        exec(one_file(tmp_path, "net"), found)
        assert found["json"].said == ["net", "helper", "settings", "end"]
    finally:
        del json.said
    assert found["f"]() == found["g"]() == (3, "large", None, ["net", "helper"])
    assert found["TABLE"] == {"a": 3, "b": [0, 1, 2], "c": [0, 1, 2]}
    assert "unused" not in found


def test_what_a_helper_takes_from_another_one_can_be_taken_from_it(tmp_path: Path):
    _written(tmp_path, net="from parts import f, pi\nN = f(pi)\n", parts="from math import pi\nfrom deep import f\n")
    _written(tmp_path, deep="def f(x):\n    return round(x)\n")
    found: dict = {}
    exec(one_file(tmp_path, "net"), found)
    assert found["N"] == 3


def test_what_a_package_holds_is_taken_as_of_a_module(tmp_path: Path):
    (tmp_path / "blocks").mkdir()
    _written(tmp_path, net="from blocks import act\nN = act(2)\n", base="K = 3\n")
    _written(tmp_path / "blocks", __init__="from .deep import act\n")
    _written(tmp_path / "blocks", deep="from ..base import K\n\n\ndef act(x):\n    return x * K\n")
    found: dict = {}
    exec(one_file(tmp_path, "net"), found)
    assert found["N"] == 6


REGISTRY = """
import functools

KINDS = {}


def register(made):
    KINDS[made.__name__] = made
    return made


class Meta(type):
    def __init__(cls, *given):
        KINDS[cls.__name__] = cls


@register
def double(x):
    return 2 * x


class Third(metaclass=Meta):
    pass


@functools.cache
def unused(x):
    return x


def kind(name):
    return KINDS[name]
"""


def test_what_a_registry_is_told_of_comes_along(tmp_path: Path):
    _written(tmp_path, net="from acts import kind\nN = kind('double')(4)\nT = kind('Third')\n", acts=REGISTRY)
    text, found = one_file(tmp_path, "net"), dict[str, Any]()
    exec(text, found)
    assert (found["N"], found["T"].__name__) == (8, "Third")
    assert "unused" not in text


def test_files_are_read_in_the_encoding_that_python_reads_them_in(tmp_path: Path):
    code = "N = '测试'\n"
    for written in (f"# -*- coding: gbk -*-\n{code}".encode("gbk"), code.encode("utf-8-sig")):
        (tmp_path / "net.py").write_bytes(written)
        found: dict = {}
        exec(one_file(tmp_path, "net").encode(), found)
        assert found["N"] == "测试"
    (tmp_path / "net.py").write_bytes(b"#\n#\n" + code.encode("gbk"))
    with pytest.raises(RunError, match=r"net\.py: cannot be read as Python: .*save it as UTF-8"):
        one_file(tmp_path, "net")


def test_lines_are_those_that_python_counts(tmp_path: Path):
    _written(
        tmp_path, net="import math\n\x0c\nA = 1\nB = (A,\n     2); C = 3\n\n\ndef f():\n    return math.pi, B, C\n"
    )
    found: dict = {}
    exec(one_file(tmp_path, "net"), found)
    assert found["f"]() == (np.pi, (1, 2), 3)


@pytest.fixture
def lr_folder(tmp_path: Path, random_image) -> Path:
    for seed, name in enumerate(("0901x4", "0902x4")):
        write_png(tmp_path / "test_LR" / f"{name}.png", random_image(12, 16, seed))
    return tmp_path / "test_LR"


def test_the_command_packs_what_the_server_takes_and_organisers_run(command, tmp_path: Path, lr_folder: Path):
    asked = ("--model_id", "8", "--data_dir", lr_folder, "--id", "7", "--device", "cpu", "--description", "a: b")
    command("-m", "eval", "pack", *asked, "--no_extra_data", "--small")
    with zipfile.ZipFile(tmp_path / "submission" / "results.zip") as archive:
        assert archive.namelist() == ["0901.png", "0902.png", "readme.txt"]
        lines = archive.read("readme.txt").decode().splitlines()
        archive.extractall(tmp_path / "hr")
    assert lines[0].startswith("runtime per image [s] : 0.")
    assert lines[1:] == ["CPU[1] / GPU[0] : 1", "Extra Data [1] / No Extra Data [0] : 0", "Other description : a: b"]
    (tmp_path / "hr" / "readme.txt").unlink()
    for path in (tmp_path / "hr").iterdir():
        image = read_image(path)
        assert image.shape == (48, 64, 3)
        write_png(path, image ^ np.uint8(1))
    scored = score_archive(tmp_path / "submission" / "results.zip", tmp_path / "hr", False, 500)
    assert scored.faults == ()
    # Every sample is off by one.
    assert scored.scores["PSNR"] == pytest.approx(20 * np.log10(255))


def test_a_pack_that_fails_leaves_no_zip_of_another_model(command, tmp_path: Path, lr_folder: Path, monkeypatch):
    def failing(*_arguments):
        raise RunError("an image failed")

    for name in ("code.zip", "results.zip"):
        (tmp_path / "submission").mkdir(exist_ok=True)
        (tmp_path / "submission" / name).write_bytes(b"of another model")
    monkeypatch.setattr(eval.cli.packing, "pack_results", failing)
    done = command("-m", "eval", "pack", "--model_id", "8", "--data_dir", lr_folder, "--device", "cpu", code=1)
    assert done.stderr == "error: an image failed\n"
    assert sorted(path.name for path in (tmp_path / "submission").iterdir()) == ["code", "code.zip"]
    assert zipfile.is_zipfile(tmp_path / "submission" / "code.zip")


@pytest.mark.slow
def test_the_code_runs_in_the_challenges_repository(command, tmp_path: Path, lr_folder: Path):
    asked = ("--model_id", "8", "--data_dir", lr_folder, "--id", "7", "--device", "cpu")
    command("-m", "eval", "pack", *asked)
    checkout = tmp_path / "checkout"
    with zipfile.ZipFile(tmp_path / "submission" / "code.zip") as archive:
        archive.extractall(checkout)
    branch = (checkout / "select_model.txt").read_text()
    (checkout / "test_demo.py").write_text(
        "import os\nimport torch\n\n\ndef select_model(args, device):\n    model_id = args.model_id\n    if False:\n"
        f"        pass\n{branch}    return model.eval(), name, data_range, None\n"
    )
    (entry,) = read_checkout(checkout).entries
    assert (entry.id, entry.name, entry.data_range) == (7, "07_ABPN", 1.0)
    assert entry.weights == ("model_zoo/team07_abpn.pth",)
    asked = ("--checkout", checkout, "--models", "7", "--sandbox", "none", "--protocol", "accuracy", "--tile", "none")
    command("-m", "eval", "run", *asked, "--data_dir", lr_folder, "--save_dir", "of_checkout")
    (sr,) = (tmp_path / "of_checkout").rglob("0901x4.png")
    packed = tmp_path / "submission" / "images" / "08_ABPN" / "test_LR" / "0901x4.png"
    assert np.array_equal(read_image(sr), read_image(packed))


def test_a_file_that_gives_other_pixels_is_not_packed(tmp_path: Path):
    subject = subject_of(zoo_model(find_model("ABPN")))
    bundle = bundle_of(subject, None)
    wrong = type(bundle)(**{**vars(bundle), "source": bundle.source.replace("clamp(0, 1)", "clamp(0.4, 0.5)")})
    assert wrong.source != bundle.source
    with pytest.raises(RunError, match="gives other pixels than the entry"):
        pack_code(subject, wrong, "cpu", tmp_path / "code.zip")
    assert not (tmp_path / "code.zip").exists()


def test_the_projects_own_modules_do_not_serve_a_file_that_is_packed(tmp_path: Path):
    subject, head = subject_of(zoo_model(find_model("ABPN"))), "def forward(self, x: Tensor) -> Tensor:\n"
    bundle = bundle_of(subject, None)
    late = replace(bundle, source=bundle.source.replace(head, f"{head}        import models.layers\n"))
    assert late.source != bundle.source
    with pytest.raises(RunError, match=r"ABPN\.py, does not run in select_model: .*No module named 'models\.layers'"):
        pack_code(subject, late, "cpu", tmp_path / "code.zip")
    assert not (tmp_path / "code.zip").exists()


def test_a_network_that_a_file_holds_is_packed_as_it_is(tmp_path: Path):
    _written(tmp_path, team09_Net=f"{NET.format('')}\n\nHELD = Net()\n")
    torch.save({"tail.weight": torch.ones(48, 3, 1, 1), "tail.bias": torch.zeros(48)}, tmp_path / "mine.pth")
    subject = subject_of(replace(_source(tmp_path), class_name="HELD"))
    pack_code(subject, bundle_of(subject, None), "cpu", tmp_path / "code.zip")
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        assert "        model = HELD\n" in archive.read("select_model.txt").decode()


@cache
def abpn_state() -> dict[str, torch.Tensor]:
    spec = find_model("ABPN")
    return dict(load_network(spec, zoo_model(spec).checkpoint).state_dict())


def _sent(path: Path, name: str) -> dict[str, torch.Tensor]:
    """Return the weights of a zip of code as its select_model reads them."""
    with zipfile.ZipFile(path) as archive:
        return torch.load(io.BytesIO(archive.read(f"model_zoo/{name}")), map_location="cpu", weights_only=True)


def _source(folder: Path) -> ModelFile:
    """Return the network ``Net`` of team09_Net.py with the weights mine.pth."""
    return choose_model_file(f"{folder / 'team09_Net.py'}:Net", folder / "mine.pth", 1.0, Rules(SandboxKind.NONE))


@pytest.fixture
def wrapped(tmp_path: Path) -> Callable[..., Subject]:
    """Write ABPN's weights as a trainer does, and return the network with them."""

    def write(prefix: str, **beside: torch.Tensor) -> Subject:
        content = {f"{prefix}{key}": value for key, value in abpn_state().items()}
        torch.save(content | beside, tmp_path / "wrapped.pth")
        return subject_of(zoo_model(find_model("ABPN"), str(tmp_path / "wrapped.pth")))

    return write


@pytest.mark.parametrize(
    ("prefix", "beside"), [("module.", {}), ("_orig_mod.", {}), ("net_g.", {"net_d.weight": torch.zeros(3)})]
)
def test_what_a_trainer_put_around_weights_is_not_sent(wrapped, tmp_path: Path, prefix: str, beside: dict):
    subject = wrapped(prefix, **beside)
    pack_code(subject, bundle_of(subject, 7), "cpu", tmp_path / "code.zip")
    sent = _sent(tmp_path / "code.zip", "team07_abpn.pth")
    find_model("ABPN").build().load_state_dict(sent, strict=True)
    assert all(torch.equal(sent[key], value) for key, value in abpn_state().items())


def test_weights_that_select_model_could_not_load_are_not_packed(wrapped, tmp_path: Path, monkeypatch):
    subject = wrapped("module.")
    monkeypatch.setattr(packing, "read_state", lambda checkpoint, _wanted: read_state(checkpoint))
    with pytest.raises(RunError, match=r"team07_ABPN\.py, does not run in select_model: .*Error\(s\) in loading"):
        pack_code(subject, bundle_of(subject, 7), "cpu", tmp_path / "code.zip")
    assert not (tmp_path / "code.zip").exists()


def test_of_a_file_the_weights_under_the_key_are_sent_as_its_network_names_them(tmp_path: Path):
    _written(tmp_path, team09_Net=NET.format(""))
    weight = torch.eye(3).repeat_interleave(16, 0)[..., None, None]
    stored = {"module.tail.weight": weight.half(), "module.tail.bias": torch.zeros(48).half()}
    others = {key: torch.ones_like(value) for key, value in stored.items()}
    torch.save({"params": stored, "params_ema": others}, tmp_path / "mine.pth")
    subject = subject_of(replace(_source(tmp_path), weights_key="params"))
    pack_code(subject, bundle_of(subject, None), "cpu", tmp_path / "code.zip")
    sent = _sent(tmp_path / "code.zip", "team09_net.pth")
    assert sent.keys() == {"tail.weight", "tail.bias"}
    assert torch.equal(sent["tail.weight"], weight)


def test_what_a_network_in_a_file_is_built_with_is_packed(tmp_path: Path):
    _written(tmp_path, team09_Net=NET.format("").replace("def __init__(self)", "def __init__(self, dim, act='relu')"))
    weight = torch.eye(3).repeat_interleave(16, 0)[..., None, None]
    torch.save({"tail.weight": weight, "tail.bias": torch.zeros(48)}, tmp_path / "mine.pth")
    subject = subject_of(replace(_source(tmp_path), arguments="dim=8,act=silu"))
    bundle = bundle_of(subject, None)
    assert "Net(dim=8, act='silu')" in bundle.branch
    pack_code(subject, bundle, "cpu", tmp_path / "code.zip")


def test_what_cannot_be_packed_is_wrong_usage(command, lr_folder: Path, tmp_path: Path):
    for arguments, message in (
        (("--model_id", "8"), "--data_dir: expected the folder"),
        # What is wrong is told without flags that this command lacks.
        (("--data_dir", lr_folder), "expected one of --model_id and --model_file, got none\n"),
        (("--model_id", "8", "--data_dir", lr_folder, "--sandbox", "none"), "--sandbox: only with --model_file; "),
        (("--model_id", "-1", "--data_dir", lr_folder), "expected a network with weights"),
        (("--model_id", "8", "--data_dir", lr_folder, "--factsheet", "absent.tex"), "absent.tex: no such file"),
        (("--model_id", "8", "--data_dir", lr_folder, "--suffix", "a/b"), "--suffix a/b: expected letters, digits"),
    ):
        done = command("-m", "eval", "pack", *arguments, code=2)
        assert message in done.stderr, done.stderr
    subject = Subject(source_of_module(torch.nn.Identity(), 1.0), tmp_path, None, None, ())
    with pytest.raises(UsageError, match="with weights"):
        bundle_of(subject, None)
    assert [result_name(name) for name in ("0901x4", "0901", "x4x4")] == ["0901", "0901", "x4"]


@pytest.mark.slow
def test_a_network_in_a_file_is_packed_with_what_it_imports(command, tmp_path: Path, lr_folder: Path):
    _written(
        tmp_path,
        helper="import torch\n\n\ndef shuffle(x):\n    return torch.nn.functional.pixel_shuffle(x, 4)\n",
        team09_Net="from torch import nn\nfrom helper import shuffle\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.tail = nn.Conv2d(3, 48, 1)\n\n"
        "    def forward(self, x):\n        return shuffle(self.tail(x))\n",
    )
    weight = torch.eye(3).repeat_interleave(16, 0)[..., None, None]
    torch.save({"tail.weight": weight, "tail.bias": torch.zeros(48)}, tmp_path / "mine.pth")
    file = ("--model_file", tmp_path / "team09_Net.py:Net", "--checkpoint", "mine.pth", "--data_range", "1")
    command("-m", "eval", "pack", *file, "--data_dir", lr_folder, "--device", "cpu", "--sandbox", "none")
    # Where it lies on this machine is nobody's business.
    with zipfile.ZipFile(tmp_path / "submission" / "results.zip") as packed:
        readme = packed.read("readme.txt").decode()
    assert readme.endswith("Other description : team09_Net.py:Net\n")
    code = (tmp_path / "submission" / "code" / "models" / "team09_Net.py").read_text()
    assert "helper" not in code
    assert "def shuffle" in code
    (sr,) = (tmp_path / "submission" / "images").rglob("0901x4.png")
    lr = read_image(lr_folder / "0901x4.png")
    assert np.array_equal(read_image(sr), lr.repeat(4, 0).repeat(4, 1))
