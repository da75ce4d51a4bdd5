"""The template's side of a comparison, in a process of its own: its own ``run()`` on its own network.

Nothing of it is changed but: on a CPU calls of ``torch.cuda`` get stand-ins whose events read the CPU's clock,
torchvision (of which it uses nothing here) is empty, and with ``--save`` the line that would write the SR image, which
is published as a comment, is run. ``python -m bench.template_side --checkout PATH --data_dir FOLDER`` prints JSON.
"""

import argparse
import inspect
import json
import logging
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch

MODEL_ID = 1
_SAVING = "# util.imsave(img_sr"


class _Event:
    def __init__(self, **_options: object) -> None:
        self._at = 0.0

    def record(self) -> None:
        self._at = time.perf_counter()

    def elapsed_time(self, end: "_Event") -> float:
        return (end._at - self._at) * 1e3


def stand_in_for_cuda() -> None:
    """Answer what the template asks of ``torch.cuda`` on a machine without it."""
    stand_ins = {
        "Event": _Event,
        "synchronize": lambda *_: None,
        "empty_cache": lambda: None,
        "current_device": lambda: 0,
        "max_memory_allocated": lambda *_: 0,
    }
    for name, value in stand_ins.items():
        setattr(torch.cuda, name, value)


def load(checkout: Path, save: bool) -> ModuleType:
    """Import the template's program; with ``save`` its ``run`` writes SR images."""
    sys.modules.setdefault("torchvision", ModuleType("torchvision"))
    sys.modules.setdefault("torchvision.utils", SimpleNamespace(make_grid=None))
    # Its models are no package, so a package of that name would be taken wherever it stands.
    sys.path[:] = [str(checkout), *(path for path in sys.path if not (Path(path) / "models" / "__init__.py").exists())]
    os.chdir(checkout)
    import test_demo as template

    if save:
        source = inspect.getsource(template.run)
        if source.count(_SAVING) != 1:
            raise RuntimeError(f"{checkout}: its run() has no line '{_SAVING}…' to turn on")
        exec(compile(source.replace(_SAVING, _SAVING.removeprefix("# ")), "run", "exec"), vars(template))
    return template


def main() -> None:
    """Run the template over one set and print JSON: seconds, PSNR and SSIM by image, peak resident set."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--data_dir", required=True, help="holds DIV2K_LSDIR_valid_HR and _LR")
    parser.add_argument("--ssim", action="store_true")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    asked = parser.parse_args()
    device = torch.device(asked.device)
    if device.type != "cuda":
        stand_in_for_cuda()
    template = load(asked.checkout, asked.save)
    logger = logging.getLogger("template")
    logger.addHandler(logging.StreamHandler(open(os.devnull, "w")))  # noqa: SIM115
    logger.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        arguments = SimpleNamespace(model_id=MODEL_ID, data_dir=asked.data_dir, save_dir=folder, ssim=asked.ssim)
        model, name, data_range, tile = template.select_model(arguments, device)
        start = time.perf_counter()
        results = template.run(model, name, data_range, tile, logger, device, arguments, mode="valid")
        wall_s = time.perf_counter() - start
        written = sum(1 for _ in Path(folder).rglob("*.png"))
    figures = {
        "wall_s": wall_s,
        "network_s": sum(results["valid_runtime"]) / 1e3,
        "runtime_ms": results["valid_runtime"],
        "images": len(results["valid_psnr"]),
        "written": written,
        "psnr_db": results["valid_psnr"],
        "ssim": results.get("valid_ssim", []),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
