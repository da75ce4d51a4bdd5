"""Finding a checkout's entries by reading: every edition's forms, and what third-party code may hold instead."""

import ast
import hashlib
import os
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path
from textwrap import dedent, indent

import pytest

from eval.config import RunConfig
from eval.data.images import ImageSize
from eval.errors import UsageError
from eval.expressions import value_of
from eval.run.failures import CannotRunError
from eval.submission.subject import subject_of
from eval.third_party.checkout import read_checkout, source_of
from eval.third_party.choosing import choose_model_file, choose_submissions, read_checkouts
from eval.third_party.entries import is_present
from eval.third_party.kinds import SandboxKind
from eval.third_party.submission import Rules, Submission
from tests.planted_checkout import PLANTED
from tests.tasks import task_of

RULES = Rules(SandboxKind.NONE)
# Of the bytes "abc", by FIPS 180-2, and of none.
ABC_SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def checkout_of(folder: Path, body: str, head: str = "", tail: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    select = f"def select_model(args, device):\n    model_id = args.model_id\n{indent(dedent(body), '    ')}"
    (folder / "test_demo.py").write_text(f"{dedent(head)}\n{select}\n{dedent(tail)}\n")
    return folder


def expression(text: str, **known: object) -> object | None:
    return value_of(ast.parse(text, mode="eval").body, known)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.0", 1.0),
        ("-1", -1),
        ("f'{model_id:02}_SPAN'", "07_SPAN"),
        ("f'{(model_id):03}_X'", "007_X"),
        ("f'{model_id:11}_VSCINet'", "          7_VSCINet"),
        ("os.path.join('model_zoo', f'team{model_id:02}.pth')", "model_zoo/team07.pth"),
        ("os.path.join('model_zoo/', 'x.pth')", "model_zoo/x.pth"),
        ("os.path.join('model_zoo', '/tmp', 'x.pth')", "/tmp/x.pth"),
        ("os.path.join()", None),
        ("'model_' + 'zoo'", "model_zoo"),
        ("f'{model_id:>999999999}'", None),
        ("f'{model_id:zz}'", None),
        ("f'{unknown}'", None),
        ("open('/etc/passwd').read()", None),
        ("__import__('os').system('true')", None),
        ("'a' * 10**9", None),
        ("1 + 'a'", None),
        (f"'{'a' * 2000}' + '{'a' * 2000}'", "a" * 4000),
        (f"'{'a' * 2049}' + '{'a' * 2048}'", None),
        (f"os.path.join('{'a' * 2049}', '{'a' * 2048}')", None),
    ],
)
def test_values_are_told_without_running_anything(text: str, value: object):
    assert expression(text, model_id=7) == value


def test_a_text_that_gets_too_long_is_given_up_at_once():
    wide = ast.parse(f"f'{'{model_id:9999}' * 200}'", mode="eval").body
    tracemalloc.start()
    try:
        assert value_of(wide, {"model_id": 7}) is None
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One piece of 200 comes to 9999 bytes, and their sum to 2 MB.
    assert peak_bytes < 100_000


def test_the_planted_checkout_is_read():
    checkout = read_checkout(PLANTED)
    entries = {entry.id: entry for entry in checkout.entries}
    assert checkout.origin == "planted"
    assert sorted(entries) == list(range(13))
    assert entries[0].name == "00_Plain_baseline"
    assert entries[0].label == "planted-00_Plain_baseline"
    assert entries[0].weights == ("model_zoo/team00_plain.pth",)
    assert entries[2].name == "02_Devices"
    assert entries[2].weights == ("model_zoo/team00_plain.pth",)
    assert entries[4].weights == ()
    assert (entries[5].data_range, entries[5].forward) == (255.0, "forward_team05")
    assert entries[0].forward is None
    assert not entries[6].defines_model
    assert entries[8].label != entries[9].label
    assert entries[12].name == "../../[12] <b>_Leaves"
    assert entries[12].label == "planted-12_b__Leaves"


