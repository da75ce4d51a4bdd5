"""How long commands take that compute nothing: ``python -m bench.startup``; medians of several runs in turns."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from eval.cli.program import run_program
from eval.files import PROJECT
from eval.report.renderers import to_markdown
from eval.report.table import Column, Table

_RECORDS = ("-m", "eval", "run", "--models", "-1,8", "--dataset", "sample", "--protocol", "steady", "--no_images")
_RULES = ("--edition", "2024", "--baseline", "published")


def main(runs: Annotated[int, typer.Option("--runs", min=1, help="Of each command.")] = 7) -> None:
    """Print a table of commands and their wall time."""
    with tempfile.TemporaryDirectory() as scratch:
        _run(Path(scratch), *_RECORDS, "--save_dir", scratch)
        commands = {
            "python -c 'import eval'": ("-c", "import eval"),
            "python -m eval --help": ("-m", "eval", "--help"),
            "python -m eval models": ("-m", "eval", "models"),
            "python -m eval compare A B (records)": ("-m", "eval", "compare", scratch, scratch),
            "python -m eval score RECORDS": ("-m", "eval", "score", scratch, *_RULES),
            "python test_demo.py --help": ("test_demo.py", "--help"),
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, words in commands.items():
                taken[name].append(_run(Path(scratch), *words))
    columns = (Column("command", "Command", left=True), Column("seconds", "Time", "s", 2))
    print(to_markdown(Table.of(columns, [(name, median(seconds)) for name, seconds in taken.items()])))


def _run(folder: Path, *words: str) -> float:
    """Return the wall time of a command in seconds; its output goes to a folder."""
    started = time.monotonic()
    words = tuple(str(PROJECT / word) if word == "test_demo.py" else word for word in words)
    out = ("--save_dir", str(folder / "out")) if {"score", "compare"} & set(words) else ()
    done = subprocess.run([sys.executable, *words, *out], capture_output=True, text=True, cwd=PROJECT)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stderr}")
    return time.monotonic() - started


if __name__ == "__main__":
    run_program(main)
