"""``python -m eval``: its commands. A command's module is imported when the command is called, not before."""

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

from eval.cli.program import new_app

# Name: where its function is, and the line that --help shows, which is the function's first.
COMMANDS = {
    "models": (
        "supplies:list_models",
        "List the zoo: complexity, and which weights are here; or a checkout's entries, without running any.",
    ),
    "fetch": ("supplies:fetch_app", "Download what the project needs; nothing is downloaded otherwise."),
    "data": (
        "image_sets:show_data",
        "Say what a folder of images is taken for: where HR and LR are, how they pair, how many; nothing is run.",
    ),
    "run": (
        "running:run_models",
        "Run several models on several sets; the table shows them all. What is on record is not run again.",
    ),
    "compare": (
        "comparing:compare",
        "Compare two models: PSNR and runtime with intervals, and a sentence. A model with itself is the A/A test.",
    ),
    "table1": (
        "measuring:table1",
        "Measure the factsheet's Table 1 and print it beside the published figures; by default all sets that are here.",
    ),
    "report": (
        "judging:report",
        "Make tables and a page of records: the newest complete one of each model, set, protocol and device.",
    ),
    "factsheet": (
        "judging:factsheet",
        "Fill a factsheet in LaTeX: the team's own words, its recipe, and what was measured.",
    ),
    "score": (
        "judging:score",
        "Rank models by the challenge's rules: gates, scores, main track and sub-tracks, and how settled ranks are.",
    ),
    "audit": (
        "judging:audit",
        "Show what a published results.json hides: cold starts, near-misses, uncounted work, unsettled orders.",
    ),
    "doctor": (
        "doctor:doctor",
        "Check that this installation computes right, and list what is missing; exit code 1 if something is wrong.",
    ),
    "make-lr": (
        "supplies:make_lr",
        "Make LR images by the exact MATLAB bicubic; HR is first cut to multiples of the scale.",
    ),
    "new-team": (
        "submitting:new_team",
        "Write a small working network, its first weights and its row in the manifest, and say what comes next.",
    ),
    "check": (
        "submitting:check",
        "Say of an entry, check by check, whether it would be accepted and is what it says; exit code 1 if one fails.",
    ),
    "profile": (
        "profiling:profile_model",
        "Show where a network's time goes, by layer and operator, how far from this machine's floor, and what to do.",
    ),
    "pack": (
        "submitting:pack",
        "Write what a team sends: results.zip of SR images and readme.txt, and code.zip with the network as one file.",
    ),
    "score-zip": (
        "submitting:score_zip",
        "Score a results zip as the challenge's server does, and say where that would fail in silence.",
    ),
    "export": (
        "exporting:export_model",
        "Write a network as ONNX, ncnn, safetensors or a folder for the Hugging Face hub, and compare it with torch.",
    ),
    "audit-data": (
        "organising:audit_data",
        "Say which program made LR images, and which images are misaligned, swapped, recompressed, doubled or leaked.",
    ),
    "new-edition": (
        "organising:new_edition",
        "Write the rules of an edition of one's own as a file, for --edition FILE.toml; next year's need no release.",
    ),
    "host": (
        "organising:host",
        "Write a challenge as a Codabench bundle, whose scorer gives a reason for every upload that it refuses.",
    ),
}


class LazyGroup(TyperGroup):
    """A group that knows its commands by name, and imports one to run it."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name][0].partition(":")
        found = getattr(importlib.import_module(f"eval.cli.{module}"), function)
        if isinstance(found, typer.Typer):
            command = typer.main.get_command(found)
        else:
            single = new_app()
            single.command(cmd_name)(found)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands from the table, which imports none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])


app = new_app(cls=LazyGroup)


@app.callback()
def describe() -> None:
    """Evaluate x4 super-resolution networks by the Efficient Super-Resolution challenge's rules."""
