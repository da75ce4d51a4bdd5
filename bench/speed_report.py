"""The figures of bench.versus_template as Markdown and a plot."""

import json
from pathlib import Path
from statistics import fmean, median
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from bench.speed_parts import TEMPLATE_LIKE
from eval.report.renderers import to_markdown
from eval.report.table import Table
from eval.words import counted

# Beside speed.json: what ``bench.machines`` measured on one kind of processor after another, and its rows in order.
MACHINES = "speed-machines.json"
SIDES = (
    *("template", "auto, first run", "auto", "eager", "channels-last", "compiled, first run", "compiled"),
    *("compiled, bf16, first run", "compiled, bf16", "openvino, bf16", "bf16", "onnxruntime", "openvino"),
)
TAKEN = {"PSNR, SSIM, PNG": " --ssim --save", "PSNR, PNG": " --save", "PSNR": ""}


def write_report(figures: dict[str, Any], out: Path) -> None:
    """Write speed.md and speed.svg into a folder, with the machines that stand there."""
    _plot(figures["by_size"], figures["environment"]["threads"], out / "speed.svg")
    parts = [_head(figures), _throughput(figures)]
    if (out / MACHINES).exists():
        others = json.loads((out / MACHINES).read_text(encoding="utf-8"))
        parts.append(_by_machine([_this_machine(figures), *others]))
    parts += [_network(figures), _single(figures), "![time](speed.svg)"]
    notes = out / "speed-notes.md"
    if notes.exists():
        parts.append(notes.read_text(encoding="utf-8").strip())
    (out / "speed.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _head(figures: dict[str, Any]) -> str:
    env, rounds = figures["environment"], figures["rounds"]
    runs = "One run of each side" if rounds == 1 else f"Medians of {rounds} runs of each side, which take turns"
    return (
        "# Speed: the challenge's template and this harness\n\n"
        f"`python -m bench.versus_template --checkout NTIRE2024_ESR --data_dir DIR` (`make bench`), {figures['date']}: "
        f"PFDNLite on {figures['images']} images of {figures['set']}. Measured on {_machine(env)}; "
        f"torch {env['torch']}, OpenCV {env['opencv']}, numpy {env['numpy']}. The template runs its "
        "own `run()`, with stand-ins for CUDA calls; with PNG, its line that writes SR images is turned on, which is "
        f"commented out as published. {runs}; loading and compiling are left out on both sides."
    )


def _machine(env: dict[str, Any]) -> str:
    """Return a processor, its instructions where they were looked at, and the threads that were used of it."""
    instructions = f" ({env['instructions']})" if env.get("instructions") else ""
    return f"{env['cpu']}{instructions}, {counted(env['threads'], 'thread')}"


def _run(run: dict[str, Any]) -> tuple[float, float]:
    """Return wall seconds, and those with the check of all files before the pass."""
    wall_s = run.get("passes", [run])[0]["wall_s"]
    return wall_s, wall_s + run.get("check_s", 0.0)


def _gap(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[float, float]:
    """Return the mean difference of PSNR by image in dB, and the largest by size."""
    pairs = zip(*(run.get("passes", [run])[0]["psnr_db"] for run in (ours, theirs)), strict=True)
    gaps = [0.0 if a == b else a - b for a, b in pairs]
    return fmean(gaps), max(map(abs, gaps))


def _throughput(figures: dict[str, Any]) -> str:
    rows, runs, images = [], figures["runs"], figures["images"]
    for title, flags in TAKEN.items():
        base, _ = _run(runs[f"template{flags}"])
        for name, run in runs.items():
            engine = name.removesuffix(flags) if name.endswith(flags) else ""
            if not engine or "--" in engine:
                continue
            wall_s, checked_s = _run(run)
            gap = _gap(run, runs[f"template{flags}"])
            gaps = [f"{gap[0]:+.5f}", f"{gap[1]:.5f}"]
            cells = [f"{1e3 * wall_s / images:.1f}", f"{base / wall_s:.2f}", f"{base / checked_s:.2f}"]
            rows.append([title, engine, *cells, *gaps, f"{run['peak_mib']:.0f}"])
    headers = ["taken", "side", "ms an image", "times the template", "with the files' check", "mean PSNR gap [dB]"]
    return "## Throughput\n\n" + to_markdown(Table.headed([*headers, "largest", "peak RSS [MiB]"], rows, 2))


def _this_machine(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the machine of the report's other figures as one of several: loading and compiling count here."""
    env, seconds = figures["environment"], {}
    for taken, flags in list(TAKEN.items())[:2]:
        named = {name.removesuffix(flags): run for name, run in figures["runs"].items() if name.endswith(flags)}
        whole = {name: _whole_s(run) for name, run in named.items() if "--" not in name}
        seconds[taken] = {name.removesuffix(" fp32").replace(" bf16", ", bf16"): its for name, its in whole.items()}
    return {
        **{"kind": env.get("instructions") or env["cpu"], "processor": env["cpu"], "date": figures["date"]},
        **{"images": figures["images"], "rounds": figures["rounds"], "threads": env["threads"]},
        **{"torch": env["torch"], "seconds": seconds},
        "note": "The machine of the other tables, without the start of Python",
    }


def _whole_s(run: dict[str, Any]) -> float:
    """Return the seconds of a run with its loading, compiling and check of files."""
    return _run(run)[1] + run.get("passes", [{}])[0].get("prepare_s", 0.0)


def _by_machine(machines: list[dict[str, Any]]) -> str:
    """Return a table with a column for each machine: seconds of whole commands, and times the template."""
    rows = []
    for taken in dict.fromkeys(taken for machine in machines for taken in machine["seconds"]):
        columns = [machine["seconds"].get(taken, {}) for machine in machines]
        for side in [side for side in SIDES if any(side in column for column in columns)]:
            rows.append([taken, side, *(_beside_template(column, side) for column in columns)])
    headers = ["taken", "side", *(f"{its['kind']}, {its['date']}, {its['images']} images" for its in machines)]
    lines = [f"- {_described(machine)}" for machine in machines]
    return (
        "## By kind of processor\n\n"
        "PFDNLite on Urban100: whole commands in seconds, with loading, deciding and compiling, and how "
        "many times faster than the template they are. `python -m bench.machines --checkout NTIRE2024_ESR --data_dir "
        "DIR` adds a machine. Figures of an earlier date are of the project as it was then.\n\n"
        + to_markdown(Table.headed(headers, rows, 2))
        + "\n\n"
        + "\n".join(lines)
    )


def _beside_template(seconds: dict[str, float | str], side: str) -> str:
    """Return a cell: the seconds of a side, and how many times faster than the template it is."""
    took = seconds.get(side)
    if took is None or isinstance(took, str):
        return took or ""
    return f"{took:.1f}" if side == "template" else f"{took:.1f} ({seconds['template'] / took:.2f}x)"


def _described(machine: dict[str, Any]) -> str:
    """Return a line about a machine and what was run there."""
    images = f"{machine['images']} images, {counted(machine['threads'], 'thread')}"
    rounds = machine.get("rounds")
    how = "" if rounds is None else ", one run" if rounds == 1 else f", medians of {rounds} runs"
    torch = f", torch {machine['torch']}" if "torch" in machine else ""
    note = f". {machine['note']}" if "note" in machine else ""
    return f"{machine['kind']}: {machine['processor']}, {images}{how}{torch}{note}"


def _network(figures: dict[str, Any]) -> str:
    times, rates = figures["network_ms"], figures["gemm_per_s"]
    macs = figures["multiply_adds"]
    rows = []
    for name, ms in times.items():
        ratios = [f"{times[base] / ms:.2f}" for base in (TEMPLATE_LIKE, "eager fp32")]
        rate = rates.get(name.split()[1].removesuffix(","))
        floor = [f"{macs / rate * 1e3:.1f}", f"{100 * macs / rate * 1e3 / ms:.0f}%"] if rate else ["", ""]
        rows.append([name, f"{ms:.1f}", *ratios, *floor])
    text = ", ".join(f"{name} {rate / 1e9:.0f} G" for name, rate in rates.items())
    headers = ["engine, precision", "ms", "times eager", "times eager that keeps memory", "floor [ms]", "of its rate"]
    return (
        f"## The network alone\n\nOne 256x170 input, {macs / 1e9:.2f} G multiply-adds; medians of rounds that take "
        "turns. The first row is plain torch as the template runs it; in all other rows the process keeps freed memory "
        f"(`eval/device/memory.py`). Floor: multiply-adds over the rate of a large matrix product "
        f"({text} a second).\n\n" + to_markdown(Table.headed(headers, rows, 1))
    )


def _single(figures: dict[str, Any]) -> str:
    serial, large = figures["serial"], figures["large"]
    eight = median(_over_network(run["passes"]) for run in figures["eight"])
    one = serial["passes"][0]
    conversion_ms = (one["whole_s"] - one["network_s"]) * 1e3 / one["images"]
    rows = [
        [f"{name.upper()} alone: template, ours [ms]; times; difference", _metric(figures["metrics"][name])]
        for name in ("ssim", "psnr")
    ]
    rows += [
        ["eight models over Set14, PSNR: wall over the sum of forward times", f"{eight:.2f}"],
        ["2048x2048 input in tiles of 256, PNG of 8192x8192: peak RSS [MiB]", f"{large['peak_mib']:.0f}"],
        ["harness outside decode, network, metrics, encode and conversion [ms an image]", f"{one['outside_ms']:.2f}"],
        ["conversion: pixels to tensors and back, check of the output [ms an image]", f"{conversion_ms:.2f}"],
    ]
    # Records from before it was measured have none.
    if png := figures.get("png"):
        text = f"{png['opencv']:.1f}, {png['ours']:.1f}; {png['opencv_kb']:.0f}, {png['ours_kb']:.0f}"
        rows.append(["PNG alone: OpenCV at its fastest, ours [ms an image]; their sizes [kB]", text])
    return "## Single figures\n\n" + to_markdown(Table.headed(["what", "measured"], rows, 1))


def _over_network(passes: list[dict[str, Any]]) -> float:
    """Return how many times their networks' own time several passes take."""
    return sum(one["wall_s"] for one in passes) / sum(one["network_s"] for one in passes)


def _metric(times: dict[str, float]) -> str:
    theirs, ours = times["template"], times["ours"]
    return f"{theirs:.2f}, {ours:.2f}; {theirs / ours:.1f}; {times['difference']:.1e}"


def _plot(by_size: dict[float, float], threads: int, out: Path) -> None:
    mpl.rcParams |= {"svg.hashsalt": "speed", "font.family": "sans-serif"}
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    axes.plot([float(size) for size in by_size], list(by_size.values()), "o-", color="#c2410c")
    axes.set(xlabel="SR image [megapixels]", ylabel="time [s]", xscale="log", yscale="log")
    axes.set_title(
        f"PFDNLite in tiles of 256, channels-last, fp32, {counted(threads, 'thread')}", fontsize=10, loc="left"
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    figure.savefig(out, metadata={"Date": None})
    plt.close(figure)
