"""Shared fixtures. Published weights and image sets are used where ``ESR_WEIGHTS`` and ``ESR_DATA`` name them."""

import io
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.cli.app import app
from eval.cli.program import run_program
from eval.data.images import write_png
from eval.timing import interference
from test_demo import demo

PROJECT = Path(__file__).resolve().parent.parent
# A checkout for tests to run, which holds a file of a test's name.
collect_ignore = ["planted"]


# What a test may ask for by a fixture, and the variable that names the folder.
FOLDERS = {"esr_weights": "ESR_WEIGHTS", "esr_data": "ESR_DATA", "published": "ESR_PUBLISHED"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a test whose files are not here keep one parameter, which is skipped with the reason: none can apply."""
    kept, others, told = [], [], set()
    for item in items:
        test = item.nodeid.partition("[")[0]
        absent = any(name in item.fixturenames and not os.environ.get(FOLDERS[name]) for name in FOLDERS)
        (others if absent and test in told else kept).append(item)
        told |= {test} if absent else set()
    config.hook.pytest_deselected(items=others)
    items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were skipped for each reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} skipped: {reason}")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let what engines were taken, and what was compiled, be remembered for these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ESR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else this machine does shall decide no test; those of the watch itself take this back."""
    monkeypatch.setattr(interference.Watch, "disturbance", lambda self: None)


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_interrupts() -> Iterator[None]:
    """Let ctrl-C end the programs that tests start: a job in the background ignores it, and hands that on."""
    if os.name == "nt" or signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.fixture(autouse=True, scope="session")
def _two_threads():
    """Keep timings of the suite alike on any machine."""
    torch.set_num_threads(min(2, torch.get_num_threads()))


def _folder(name: str, what: str) -> Path:
    variable = FOLDERS[name]
    if not os.environ.get(variable):
        pytest.skip(f"needs {what}: set {variable} to their folder")
    return Path(os.environ[variable])


@pytest.fixture(scope="session")
def esr_weights() -> Path:
    """The folder of published checkpoints."""
    return _folder("esr_weights", "the published checkpoints")


@pytest.fixture(scope="session")
def esr_data() -> Path:
    """The folder of published image sets."""
    return _folder("esr_data", "the published image sets")


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of the challenge's published results."""
    return _folder("published", "the challenge's published results")


@pytest.fixture
def random_image() -> Callable[..., np.ndarray]:
    """Make reproducible uint8 noise of a given size."""

    def make(height: int, width: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    return make


@pytest.fixture
def hr_folder(tmp_path: Path, random_image: Callable[..., np.ndarray]) -> Path:
    """A folder of two small HR images."""
    for seed, (height, width) in enumerate(((48, 64), (40, 52))):
        write_png(tmp_path / "photos" / f"image{seed}.png", random_image(height, width, seed))
    return tmp_path / "photos"


Command = Callable[..., subprocess.CompletedProcess[str]]


def _environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a command, without weights or data unless they are given."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ESR_")}
    return inherited | {"PYTHONPATH": str(PROJECT), "ESR_CACHE": str(tmp_path / "no-cache"), "COLUMNS": "120"}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command of the project in an empty folder, in this process, which has torch loaded already.

    It must end with ``code``; None takes any.
    """

    def run(*arguments: str | Path, code: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        module, *flags = map(str, arguments[arguments[0] == "-m" :])
        program = {"test_demo.py": demo, "eval": app}[module]
        threads, out, err = torch.get_num_threads(), io.StringIO(), io.StringIO()
        wanted = _environment(tmp_path) | environment
        with monkeypatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "argv", [module, *flags])
            for name in os.environ.keys() - wanted.keys():
                patch.delenv(name)
            for name, value in wanted.items():
                patch.setenv(name, value)
            patch.chdir(tmp_path)
            with pytest.raises(SystemExit) as end:
                run_program(program)
        torch.set_num_threads(threads)
        ended = end.value.code or 0
        assert code in (None, ended), err.getvalue()
        return subprocess.CompletedProcess(arguments, ended, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def program(tmp_path: Path) -> Command:
    """Run a command of the project as a user does, in a process of its own: seconds, where ``command`` takes none."""

    def run(*arguments: str | Path, code: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=_environment(tmp_path) | environment,
            timeout=600,
        )
        assert code in (None, done.returncode), done.stderr
        return done

    return run
