"""``python -m eval run``: models of the zoo, of official checkouts, or one in a file, on several sets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from eval.cli import flags
from eval.cli.session import Session
from eval.cli.terminal import Terminal
from eval.config import AUTO, EAGER, RunConfig, split
from eval.data.datasets import Dataset
from eval.errors import UsageError
from eval.run.launch import Launch
from eval.run.model_source import ModelSource, zoo_models
from eval.third_party import choosing
from eval.third_party.kinds import choose_sandbox
from eval.third_party.submission import Rules
from eval.third_party.zoo_worker import on_one_clock
from eval.zoo.from_file import data_range_of, parse_model_args
from eval.zoo.manifest import all_models, find_model

DEFAULT_MODEL = "3"


@dataclass(frozen=True)
class Asked:
    """Which models a command line means; ``sandbox``, ``trust`` and ``timeout_s`` are for third-party code."""

    models: str | None = None
    checkouts: Sequence[Path] = ()
    model_file: str | None = None
    checkpoint: Path | None = None
    data_range: float | None = None
    more: Sequence[Path] = ()
    model_args: str | None = None
    weights_key: str | None = None
    reference: str | None = None
    sandbox: str | None = None
    trust: bool = False
    timeout_s: float | None = None

    def sources(self, config: RunConfig) -> list[ModelSource]:
        """Return them, the reference first.

        Raises:
            UsageError: flags do not go together, or name what does not exist.
        """
        self.refuse_idle_flags()
        if not self.checkouts and not self.model_file:
            return of_the_zoo(self.models or DEFAULT_MODEL)
        check_for_submissions(config)
        rules = Rules(choose_sandbox(self.sandbox), self.trust, self.timeout_s or Rules.timeout_s)
        chosen: list[ModelSource] = of_the_zoo(self.reference) if self.reference else []
        if self.checkouts:
            checkouts = choosing.read_checkouts(self.checkouts)
            chosen += choosing.choose_submissions(checkouts, split(self.models or "all"), rules)
        if self.model_file:
            chosen.append(self.of_a_file(self.model_file, rules))
        return on_one_clock(chosen)

    def of_a_file(self, target: str, rules: Rules) -> ModelSource:
        """Return the network that ``FILE.py:NAME`` means, with the weights and arguments of the other flags.

        Raises:
            UsageError: one of them makes no sense.
        """
        parse_model_args(self.model_args)
        found = choosing.choose_model_file(target, self.checkpoint, data_range_of(self.data_range), rules, self.more)
        return replace(found, arguments=self.model_args or "", weights_key=self.weights_key)

    def refuse_idle_flags(
        self, of_the_zoo: str = "models of the zoo are named by --models", takes_checkouts: bool = True
    ) -> None:
        """Refuse flags that are for models which are not asked for, and say what those of the zoo have instead."""
        not_of_the_zoo = "--checkout and --model_file" if takes_checkouts else "--model_file"
        of_a_file = {"--checkpoint": self.checkpoint, "--data_range": self.data_range, "--with": self.more}
        of_a_file |= {"--model_args": self.model_args, "--weights_key": self.weights_key}
        of_others = {"--reference": self.reference, "--sandbox": self.sandbox, "--trust": self.trust or None}
        of_others["--timeout"] = self.timeout_s
        if not self.model_file:
            flags.refuse_idle(of_a_file, f"only with --model_file; {of_the_zoo}")
        if not (self.checkouts or self.model_file):
            flags.refuse_idle(of_others, f"only with {not_of_the_zoo}; {of_the_zoo}")
        if self.model_file and self.models and not self.checkouts:
            raise UsageError(f"--models {self.models}: with --model_file, name models of the zoo by --reference")


def check_for_submissions(config: RunConfig) -> None:
    """Refuse what third-party code cannot be asked to do: other engines and precisions, tiles, what changes pixels.

    Raises:
        UsageError: it is asked for.
    """
    if not config.is_plain:
        raise UsageError(
            f"--engine {config.engine or EAGER} --precision {config.precision}: submissions run by their own code, "
            "in plain torch and fp32; leave both flags out"
        )
    if config.tile not in (AUTO, None) or config.tile_overlap is not None:
        overlap = config.tile_overlap
        given = f"--tile {config.tile}" if overlap is None else f"--tile_overlap {overlap}"
        raise UsageError(f"{given}: submissions run by their own forward, which cuts no tiles; leave it out")
    if config.unusual:
        raise UsageError(f"--{config.unusual[0]}: submissions run by their own forward; leave it out")


def check_openings(terminal: Terminal, opened: Sequence[Dataset], sources: Sequence[ModelSource]) -> None:
    """Refuse HR images that third-party code could read, and say what its sandbox leaves open."""
    choosing.check_out_of_sight(opened, sources)
    for opening in choosing.openings_of(sources):
        terminal.say(f"note: {opening}")


def of_the_zoo(models: str) -> list[ModelSource]:
    """Return the models that are named, or "all", each once."""
    specs = all_models() if models == "all" else [find_model(key) for key in split(models)]
    return zoo_models(list({spec.id: spec for spec in specs}.values()))


@flags.configured()
def run_models(
    config: RunConfig,
    models: Annotated[
        str | None,
        Option(
            "--models",
            help="Models by id or name, separated by commas, or 'all'. Default: 3; with --checkout: all.",
            callback=flags.some,
        ),
    ] = None,
    checkout: Annotated[
        list[Path] | None,
        Option("--checkout", help="Run entries of the challenge's repository of a year; may be repeated."),
    ] = None,
    model_file: flags.ModelFile = None,
    checkpoint: flags.Checkpoint = None,
    data_range: flags.DataRange = None,
    more: flags.More = None,
    model_args: flags.ModelArgs = None,
    weights_key: flags.WeightsKey = None,
    reference: Annotated[
        str | None,
        Option("--reference", help="Run this model of the zoo first, as the baseline of ratios.", callback=flags.some),
    ] = None,
    data_dir: flags.DataDir = None,
    datasets: flags.Datasets = None,
    save_dir: flags.SaveDir = flags.DEFAULT_SAVE_DIR,
    no_images: flags.NoImages = False,
    jobs: Annotated[
        int,
        Option("--jobs", min=1, help="Number of untimed runs at the same time; they share the cores of the CPU."),
    ] = 1,
    launcher: Annotated[
        Literal["here", "ray"],
        Option("--launcher", help="Where models run: on this machine (here), or on a Ray cluster."),
    ] = "here",
    ray_address: Annotated[
        str | None,
        Option("--ray_address", help="Use the Ray cluster at this address; without it Ray starts on this machine."),
    ] = None,
    force: flags.Force = False,
    redo: Annotated[bool, Option("--redo", help="Run models again even if they have a record.")] = False,
    sandbox: flags.Sandbox = None,
    trust: flags.Trust = False,
    timeout: flags.Timeout = None,
) -> None:
    """Run several models on several sets and show one table. A model that already has a record is not run again."""
    of_a_file = (model_file, checkpoint, data_range, more or (), model_args, weights_key)
    asked = Asked(models, checkout or (), *of_a_file, reference, sandbox, trust, timeout)
    launch = Launch(None, None if no_images else save_dir, redo, jobs, launcher, ray_address, force)
    session = Session(config, save_dir, launch)
    sources = asked.sources(config)
    opened = session.open(data_dir, split(datasets) or [None])
    check_openings(session.terminal, opened, sources)
    session.run(sources, opened)
    session.finish(valid=opened[0].name)