def test_ids_are_found_in_every_form(tmp_path: Path):
    body = """
        if model_id == -1:
            name, data_range, model = "base", 1.0, 0
        elif args.model_id in [4, 5]:
            name, data_range, model = f"{model_id}_x", 255, 0
        if args.model_id == 361:
            name, data_range, model = "late", unknown, 0
        elif model_id > 3:
            name = "no id"
        elif model_id == "7":
            name = "text"
    """
    checkout = read_checkout(checkout_of(tmp_path / "c", body))
    assert [(entry.id, entry.name, entry.data_range) for entry in checkout.entries] == [
        (-1, "base", 1.0),
        (4, "4_x", 255.0),
        (5, "5_x", 255.0),
        (361, "late", None),
    ]


def test_the_edition_and_its_counter_are_told_by_the_code(tmp_path: Path):
    body = "if model_id == 0:\n    model = 0"
    old = checkout_of(tmp_path / "a", body, tail="def main(args):\n    log('NTIRE2022')\n    get_model_flops(1)\n")
    new = checkout_of(tmp_path / "b", body, tail="def main(args):\n    # get_model_flops(1)\n    fvcore()\n")
    assert read_checkout(old).origin == "NTIRE2022"
    assert read_checkout(old).counts_with_hooks
    assert read_checkout(new).origin == "b"
    assert not read_checkout(new).counts_with_hooks


CALLS = "f" + "()" * 400
LONG = "0x" + "f" * 5000
DEEP_SUM = "a" + " + a" * 600


@pytest.mark.parametrize(
    "line", [f"x = None and {CALLS}", f"name = {LONG}", f"data_range = {LONG}", f"if {CALLS}:\n    pass"]
)
def test_a_branch_that_cannot_be_read_keeps_no_other_from_it(tmp_path: Path, line: str):
    select = f"if model_id == 4:\n{indent(line, '    ')}\n    model = 0\nif model_id == 5:\n    model = 0"
    folder = checkout_of(tmp_path / "c", select)
    broken, fine = choose_submissions([read_checkout(folder)], ["all"], RULES)
    assert (fine.entry.id, fine.entry.defines_model, fine.entry.fault) == (5, True, "")
    assert (broken.entry.name, broken.entry.weights, broken.source_now()) == ("04", (), broken.info.source_sha256)
    with (
        pytest.raises(CannotRunError, match=r"^its branch of select_model cannot be read: \w+Error: "),
        broken.open(RunConfig(), ImageSize(9, 9)),
    ):
        pass
    assert broken.entry.branch == ""


def test_the_network_is_found_where_select_model_is_of_another_file(tmp_path: Path):
    body = """
        if model_id == 5:
            from models.team05_Second import Net
            model = Net()
    """
    folder = checkout_of(tmp_path / "c", body)
    (folder / "test_demo.py").rename(folder / "choice.py")
    (folder / "test_demo.py").write_text("from choice import select_model\n")
    (folder / "models").mkdir()
    for name in ("First", "Second"):
        (folder / "models" / f"team05_{name}.py").write_text("class Net:\n    pass\n")
    (submission,) = choose_submissions([read_checkout(folder)], ["all"], RULES)
    subject = subject_of(submission)
    assert subject.file == folder / "models" / "team05_Second.py"
    assert subject.branch == "from models.team05_Second import Net\nmodel = Net()"


@pytest.mark.parametrize("odd", [CALLS, f"model_id == {LONG}", f"model_id == {DEEP_SUM}", f"{CALLS} == 3"])
def test_conditions_that_cannot_be_read_are_none_on_an_id(tmp_path: Path, odd: str):
    tail = f"def main(args):\n    {CALLS}\n    get_model_flops(1)"
    body = f"if {odd}:\n    pass\nif model_id == 5:\n    from models.team05 import Net\n    model = 0"
    folder = checkout_of(tmp_path / "c", body, tail=tail)
    (folder / "models").mkdir()
    other = folder / "models" / "other.py"
    hashes = set()
    for text in (f"x = {'-' * 100_000}1", f"import_module({DEEP_SUM})", f"if {CALLS}:\n    import models.other"):
        (folder / "models" / "team05.py").write_text(text)
        checkout = read_checkout(folder)
        assert [entry.id for entry in checkout.entries] == [5]
        hashes.add(checkout.entries[0].source_sha256)
    assert checkout.counts_with_hooks
    other.write_text("x = 1")
    assert len(hashes | {read_checkout(folder).entries[0].source_sha256}) == 4


