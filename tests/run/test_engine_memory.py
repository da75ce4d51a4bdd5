"""What ``auto`` took is remembered for a network, a machine and its versions, and for nothing else."""

from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn

from eval.data.images import ImageSize
from eval.errors import EngineError, RunError
from eval.inference.engines.choosing import Choice
from eval.run import engine_memory, model_source
from eval.run.engine_memory import remembered
from eval.run.model_source import zoo_model
from eval.run.network_source import source_of_module
from eval.zoo.manifest import find_model
from eval.zoo.model_info import ModelInfo
from tests.tasks import config_of

TAKEN = Choice(engine="channels-last", tried_ms={"eager": 2.5, "channels-last": 1.5}, left_out=("other (why)",))


@pytest.fixture
def info(monkeypatch, tmp_path: Path) -> ModelInfo:
    monkeypatch.setenv("ESR_CACHE", str(tmp_path / "cache"))
    return zoo_model(find_model("PFDNLite"), "selftrained").info


def never() -> Choice:
    raise AssertionError("it was decided before")


def test_a_decision_is_made_once(info):
    assert remembered(info, config_of(), False, lambda: TAKEN) == (TAKEN, True)
    assert remembered(info, config_of(), False, never) == (TAKEN, False)
    # What changes no speed asks for no other decision.
    assert remembered(info, config_of(metrics=("psnr", "ssim"), workers=0), False, never) == (TAKEN, False)


@pytest.mark.parametrize(
    "change", ["threads", "precision", "tiles", "weights", "source", "machine", "libraries", "code"]
)
def test_it_is_made_anew_where_something_else_may_be_faster(info, monkeypatch, change: str):
    remembered(info, config_of(), False, lambda: TAKEN)
    other = {"threads": {"threads": 2}, "precision": {"precision": "bf16"}}.get(change, {})
    if change in ("weights", "source"):
        info = info.model_copy(update={f"{change}_sha256": "0" * 64})
    elif change in ("machine", "libraries"):
        monkeypatch.setattr(engine_memory, change, lambda _of: ("another",))
    elif change == "code":
        monkeypatch.setattr(engine_memory, "hash_of_sources", lambda *_: "another")
    assert remembered(info, config_of(**other), change == "tiles", lambda: TAKEN)[1]


def test_without_a_cache_folder_it_is_made_each_time(info, monkeypatch):
    def none() -> Path:
        raise RunError("this user has no home folder")

    monkeypatch.setattr(engine_memory, "download_cache", none)
    for _ in range(2):
        assert remembered(info, config_of(), False, lambda: TAKEN) == (TAKEN, True)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"engine": 3}', b"\xff"])
def test_a_damaged_memory_is_none(info, tmp_path: Path, content: bytes):
    remembered(info, config_of(), False, lambda: TAKEN)
    (path,) = (tmp_path / "cache" / "engines").iterdir()
    path.write_bytes(content)
    assert remembered(info, config_of(), False, lambda: TAKEN) == (TAKEN, True)
    assert remembered(info, config_of(), False, never) == (TAKEN, False)


def test_where_nothing_can_be_written_it_decides_each_time(info, tmp_path: Path):
    (tmp_path / "cache").write_text("no folder", encoding="utf-8")
    for _ in range(2):
        assert remembered(info, config_of(), False, lambda: TAKEN) == (TAKEN, True)


def test_what_was_not_found_out_is_not_remembered(info):
    nothing = Choice(engine="eager", tried_ms={})
    assert remembered(info, config_of(), False, lambda: nothing) == (nothing, False)
    assert remembered(info, config_of(), False, lambda: TAKEN) == (TAKEN, True)


@pytest.mark.parametrize("fails", [False, True])
def test_a_trial_leaves_the_device_as_it_was(info, monkeypatch, fails: bool):
    """What runs next may be another process, whose tiles are cut by the memory that it finds."""
    released = []

    def choose(network: nn.Module, *_: object) -> Choice:
        assert isinstance(network, Network)
        if fails:
            raise EngineError("none")
        return TAKEN

    class Network(nn.Conv2d):
        def to(self, device):
            released.append(f"to {device}")
            return self

    monkeypatch.setattr(model_source, "choose_engine", choose)
    monkeypatch.setattr(model_source, "release", lambda device: released.append(f"release {device}"))
    with suppress(EngineError):
        asked = config_of(engine="auto")
        model_source.settled_with(find_model("Bicubic"), lambda: Network(1, 1, 1), info, asked, ImageSize(8, 8))
    assert released == ["to cpu", "to cpu", "release cpu"]


def test_a_network_in_memory_is_decided_for_its_own_threads(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("ESR_CACHE", str(tmp_path / "cache"))
    tried: list[int] = []
    monkeypatch.setattr(model_source, "choose_engine", lambda *_: tried.append(torch.get_num_threads()) or TAKEN)
    source = source_of_module(nn.Conv2d(3, 3, 1), 1.0)
    for threads in (1, 2):
        source.settled(config_of(engine="auto", threads=threads, streams=threads), ImageSize(8, 8))
    assert tried == [1, 2]
