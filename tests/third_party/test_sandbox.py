"""Hostile programs, planted: each does its worst in a sandbox, and harms nobody."""

import ast
import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import pytest

from eval.errors import RunError, UsageError
from eval.third_party import cgroups, guard, kinds, sandbox, system_calls
from eval.third_party.bubblewrap import Mounts
from eval.third_party.guard import Limits
from eval.third_party.kinds import SandboxKind, choose_sandbox
from eval.third_party.sandbox import Sandboxed, start
from tests.conftest import PROJECT

MIB = 2**20
DEFAULT = Limits()
# A sandbox that outlives this is killed, so that a test that fails does not hang.
PATIENCE_S = 120
PREAMBLE = """
import os, signal, socket, sys, time
scratch = os.environ["ESR_SCRATCH"]
requests = open(int(os.environ["ESR_REQUESTS_FD"]), "rb", 0)
replies = open(int(os.environ["ESR_REPLIES_FD"]), "wb", 0)

def say(text):
    replies.write(f"{text}\\n".encode())

def attempt(what):
    try:
        say(what())
    except OSError as error:
        say(type(error).__name__)
"""
Run = Callable[..., AbstractContextManager[Sandboxed]]


def _usable(name: str) -> SandboxKind:
    try:
        return choose_sandbox(name)
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture(params=list(SandboxKind))
def kind(request: pytest.FixtureRequest) -> SandboxKind:
    return _usable(request.param)


@pytest.fixture
def bubblewrap() -> SandboxKind:
    return _usable("bubblewrap")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a program's text in a sandbox, and see that nothing of it is left at the end."""
    script = tmp_path / "their folder" / "program.py"

    @contextmanager
    def run(text: str, kind: SandboxKind, *readable: Path, limits: Limits = DEFAULT, **environment: str):
        script.parent.mkdir(exist_ok=True)
        script.write_text(PREAMBLE + text)
        with start(
            [sys.executable, str(script)], kind, Mounts((script.parent, *readable)), limits, environment
        ) as sandboxed:
            patience = threading.Timer(PATIENCE_S, sandboxed.kill)
            patience.start()
            try:
                yield sandboxed
            finally:
                patience.cancel()
                patience.join()
        assert sandboxed.host_pids() == []
        assert not list(_running(script))

    return run


