"""The command that runs models: of the zoo, of official checkouts, or one in a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from eval.cli.flags import (
    DEFAULT_SAVE_DIR,
    DataDir,
    Datasets,
    Device,
    EngineOption,
    Jobs,
    NoImages,
    PrecisionOption,
    PresetOption,
    ProtocolOption,
    RayAddress,
    Redo,
    Runs,
    SaveDir,
    Seed,
    Ssim,
    Threads,
    Tile,
    TileOverlap,
    Workers,
    parse_tile,
    split,
)
from eval.cli.run_options import RAY, Options
from eval.cli.session import Session
from eval.errors import UsageError
from eval.inference.engines.registry import EAGER
from eval.records.record import Protocol
from eval.run.model_source import AUTO, Contender, zoo_models
from eval.third_party.choosing import choose_model_file, choose_submissions, read_checkouts
from eval.third_party.sandbox import choose_sandbox
from eval.third_party.submission import Rules
from eval.zoo.manifest import all_models, find_model

DEFAULT_MODEL = "3"


@dataclass(frozen=True)
class _Asked:
    """Which models a command line means."""

    models: str | None
    checkouts: list[Path]
    reference: str | None
    model_file: str | None
    checkpoint: Path | None
    data_range: float | None
    engine: str
    precision: str
    tile: int | str | None
    tile_overlap: int | None

    def contenders(self, sandbox: str | None, trust: bool, timeout_s: float | None) -> list[Contender]:
        """Return them, the reference first."""
        self._refuse_idle_flags({"--sandbox": sandbox, "--trust": trust or None, "--timeout": timeout_s})
        if not self.checkouts and not self.model_file:
            return _of_the_zoo(self.models or DEFAULT_MODEL)
        if self.engine not in (EAGER, RAY) or self.precision != "fp32":
            raise UsageError(
                f"--engine {self.engine} --precision {self.precision}: submissions run by their own code, "
                "in plain torch and fp32; leave both flags out"
            )
        if self.tile not in (AUTO, None) or self.tile_overlap is not None:
            given = f"--tile {self.tile}" if self.tile_overlap is None else f"--tile_overlap {self.tile_overlap}"
            raise UsageError(f"{given}: submissions run by their own forward, which cuts no tiles; leave it out")
        rules = Rules(choose_sandbox(sandbox), trust, timeout_s or Rules.timeout_s)
        chosen: list[Contender] = _of_the_zoo(self.reference) if self.reference else []
        if self.checkouts:
            chosen += choose_submissions(read_checkouts(self.checkouts), split(self.models or "all"), rules)
        if self.model_file:
            chosen.append(choose_model_file(self.model_file, self.checkpoint, self.data_range, rules))
        return chosen

    def _refuse_idle_flags(self, of_others: dict[str, object]) -> None:
        """Refuse flags that are for models which are not asked for."""
        of_a_file = {"--checkpoint": self.checkpoint, "--data_range": self.data_range}
        for flags, asked, wanted in (
            (of_a_file, self.model_file, "--model_file"),
            (
                {"--reference": self.reference, **of_others},
                self.checkouts or self.model_file,
                "--checkout and --model_file",
            ),
        ):
            idle = [flag for flag, value in flags.items() if value is not None and not asked]
            if idle:
                raise UsageError(f"{', '.join(idle)}: only with {wanted}; models of the zoo are named by --models")
        if self.model_file and self.models and not self.checkouts:
            raise UsageError(f"--models {self.models}: with --model_file, name models of the zoo by --reference")


def _of_the_zoo(models: str) -> list[Contender]:
    """Return the models that are named, each once."""
    specs = all_models() if models == "all" else [find_model(key) for key in split(models)]
    return zoo_models(list({spec.id: spec for spec in specs}.values()))


def run_models(
    models: Annotated[
        str | None, typer.Option("--models", help="Ids or names, separated by commas, or 'all'; default 3, or all.")
    ] = None,
    checkout: Annotated[
        list[Path] | None, typer.Option("--checkout", help="The challenge's repository of a year; may be repeated.")
    ] = None,
    model_file: Annotated[str | None, typer.Option("--model_file", help="FILE.py:CLASS, a network in a file.")] = None,
    checkpoint: Annotated[Path | None, typer.Option("--checkpoint", help="Weights for --model_file.")] = None,
    data_range: Annotated[float | None, typer.Option("--data_range", help="Of --model_file's input: 1 or 255.")] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", help="A model of the zoo to run first, as the baseline of ratios.")
    ] = None,
    data_dir: DataDir = None,
    datasets: Datasets = None,
    save_dir: SaveDir = DEFAULT_SAVE_DIR,
    ssim: Ssim = False,
    device: Device = AUTO,
    tile: Tile = AUTO,
    tile_overlap: TileOverlap = None,
    protocol: ProtocolOption = Protocol.OFFICIAL,
    runs: Runs = 1,
    preset: PresetOption = "rapid",
    seed: Seed = 0,
    threads: Threads = None,
    no_images: NoImages = False,
    jobs: Jobs = 1,
    engine: EngineOption = EAGER,
    precision: PrecisionOption = "fp32",
    workers: Workers = None,
    ray_address: RayAddress = None,
    redo: Redo = False,
    sandbox: Annotated[
        str | None, typer.Option("--sandbox", help="bubblewrap, or none: strangers' code with all of your rights.")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Open checkpoints that run code, in the sandbox.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=1, help="Seconds for building a submission, an image, counting; each. 900."),
    ] = None,
) -> None:
    """Run several models on several sets; the table shows them all. What is on record is not run again."""
    tiles = parse_tile(tile)
    asked = _Asked(
        models, checkout or [], reference, model_file, checkpoint, data_range, engine, precision, tiles, tile_overlap
    )
    options = Options(
        save_dir=save_dir,
        device=device,
        protocol=protocol,
        tile=tiles,
        tile_overlap=tile_overlap,
        with_ssim=ssim,
        save_images=not no_images,
        threads=threads,
        runs=runs,
        preset=preset,
        seed=seed,
        jobs=jobs,
        engine=engine,
        precision=precision,
        workers=workers,
        ray_address=ray_address,
        redo=redo,
    )
    session = Session(options)
    contenders = asked.contenders(sandbox, trust, timeout)
    opened = session.open(data_dir, split(datasets) or [None])
    session.run_all(contenders, opened)
    session.finish(valid=opened[0].name)