def test_two_entries_of_one_name_are_kept_apart(tmp_path: Path):
    body = """
        if model_id == 46:
            name, model = "SPAN", 0
        elif model_id == 51:
            name, model = "span", 0
    """
    labels = [entry.label for entry in read_checkout(checkout_of(tmp_path / "c", body)).entries]
    assert labels == ["c-SPAN_id46", "c-span_id51"]


def test_paths_out_of_the_checkout_are_no_weights(tmp_path: Path):
    body = """
        if model_id == 0:
            model = load("model_zoo/../../secret.pth", "/etc/passwd", "model_zoo/fine.pth")
    """
    (entry,) = read_checkout(checkout_of(tmp_path / "c", body)).entries
    assert entry.weights == ("model_zoo/fine.pth",)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ('f"model_zoo/team{model_id:02}_x.pth"', "model_zoo/team07_x.pth"),
        ('os.path.join("model_zoo/", "x.pth")', "model_zoo/x.pth"),
        ('"model_zoo/" + "x.pth"', "model_zoo/x.pth"),
        ('"model_zoo/team" + "07" + ".pth"', "model_zoo/team07.pth"),
        ('os.path.join("model_zoo", "team07", "x.pth")', "model_zoo/team07/x.pth"),
        ('os.path.join(os.getcwd(), "model_zoo/x.pth")', "model_zoo/x.pth"),
        ('Path("model_zoo/x.pth").resolve()', "model_zoo/x.pth"),
        ('"model_zoo/a.pth" if fast else "model_zoo/b.pth"', "model_zoo/a.pth model_zoo/b.pth"),
        ('os.path.join(os.path.join("model_zoo", "deep"), "x.pth")', "model_zoo/deep/x.pth"),
        ('os.path.join("model_zoo/deep", "x.pth")', "model_zoo/deep/x.pth"),
        ('"model_zoo/deep"', ""),
        ('"model_zoo/"', ""),
        # What is not known is no file, and no part of it is one.
        ('f"model_zoo/team{unknown}_x.pth"', ""),
        ('"model_zoo/team" + unknown + ".pth"', ""),
        ('root + ("model_zoo/" + "team") + unknown', ""),
        ('os.path.join("model_zoo/team07", unknown)', ""),
        ('os.path.join("model_zoo/", unknown, "x.pth")', ""),
        ('"model_zoo/team{:02}.pth".format(model_id)', ""),
        ('"model_zoo/team%02d.pth" % model_id', ""),
    ],
)
def test_whole_paths_alone_are_weights(tmp_path: Path, path: str, found: str):
    (tmp_path / "c" / "model_zoo" / "deep").mkdir(parents=True)
    body = f"""
        if model_id == 7:
            model_path = {path}
            model = Net()
            model.load_state_dict(torch.load(model_path), strict=True)
    """
    (entry,) = read_checkout(checkout_of(tmp_path / "c", body)).entries
    assert entry.weights == tuple(found.split())


def test_weights_in_a_folder_of_model_zoo_are_found(tmp_path: Path):
    body = """
        if model_id == 7:
            model = load(os.path.join("model_zoo", "team07", "x.pth"))
    """
    folder = checkout_of(tmp_path / "c", body)
    checkout = read_checkout(folder)
    (chosen,) = choose_submissions([checkout], ["7"], RULES)
    assert checkout.weights_of(chosen.entry) == {}
    (folder / "model_zoo" / "team07").mkdir(parents=True)
    (folder / "model_zoo" / "team07" / "x.pth").write_bytes(b"abc")
    assert checkout.weights_of(chosen.entry) == {"model_zoo/team07/x.pth": folder / "model_zoo" / "team07" / "x.pth"}
    assert chosen.info.weights_sha256 == ABC_SHA256


