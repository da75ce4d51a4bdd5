"""The bubblewrap command line: a root of its own made of read-only binds, no network, no rights."""

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.files import PROJECT
from eval.third_party.guard import Limits

SCRATCH = "/scratch"
# What workers are made of: every one of them sees it.
OURS = PROJECT / "eval"
_PROGRAM = "bwrap"
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# Of a prefix of Python; what else lies there (other environments, data) is nobody's business.
_PYTHON = ("bin", "lib", "lib64", "pyvenv.cfg")
_SETTINGS = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/sys/devices/system/cpu")
# Where AMD's library looks for GPUs; /sys/devices is what the others lead to.
_AMD, _OF_AMD = Path("/dev/kfd"), ("/sys/devices", "/sys/class/kfd", "/sys/class/drm", "/sys/dev/char")
# The kernel tells the owner of a process what keys there are, though not what is in them.
_HIDDEN_IN_PROC = ("/proc/keys", "/proc/key-users")
# For programs that insist on these two; large files belong in scratch.
_SMALL_BYTES = 64 * 2**20
_PROBE_TIMEOUT_S = 30
# What bubblewrap says where it is there and cannot work, and what helps; of the first one that fits.
_REMEDIES = {
    "mount proc": "parts of /proc are covered, as containers do it: Docker's --security-opt systempaths=unconfined, or"
    " Podman's unmask=/proc/*, leaves it whole; what is mounted below it, as for GPUs, must not be there",
    "hostname": "a filter of system calls, as of a container, must allow sethostname",
    "namespace": "users may not make namespaces here: a container's filter of system calls must allow clone and"
    " unshare, and user.max_user_namespaces be above 0",
    "Operation not permitted": "a filter of system calls, as of a container, must allow clone, unshare, mount, umount2,"
    " pivot_root and sethostname",
}
_INSTALL = "install it (`apt install bubblewrap`, `dnf install bubblewrap`), and let users make user namespaces"


@dataclass(frozen=True)
class Mounts:
    """What a program sees of the machine beside the system's programs and Python.

    Attributes:
        readable: files and folders, visible read-only at their own paths, and where a path itself leads if it is a
            link (never give a link that third-party code made, nor a folder with sockets: they can be spoken to).
        devices: device nodes to pass through, such as /dev/nvidia*.
    """

    readable: tuple[Path, ...] = ()
    devices: tuple[Path, ...] = ()


def fault() -> str | None:
    """Return why bubblewrap cannot be used here, or None when it can; tried once a process."""
    program = shutil.which(_PROGRAM)
    return "bwrap is not on the PATH" if program is None else _fault_of(program)


def remedy(fault: str) -> str:
    """Return what helps where bubblewrap cannot be used, by what ``fault`` says."""
    return next((helps for words, helps in _REMEDIES.items() if words in fault), _INSTALL)


