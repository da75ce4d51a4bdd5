"""Weights: where they are looked for, that only the right bytes are used, and that loading runs no code."""

import builtins
import collections
import hashlib
import io
import os
import pickle
import random
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

import eval.zoo.checkpoints
import eval.zoo.loading
from eval.cache import cache_folder, download_cache
from eval.contents import Kind
from eval.errors import RunError, UsageError
from eval.zoo.checkpoints import Checkpoint, MissingWeightsError, find_checkpoint, weight_folders, zoo_info
from eval.zoo.loading import load_and_tell, load_network, stored_flags, with_weights_told
from eval.zoo.manifest import CheckpointSpec, ModelSpec, all_models, find_model
from eval.zoo.unwrapping import WRAPPERS
from tests.refusals import said
from tests.tasks import tiny_spec

STATE = {"weight": torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "bias": torch.tensor([7.0, 8.0, 9.0])}
ADDRESS = "https://example.org/tiny.pth"
UNREADABLE = re.compile(
    r"not a file of plain tensors, or a damaged one \(\w+\)\. "
    r"Weights are read without running code: save a state_dict of tensors, or safetensors"
)


def saved(content: object, **options) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def legacy(content: object) -> bytes:
    """Save as PyTorch did before 1.6: pickles one after the other, no archive."""
    return saved(content, _use_new_zipfile_serialization=False)


RELEASED, SELFTRAINED = saved(STATE), saved({key: -value for key, value in STATE.items()})


GARBAGE: dict[str, bytes] = {
    "hello world": b"hello world",
    "nothing": b"",
    "zeros": bytes(100),
    "ones": b"\xff" * 64,
    "an end of pickle": b".",
    "a pickle cut": b"\x80\x02N",
    "a pickle of None": b"\x80\x02N.",
    "JSON": b'{"weight": [1, 2]}',
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 12\n",
    "a web page": b"<!DOCTYPE html><html><body>404: Not Found</body></html>",
    "a GIF": b"GIF89a" + bytes(50),
    "the start of an archive": b"PK\3\4" + bytes(40),
    "a huge string": b"\x80\x02\x8d" + b"\xff" * 7 + b"\x7f",
    "a huge header": b"\xff" * 7 + b"\x7f{}",
}


def known(name: str, content: bytes, url: str | None = None) -> CheckpointSpec:
    return CheckpointSpec(
        name=name, file=f"tiny_{name}.pth", sha256=hashlib.sha256(content).hexdigest(), bytes=len(content), url=url
    )


@pytest.fixture
def spec() -> ModelSpec:
    """A model of one linear layer with two published checkpoints."""
    return tiny_spec(
        target="torch.nn:Linear",
        arguments={"in_features": 2, "out_features": 3},
        checkpoints=(known("released", RELEASED, ADDRESS), known("selftrained", SELFTRAINED)),
    )


@dataclass(frozen=True)
class Folders:
    """The three places where weights are looked for, in order."""

    zoo: Path
    env: Path
    cache: Path


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    found = Folders(tmp_path / "zoo", tmp_path / "env", tmp_path / "cache")
    for folder in (found.zoo, found.env, found.cache):
        folder.mkdir()
    monkeypatch.setattr(eval.zoo.checkpoints, "MODEL_ZOO", found.zoo)
    monkeypatch.setenv("ESR_WEIGHTS", str(found.env))
    monkeypatch.setenv("ESR_CACHE", str(found.cache))
    return found


@pytest.fixture
def checkpoint(tmp_path: Path):
    """Write bytes to a file and describe it as ``find_checkpoint`` would."""

    def make(content: bytes, name: str = "weights.pth") -> Checkpoint:
        path = tmp_path / name
        path.write_bytes(content)
        return Checkpoint(path, hashlib.sha256(content).hexdigest(), None)

    return make


def refusal(spec: ModelSpec, checkpoint: Checkpoint) -> str:
    message = said(RunError, load_network, spec, checkpoint)
    assert message.startswith(f"{checkpoint.path}: ")
    return message.removeprefix(f"{checkpoint.path}: ")