def chosen_of(folder: Path, loaded: str) -> Submission:
    """Return the entry of a checkout whose branch loads something."""
    body = f"if model_id == 22:\n    model = load({loaded})"
    (folder / "model_zoo").mkdir(parents=True, exist_ok=True)
    (chosen,) = choose_submissions([read_checkout(checkout_of(folder, body))], ["22"], RULES)
    return chosen


# What is known of a model is read once; a copy reads it anew.
def test_weights_under_another_case_of_their_name_are_in_the_key(tmp_path: Path, hr_folder: Path):
    chosen = chosen_of(tmp_path / "c", '"model_zoo/Team22_X.pth"')
    assert replace(chosen).info.weights_sha256 is None
    weights = tmp_path / "c" / "model_zoo" / "team22_x.pth"
    weights.write_bytes(b"abc")
    assert replace(chosen).info.weights_sha256 == ABC_SHA256
    before = task_of(hr_folder, replace(chosen)).key
    weights.write_bytes(b"others")
    assert task_of(hr_folder, replace(chosen)).key != before


def test_a_path_goes_before_a_name_and_neither_leads_out(tmp_path: Path):
    chosen, folder = chosen_of(tmp_path / "c", '"model_zoo/deep/x.pth"'), tmp_path / "c" / "model_zoo"
    (folder / "deep").mkdir()
    (folder / "X.PTH").write_bytes(b"others")
    (folder / "deep" / "x.pth").write_bytes(b"abc")
    assert replace(chosen).info.weights_sha256 == ABC_SHA256
    (folder / "deep" / "x.pth").unlink()
    (folder / "deep" / "x.pth").symlink_to("/dev/zero")
    (folder / "X.PTH").write_bytes(b"abc")
    assert replace(chosen).info.weights_sha256 == ABC_SHA256
    (folder / "X.PTH").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert replace(chosen).info.weights_sha256 is None


def test_the_hash_of_several_files_is_that_of_their_hashes(tmp_path: Path):
    chosen = chosen_of(tmp_path / "c", '"model_zoo/b.pth", "model_zoo/a.pth"')
    (tmp_path / "c" / "model_zoo" / "b.pth").write_bytes(b"abc")
    assert replace(chosen).info.weights_sha256 is None
    (tmp_path / "c" / "model_zoo" / "a.pth").write_bytes(b"")
    assert replace(chosen).info.weights_sha256 == hashlib.sha256(f"{ABC_SHA256}{EMPTY_SHA256}".encode()).hexdigest()


def test_of_a_branch_that_does_not_say_its_file_all_of_model_zoo_counts(tmp_path: Path):
    chosen, folder = chosen_of(tmp_path / "c", 'found("x.pth")'), tmp_path / "c" / "model_zoo"
    assert (chosen.entry.weights, replace(chosen).info.weights_sha256) == ((), None)
    (folder / "deep").mkdir()
    (folder / "a.pth").write_bytes(b"abc")
    (folder / "deep" / "b.pth").touch()
    os.mkfifo(folder / "pipe")
    (folder / "zeros").symlink_to("/dev/zero")
    # As an old zip unpacks it: no UTF-8.
    (folder / os.fsdecode(b"\xff.pth")).touch()
    told = f"model_zoo/a.pth\n{ABC_SHA256}\nmodel_zoo/deep/b.pth\n{EMPTY_SHA256}\n".encode()
    told += b"model_zoo/\xff.pth\n" + EMPTY_SHA256.encode() + b"\n"
    assert replace(chosen).info.weights_sha256 == hashlib.sha256(told).hexdigest()
    withheld = checkout_of(tmp_path / "c", "if model_id == 22:\n    pass")
    assert choose_submissions([read_checkout(withheld)], ["22"], RULES)[0].info.weights_sha256 is None


