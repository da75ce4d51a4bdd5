"""Run a command of the project that gets a signal at a moment that no scheduler moves: once a named file is written.

``python -m tests.signalled SIGINT eval.run.runner.write_png 02.png COMMAND...``: the function, whose first argument is
a path, is called as ever; when it has written the file of that name, the process sends itself the signal.
"""

import importlib
import os
import runpy
import signal
import sys
from pathlib import Path


def signalling(function, name: str, number: signal.Signals):
    """Wrap a function that writes a file so that the signal follows the file ``name``."""

    def write(path: Path, *rest) -> None:
        function(path, *rest)
        if path.name == name:
            os.kill(os.getpid(), number)

    return write


def main() -> None:
    """Wrap the function, then run the command as ``python COMMAND...`` would."""
    number, function, name, *command = sys.argv[1:]
    module, _, attribute = function.rpartition(".")
    module = importlib.import_module(module)
    setattr(module, attribute, signalling(getattr(module, attribute), name, signal.Signals[number]))
    run = runpy.run_module if command[0] == "-m" else runpy.run_path
    sys.argv = command[command[0] == "-m" :]
    run(sys.argv[0], run_name="__main__", **({"alter_sys": True} if run is runpy.run_module else {}))


if __name__ == "__main__":
    main()