@functools.cache
def _fault_of(program: str) -> str | None:
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        return "this kernel does not list a process's children (/proc/PID/task/PID/children)"
    try:
        trial = subprocess.run(
            [program, *_options(Mounts(), Limits()), "--", "prlimit", "--core=0", "true"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program}: {error}"
    return None if trial.returncode == 0 else trial.stderr.strip() or f"{program}: exit code {trial.returncode}"


def wrap(command: Sequence[str], mounts: Mounts, limits: Limits, channels: Mapping[str, int]) -> list[str]:
    """Return the command that runs ``command`` in a sandbox.

    ``channels`` are fds by bubblewrap's option: ``--info-fd`` is told the host's pid as JSON, ``--seccomp`` is read.
    """
    fds = [word for option, fd in channels.items() for word in (option, str(fd))]
    return [shutil.which(_PROGRAM) or _PROGRAM, *fds, *_options(mounts, limits), "--", *command]


def _options(mounts: Mounts, limits: Limits) -> list[str]:
    options = "--unshare-all --unshare-user --disable-userns --uid 65534 --gid 65534 --cap-drop ALL".split()
    options += "--die-with-parent --new-session --hostname sandbox --proc /proc --dev /dev".split()
    for folder, size in ((SCRATCH, limits.scratch_bytes), ("/tmp", _SMALL_BYTES), ("/dev/shm", _SMALL_BYTES)):
        options += ["--size", str(size), "--tmpfs", folder]
    options += _system()
    paths = _outermost([*_python(), *map(os.fspath, mounts.readable)])
    options += _bound("--ro-bind", paths)
    hidden = _hidden_below([*paths, *(folder for folder in _SYSTEM if not os.path.islink(folder))])
    options += _bound("--ro-bind", hidden, os.devnull)
    options += _bound("--dev-bind", map(str, mounts.devices))
    options += _bound("--ro-bind-try", _OF_AMD if _AMD in mounts.devices else ())
    options += _bound("--ro-bind", filter(os.path.exists, _HIDDEN_IN_PROC), os.devnull)
    # The host's root keeps its uid behind the other number: /proc/sys would be its to write. The rest is memory.
    options += _read_only_but_for_processes() if mounts.devices else ["--remount-ro", "/proc"]
    return [*options, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", SCRATCH]


def _bound(option: str, paths: Iterable[str], source: str = "") -> list[str]:
    """Return the options that mount at each path what is there, or ``source``."""
    return [word for path in paths for word in (option, source or path, path)]


def _read_only_but_for_processes() -> list[str]:
    """Return the options that leave of /proc only the sandbox's own processes to write.

    CUDA names its threads in /proc/self/task/N/comm, and where it cannot it does not start ("no CUDA GPUs").
    """
    others = [entry.path for entry in os.scandir("/proc") if not entry.name.isdigit() and not entry.is_symlink()]
    return _bound("--ro-bind-try", sorted(set(others).difference(_HIDDEN_IN_PROC)))


def _system() -> list[str]:
    """Return the options for the system's own programs and libraries; some of these folders may be links."""
    options = []
    for folder in _SYSTEM:
        if os.path.islink(folder):
            options += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            options += _bound("--ro-bind", [folder])
    return options + _bound("--ro-bind-try", _SETTINGS)


def _python() -> Iterator[str]:
    """Yield the folders of this Python's programs and packages, and the links from its name to its program."""
    for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix):
        yield from (path for name in _PYTHON if os.path.exists(path := os.path.join(prefix, name)))
    places = sysconfig.get_paths()
    yield from (places[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    path = sys.executable
    yield path
    while os.path.islink(path):
        path = os.path.join(os.path.dirname(path), os.readlink(path))
        yield path


@functools.cache
def masked() -> frozenset[str]:
    """Return the real paths of files that are hidden among the packages: the photographs of the set ``sample``."""
    package = importlib.util.find_spec("skimage")
    folder = os.path.join(os.path.dirname(package.origin), "data") if package and package.origin else ""
    files = os.scandir(folder) if os.path.isdir(folder) else ()
    return frozenset(os.path.realpath(file) for file in files if file.is_file() and ".py" not in file.name)


def _hidden_below(folders: Sequence[str]) -> Iterator[str]:
    """Yield the paths under which mounted folders would show masked files; links give one file several."""
    for folder in folders:
        real = os.path.realpath(folder)
        yield from (folder + file.removeprefix(real) for file in sorted(masked()) if file.startswith(f"{real}/"))


def shows(path: Path) -> bool:
    """Tell whether every worker can read a file, because it lies among programs and packages."""
    real = os.path.realpath(path)
    above = (os.path.realpath(folder) for folder in (*_SYSTEM, *_python(), OURS))
    return real not in masked() and any(Path(real).is_relative_to(folder) for folder in above)


def _outermost(paths: Sequence[str]) -> list[str]:
    """Return the paths and where their links lead, without those below another or below the system's folders."""
    both = {form for path in paths for form in (os.path.abspath(path), os.path.realpath(path))}
    kept: list[str] = []
    for path in sorted(both, key=lambda path: (path.count("/"), path)):
        if not any(path == above or path.startswith(f"{above}/") for above in (*_SYSTEM, *kept)):
            kept.append(path)
    return kept
