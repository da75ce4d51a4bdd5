"""Models times sets, carried out for a person: say what is used, show progress, keep records, print tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import typer

from eval.checkpoints import Checkpoint, find_checkpoint, load_network
from eval.datasets import Dataset, open_dataset
from eval.errors import RunError, UsageError
from eval.images import ImageSize
from eval.inference import Upscaler, choose_tiling, pick_device
from eval.metrics import CROP_BORDER, SSIM_WINDOW
from eval.pairs import SCALE
from eval.program import FAILURE_EXIT
from eval.record import RECORDS_FOLDER, Protocol, Record, Timing, read_records, write_record
from eval.report.columns import newest
from eval.report.tables import write_tables
from eval.report.terminal import Terminal
from eval.runner import Job, run, run_several, with_timing
from eval.steady import PRESETS, Preset, measure_together
from eval.tiling import Tiling
from eval.zoo import ModelSpec

AUTO = "auto"
INTERRUPTED_EXIT = 130
MIN_SSIM_SIDE = 2 * CROP_BORDER + SSIM_WINDOW


@dataclass(frozen=True)
class Options:
    """How models are run. ``tile`` is "auto", None for whole images, or a number of LR pixels."""

    save_dir: Path
    device: str = AUTO
    protocol: Protocol = Protocol.OFFICIAL
    tile: int | str | None = AUTO
    tile_overlap: int | None = None
    with_ssim: bool = False
    save_images: bool = True
    threads: int | None = None
    runs: int = 1
    preset: str = "rapid"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if self.runs > 1 and self.protocol is not Protocol.OFFICIAL:
            raise UsageError(f"--runs {self.runs}: only the official protocol averages runs, not {self.protocol}")


class Session:
    """Runs models with one set of options, and remembers what was done."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.terminal = Terminal()
        self.device = pick_device(options.device)
        self.records_dir = options.save_dir / RECORDS_FOLDER
        self.records: list[Record] = []
        if options.threads is not None:
            torch.set_num_threads(options.threads)

    def open(self, data_dir: Path | None, names: Sequence[str | None]) -> list[Dataset]:
        """Find and check all sets before any model runs on one of them."""
        datasets = [open_dataset(data_dir, name) for name in names]
        if self.options.with_ssim:
            for dataset in datasets:
                _check_ssim_sizes(dataset)
        return datasets

    def run_all(self, models: Sequence[tuple[ModelSpec, Checkpoint | None]], datasets: Sequence[Dataset]) -> None:
        """Run every model on every set, by the session's protocol."""
        for dataset in datasets:
            if self.options.protocol is Protocol.STEADY:
                self.run_together(models, dataset)
                continue
            for spec, checkpoint in models:
                self.run(spec, checkpoint, dataset)

    def run(self, spec: ModelSpec, checkpoint: Checkpoint | None, dataset: Dataset) -> Record:
        """Run one model on one checked set, store its record and return it, complete or not."""
        record = self._run(self._job(spec, checkpoint, dataset))
        self._store(record)
        return record

    def run_together(self, models: Sequence[tuple[ModelSpec, Checkpoint | None]], dataset: Dataset) -> None:
        """Run models by the steady protocol: each one's accuracy first, then all of their runtimes together."""
        jobs = [self._job(spec, checkpoint, dataset) for spec, checkpoint in models]
        records = [self._run(job) for job in jobs]
        upscalers = [Upscaler(job.spec, job.network.to(job.device), job.device, job.tiling) for job in jobs]
        preset = PRESETS[self.options.preset]
        timings = []
        if all(record.complete for record in records):
            timings = self._time(upscalers, dataset, preset)
        for record, timing in zip(records, timings or [None] * len(records), strict=True):
            self._store(record if timing is None else with_timing(record, timing))
        if not timings and all(record.complete for record in records):
            raise typer.Exit(INTERRUPTED_EXIT)

    def _time(self, upscalers: Sequence[Upscaler], dataset: Dataset, preset: Preset) -> list[Timing]:
        """Carry out the speed pass; empty if ctrl-C ends it."""
        names = ", ".join(upscaler.spec.label for upscaler in upscalers)
        self.terminal.say(f"timing   {names} together, preset {preset.name}")
        try:
            with self.terminal.progress("rounds", preset.rounds[1], "rounds") as on_round:
                return measure_together(upscalers, dataset, preset, self.options.seed, on_round)
        except KeyboardInterrupt:
            self.terminal.warn("interrupted while timing; the records hold the accuracy only")
            return []

    def _run(self, job: Job) -> Record:
        self.terminal.announce(job)
        # A folder that cannot be written is found out now, not after the work.
        self.records_dir.mkdir(parents=True, exist_ok=True)
        with self.terminal.progress(job.spec.label, len(job.dataset.pairs) * self.options.runs) as on_image:
            runs = self.options.runs
            record = run(job, on_image) if runs == 1 else run_several(job, runs, on_image)
        if record.status == "interrupted":
            self._store(record)
            raise typer.Exit(INTERRUPTED_EXIT)
        return record

    def _store(self, record: Record) -> None:
        """Write a record and say what is not complete; if it cannot be written, its figures are printed instead."""
        try:
            path = write_record(record, self.records_dir)
        except OSError as error:
            self.terminal.table([record])
            raise RunError(f"the record of these figures could not be written: {error}") from error
        self.records.append(record)
        if not record.complete:
            self.terminal.warn(f"{record.model.label} on {record.dataset.name} {record.status}: {record.reason}")
            self.terminal.warn(f"what was finished is in {path}")

    def finish(self, valid: str, test: str | None = None) -> None:
        """Print the table of the sets that ran, and write all tables; end with exit code 1 if a run failed.

        Args:
            valid: the set for the validation columns of results.txt.
            test: the set for its test columns, if any.
        """
        ran = {record.dataset.name for record in self.records}
        shown = [
            record
            for record in newest(read_records(self.records_dir))
            if record.dataset.name in ran
            and record.settings.protocol == self.options.protocol
            and record.settings.device == str(self.device)
        ]
        if shown:
            self.terminal.table(shown)
        save_dir = self.options.save_dir
        paths = write_tables(save_dir, valid, test)
        images = ", SR images under <model>/<set>/" if self.options.save_images else ""
        self.terminal.say(f"written to {save_dir}: {', '.join(path.name for path in paths)}, {RECORDS_FOLDER}/{images}")
        if not all(record.complete for record in self.records):
            raise typer.Exit(FAILURE_EXIT)

    def _job(self, spec: ModelSpec, checkpoint: Checkpoint | None, dataset: Dataset) -> Job:
        options = self.options
        network = load_network(spec, checkpoint)
        if options.tile == AUTO:
            largest = max(dataset.lr_sizes, key=lambda size: size.height * size.width)
            tiling = choose_tiling(spec, network, largest, self.device)
        else:
            tiling = options.tile and Tiling(int(options.tile), options.tile_overlap, spec.tile_step)
        return Job(
            spec=spec,
            checkpoint=checkpoint,
            network=network,
            dataset=dataset,
            device=self.device,
            protocol=options.protocol,
            tiling=tiling,
            with_ssim=options.with_ssim,
            images_dir=options.save_dir / spec.label / dataset.name if options.save_images else None,
        )


def find_weights(spec: ModelSpec, weights: str | None = None) -> Checkpoint | None:
    """Find a model's weights; None for a model that has none."""
    return find_checkpoint(spec, weights) if spec.checkpoints or weights else None


def _check_ssim_sizes(dataset: Dataset) -> None:
    def too_small(size: ImageSize) -> bool:
        return min(size.height, size.width) * SCALE < MIN_SSIM_SIDE

    small = [pair.name for pair, size in zip(dataset.pairs, dataset.lr_sizes, strict=True) if too_small(size)]
    if dataset.has_hr and small:
        raise RunError(
            f"--ssim: HR images need {MIN_SSIM_SIDE} pixels a side; smaller are: {', '.join(small)}. "
            "Leave --ssim out, or these images"
        )
