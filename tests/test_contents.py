"""What files hold, by their bytes: real ones of each kind, and what to do about those that are not themselves."""

import gzip
import io
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from eval.contents import Kind, kind_of, not_itself, text_of


def written(write, *arguments) -> bytes:
    file = io.BytesIO()
    write(file, *arguments)
    return file.getvalue()


def archive(**files: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name, text in files.items():
            opened.writestr(name, text)
    return file.getvalue()


TENSORS = {"weight": torch.ones(2)}
SAFE = safetensors.torch.save(TENSORS)
TORCH = written(lambda file: torch.save(TENSORS, file))
PNG = written(lambda file: Image.new("RGB", (2, 2)).save(file, "PNG"))
KINDS = {
    "nothing": (b"", Kind.EMPTY),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:7\nsize 1\n", Kind.LFS_POINTER),
    "page": (b"\n <!DOCTYPE html><html></html>", Kind.WEB_PAGE),
    "page with a mark": (b"\xef\xbb\xbf<HTML lang=en>", Kind.WEB_PAGE),
    "XML of a store": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', Kind.WEB_PAGE),
    "gzip": (gzip.compress(TORCH), Kind.COMPRESSED),
    "torch": (TORCH, Kind.TORCH),
    "torch, cut": (TORCH[:-30], Kind.CUT_ZIP),
    "torch of old": (
        written(lambda file: torch.save(TENSORS, file, _use_new_zipfile_serialization=False)),
        Kind.PICKLE,
    ),
    "script": (written(lambda file: torch.jit.save(torch.jit.script(torch.nn.ReLU()), file)), Kind.TORCHSCRIPT),
    "npz": (written(lambda file: np.savez(file, a=np.ones(2))), Kind.NPZ),
    "npy": (written(lambda file: np.save(file, np.ones(2))), Kind.NPY),
    "other zip": (archive(readme="hello"), Kind.ZIP),
    "safetensors": (SAFE, Kind.SAFETENSORS),
    "safetensors with words": (safetensors.torch.save(TENSORS, {"format": "pt"}), Kind.SAFETENSORS),
    "safetensors, cut": (SAFE[:-1], Kind.CUT_SAFETENSORS),
    "PNG": (PNG, Kind.IMAGE),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(9), Kind.OTHER_IMAGE),
    "text": (b"hello world", Kind.TEXT),
    "zeros": (bytes(99), Kind.UNKNOWN),
}


@pytest.mark.parametrize("name", KINDS)
def test_kind(name: str):
    data, kind = KINDS[name]
    assert kind_of(data) is kind


def test_what_is_not_itself_says_what_to_do():
    assert not_itself(KINDS["LFS"][0]) == ("a Git LFS pointer, not the file itself; run git lfs pull in its repository")
    quota = b"<!DOCTYPE html><html><head><title>Google Drive - Quota\n exceeded</title></head></html>"
    assert not_itself(quota) == (
        'an HTML page ("Google Drive - Quota exceeded"); download it again, in a browser where a login, a quota or a '
        "warning stands in the way"
    )
    assert not_itself(b"<html><title>\x1b[31m</title>").isprintable()
    assert not_itself(TORCH) is None
    assert not_itself(b"hello world") is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_says_how_a_text_is_encoded(encoding: str):
    assert text_of('{"a": "ü"}'.encode(encoding)) == '{"a": "ü"}'


def test_bytes_of_no_encoding_are_no_text():
    with pytest.raises(UnicodeDecodeError):
        text_of(b"\xe9t\xe9")
