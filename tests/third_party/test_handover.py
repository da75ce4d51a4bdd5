"""What third-party code is given: regular files of its own, and nothing that lies beside them."""

import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from eval import sources
from eval.config import RunConfig
from eval.data.datasets import open_dataset
from eval.data.images import ImageSize, write_png
from eval.errors import UsageError
from eval.files import MAX_FILE_BYTES, PROJECT, UnfitFileError, open_within, sha256_within, why_unfit
from eval.records.record import State
from eval.run.environment import machine_state
from eval.run.model_source import zoo_model
from eval.run.network_source import source_of_file
from eval.run.processes import carry_out
from eval.run.tasks import TaskRun, is_final, record_of, unless_changed
from eval.third_party import bubblewrap, handover, submission
from eval.third_party.checkout import read_checkout
from eval.third_party.choosing import check_out_of_sight, choose_model_file, choose_submissions
from eval.third_party.handover import files_below, files_beside
from eval.third_party.kinds import SandboxKind
from eval.third_party.submission import Rules
from eval.zoo.manifest import find_model
from tests.planted_checkout import copy_of_planted
from tests.tasks import task_of

RULES = Rules(SandboxKind.NONE)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder as people have them: a network among secrets, pipes, sockets and links."""
    home = tmp_path / "home"
    for folder in (".ssh", ".git", "helpers/deep", "data"):
        (home / folder).mkdir(parents=True)
    (home / "network.py").write_text("import helpers.deep.layers\nfrom torch import nn\n")
    (home / "helpers" / "deep" / "layers.py").write_text("from .. import names\n")
    (home / "helpers" / "names.py").write_text("")
    (home / "helpers" / "unused.py").write_text("")
    for secret in (".ssh/id_rsa", ".git/config", "data/table.json", "other.py"):
        (home / secret).write_text("secret")
    os.mkfifo(home / "data" / "pipe")
    (home / "data" / "key").symlink_to(home / ".ssh" / "id_rsa")
    (home / "data" / "zeros").symlink_to("/dev/zero")
    (home / "data" / "alias").symlink_to("table.json")
    (home / "data" / "elsewhere").symlink_to(home / ".ssh")
    return home


def test_a_file_comes_with_what_it_imports_and_nothing_else(home: Path):
    places = sorted(handed.place for handed in files_beside(home / "network.py"))
    assert places == ["helpers/deep/layers.py", "helpers/names.py", "network.py"]


def test_of_a_named_folder_regular_files_are_given(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(home / "data")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        handed = {file.place: file for file in files_beside(home / "network.py", [home / "data"])}
    assert {place for place in handed if place.startswith("data/")} == {"data/table.json", "data/alias"}
    assert handed["data/alias"].read() == b"secret"


def test_another_folder_stands_beside_the_file(home: Path, tmp_path: Path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "table.json").write_text("{}")
    places = [handed.place for handed in files_beside(home / "network.py", [tmp_path / "shared"])]
    assert "shared/table.json" in places


def test_what_is_huge_displaces_nothing(tmp_path: Path):
    for name, size in (("a.bin", MAX_FILE_BYTES + 1), ("b.bin", 2**21), ("c.py", 10)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    handed = files_below(tmp_path)
    assert [(file.place, file.is_shown) for file in handed] == [("c.py", False), ("b.bin", True)]


def test_weights_that_an_entry_names_are_not_displaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def opened(_info, _rules, _config, _request, handed) -> AbstractContextManager:
        return nullcontext(SimpleNamespace(handed=handed, weights_bytes=None))

    folder = copy_of_planted(tmp_path / "c")
    (source,) = choose_submissions([read_checkout(folder)], ["0"], RULES)
    (weights,) = source.entry.weights
    for name, size in ((weights, 3 * 2**20), *((f"figures/{number}.png", 2**21) for number in range(501))):
        (folder / name).parent.mkdir(exist_ok=True)
        with (folder / name).open("wb") as file:
            file.truncate(size)
    monkeypatch.setattr(submission, "opened", opened)
    with source.open(RunConfig(), ImageSize(9, 9)) as loaded:
        places = [file.place for file in loaded.handed]
    assert (places[0], loaded.weights_bytes) == (weights, 3 * 2**20)
    assert len(places) == len(set(places))
    # In the order of names 98 and 99 are the last of 500.
    assert {"test_demo.py", "figures/97.png", "figures/98.png"} & set(places) == {"test_demo.py", "figures/97.png"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("data/pipe", "is no regular file"),
        ("data/zeros", "is a link that leads out of its folder"),
        ("data/key", "is a link that leads out of its folder"),
        ("data", "is no regular file"),
        ("data/absent", "cannot be read: No such file or directory"),
        ("data/table.json", None),
        ("data/alias", None),
    ],
)
def test_unfit_files_are_told(home: Path, name: str, reason: str | None):
    assert why_unfit(home / name, home / "data") == reason


def test_a_huge_file_is_not_read(tmp_path: Path):
    with (tmp_path / "huge.pth").open("wb") as file:
        file.truncate(20 * 10**9)
    with pytest.raises(UnfitFileError, match="has 20,000,000,000 bytes, more than the 1,073,741,824 that are read"):
        open_within(tmp_path / "huge.pth", tmp_path)
    (tmp_path / "small").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_within(tmp_path / "small", tmp_path) == known


def test_an_entry_with_unfit_weights_ends_alone(tmp_path: Path):
    """A huge checkpoint, a pipe and a link out of the checkout are each a row with a reason; others are untouched."""
    folder = copy_of_planted(tmp_path / "c")
    whole = read_checkout(folder)
    weights = folder / "model_zoo" / "team07_absent.pth"
    make = {
        "has 20,000,000,000 bytes": lambda: (weights.touch(), os.truncate(weights, 20 * 10**9)),
        "is no regular file": lambda: os.mkfifo(weights),
        "is a link that leads out of its folder": lambda: weights.symlink_to("/dev/zero"),
    }
    for reason, made in make.items():
        made()
        os.mkfifo(folder / "models" / "pipe.py")
        checkout = read_checkout(folder)
        (bad,) = choose_submissions([checkout], ["7"], RULES)
        with pytest.raises(Exception, match=f"model_zoo/team07_absent.pth {reason}"), bad.open(None, None):
            pass
        assert bad.info.weights_sha256 is None
        (good,) = choose_submissions([checkout], ["0"], RULES)
        assert good.info.weights_sha256 == whole.weights_sha256(good.entry)
        weights.unlink()
        (folder / "models" / "pipe.py").unlink()


def test_links_that_are_named_are_not_followed_out_of_their_folder(home: Path):
    (home / "plain.pth").write_bytes(b"")
    with pytest.raises(UsageError, match=r"--checkpoint .*key: is a link that leads out of its folder; name the file"):
        choose_model_file(f"{home / 'network.py'}:Net", home / "data" / "key", 1.0, RULES)
    with pytest.raises(UsageError, match=r"--with .*absent: no such folder"):
        choose_model_file(f"{home / 'network.py'}:Net", home / "plain.pth", 1.0, RULES, [home / "absent"])
    with pytest.raises(UsageError, match=r"--with .*plain\.pth: a file, no folder"):
        choose_model_file(f"{home / 'network.py'}:Net", home / "plain.pth", 1.0, RULES, [home / "plain.pth"])


def test_files_that_change_after_they_were_read_are_of_no_key(home: Path, hr_folder: Path):
    """They are handed over when a worker is opened, long after keys are made."""
    (home / "plain.pth").write_bytes(b"")
    folder = copy_of_planted(home / "c")
    (entry,) = choose_submissions([read_checkout(folder)], ["0"], RULES)
    file = choose_model_file(f"{home / 'network.py'}:Net", home / "plain.pth", 1.0, RULES)
    for source, code in ((entry, folder / "models" / "team00_plain.py"), (file, home / "network.py")):
        task = task_of(hr_folder, source)
        assert task.key
        record = record_of(task, None, TaskRun(datetime.now(UTC), machine_state(torch.device("cpu"))))
        assert record.complete
        for change in (lambda code=code: code.write_text(code.read_text() + "\n"), code.unlink):
            change()
            assert unless_changed(record, task).state is State.SOURCE_CHANGED
    assert entry.source_now() != entry.info.source_sha256
    (folder / "test_demo.py").unlink()
    with pytest.raises(FileNotFoundError):
        entry.source_now()


def test_weights_that_change_after_they_were_read_are_of_no_key(home: Path, hr_folder: Path):
    (home / "plain.pth").write_bytes(b"first")
    folder = copy_of_planted(home / "c")
    (entry,) = choose_submissions([read_checkout(folder)], ["0"], RULES)
    file = choose_model_file(f"{home / 'network.py'}:Net", home / "plain.pth", 1.0, RULES)
    (named,) = entry.entry.weights
    for source, weights in ((entry, folder / named), (file, home / "plain.pth")):
        task, before = task_of(hr_folder, source), source.info.weights_sha256
        assert task.key
        record = record_of(task, None, TaskRun(datetime.now(UTC), machine_state(torch.device("cpu"))))
        os.utime(weights, (1, 1))
        assert unless_changed(record, task).complete
        for change in (lambda weights=weights: weights.write_bytes(b"other"), weights.unlink):
            change()
            changed = unless_changed(record, task)
            told = "its weights changed while it ran: run it again"
            assert (changed.state, changed.reason) == (State.FILES_CHANGED, told)
        assert source.info.weights_sha256 == before


IMPORTS = "import sys, timms.layers, models_zoo\nfrom einopses import rearrange\nimport absent\nfrom . import beside\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install packages, or other versions of them, where Python looks; none can be imported."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(site)

    def install(**versions: str) -> None:
        for name, its in versions.items():
            folder = site / f"py_{name}-0.dist-info"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: py-{name}\nVersion: {its}\n")
            (folder / "top_level.txt").write_text(f"{name}\n")
            (site / name).mkdir(exist_ok=True)
            (site / name / "__init__.py").write_text("raise SystemExit('imported')\n")
        sources._distributions.cache_clear()

    yield install
    sources._distributions.cache_clear()


def test_installed_packages_that_its_code_imports_are_in_the_key(
    home: Path, hr_folder: Path, installed: Callable[..., None]
):
    (home / "network.py").write_text(f"{IMPORTS}from torch import nn\nimport within\n")
    (home / "lib").mkdir()
    (home / "lib" / "code.py").write_text("import deeper\n")
    # What lies beside a file is its own, whatever is installed under that name.
    (home / "within.py").write_text("import fromwithin\n")
    (home / "plain.pth").write_bytes(b"weights")
    folder = copy_of_planted(home / "c")
    (folder / "models" / "team00_plain.py").write_text(f"{IMPORTS}import within\n")

    def sources_now() -> list:
        named = f"{home / 'network.py'}:Net"
        return [
            *choose_submissions([read_checkout(folder)], ["0"], RULES),
            choose_model_file(named, home / "plain.pth", 1.0, RULES, [home / "lib"]),
        ]

    def keys() -> list[str]:
        return [task_of(hr_folder, source).figures_key for source in sources_now()]

    versions = {"timms": "1.0", "einopses": "0.8", "within": "3", "fromwithin": "4", "deeper": "5", "idle": "6"}
    installed(**versions)
    told = [[its for its in source.info.packages if its.startswith("py-")] for source in sources_now()]
    assert told == [
        ["py-einopses 0.8", "py-timms 1.0", "py-within 3"],
        ["py-deeper 5", "py-einopses 0.8", "py-fromwithin 4", "py-timms 1.0"],
    ]
    before = keys()
    installed(idle="7")
    assert keys() == before
    installed(timms="1.1")
    assert all(now != then for now, then in zip(keys(), before, strict=True))
    assert zoo_model(find_model("Bicubic")).info.packages == ()
    own = source_of_file(f"{PROJECT}/models/team08_ABPN.py:ABPN", None, 1.0)
    assert own.info.packages == (f"torch {version('torch')}",)


def test_a_checkpoint_that_is_gone_when_it_is_opened_is_its_models_row(home: Path, hr_folder: Path):
    """As where a trainer keeps the last few alone."""
    (home / "step100.pth").write_bytes(b"first")
    source = choose_model_file(f"{home / 'network.py'}:Net", home / "step100.pth", 1.0, RULES)
    tasks = [task_of(hr_folder, source, protocol="official", runs=runs) for runs in (1, 2)]
    assert all(task.key for task in tasks)
    (home / "step100.pth").unlink()
    for task in tasks:
        record = carry_out(task, lambda _result: None)
        assert (record.state, record.key) == (State.IO_FAILED, task.key)
        assert record.reason.endswith(f"No such file or directory: '{home}/step100.pth'")
        assert (record.model.weights_file, is_final(record)) == ("step100.pth", False)


def test_the_hash_follows_the_folders_that_come_along(home: Path):
    (home / "plain.pth").write_bytes(b"")

    def digest(*folders: Path) -> str:
        return choose_model_file(
            f"{home / 'network.py'}:Net", home / "plain.pth", 1.0, RULES, folders
        ).info.source_sha256

    alone, before = digest(), digest(home / "data")
    (home / "data" / "table.json").write_text("changed")
    assert alone == digest()
    assert len({alone, before, changed := digest(home / "data")}) == 3
    # As an old zip unpacks it: no UTF-8.
    (home / "data" / os.fsdecode(b"\xff")).touch()
    assert digest(home / "data") != changed


def test_hr_images_are_out_of_sight(tmp_path: Path, random_image, monkeypatch: pytest.MonkeyPatch):
    folder = copy_of_planted(tmp_path / "c")
    sources = choose_submissions([read_checkout(folder)], ["0"], RULES)
    monkeypatch.setattr(bubblewrap, "OURS", tmp_path / "eval")
    for place in (folder / "photos", tmp_path / "photos", tmp_path / "packages" / "photos", tmp_path / "eval"):
        write_png(place / "0.png", random_image(48, 40, 0))
    check_out_of_sight([open_dataset(tmp_path / "photos", None), open_dataset(None, "sample")], sources)
    check_out_of_sight([open_dataset(folder / "photos", None)], [])
    with pytest.raises(UsageError, match=r"third-party code can read 0\.png there"):
        check_out_of_sight([open_dataset(folder / "photos", None)], sources)
    monkeypatch.setattr(bubblewrap, "_python", lambda: [str(tmp_path / "packages")])
    for place in (tmp_path / "packages" / "photos", tmp_path / "eval"):
        with pytest.raises(UsageError, match=r"third-party code can read 0\.png there"):
            check_out_of_sight([open_dataset(place, None)], sources)


def test_two_files_at_one_place_are_refused(home: Path, tmp_path: Path):
    for place in ("a/shared", "b/shared", "c/helpers"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "names.py").write_text(place)
    network, both = home / "network.py", [tmp_path / "a" / "shared", tmp_path / "b" / "shared"]
    with pytest.raises(UsageError) as caught:
        files_beside(network, both)
    assert str(caught.value) == (
        f"--with {both[1]}: {both[1]}/names.py and {both[0]}/names.py would both be shared/names.py beside network.py; "
        "rename one of the folders"
    )
    # What the file imports has a place, too.
    with pytest.raises(UsageError, match=r"would both be helpers/names\.py beside network\.py"):
        files_beside(network, [tmp_path / "c" / "helpers"])
    twice = [handed.place for handed in files_beside(network, [home / "data", home / "data"])]
    assert sorted(twice) == sorted(set(twice))


@pytest.mark.parametrize(("limit", "value"), [("_MOST_FILES", 4), ("_MOST_SENT_BYTES", 150), ("_MOST_SHOWN", 0)])
def test_a_folder_of_which_something_would_stay_behind_is_refused(home: Path, monkeypatch, limit: str, value: int):
    (home / "data" / "large").write_bytes(bytes(2**20 + 1))
    (home / "data" / "small").write_bytes(bytes(100))
    assert len(files_beside(home / "network.py", [home / "data"])) == 7
    monkeypatch.setattr(handover, limit, value)
    assert len(files_beside(home / "network.py")) == 3
    with pytest.raises(UsageError, match=r"--with .*/data: expected at most .*; name the folders that its code reads"):
        files_beside(home / "network.py", [home / "data"])