def test_no_name_of_theirs_reaches_a_terminal_as_it_is(tmp_path: Path):
    """Escapes that rewrite the screen, line ends that add a row, marks that turn text round."""
    nasty = r"\x1b[2J\x07\u202egood\u2066\n| forged | row |\x9b"
    body = f"""
        if model_id == 0:
            name, data_range = "{nasty}", 1.0
            model = load("model_zoo/{nasty}.pth", "model_zoo/fine.pth")
        elif model_id == 1:
            name, model = "fine", 0
    """
    folder = checkout_of(tmp_path / "c", body)
    checkout = read_checkout(folder)
    entry = checkout.entries[0]
    assert entry.name == "?[2J??good? | forged | row |?"
    assert entry.weights == ("model_zoo/fine.pth",)
    (chosen,) = choose_submissions([checkout], ["0"], RULES)
    assert all(str(text).isprintable() for text in (*chosen.info.model_dump().values(), chosen.note))
    with pytest.raises(UsageError) as refused:
        choose_submissions([checkout], ["absent"], RULES)
    assert str(refused.value).isprintable()
    (folder / "test_demo.py").write_text("x = \u202e1")
    with pytest.raises(UsageError, match=r"cannot be read as Python: SyntaxError: ") as refused:
        read_checkout(folder)
    assert str(refused.value).isprintable()


def test_an_entrys_hash_follows_what_it_imports_and_nothing_else(tmp_path: Path):
    shutil.copytree(PLANTED, tmp_path / "c")

    def hashes() -> dict[int, str]:
        return {entry.id: entry.source_sha256 for entry in read_checkout(tmp_path / "c").entries}

    def now(model_id: int) -> str | None:
        return source_of(tmp_path / "c", model_id)

    before = hashes()
    assert before == {model_id: now(model_id) for model_id in before}
    plain = tmp_path / "c" / "models" / "team00_plain.py"
    plain.write_text(plain.read_text() + "\n# changed\n")
    changed = {model_id for model_id, digest in hashes().items() if digest != before[model_id]}
    # 1, 2 and 3 import it through their own files.
    assert changed == {0, 1, 2, 3, 4, 5, 7, 10, 11} == {its for its in before if now(its) != before[its]}
    assert now(99) is None
    demo = tmp_path / "c" / "test_demo.py"
    middle = hashes()
    demo.write_text(demo.read_text().replace("feature", "other").replace('_NoWeights", 1.0', '_NoWeights", 255.0'))
    assert {model_id for model_id, digest in hashes().items() if digest != middle[model_id]} == {7}


def test_a_pointer_of_git_lfs_is_no_file_of_weights(tmp_path: Path):
    (tmp_path / "pointer").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (tmp_path / "weights").write_bytes(b"PK")
    assert not is_present(tmp_path / "pointer", tmp_path)
    assert not is_present(tmp_path / "absent", tmp_path)
    assert is_present(tmp_path / "weights", tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "expected the challenge's repository, with test_demo.py"),
        ("def select_model(:", "cannot be read as Python"),
        ("x = 1", "has no function select_model that chooses by model_id"),
        ("def select_model(args, device):\n    return None", "has no function select_model that chooses"),
        ("\0", "cannot be read as Python"),
        ("x = " + "(" * 10000, "cannot be read as Python"),
    ],
)
def test_what_is_no_checkout_is_refused(tmp_path: Path, content: str | None, reason: str):
    if content is not None:
        (tmp_path / "test_demo.py").write_text(content)
    with pytest.raises(UsageError, match=reason):
        read_checkout(tmp_path)


def test_reading_runs_nothing(tmp_path: Path):
    mark = tmp_path / "mark"
    head = f"open({str(mark)!r}, 'w')"
    read_checkout(checkout_of(tmp_path / "c", f"if model_id == 0:\n    model = {head}", head=head))
    assert not mark.exists()