def _running(script: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if str(script) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except psutil.NoSuchProcess:
            continue


def _until_gone(script: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while list(_running(script)):
        assert time.monotonic() < deadline, "a program lives on"
        time.sleep(0.01)


def _said(sandboxed: Sandboxed) -> list[str]:
    """Return the lines of all replies, once no more can come."""
    return sandboxed.from_worker.readall().decode().splitlines()


def _end(sandboxed: Sandboxed) -> str:
    """Wait for the end of a program, and return its reason."""
    while (reason := sandboxed.exit_reason()) is None:
        time.sleep(0.005)
    return reason


ECHO = """
while request := requests.read(65536):
    replies.write(request)
"""
SLEEP = """
say("ready")
time.sleep(3600)
"""


def test_a_good_program_answers_and_ends(kind: SandboxKind, run: Run):
    with run(ECHO + "print('fine')\nsys.exit(3)", kind) as sandboxed:
        for message in (b"one", b"two", bytes(range(256))):
            sandboxed.to_worker.write(message)
            assert sandboxed.from_worker.read(1000) == message
        assert sandboxed.exit_reason() is None
        assert sandboxed.pid in sandboxed.host_pids()
        sandboxed.to_worker.close()
        assert sandboxed.from_worker.read(1) == b""
        assert _end(sandboxed) == "exit code 3"
    assert sandboxed.exit_reason() == "exit code 3"
    assert sandboxed.log_tail() == "fine\n"


def test_its_environment_is_what_it_is_given(kind: SandboxKind, run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    text = """
say("SECRET_TOKEN" in os.environ or b"SECRET_TOKEN" in open("/proc/1/environ", "rb").read())
say(os.environ["OMP_NUM_THREADS"])
say(os.getcwd() == scratch == os.environ["HOME"] == os.environ["TMPDIR"])
say(repr(sys.stdin.read()))
"""
    with run(
        text if kind == "bubblewrap" else text.replace("/proc/1/", "/proc/self/"), kind, OMP_NUM_THREADS="1"
    ) as it:
        assert _said(it) == ["False", "1", "True", "''"]


def test_torch_works_inside(bubblewrap: SandboxKind, run: Run):
    text = "import torch\nsay(torch.nn.Conv2d(3, 8, 3)(torch.ones(1, 3, 9, 9)).shape)"
    with run(text, bubblewrap, OMP_NUM_THREADS="1") as sandboxed:
        assert _said(sandboxed) == ["torch.Size([1, 8, 7, 7])"], sandboxed.log_tail()


def test_no_network(bubblewrap: SandboxKind, run: Run):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        text = f"""
attempt(lambda: socket.create_connection(("127.0.0.1", {port}), 1))
say([name for _, name in socket.if_nameindex()])
attempt(lambda: socket.socket(socket.AF_UNIX).connect("\\0esr-test-{port}"))
"""
        with socket.socket(socket.AF_UNIX) as abstract:
            abstract.bind(f"\0esr-test-{port}")
            abstract.listen()
            with run(text, bubblewrap) as sandboxed:
                assert _said(sandboxed) == ["ConnectionRefusedError", "['lo']", "ConnectionRefusedError"]


def test_it_reads_only_what_it_is_shown(bubblewrap: SandboxKind, run: Run, tmp_path: Path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "shown").write_text("shown")
    (tmp_path / "link").symlink_to(tmp_path / "shown")
    text = f"""
attempt(lambda: open({str(tmp_path / "secret")!r}).read())
attempt(lambda: open({str(tmp_path / "link")!r}).read())
attempt(lambda: open({str(tmp_path / "shown")!r}).read())
attempt(lambda: os.listdir({str(Path(__file__).parent)!r}))
attempt(lambda: open("/etc/passwd").read())
say(sorted(os.listdir("/home")) if os.path.exists("/home") else [])
"""
    with run(text, bubblewrap, tmp_path / "link") as sandboxed:
        said = _said(sandboxed)
    assert said[:5] == ["FileNotFoundError", "shown", "shown", "FileNotFoundError", "FileNotFoundError"]
    assert said[5] == "[]" or sys.base_prefix.startswith("/home/") or sys.prefix.startswith("/home/")


def test_it_writes_only_to_scratch(bubblewrap: SandboxKind, run: Run, tmp_path: Path):
    (tmp_path / "shown").write_text("shown")
    text = f"""
for folder in ("/", "/dev", "/etc", "/usr", "/proc", "/home", sys.prefix + "/lib", os.path.dirname(__file__)):
    attempt(lambda: open(os.path.join(folder, "planted"), "w").name)
attempt(lambda: open({str(tmp_path / "shown")!r}, "w").name)
attempt(lambda: os.chmod({str(tmp_path / "shown")!r}, 0o777))
attempt(lambda: open("/proc/sys/kernel/core_pattern", "r+").name)
say(open("planted", "w").name)
say(open("/tmp/planted", "w").name)
"""
    with run(text, bubblewrap, tmp_path / "shown") as sandboxed:
        said = _said(sandboxed)
    assert set(said[:11]) <= {"OSError", "PermissionError", "FileNotFoundError"}
    assert said[11:] == ["planted", "/tmp/planted"]
    assert (tmp_path / "shown").read_text() == "shown"
    assert not Path("/tmp/planted").exists()


def test_with_a_gpu_its_own_processes_are_all_that_can_be_written_in_proc(bubblewrap: SandboxKind, tmp_path: Path):
    """CUDA writes the names of its threads there, and does not start where it cannot."""
    script = tmp_path / "program.py"
    text = """
attempt(lambda: open(f"/proc/self/task/{os.getpid()}/comm", "w").write("cuda"))
attempt(lambda: open("/proc/sys/kernel/core_pattern", "r+").name)
attempt(lambda: open("/proc/sysrq-trigger", "w").name)
mine = ("self", "thread-self", "net", "mounts")
for top in sorted(name for name in os.listdir("/proc") if not name.isdigit() and name not in mine):
    paths = [os.path.join("/proc", top)]
    paths += [os.path.join(folder, name) for folder, _, names in os.walk(paths[0]) for name in names]
    for path in paths:
        if os.access(path, os.W_OK) and not os.path.islink(path):
            # Of what hides a file the kernel says that it may be written, and does not open it.
            try:
                os.close(os.open(path, os.O_WRONLY))
                say(path)
            except OSError:
                pass
"""
    script.write_text(PREAMBLE + text)
    shown = Mounts((script,), devices=(Path(os.devnull),))
    with start([sys.executable, str(script)], bubblewrap, shown, DEFAULT, {}) as sandboxed:
        said = _said(sandboxed)
    assert said[0] == "4"
    assert set(said[1:3]) <= {"OSError", "PermissionError", "FileNotFoundError"}
    assert said[3:] == []


def test_what_tells_of_amd_gpus_is_shown_read_only_where_one_is(
    bubblewrap: SandboxKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """/dev/null stands for the GPU's file."""
    script = tmp_path / "program.py"
    script.write_text(
        PREAMBLE + "say(f\"{sorted(os.listdir('/sys/devices'))} {os.statvfs('/sys/devices').f_flag & 1}\")"
    )
    shown = Mounts((script,), devices=(Path(os.devnull),))
    for amd, seen in ((Path("/dev/kfd"), ["system"]), (Path(os.devnull), sorted(os.listdir("/sys/devices")))):
        monkeypatch.setattr("eval.third_party.bubblewrap._AMD", amd)
        with start([sys.executable, str(script)], bubblewrap, shown, DEFAULT, {}) as sandboxed:
            assert _said(sandboxed) == [f"{seen} 1"]


@pytest.mark.parametrize("devices", [(), (Path(os.devnull),)], ids=["no device", "a device"])
def test_what_keys_there_are_is_hidden(bubblewrap: SandboxKind, tmp_path: Path, devices: tuple):
    script = tmp_path / "program.py"
    script.write_text(PREAMBLE + "for name in ('keys', 'key-users'): attempt(lambda: open(f'/proc/{name}').read())")
    with start([sys.executable, str(script)], bubblewrap, Mounts((script,), devices), DEFAULT, {}) as sandboxed:
        assert set(_said(sandboxed)) <= {"PermissionError", "FileNotFoundError"}


def test_it_has_no_rights_and_gets_none(bubblewrap: SandboxKind, run: Run):
    text = """
import ast
import ctypes
say([line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapEff", "CapBnd", "NoNewPrivs"))])
attempt(lambda: os.setuid(0))
libc = ctypes.CDLL(None, use_errno=True)
new_user_namespace = 0x10000000
say(libc.unshare(new_user_namespace))
say(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
"""
    with run(text, bubblewrap) as sandboxed:
        assert _said(sandboxed) == [str(["0" * 16, "0" * 16, "1"]), "OSError", "-1", "-1"]


def test_the_hosts_processes_are_out_of_reach(bubblewrap: SandboxKind, run: Run):
    text = f"""
say(sorted(map(int, filter(str.isdigit, os.listdir("/proc")))) == [1, os.getpid()])
attempt(lambda: os.kill({os.getpid()}, signal.SIGKILL) if {os.getpid()} > 1000 else os.stat("/nowhere"))
attempt(lambda: os.kill(os.getppid(), signal.SIGKILL))
attempt(lambda: os.kill(-1, signal.SIGTERM))
say("alive")
"""
    with run(text, bubblewrap) as sandboxed:
        said = _said(sandboxed)
    # Of its own sandbox it may kill what it likes.
    assert said[:2] == ["True", "ProcessLookupError" if os.getpid() > 1000 else "FileNotFoundError"]


def test_a_fork_bomb_is_put_out(bubblewrap: SandboxKind, run: Run):
    with run("while True:\n    try: os.fork()\n    except OSError: pass", bubblewrap) as sandboxed:
        assert _end(sandboxed) == "killed: over 64 processes"


def test_the_harness_goes_first_at_the_processors(kind: SandboxKind, run: Run):
    with run("say(os.nice(0))", kind) as sandboxed:
        assert _said(sandboxed) == [str(min(os.nice(0) + 5, 19))]


def test_too_many_processes(kind: SandboxKind, run: Run):
    text = """
for _ in range(20):
    if os.fork() == 0:
        time.sleep(3600)
time.sleep(3600)
"""
    with run(text, kind, limits=Limits(processes=10)) as sandboxed:
        assert _end(sandboxed) == "killed: over 10 processes"


def test_too_many_threads(kind: SandboxKind, run: Run):
    text = """
import threading
while True:
    try:
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    except RuntimeError:
        time.sleep(0.01)
"""
    with run(text, kind, limits=Limits(threads=50)) as sandboxed:
        if os.getuid() == 0 or kind == "none":
            assert _end(sandboxed) == "killed: over 50 threads"
        else:
            time.sleep(0.5)
            assert sum(psutil.Process(pid).num_threads() for pid in sandboxed.host_pids()) <= 52


DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.closerange(0, 3)
        say("daemon")
        time.sleep(3600)
    requests.read(1)
    os._exit(0)
os.wait()
say("orphan")
requests.read(1)
"""


def _orphan_the_daemon(sandboxed: Sandboxed) -> None:
    """Let its parent end once it has been seen."""
    assert sandboxed.from_worker.read(100) == b"daemon\n"
    assert len(sandboxed.host_pids()) >= 3
    sandboxed.to_worker.write(b"x")
    assert sandboxed.from_worker.read(100) == b"orphan\n"


def test_a_daemon_dies_with_its_sandbox(kind: SandboxKind, run: Run):
    with run(DAEMON, kind) as sandboxed:
        _orphan_the_daemon(sandboxed)
        assert len(sandboxed.host_pids()) >= 2


def test_a_daemon_dies_with_its_parent_in_a_pid_namespace(bubblewrap: SandboxKind, run: Run):
    with run(DAEMON, bubblewrap) as sandboxed:
        _orphan_the_daemon(sandboxed)
        sandboxed.to_worker.write(b"x")
        assert _end(sandboxed) == "exit code 0"
        # The daemon holds the pipe, which ends with it.
        assert sandboxed.from_worker.readall() == b""


def test_a_full_scratch_is_its_own_trouble(bubblewrap: SandboxKind, run: Run):
    text = """
block = bytes(2**20)
total = 0
try:
    for number in range(40):
        with open(f"{scratch}/{number}", "wb", 0) as file:
            total += file.write(block)
except OSError as error:
    say(error.errno)
say(total)
"""
    with run(text, bubblewrap, limits=Limits(scratch_bytes=16 * MIB)) as sandboxed:
        number, total = map(int, _said(sandboxed))
    assert number == 28  # ENOSPC
    assert 15 * MIB <= total <= 16 * MIB


def test_a_file_has_a_largest_size(kind: SandboxKind, run: Run):
    text = "attempt(lambda: open('large', 'wb').truncate(64 * 2**20))"
    with run(text, kind, limits=Limits(scratch_bytes=16 * MIB)) as sandboxed:
        assert _said(sandboxed) == ["OSError"]


def test_scratch_is_gone_afterwards(run: Run):
    with run("open('kept', 'w').close()\nsay(scratch)", SandboxKind.NONE) as sandboxed:
        (scratch,) = _said(sandboxed)
        assert Path(scratch, "kept").exists()
    assert not Path(scratch).exists()


def test_a_flood_neither_blocks_nor_piles_up(kind: SandboxKind, run: Run):
    text = """
for _ in range(100):
    os.write(1, b"flood " * 87382)
    os.write(2, b"FLOOD " * 87382)
print("\\x1b[2J\\u202ethe\\tend\\0")
"""
    with run(text, kind, limits=Limits(log_bytes=1000)) as sandboxed:
        assert _end(sandboxed) == "exit code 0"
    tail = sandboxed.log_tail()
    assert tail.endswith("FLOOD \ufffd[2J\ufffdthe end\ufffd\n")
    assert len(tail) <= 1000


MEMORY_HOGS = {
    "one process": """
blocks = []
while True:
    blocks.append(b"x" * 2**24)
    time.sleep(0.01)
""",
    "four processes together": """
for _ in range(4):
    if os.fork() == 0:
        block = b"x" * (60 * 2**20)
        time.sleep(3600)
time.sleep(3600)
""",
}


@pytest.mark.parametrize("text", MEMORY_HOGS.values(), ids=MEMORY_HOGS)
def test_too_much_memory(kind: SandboxKind, run: Run, text: str):
    with run(text, kind, limits=Limits(memory_bytes=200 * MIB)) as sandboxed:
        assert _end(sandboxed) == "killed: over 200 MiB"


def test_too_much_processor_time(kind: SandboxKind, run: Run):
    with run("while True: pass", kind, limits=Limits(cpu_s=1)) as sandboxed:
        assert _end(sandboxed) == "killed: over 1 s of processor time"


@pytest.mark.parametrize("nuisance", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"])
def test_a_sleeper_is_killed(kind: SandboxKind, run: Run, nuisance: str):
    with run(nuisance + SLEEP, kind) as sandboxed:
        assert sandboxed.from_worker.read(100) == b"ready\n"
        for process in map(psutil.Process, sandboxed.host_pids()):
            if nuisance:
                process.terminate()
        assert sandboxed.exit_reason() is None
        sandboxed.kill()
        assert sandboxed.exit_reason() == "killed"
        assert sandboxed.from_worker.read(1) == b""
        with pytest.raises(BrokenPipeError):
            sandboxed.to_worker.write(b"x")
        sandboxed.kill()


def test_a_program_that_closes_its_pipes_is_seen_to(kind: SandboxKind, run: Run):
    with run("requests.close()\nreplies.close()\ntime.sleep(3600)", kind) as sandboxed:
        assert sandboxed.from_worker.read(1) == b""
        with pytest.raises(BrokenPipeError):
            sandboxed.to_worker.write(b"x")
        assert sandboxed.exit_reason() is None


def test_garbage_comes_through_as_it_is(kind: SandboxKind, run: Run):
    with run("replies.write(bytes(range(255, -1, -1)) * 64)", kind) as sandboxed:
        assert sandboxed.from_worker.readall() == bytes(range(255, -1, -1)) * 64


def test_a_crash_has_its_signal_as_reason(kind: SandboxKind, run: Run):
    with run("os.kill(os.getpid(), signal.SIGSEGV)", kind) as sandboxed:
        assert _end(sandboxed) == f"killed by signal {int(signal.SIGSEGV)}"


def test_a_program_that_is_not_there(bubblewrap: SandboxKind):
    with start(["/nowhere/python"], bubblewrap, Mounts(), Limits(), {}) as sandboxed:
        assert _end(sandboxed).startswith("exit code")
    assert "/nowhere/python" in sandboxed.log_tail()


def test_a_sandbox_that_cannot_be_set_up_says_why(bubblewrap: SandboxKind, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sandbox.bubblewrap, "_python", lambda: ["/nowhere"])
    with pytest.raises(RunError, match=r"bubblewrap did not start: bwrap: Can't find source path /nowhere"):
        start(["true"], bubblewrap, Mounts(), Limits(), {})


def test_a_mount_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(RunError, match=r"do not exist: .*nothing"):
        start(["true"], SandboxKind.NONE, Mounts((tmp_path / "nothing",)), Limits(), {})


@pytest.mark.parametrize("asked", [None, "bubblewrap", "none"])
def test_on_windows_there_is_none(asked: str | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("eval.third_party.kinds.sys.platform", "win32")
    with pytest.raises(UsageError, match="on Windows run this in WSL"):
        choose_sandbox(asked)


def test_a_start_that_fails_leaves_nothing(kind: SandboxKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    script = tmp_path / "program.py"
    script.write_text(PREAMBLE + SLEEP)

    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    before = _open_files()
    monkeypatch.setattr(sandbox, "Guard", no_thread)
    with pytest.raises(RuntimeError, match="thread"):
        start([sys.executable, str(script)], kind, Mounts((script,)), Limits(), {})
    _until_gone(script)
    assert _open_files() == before


def test_two_sandboxes_do_not_see_each_other(bubblewrap: SandboxKind, tmp_path: Path):
    script = tmp_path / "program.py"
    script.write_text(PREAMBLE + "requests.read(1)\nsay(os.listdir(scratch))\nopen('mine', 'w')\nrequests.read(1)")
    command, mounts = [sys.executable, str(script)], Mounts((script,))
    with (
        start(command, bubblewrap, mounts, Limits(), {}) as one,
        start(command, bubblewrap, mounts, Limits(), {}) as two,
    ):
        for sandboxed in (one, two):
            sandboxed.to_worker.write(b"x")
            assert sandboxed.from_worker.read(100) == b"[]\n"
        one.kill()
        assert two.exit_reason() is None


def test_nothing_is_left_open(kind: SandboxKind, run: Run):
    before = _open_files()
    with run(SLEEP, kind):
        pass
    assert _open_files() == before


def _open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd")) if sys.platform == "linux" else []


HARNESS = """
import os, signal, sys
from pathlib import Path
from eval.third_party.bubblewrap import Mounts
from eval.third_party.guard import Limits
from eval.third_party.kinds import SandboxKind
from eval.third_party.sandbox import start

script = Path(sys.argv[1])
sandboxed = start([sys.executable, str(script)], SandboxKind.BUBBLEWRAP, Mounts((script,)), Limits(), {})
if sys.argv[2] == "later":
    sandboxed.from_worker.read(100)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["at once", "later"])
def test_a_sandbox_dies_with_the_harness(bubblewrap: SandboxKind, tmp_path: Path, moment: str):
    script = tmp_path / "program.py"
    script.write_text(PREAMBLE + SLEEP)
    project = PROJECT
    harness = subprocess.run([sys.executable, "-c", HARNESS, str(script), moment], cwd=project, timeout=PATIENCE_S)
    assert harness.returncode == -signal.SIGKILL
    _until_gone(script)


def test_bubblewrap_is_the_rule_and_none_is_asked_for(bubblewrap: SandboxKind):
    assert choose_sandbox(None) is choose_sandbox("bubblewrap") is bubblewrap
    assert choose_sandbox("none") is SandboxKind.NONE


@pytest.mark.parametrize(
    ("said", "helps"),
    [
        ("bwrap is not on the PATH", "apt install bubblewrap"),
        ("bwrap: No permissions to create new namespace, likely because …", "allow clone and unshare"),
        ("bwrap: Creating new namespace failed: nesting depth or … exceeded (ENOSPC)", "max_user_namespaces"),
        ("bwrap: unshare user ns: Operation not permitted", "unshare, mount, umount2, pivot_root and sethostname"),
        ("bwrap: pivot_root: Operation not permitted", "unshare, mount, umount2, pivot_root and sethostname"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "systempaths=unconfined"),
        ("bwrap: Can't set hostname to sandbox: Operation not permitted", "must allow sethostname"),
    ],
)
def test_what_helps_follows_from_what_bubblewrap_says(said: str, helps: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("eval.third_party.bubblewrap.fault", lambda: f"{said}.")
    with pytest.raises(UsageError) as caught:
        choose_sandbox(None)
    assert f"{said}; " in str(caught.value)
    assert helps in str(caught.value)


def test_an_unknown_sandbox_is_refused():
    with pytest.raises(UsageError, match="--sandbox docker: expected bubblewrap or none"):
        choose_sandbox("docker")


def test_without_bubblewrap_the_user_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"bwrap is not on the PATH.*apt install bubblewrap.*--sandbox none.*network"):
        choose_sandbox(None)
    assert choose_sandbox("none") is SandboxKind.NONE


def test_a_bubblewrap_that_may_not_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: no permissions' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="bwrap: no permissions"):
        choose_sandbox(None)
    with pytest.raises(RunError, match="bwrap: no permissions"):
        start(["true"], SandboxKind.BUBBLEWRAP, Mounts(), Limits(), {})


CALLS = """
import ast
import ctypes
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    ctypes.set_errno(0)
    say(f"{libc.syscall(number, *arguments)} {ctypes.get_errno()}")
"""


@pytest.fixture
def filtered(bubblewrap: SandboxKind) -> SandboxKind:
    if fault := system_calls.fault():
        pytest.skip(fault)
    return bubblewrap


def test_refused_system_calls_are_refused(filtered: SandboxKind, run: Run):
    """Each by its number, so that no library of the program's own gets around it."""
    names = ("keyctl", "add_key", "ptrace", "process_vm_readv", "bpf", "io_uring_setup", "unshare", "sched_setaffinity")
    names += ("memfd_create", "shmget")
    calls = "\n".join(f"call({system_calls._number(name)}, 0, 0, 0, 0, 0)" for name in names)
    vsock, alg = 40, 38
    text = f"""
{calls}
for family in ({vsock}, {alg}, 9999):
    attempt(lambda: socket.socket(family, socket.SOCK_STREAM))
attempt(lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)))
say([socket.socket(family).family.value for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)])
say([pair.family.value for pair in socket.socketpair()])
"""
    with run(CALLS + text, filtered) as sandboxed:
        said = _said(sandboxed)
    assert said[: len(names)] == ["-1 1"] * len(names)
    assert said[len(names) :] == ["PermissionError"] * 4 + ["[1, 2, 10]", "[1, 1]"]


def test_a_gpus_driver_may_make_memory_by_its_calls(filtered: SandboxKind, tmp_path: Path):
    script = tmp_path / "program.py"
    script.write_text(PREAMBLE + 'attempt(lambda: os.memfd_create("driver") > 0)')
    shown = Mounts((script,), devices=(Path(os.devnull),))
    with start([sys.executable, str(script)], filtered, shown, DEFAULT, {}) as sandboxed:
        assert _said(sandboxed) == ["True"]


def test_its_session_keyring_is_empty(filtered: SandboxKind, run: Run, monkeypatch: pytest.MonkeyPatch):
    """Without the filter as well: a key of the user's session is not in the program's."""
    libc = ctypes.CDLL(None, use_errno=True)
    session_keyring, search = -3, 10
    add_key, keyctl = system_calls._number("add_key"), system_calls._number("keyctl")
    key = libc.syscall(add_key, b"user", b"esr-test", b"secret", 6, session_keyring)
    if key < 0:
        pytest.skip("this kernel keeps no keys")
    text = f'call({keyctl}, {search}, {session_keyring}, b"user", b"esr-test", 0)'
    nothing = system_calls._library().SyscallFilter(system_calls._library().ALLOW)
    with tempfile.TemporaryFile() as file:
        nothing.export_bpf(file)
        file.seek(0)
        monkeypatch.setattr(system_calls, "program", lambda **_kind: file.read())
        with run(CALLS + text, filtered) as sandboxed:
            assert _said(sandboxed) == [f"-1 {errno.ENOKEY}"]
    invalidate = 21
    libc.syscall(keyctl, invalidate, key)


def test_a_call_that_is_unknown_is_an_error_and_no_empty_filter(filtered: SandboxKind, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(system_calls, "_DENIED", ("keyctl", "no_such_call"))
    with pytest.raises(RuntimeError, match="libseccomp knows no system call no_such_call"):
        system_calls.program.__wrapped__()


def test_a_system_that_shows_no_processes_is_named(monkeypatch: pytest.MonkeyPatch):
    """As macOS, where --sandbox none is all there is."""
    monkeypatch.setattr(guard, "_stat", lambda _folder: [])
    (opening,) = kinds.openings(SandboxKind.NONE)
    assert opening.startswith("this system does not show a program's processes: no limit of memory or of processes")


@pytest.mark.parametrize(
    ("error", "said"), [(ImportError, "pyseccomp is not installed"), (RuntimeError, "libseccomp2")]
)
def test_without_a_filter_it_runs_and_the_user_is_told(
    bubblewrap: SandboxKind, run: Run, monkeypatch: pytest.MonkeyPatch, error: type[Exception], said: str
):
    def absent() -> None:
        raise error

    monkeypatch.setattr(system_calls, "_library", absent)
    monkeypatch.setattr(cgroups, "fault", lambda: None)
    (opening,) = kinds.openings(bubblewrap)
    assert said in opening
    assert "keyctl" in opening
    assert kinds.openings(SandboxKind.NONE) == []
    with run("say('ran')", bubblewrap) as sandboxed:
        assert _said(sandboxed) == ["ran"]


def test_nothing_else_is_mounted(bubblewrap: SandboxKind, run: Run, tmp_path: Path):
    """An audit: programs and packages, what was named, and folders in memory."""
    (tmp_path / "shown").write_text("shown")
    text = """
for line in open("/proc/self/mountinfo"):
    say(line.split()[4] + " " + line.split(" - ")[1].split()[0])
say("end")
say(sorted(os.listdir(sys.prefix)) if os.path.commonpath((sys.prefix, "/usr")) == "/" else [])
"""
    with run(text, bubblewrap, tmp_path / "shown") as sandboxed:
        said = _said(sandboxed)
    mounts = [line.replace("\\040", " ").rpartition(" ") for line in said[: said.index("end")]]
    allowed = [
        *sandbox.bubblewrap._SYSTEM,
        *sandbox.bubblewrap._SETTINGS,
        *sandbox.bubblewrap._python(),
        "/dev",
        "/proc",
    ]
    named = [tmp_path / "shown", tmp_path / "their folder"]
    in_memory = {"/", "/tmp", "/scratch"}
    for place, _, kind in mounts:
        below = any(Path(place).is_relative_to(os.path.abspath(folder)) for folder in (*allowed, *named))
        real = any(Path(place).is_relative_to(os.path.realpath(folder)) for folder in (*allowed, *named))
        assert below or real or (place in in_memory and kind == "tmpfs"), place
    assert set(ast.literal_eval(said[-1])) <= {"bin", "lib", "lib64", "pyvenv.cfg"}


@pytest.fixture
def grouped(bubblewrap: SandboxKind) -> SandboxKind:
    if fault := cgroups.fault():
        pytest.skip(fault)
    return bubblewrap


def test_a_group_counts_what_no_process_shows(grouped: SandboxKind, run: Run):
    """A process that nobody waits for takes its time with it, but for the group's."""
    text = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if os.fork() == 0:
    end = time.process_time() + 0.2
    while time.process_time() < end: pass
    os._exit(0)
try:
    os.wait()
except ChildProcessError:
    say("gone")
requests.read(1)
"""
    with run(text, grouped) as sandboxed:
        assert sandboxed.from_worker.read(100) == b"gone\n"
        assert sandboxed._guard.used().cpu_s < sandboxed.used().cpu_s - 0.15
    assert not any(folder.exists() for folder in sandboxed._group.folders)


def test_groups_of_a_harness_that_was_killed_are_removed(grouped: SandboxKind):
    with subprocess.Popen(["true"]) as process:
        pass
    orphan = next(cgroups._parents()) / f"{cgroups._prefix()}{process.pid}-0"
    other = next(cgroups._parents()) / f"{cgroups._prefix()}{os.getpid()}-0"
    orphan.mkdir()
    other.mkdir()
    try:
        with cgroups.grouped(Limits()) as group:
            assert group.folders[0].exists()
            assert not orphan.exists()
            assert other.exists()
        assert not group.folders[0].exists()
    finally:
        other.rmdir()


def test_the_kernel_keeps_a_groups_limits(grouped: SandboxKind, run: Run, monkeypatch: pytest.MonkeyPatch):
    """Where the guard sees nothing, as between two of its looks, memory still ends."""
    monkeypatch.setattr(sandbox.Guard, "_fault", lambda _self: None)
    limits = Limits(memory_bytes=100 * MIB, scratch_bytes=50 * MIB, threads=20)
    threads = """
import threading
count = 0
try:
    while True:
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
        count += 1
except RuntimeError:
    say(count)
    os._exit(0)
"""
    with run(threads, grouped, limits=limits) as sandboxed:
        if not any((folder / "pids.max").exists() for folder in sandboxed._group.folders):
            pytest.skip("no controllers of memory and tasks")
        assert 0 < int(_said(sandboxed)[0]) <= 28
    with run("blocks = []\nwhile True: blocks.append(b'x' * 2**22)", grouped, limits=limits) as sandboxed:
        assert _end(sandboxed) == "killed: over 150 MiB, files included"
    assert sandboxed.exit_reason() == "killed: over 150 MiB, files included"


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_groups_of_another_container_are_left_alone(tmp_path: Path):
    """Its processes have numbers of their own, which may be nobody's here."""
    assert cgroups._prefix() == f"esr-{os.stat('/proc/self/ns/pid').st_ino}-"
    process = subprocess.Popen(["true"])
    process.wait()
    theirs, ours = tmp_path / f"esr-7-{process.pid}-0", tmp_path / f"{cgroups._prefix()}{process.pid}-0"
    theirs.mkdir()
    ours.mkdir()
    cgroups._remove_orphans(tmp_path)
    assert list(tmp_path.iterdir()) == [theirs]


def test_where_no_group_can_be_made_it_runs_and_that_is_said(
    bubblewrap: SandboxKind, run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cgroups, "_parents", lambda: iter(()))
    cgroups.fault.cache_clear()
    try:
        told = "no control groups (no cgroups of version 2 are mounted): memory and processes are counted ten times"
        assert any(opening.startswith(told) for opening in kinds.openings(bubblewrap))
        with run("say('ran')", bubblewrap) as sandboxed:
            assert _said(sandboxed) == ["ran"]
            assert sandboxed.used().pids == frozenset(sandboxed.host_pids())
    finally:
        cgroups.fault.cache_clear()
