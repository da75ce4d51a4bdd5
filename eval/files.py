"""Files that appear whole or not at all, files that are run, and where the project lies."""

import importlib.util
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

PROJECT = Path(__file__).resolve().parent.parent


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to; it takes ``path``'s place if the block succeeds.

    Raises:
        OSError: it cannot be written; names ``path``, as a full disk's own error does not.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        # The kernel takes the user's umask from this mode; to read the umask, a process would have to change it.
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def module_of(file: Path, name: str) -> ModuleType:
    """Run a Python file as a module of a name that nothing else has.

    Raises:
        ImportError: by its suffix it is no Python file.
        Exception: whatever its code raises.
    """
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file}: no Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up by its name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