def assert_unreadable(spec: ModelSpec, checkpoint: Checkpoint) -> None:
    """Compare the whole refusal, which repeats nothing of what a file or PyTorch says."""
    assert UNREADABLE.fullmatch(refusal(spec, checkpoint))


def assert_refused_for_its_kind(spec: ModelSpec, checkpoint: Checkpoint) -> None:
    """See that it is refused, and that neither trust nor code is advised."""
    message = refusal(spec, checkpoint)
    assert UNREADABLE.fullmatch(message) or any(message.startswith(kind.value) for kind in Kind), message
    assert "trust" not in message


class TestFinding:
    def test_the_folders_in_order(self, folders: Folders, monkeypatch):
        assert weight_folders() == [folders.zoo, folders.env, folders.cache]
        monkeypatch.setenv("ESR_WEIGHTS", "")
        assert weight_folders() == [folders.zoo, folders.cache]
        monkeypatch.delenv("ESR_WEIGHTS")
        assert weight_folders() == [folders.zoo, folders.cache]

    @pytest.mark.parametrize("kind", ["absent", "a file"])
    def test_a_named_folder_that_is_none_is_an_error(self, folders: Folders, spec: ModelSpec, monkeypatch, kind: str):
        named = folders.env / "weights"
        if kind == "a file":
            named.touch()
        (folders.cache / "tiny_released.pth").write_bytes(RELEASED)
        monkeypatch.setenv("ESR_WEIGHTS", str(named))
        for function in (weight_folders, lambda: find_checkpoint(spec), lambda: find_checkpoint(spec, "released")):
            assert (
                said(UsageError, function)
                == f"ESR_WEIGHTS={named}: no such folder, or none that this user may look into"
            )
        assert find_checkpoint(spec, str(folders.cache / "tiny_released.pth")).name == "released"

    @pytest.mark.parametrize("value", [None, ""])
    def test_the_cache_is_the_systems_unless_named(self, monkeypatch, tmp_path: Path, value: str | None):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
        monkeypatch.setenv("ESR_CACHE", "") if value == "" else monkeypatch.delenv("ESR_CACHE", raising=False)
        assert download_cache().name == "pfdnlite-esr"
        assert download_cache().is_relative_to(tmp_path)

    def test_home_is_expanded_in_variables(self, monkeypatch, tmp_path: Path):
        (tmp_path / "weights").mkdir()
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("ESR_WEIGHTS", "~/weights")
        monkeypatch.setenv("ESR_CACHE", "~/cache")
        assert weight_folders()[1:] == [tmp_path / "weights", tmp_path / "cache"]

    def test_a_cache_that_cannot_be_written_is_named_with_its_variable(self, monkeypatch, tmp_path: Path):
        (tmp_path / "file").touch()
        monkeypatch.setenv("ESR_CACHE", str(tmp_path / "file" / "cache"))
        assert said(RunError, cache_folder, "inductor") == (
            f"{tmp_path}/file/cache/inductor: this cache folder cannot be written (Not a directory); "
            "set ESR_CACHE to a folder that can be"
        )
        monkeypatch.setenv("ESR_CACHE", str(tmp_path / "new"))
        assert cache_folder("inductor").is_dir()

    @pytest.mark.parametrize("named", ["", "~/cache"])
    @pytest.mark.parametrize("version", ["of old", "of today"])
    def test_a_user_without_a_home_has_no_cache(self, folders: Folders, spec: ModelSpec, monkeypatch, named, version):
        def system_s(_name: str) -> str:
            if version == "of today":
                raise RuntimeError("could not determine the home directory")
            return "~/.cache/pfdnlite-esr"

        monkeypatch.setattr("eval.cache.platformdirs.user_cache_dir", system_s)
        monkeypatch.setenv("ESR_CACHE", named)
        # As without HOME and without a line in /etc/passwd.
        monkeypatch.setattr(os.path, "expanduser", str)
        with pytest.raises(
            RunError, match=r"^no cache folder: this user has no home folder; set ESR_CACHE to a folder"
        ):
            cache_folder()
        # Weights that are elsewhere are found all the same.
        assert weight_folders() == [folders.zoo, folders.env]
        (folders.zoo / "tiny_selftrained.pth").write_bytes(SELFTRAINED)
        assert find_checkpoint(spec).name == "selftrained"

    def test_a_folder_that_may_not_be_looked_into_is_passed_over_and_told(
        self, folders: Folders, spec: ModelSpec, monkeypatch
    ):
        stat = os.stat

        def refused(path, **how):
            if str(path).startswith(str(folders.cache)):
                raise PermissionError(13, "Permission denied", str(path))
            return stat(path, **how)

        monkeypatch.setattr(os, "stat", refused)
        with pytest.raises(MissingWeightsError) as caught:
            find_checkpoint(spec)
        looked = f"{folders.zoo}, {folders.env}, {folders.cache} (this user may not look there)"
        assert str(caught.value).splitlines()[0].endswith(f"Looked in: {looked}")
        (folders.zoo / "tiny_selftrained.pth").write_bytes(SELFTRAINED)
        assert find_checkpoint(spec).name == "selftrained"

    def test_a_file_that_may_not_be_read_is_its_models_error(self, folders: Folders, spec: ModelSpec, monkeypatch):
        (folders.zoo / "tiny_released.pth").write_bytes(RELEASED)

        def refused(path: Path) -> str:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(eval.zoo.checkpoints, "file_sha256", refused)
        for weights in (None, str(folders.zoo / "tiny_released.pth")):
            with pytest.raises(RunError) as caught:
                find_checkpoint(spec, weights)
            told = "these weights cannot be read (Permission denied); let this user read them"
            assert str(caught.value) == f"{folders.zoo}/tiny_released.pth: {told}"

    def test_one_folder_after_the_other(self, folders: Folders, spec: ModelSpec):
        paths = [folder / "tiny_released.pth" for folder in (folders.zoo, folders.env, folders.cache)]
        for path in paths:
            path.write_bytes(RELEASED)
        for path in paths:
            assert find_checkpoint(spec) == Checkpoint(path, hashlib.sha256(RELEASED).hexdigest(), "released")
            path.unlink()
        with pytest.raises(MissingWeightsError):
            find_checkpoint(spec)

    def test_released_in_the_last_folder_before_selftrained_in_the_first(self, folders: Folders, spec: ModelSpec):
        (folders.zoo / "tiny_selftrained.pth").write_bytes(SELFTRAINED)
        assert find_checkpoint(spec).name == "selftrained"
        (folders.cache / "tiny_released.pth").write_bytes(RELEASED)
        assert find_checkpoint(spec).name == "released"
        assert find_checkpoint(spec).path == folders.cache / "tiny_released.pth"

    def test_by_the_name_of_a_checkpoint(self, folders: Folders, spec: ModelSpec):
        (folders.zoo / "tiny_released.pth").write_bytes(RELEASED)
        with pytest.raises(MissingWeightsError) as caught:
            find_checkpoint(spec, "selftrained")
        assert "tiny_selftrained.pth" in str(caught.value)
        assert "tiny_released.pth" not in str(caught.value)
        (folders.env / "tiny_selftrained.pth").write_bytes(SELFTRAINED)
        found = find_checkpoint(spec, "selftrained")
        assert (found.path, found.name) == (folders.env / "tiny_selftrained.pth", "selftrained")
        assert find_checkpoint(spec, "released").name == "released"

    def test_a_missing_one_says_where_it_was_looked_for_and_how_to_get_it(self, folders: Folders, spec: ModelSpec):
        with pytest.raises(MissingWeightsError) as caught:
            find_checkpoint(spec)
        released, selftrained = spec.checkpoints
        assert str(caught.value).splitlines() == [
            f"42_Tiny: its weights are not on this machine. Looked in: {folders.zoo}, {folders.env}, {folders.cache}",
            f"  tiny_released.pth ({len(RELEASED):,} bytes, SHA-256 {released.sha256})",
            f"    from {ADDRESS}",
            f"  tiny_selftrained.pth ({len(SELFTRAINED):,} bytes, SHA-256 {selftrained.sha256})",
            "Run: python -m eval fetch weights --model_id 42",
            f"or put the file into {folders.zoo}, or point ESR_WEIGHTS at the folder that holds it.",
        ]

    def test_a_pointer_in_its_place_is_named(self, folders: Folders, spec: ModelSpec):
        wrong = folders.env / "tiny_released.pth"
        wrong.write_bytes(GARBAGE["a pointer of Git LFS"])
        assert said(RunError, find_checkpoint, spec) == (
            f"{wrong}: a Git LFS pointer, not the file itself; run git lfs pull in its repository"
        )

    @pytest.mark.parametrize("content", [RELEASED[:-1], SELFTRAINED, b""], ids=["truncated", "another", "empty"])
    def test_another_hash_is_an_error_and_not_passed_over(self, folders: Folders, spec: ModelSpec, content: bytes):
        wrong = folders.zoo / "tiny_released.pth"
        wrong.write_bytes(content)
        (folders.env / "tiny_released.pth").write_bytes(RELEASED)
        (folders.zoo / "tiny_selftrained.pth").write_bytes(SELFTRAINED)
        for weights in (None, "released"):
            with pytest.raises(RunError) as caught:
                find_checkpoint(spec, weights)
            assert type(caught.value) is RunError
            assert str(caught.value) == (
                f"{wrong}: expected SHA-256 {spec.checkpoints[0].sha256} ({len(RELEASED):,} bytes), "
                f"got {hashlib.sha256(content).hexdigest()} ({len(content):,} bytes); "
                "the file is damaged or another one: remove it, or name it by --weights"
            )

    def test_a_wrong_size_in_the_manifest_is_an_error(self, folders: Folders, spec: ModelSpec):
        (folders.zoo / "tiny_released.pth").write_bytes(RELEASED)
        wrong = spec.checkpoints[0].model_copy(update={"bytes": 123456})
        assert said(RunError, find_checkpoint, spec.model_copy(update={"checkpoints": (wrong,)})) == (
            f"manifest.toml: the checkpoint tiny_released.pth: expected bytes = {len(RELEASED)}, the size of the file "
            "of this sha256; got 123456"
        )

    def test_by_path_it_may_be_any_file(self, folders: Folders, spec: ModelSpec, tmp_path: Path):
        path = tmp_path / "my own.pth"
        path.write_bytes(saved({"a": torch.zeros(1)}))
        (folders.zoo / "tiny_released.pth").write_bytes(RELEASED)
        assert find_checkpoint(spec, str(path)) == Checkpoint(path, hashlib.sha256(path.read_bytes()).hexdigest(), None)

    def test_by_path_a_published_file_keeps_its_name(self, folders: Folders, spec: ModelSpec, tmp_path: Path):
        path = tmp_path / "renamed.bin"
        path.write_bytes(SELFTRAINED)
        assert find_checkpoint(spec, str(path)).name == "selftrained"

    @pytest.mark.parametrize("weights", ["absent.pth", "Released", "", "."])
    def test_neither_a_name_nor_a_file(self, folders: Folders, spec: ModelSpec, weights: str):
        reason = "a folder, no file" if weights == "." else "no such file"
        assert said(UsageError, find_checkpoint, spec, weights) == (
            f"--weights {weights}: {reason}, and no checkpoint of Tiny (it has: released, selftrained)"
        )

    def test_a_model_without_checkpoints_has_none(self, folders: Folders, spec: ModelSpec):
        with pytest.raises(UsageError, match=r"\(it has: none\)"):
            find_checkpoint(spec.model_copy(update={"checkpoints": ()}), "released")


