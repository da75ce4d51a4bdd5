"""Both sides of a comparison in processes of their own, over the same images."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from eval.data.datasets import Dataset
from eval.files import PROJECT

RESULTS = PROJECT / "docs" / "results"


def child(module: str, *arguments: object, cache: Path | None = None) -> dict[str, Any]:
    """Run a module in a process of its own and return the JSON that it prints last, with the time of the process.

    In the folder ``cache``, by default the user's, it finds and keeps what was compiled or decided.
    """
    command, environment = [sys.executable, "-m", module, *map(str, arguments)], dict(os.environ)
    if cache is not None:
        environment["ESR_CACHE"] = str(cache)
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return {**json.loads(done.stdout.strip().splitlines()[-1]), "process_s": time.perf_counter() - started}


def lay_out(dataset: Dataset, count: int, folder: Path) -> None:
    """Link a set's first images, by the names that the template looks for and once more as pairs for us."""
    for pair in dataset.pairs[:count]:
        for path, name in ((pair.hr, f"HR/{pair.name}.png"), (pair.lr, f"LR/{pair.name}x4.png")):
            link = folder / f"DIV2K_LSDIR_valid_{name}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