def test_submissions_are_chosen_by_id_name_or_label():
    checkout = read_checkout(PLANTED)
    assert len(choose_submissions([checkout], ["all"], RULES)) == 12
    for key in ("0", "00", "00_plain_baseline", "planted-00_Plain_baseline"):
        (chosen,) = choose_submissions([checkout], [key], RULES)
        assert chosen.entry.id == 0
    with pytest.raises(UsageError, match=r"--models 99,x: no such entry\. There are: planted: 0 00_Plain_baseline"):
        choose_submissions([checkout], ["99", "0", "x"], RULES)


def test_two_checkouts_of_one_edition_are_refused(tmp_path: Path):
    shutil.copytree(PLANTED, tmp_path / "planted")
    with pytest.raises(UsageError, match=r"is of planted, as is .*; run them apart"):
        read_checkouts([PLANTED, tmp_path / "planted"])


@pytest.mark.parametrize(
    ("target", "checkpoint", "data_range", "reason"),
    [
        ("hostile.py", "w.pth", 1.0, "expected FILE.py:NAME"),
        ("absent.py:Net", "w.pth", 1.0, "^absent.py: no such file"),
        ("hostile.py:Net", "absent.pth", 1.0, "--checkpoint absent.pth: no such file"),
        ("hostile.py:Net", ".", 1.0, r"--checkpoint \.: a folder, no file"),
        ("hostile.py:Net", "w.pth", float("nan"), "--data_range nan: expected a positive number, 1 or 255"),
        ("hostile.py:Net", "w.pth", 0.0, "--data_range 0.0: expected a positive number, 1 or 255"),
    ],
)
def test_a_model_file_needs_all_of_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, checkpoint: str | None, data_range, reason: str
):
    shutil.copy(PLANTED / "hostile.py", tmp_path)
    (tmp_path / "w.pth").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=reason):
        choose_model_file(target, checkpoint and Path(checkpoint), data_range, RULES)


def test_files_whose_names_differ_in_letters_that_are_not_shown_are_models_of_two_labels(tmp_path: Path):
    """Else one command's SR images and rows would take the place of another's."""
    labels = []
    for stem in ("net", "net\u200b", "net\u200c", f"{'n' * 120}1", f"{'n' * 120}2"):
        (tmp_path / f"{stem}.py").touch()
        labels.append(choose_model_file(f"{tmp_path / stem}.py:Net", None, 1.0, RULES).info.label)
    assert labels[0] == "net-Net"
    hashes = [hashlib.sha256(f"net{letter}-Net".encode()).hexdigest()[:8] for letter in "\u200b\u200c"]
    assert labels[1:3] == [f"net?-Net-{its}" for its in hashes]
    assert len(set(labels)) == 5
    assert all(len(label) == 109 for label in labels[3:])


def test_a_model_file_s_label_has_its_arguments(tmp_path: Path):
    (tmp_path / "net.py").touch()
    found = choose_model_file(f"{tmp_path / 'net'}.py:Net", None, 1.0, RULES)
    labels = [replace(found, arguments=its).info.label for its in ("", "dim=8,act=relu", "dim=8, act='relu'")]
    assert labels == ["net-Net", *["net-Net(dim=8,act=relu)"] * 2]
    label = replace(found, arguments="file='a/b'").info.label
    assert label == f"net-Net(file=a_b)-{hashlib.sha256(b'net-Net(file=a/b)').hexdigest()[:8]}"


@pytest.mark.skipif(os.sep != "/", reason="needs links")
def test_links_that_lead_nowhere_do_not_stop_the_reading(tmp_path: Path):
    shutil.copytree(PLANTED, tmp_path / "c")
    (tmp_path / "c" / "models" / "loop.py").symlink_to(tmp_path / "c" / "models" / "loop.py")
    assert len(read_checkout(tmp_path / "c").entries) == 13