def assert_loaded(spec: ModelSpec, checkpoint: Checkpoint, state: dict[str, Tensor] = STATE) -> None:
    network = load_network(spec, checkpoint)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    loaded = network.state_dict()
    assert loaded.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(loaded[key], value)


class TestLoading:
    @pytest.mark.parametrize("save", [saved, legacy])
    @pytest.mark.parametrize("wrapper", [None, *WRAPPERS])
    def test_plain_and_wrapped(self, spec: ModelSpec, checkpoint, save, wrapper: str | None):
        content = STATE if wrapper is None else {wrapper: STATE, "epoch": 7, "losses": [0.5, 0.25]}
        assert_loaded(spec, checkpoint(save(content)))

    def test_ordered_dictionaries_and_parameters(self, spec: ModelSpec, checkpoint):
        content = collections.OrderedDict((key, torch.nn.Parameter(value)) for key, value in STATE.items())
        assert_loaded(spec, checkpoint(saved({"state_dict": content})))

    def test_a_wrappers_name_beside_that_is_no_dictionary(self, spec: ModelSpec, checkpoint):
        assert_loaded(spec, checkpoint(saved({"params": STATE, "model": "Tiny", "state_dict": None})))

    def test_safetensors(self, spec: ModelSpec, checkpoint):
        assert_loaded(spec, checkpoint(safetensors.torch.save(STATE), "weights.safetensors"))

    def test_no_checkpoint_is_for_a_model_without_weights_alone(self, spec: ModelSpec):
        assert not load_network(find_model("Bicubic"), None).training
        with pytest.raises(RunError, match=r"42_Tiny: has weights, and its row .* names no file of them"):
            load_network(spec, None)

    @pytest.mark.parametrize(
        ("content", "found"),
        [
            ({}, "an empty dictionary"),
            ({"params": {}}, "the keys params"),
            ({"epoch": 1, "best": 0.5}, "the keys epoch, best"),
            ([STATE], "a list: save a state_dict, torch.save(network.state_dict(), FILE)"),
            (STATE["bias"], "a Tensor: save a state_dict, torch.save(network.state_dict(), FILE)"),
            (None, "a NoneType: save a state_dict, torch.save(network.state_dict(), FILE)"),
        ],
    )
    def test_what_is_no_state_dict_is_refused(self, spec: ModelSpec, checkpoint, content: object, found: str):
        assert refusal(spec, checkpoint(saved(content))) == (
            f"expected a dictionary of tensors, or one under a key such as params_ema; got {found}"
        )

    @pytest.mark.parametrize(
        ("state", "told"),
        [
            ({"weight": STATE["weight"]}, "1 missing (first: bias)"),
            (STATE | {"z": torch.zeros(1), "extra": torch.zeros(2)}, "2 unexpected (first: extra)"),
            (
                STATE | {"weight": torch.zeros(3, 5)},
                "1 of another type or shape (first: weight float32 (3, 5) for float32 (3, 2))",
            ),
            (
                STATE | {"bias": torch.zeros(3, 1)},
                "1 of another type or shape (first: bias float32 (3, 1) for float32 (3,))",
            ),
            (
                {"weight": STATE["weight"], "biases": STATE["bias"]},
                "1 missing (first: bias); 1 unexpected (first: biases). The nearest to bias in the file is biases",
            ),
            (
                {"weight": torch.zeros(2, 3), "biased": STATE["bias"]},
                "1 missing (first: bias); 1 unexpected (first: biased); "
                "1 of another type or shape (first: weight float32 (2, 3) for float32 (3, 2)). "
                "The nearest to bias in the file is biased",
            ),
        ],
    )
    @pytest.mark.parametrize("suffix", ["pth", "safetensors"])
    def test_misfits_are_named(self, spec: ModelSpec, checkpoint, state: dict, told: str, suffix: str):
        content = saved(state) if suffix == "pth" else safetensors.torch.save(state)
        message = refusal(spec, checkpoint(content, f"weights.{suffix}"))
        assert message == f"the weights do not fit the network; keys {told}"

    @pytest.mark.parametrize("length", [0, 1, 10, 200, len(RELEASED) // 2, len(RELEASED) - 1])
    def test_a_truncated_file_is_refused(self, spec: ModelSpec, checkpoint, length: int):
        assert_refused_for_its_kind(spec, checkpoint(RELEASED[:length]))

    @pytest.mark.parametrize("length", [0, 5, 60, len(safetensors.torch.save(STATE)) - 1])
    def test_truncated_safetensors_are_refused(self, spec: ModelSpec, checkpoint, length: int):
        assert_refused_for_its_kind(spec, checkpoint(safetensors.torch.save(STATE)[:length], "weights.safetensors"))

    @pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
    @pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
    def test_garbage_is_refused(self, spec: ModelSpec, checkpoint, content: bytes, name: str):
        assert_refused_for_its_kind(spec, checkpoint(content, name))

    def test_what_is_no_weights_says_what_it_is(self, spec: ModelSpec, checkpoint):
        script = io.BytesIO()
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 3)), script)
        arrays = io.BytesIO()
        np.savez(arrays, weight=np.ones(3))
        for content, told in (
            (
                GARBAGE["a pointer of Git LFS"],
                "a Git LFS pointer, not the file itself; run git lfs pull in its repository",
            ),
            (GARBAGE["a web page"], "an HTML page; download it again, in a browser where a login"),
            (script.getvalue(), "a TorchScript archive: code and weights together; expected weights"),
            (script.getvalue(), r"torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE)"),
            (arrays.getvalue(), "an archive of NumPy arrays (npz); expected weights: a state_dict saved by torch.save"),
        ):
            message = refusal(spec, checkpoint(content))
            assert told in message
            assert "trust " not in message.replace("you trust the file", "")

    def test_a_damaged_byte_is_loaded_or_refused(self, spec: ModelSpec, checkpoint):
        chance = random.Random(3)
        refusals = []
        for _ in range(150):
            position = chance.randrange(len(RELEASED))
            flipped = RELEASED[position] ^ chance.randrange(1, 256)
            damaged = checkpoint(RELEASED[:position] + bytes([flipped]) + RELEASED[position + 1 :])
            try:
                load_network(spec, damaged)
            except RunError as error:
                refusals.append(str(error))
        assert len(refusals) >= 40
        assert all(message.startswith(f"{damaged.path}: ") for message in refusals)

    def test_keys_that_are_no_strings_are_left_out(self, spec: ModelSpec, checkpoint):
        assert refusal(spec, checkpoint(saved({0: STATE["weight"], "bias": STATE["bias"]}))) == (
            "the weights do not fit the network; keys 1 missing (first: weight) (left out: 0)"
        )
        for key in (("weight", 2), None, b"weight"):
            content = checkpoint(saved(STATE | {key: STATE["weight"]}))
            assert load_and_tell(spec, content)[1].steps == (f"left out: {key}",)
            assert_loaded(spec, content)

    @pytest.mark.parametrize(
        ("change", "kind"),
        [
            (Tensor.long, "int64"),
            (Tensor.bool, "bool"),
            (lambda weight: weight.to(torch.complex64), "complex64"),
            (Tensor.to_sparse, "torch.sparse_coo on cpu float32"),
            (lambda weight: weight.to("meta"), "torch.strided on meta float32"),
        ],
    )
    def test_tensors_of_another_type_are_refused(self, spec: ModelSpec, checkpoint, change, kind: str):
        content = saved({"params": STATE | {"weight": change(STATE["weight"])}})
        assert refusal(spec, checkpoint(content)) == (
            "the weights do not fit the network; keys 1 of another type or shape "
            f"(first: weight {kind} (3, 2) for float32 (3, 2)) (taken from the key params)"
        )

    @pytest.mark.parametrize("change", [Tensor.half, Tensor.bfloat16, Tensor.double])
    def test_floats_of_another_type_are_converted_and_flagged(self, spec: ModelSpec, checkpoint, change):
        content = {key: change(value) for key, value in STATE.items()}
        stored = str(content["bias"].dtype).removeprefix("torch.")
        network, told = load_and_tell(spec, checkpoint(saved({"params": content})))
        assert torch.equal(network.state_dict()["weight"], STATE["weight"])
        assert told.stored == stored
        (flag,) = stored_flags(with_weights_told(zoo_info(spec, None), told))
        assert flag.text == f"its weights are stored in {stored} and were converted to the network's float32"

    @pytest.mark.parametrize("name", ["weights.SAFETENSORS", "weights.safetensors", "weights.pth", "weights"])
    @pytest.mark.parametrize(
        "content", [safetensors.torch.save(STATE), safetensors.torch.save(STATE, {"a": "b"}), RELEASED]
    )
    def test_the_content_counts_and_not_the_name(self, spec: ModelSpec, checkpoint, name: str, content: bytes):
        assert_loaded(spec, checkpoint(content, name))

    @pytest.mark.parametrize("changed", [SELFTRAINED, RELEASED[:-1], RELEASED + b"\0", b""])
    def test_a_file_changed_since_it_was_found(self, folders: Folders, spec: ModelSpec, changed: bytes):
        path = folders.zoo / "tiny_released.pth"
        path.write_bytes(RELEASED)
        found = find_checkpoint(spec)
        path.write_bytes(changed)
        assert refusal(spec, found) == "the file changed after it was found; run it again"
        path.write_bytes(RELEASED)
        assert_loaded(spec, found)


