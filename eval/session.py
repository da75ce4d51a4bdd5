"""Models times sets, carried out for a person: say what is used, show progress, keep records, print tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import typer

from eval.checkpoints import Checkpoint, find_checkpoint, load_network
from eval.datasets import Dataset, open_dataset
from eval.errors import RunError
from eval.images import ImageSize
from eval.inference import choose_tiling, pick_device
from eval.metrics import CROP_BORDER, SSIM_WINDOW
from eval.pairs import SCALE
from eval.program import FAILURE_EXIT
from eval.record import Protocol, Record, read_records, write_record
from eval.report.columns import newest
from eval.report.tables import RECORDS_FOLDER, write_tables
from eval.report.terminal import Terminal
from eval.runner import Job, run
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

    def run(self, spec: ModelSpec, checkpoint: Checkpoint | None, dataset: Dataset) -> Record:
        """Run one model on one checked set, store its record and return it, complete or not."""
        job = self._job(spec, checkpoint, dataset)
        self.terminal.announce(job)
        # A folder that cannot be written is found out now, not after the work.
        self.records_dir.mkdir(parents=True, exist_ok=True)
        with self.terminal.progress(spec.label, len(dataset.pairs)) as on_image:
            record = run(job, on_image)
        self._store(record)
        if record.status == "interrupted":
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
