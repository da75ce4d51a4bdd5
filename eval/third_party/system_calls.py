"""The system calls that a sandboxed program is refused, and a keyring of its own: what namespaces leave open.

The filter is compiled by libseccomp, and bubblewrap loads it after its own work is done.
"""

import errno
import functools
import socket
import sys
import tempfile
from types import ModuleType

# Keys of the user, the memory and files of other processes, parts of the kernel that exploits come from, namespaces,
# and what widens the set of processors that the harness has chosen. Those for root alone are left to capabilities.
_DENIED = (
    *("keyctl", "add_key", "request_key"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd"),
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "mount_setattr"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "unshare", "setns"),
    *("open_by_handle_at", "name_to_handle_at", "fanotify_init", "quotactl", "acct", "syslog"),
    *("sched_setaffinity", "sched_setattr", "sched_setscheduler", "sched_setparam"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "reboot", "swapon", "swapoff"),
    *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex"),
)
# Memory that need not be mapped, where the guard does not see it: torch does without, a GPU's driver may not.
_UNSEEN_MEMORY = ("memfd_create", "shmget")
# A network namespace does not hold back the others: by AF_VSOCK a virtual machine reaches its host.
_FAMILIES = frozenset((socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, getattr(socket, "AF_NETLINK", 16)))
_UNKNOWN = -1
# Runs in front of bubblewrap: 1 is KEYCTL_JOIN_SESSION_KEYRING of keyctl(2). A kernel without keys, or a container that
# forbids to use them, has none to read.
_JOIN = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(int(sys.argv[1]), 1, None) < 0 and ctypes.get_errno() not in ({errno.ENOSYS}, {errno.EPERM}):
    sys.exit("no session keyring: " + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[2], sys.argv[2:])
"""


def fault() -> str | None:
    """Return why no filter can be had here, or None."""
    try:
        _library()
    except ImportError:
        return "the package pyseccomp is not installed (pip install -e '.[third-party]')"
    except RuntimeError:
        return "the system has no libseccomp (apt install libseccomp2)"
    return None


@functools.cache
def program(on_gpu: bool = False) -> bytes:
    """Return the filter, compiled for the kernel.

    Raises:
        RuntimeError: the library does not know a call that is to be refused.
        OSError: it cannot compile a rule.
    """
    library = _library()
    rules = library.SyscallFilter(library.ALLOW)
    refused = library.ERRNO(errno.EPERM)
    for name in (*_DENIED, *(() if on_gpu else _UNSEEN_MEMORY)):
        number = _number(name)
        # Below that stand the calls of other processors, which nobody can make here.
        if number > _UNKNOWN:
            rules.add_rule_exactly(refused, number)
    families = [family for family in range(max(_FAMILIES)) if family not in _FAMILIES]
    for name in ("socket", "socketpair"):
        for family in families:
            rules.add_rule_exactly(refused, _number(name), library.Arg(0, library.EQ, family))
        rules.add_rule_exactly(refused, _number(name), library.Arg(0, library.GT, max(_FAMILIES)))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def in_a_new_keyring() -> list[str]:
    """Return the command to put in front of another so that it begins with an empty session keyring."""
    return [sys.executable, "-I", "-S", "-c", _JOIN, str(_number("keyctl"))]


def _library() -> ModuleType:
    import pyseccomp  # which looks for libseccomp at import

    return pyseccomp


def _number(name: str) -> int:
    """Return the number of a system call here, as libseccomp resolves it; a name that it does not know is an error."""
    library = _library()
    number = library.resolve_syscall(library.Arch.NATIVE, name)
    if number == _UNKNOWN:
        raise RuntimeError(f"libseccomp knows no system call {name}; update it (apt install libseccomp2)")
    return number