class RunsCommand:
    """What an attacker would pickle: unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


class Evaluates(RunsCommand):
    def __reduce__(self):
        return builtins.eval, (f"open({str(self.path)!r}, 'w').close()",)


class TestMaliciousFiles:
    @pytest.mark.parametrize("attack", [RunsCommand, Evaluates])
    def test_the_attack_works_where_pickles_are_trusted(self, tmp_path: Path, attack):
        pickle.loads(pickle.dumps(attack(tmp_path / "pwned")))
        assert (tmp_path / "pwned").exists()

    @pytest.mark.parametrize("attack", [RunsCommand, Evaluates])
    @pytest.mark.parametrize(
        "make",
        [
            lambda evil: saved(evil),
            lambda evil: saved(STATE | {"extra": evil}),
            lambda evil: saved({"params": STATE, "hook": evil}),
            lambda evil: legacy(STATE | {"extra": evil}),
            lambda evil: pickle.dumps(evil, protocol=2),
            lambda evil: pickle.dumps({"params": evil}, protocol=0),
        ],
        ids=["alone", "in the state", "beside the state", "legacy", "bare pickle", "bare pickle of text"],
    )
    @pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights", "weights.safetensors"])
    def test_nothing_is_executed(self, tmp_path: Path, spec: ModelSpec, checkpoint, attack, make, name: str):
        evil = checkpoint(make(attack(tmp_path / "pwned")), name)
        assert_unreadable(spec, evil)
        assert [path.name for path in tmp_path.iterdir()] == [name]

    @pytest.mark.parametrize(
        "content",
        [
            saved(collections.Counter(a=1) | {"hook": os.path.join}),
            b"cposix\n\x1b[31msystem\n(S'touch pwned'\ntR.",
            b"c\x1b]0;owned\x07\nsystem\n(S'touch pwned'\ntR.",
        ],
        ids=["a function", "a colour in a name", "a title in a module"],
    )
    def test_the_refusal_repeats_neither_the_file_nor_advice_to_run_it(self, spec, checkpoint, content: bytes):
        message = refusal(spec, checkpoint(content))
        assert UNREADABLE.fullmatch(message)
        assert message.isprintable()
        for word in ("weights_only", "add_safe_globals", "safe_globals", "arbitrary code", "trust", "system"):
            assert word not in message


PUBLISHED = [spec for spec in all_models() if any(known.name == "released" and known.url for known in spec.checkpoints)]


class TestPublished:
    @pytest.mark.parametrize("model", PUBLISHED, ids=lambda spec: spec.name)
    def test_every_one_is_found_and_loads(self, model: ModelSpec, esr_weights: Path, folders: Folders, monkeypatch):
        monkeypatch.setenv("ESR_WEIGHTS", str(esr_weights))
        (released,) = (known for known in model.checkpoints if known.name == "released")
        if not (esr_weights / released.file).exists():
            pytest.skip("ESR_WEIGHTS does not hold all published checkpoints")
        found = find_checkpoint(model, "released")
        assert found == Checkpoint(esr_weights / released.file, released.sha256, "released")
        loaded, untrained = load_network(model, found).state_dict(), model.build().state_dict()
        assert all(value.isfinite().all() for value in loaded.values())
        trained = [key for key in loaded if not torch.equal(loaded[key], untrained[key])]
        weights = [key for key in loaded if key.endswith("weight") and loaded[key].numel() > 1]
        assert weights
        assert set(weights) <= set(trained)
