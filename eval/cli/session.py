"""Models times sets, carried out for a person: say what is used, show progress, keep records, print tables."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import torch
import typer

from eval.cli.program import FAILURE_EXIT
from eval.cli.run_options import RAY, Options, without_effect
from eval.cli.terminal import Terminal
from eval.data.datasets import SAMPLE, Dataset, check_ssim_sizes, open_dataset
from eval.device.memory import freeze_imports, keep_freed_memory
from eval.errors import RunError
from eval.inference.engines.registry import EAGER, Execution
from eval.inference.upscaler import pick_device
from eval.records.current import complete_ones, conditions_of, current
from eval.records.record import ModelInfo, Protocol, Record
from eval.records.store import RECORDS_FOLDER, by_key, check_writable, read_records, write_record
from eval.report.columns import outcome
from eval.report.tables import write_tables
from eval.run.images_folders import images_folder
from eval.run.loaded_model import Examination
from eval.run.model_source import AUTO, Contender, Placement
from eval.run.processes import carry_out, carry_out_all
from eval.run.ray_launcher import carry_out_on_ray
from eval.run.runner import as_failed, with_timing
from eval.run.speed_pass import as_steady, steady_keys, time_together
from eval.run.tasks import Task, is_final
from eval.timing.interleaved import PRESETS
from eval.timing.samples import Timing
from eval.timing.warmup import TimingError

INTERRUPTED_EXIT = 130
LOGS_FOLDER = "logs"
_MOST_WORKERS = 8


class Session:
    """Runs models with one set of options, and remembers what was done."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.terminal = Terminal()
        self.device = pick_device(options.device)
        self.records_dir = options.save_dir / RECORDS_FOLDER
        self.records: list[Record] = []
        for note in without_effect(options, self.device.type):
            self.terminal.say(f"note: {note}")
        threads = options.threads
        if options.jobs > 1 and threads is None:
            threads = max(torch.get_num_threads() // options.jobs, 1)
        if threads is not None:
            torch.set_num_threads(threads)
        official = options.protocol is Protocol.OFFICIAL
        self.placement = Placement(
            str(self.device),
            options.tile,
            options.tile_overlap,
            threads,
            as_template=official,
            execution=Execution(EAGER if options.engine == RAY else options.engine, options.precision),
            workers=_workers(options.jobs) if options.workers is None else options.workers,
        )
        if not official:
            keep_freed_memory()
            freeze_imports()

    def open(self, data_dir: Path | None, names: Sequence[str | None]) -> list[Dataset]:
        """Find and check all sets, and where results go, before any model runs on one of them."""
        datasets = [open_dataset(data_dir, name) for name in names]
        if self.options.with_ssim:
            for dataset in datasets:
                check_ssim_sizes(dataset)
        check_writable(self.options.save_dir, RECORDS_FOLDER)
        if data_dir and set(names) == {SAMPLE} and str(data_dir) != os.environ.get("ESR_DATA"):
            self.terminal.say(f"note: --data_dir {data_dir} has no effect: {SAMPLE} comes with scikit-image")
        if self.options.with_ssim and not any(dataset.has_hr for dataset in datasets):
            self.terminal.say("note: --ssim has no effect: there are no HR images")
        return datasets

    def run_all(self, contenders: Sequence[Contender], datasets: Sequence[Dataset]) -> None:
        """Run every model on every set, by the session's protocol; what is on record already is taken from there."""
        if self.options.protocol is Protocol.STEADY:
            for dataset in datasets:
                self.run_together(contenders, dataset)
            return
        for dataset in datasets:
            self.terminal.announce_data(dataset)
            self._carry_out(self._tasks(contenders, dataset))

    def run(self, contender: Contender, dataset: Dataset) -> Record:
        """Run one model on one checked set, store its record and return it, complete or not."""
        self.terminal.announce_data(dataset)
        (record,) = self._carry_out(self._tasks([contender], dataset))
        return record

    def run_together(self, contenders: Sequence[Contender], dataset: Dataset) -> None:
        """Run models by the steady protocol: each one's accuracy first, then all runtimes of those that ran."""
        self.terminal.announce_data(dataset)
        tasks = self._tasks(contenders, dataset, Protocol.ACCURACY)
        records = self._carry_out(tasks)
        able = [(task, record) for task, record in zip(tasks, records, strict=True) if record.complete]
        timed_later = {id(record) for _, record in able}
        self.records = [record for record in self.records if id(record) not in timed_later]
        while able:
            keys = steady_keys([task for task, _ in able], self.options.preset, self.options.seed)
            known = {} if self.options.redo else self._on_record()
            if all(key in known for key in keys):
                self.terminal.say(f"on record: the times of {len(keys)} models together on {dataset.name}")
                self.records += [known[key] for key in keys]
                return
            steady = [as_steady(record, key) for key, (_, record) in zip(keys, able, strict=True)]
            try:
                timings = self._time([task for task, _ in able])
            except TimingError as error:
                # The others are timed without it, all anew: only models timed together are compared.
                self._store(as_failed(steady[error.index], error))
                del able[error.index]
                continue
            for record, timing in zip(steady, timings, strict=True):
                self._store(with_timing(record, timing))
            return

    def _time(self, tasks: Sequence[Task]) -> list[Timing]:
        """Carry out the speed pass of models that are all open at once.

        Raises:
            TimingError: one of them could not be opened again, or failed.
        """
        preset = PRESETS[self.options.preset]
        names = ", ".join(task.contender.info.label for task in tasks)
        self.terminal.say(f"timing   {names} together, preset {preset.name}")
        try:
            with self.terminal.progress("rounds", preset.rounds[1], "rounds") as on_round:
                return time_together(tasks, preset, self.options.seed, on_round)
        except KeyboardInterrupt:
            self.terminal.warn("interrupted while timing; the records hold the accuracy only")
            self._break_off()

    def _carry_out(self, tasks: Sequence[Task]) -> list[Record]:
        """Return the record of each task: from the folder, or carried out and stored."""
        known = {} if self.options.redo else self._on_record()
        done = {task.key: known[task.key] for task in tasks if task.key in known}
        for record in done.values():
            self.terminal.say(f"on record: {record.model.label} on {record.dataset.name}")
            self.records.append(record)
        left = [task for task in tasks if task.key not in done]
        if self.options.jobs > 1 and len(left) == 1:
            share = f"it runs with its share of {self.placement.threads} thread(s)"
            self.terminal.say(f"note: --jobs {self.options.jobs} has no effect: one pass is left to run; {share}")
        if self.options.engine == RAY:
            done |= self._gather(left, carry_out_on_ray(left, self.options.ray_address))
        elif self.options.jobs > 1 and len(left) > 1:
            done |= self._gather(left, carry_out_all(left, self.options.jobs))
        else:
            for task in left:
                done[task.key] = self._one(task)
        return [done[task.key] for task in tasks]

    def _one(self, task: Task) -> Record:
        self.terminal.announce(task)
        with self.terminal.progress(task.contender.info.label, len(task.dataset.pairs) * task.runs) as on_image:
            record = carry_out(task, on_image)
        self._store(record)
        if record.status == "interrupted":
            self._break_off()
        return record

    def _break_off(self) -> NoReturn:
        """End by ctrl-C, with the tables of what is finished."""
        write_tables(self.options.save_dir, valid="", test=None)
        raise typer.Exit(INTERRUPTED_EXIT)

    def _gather(self, tasks: Sequence[Task], results: Iterator[tuple[Task, Record]]) -> dict[str, Record]:
        """Store the records of tasks that are carried out elsewhere, as they come."""
        done = {}
        self.terminal.say(f"running  {len(tasks)} passes side by side, {self.placement.threads or 1} thread(s) each")
        try:
            with self.terminal.progress("models x sets", len(tasks), "passes") as on_pass:
                for task, record in results:
                    self._store(record)
                    done[task.key] = record
                    on_pass(record)
        except KeyboardInterrupt:
            self.terminal.warn(f"interrupted after {len(done)} of {len(tasks)} passes; the same command goes on")
            self._break_off()
        return done

    def _on_record(self) -> dict[str, Record]:
        known = by_key(read_records(self.records_dir))
        return {key: record for key, record in known.items() if is_final(record) and self._has_its_images(record)}

    def _has_its_images(self, record: Record) -> bool:
        """Tell whether the SR images that a run wrote are still there, if they are asked for."""
        folder = record.images_folder and self.options.save_dir / record.images_folder
        if not folder or not self.options.save_images:
            return True
        return all((folder / f"{image.name}.png").is_file() for image in record.images)

    def _store(self, record: Record) -> None:
        """Write a record and say what is not complete; if it cannot be written, its figures are printed instead."""
        if not record.complete:
            self.terminal.warn(f"{record.model.label} on {record.dataset.name} {outcome(record)}")
        try:
            path = write_record(record, self.records_dir)
        except OSError as error:
            if record.images:
                self.terminal.table([record])
            raise RunError(f"the record of these figures could not be written: {error}") from error
        self.records.append(record)
        if record.complete:
            self._say_what_was_taken(record)
            return
        if record.images:
            self.terminal.warn(f"what was finished is in {path}")
        if record.traceback:
            self._write_log(path.stem, record.traceback)

    def _write_log(self, name: str, text: str) -> None:
        log = self.options.save_dir / LOGS_FOLDER / f"{name}.log"
        try:
            log.parent.mkdir(exist_ok=True)
            log.write_text(text, encoding="utf-8")
        except OSError as error:
            self.terminal.warn(f"where it came from could not be written ({error}); the record holds it")
            return
        self.terminal.warn(f"where it came from is in {log}")

    def _say_what_was_taken(self, record: Record) -> None:
        """Say where a run differs from what the flags asked for."""
        label, taken = record.model.label, record.settings
        asked = self.placement.execution
        if asked.engine == AUTO:
            left_out = f"; left out: {', '.join(taken.left_out)}" if taken.left_out else ""
            self.terminal.say(f"engine   auto took {taken.engine} for {label}{left_out}")
        elif (taken.engine, taken.precision) != (asked.engine, asked.precision):
            self.terminal.say(f"note: {label} has no weights: it ran as plain torch in float32")
        if self.options.tile_overlap is not None and taken.tile is None and self.options.tile is not None:
            self.terminal.say(f"note: --tile_overlap has no effect on {label}: whole images fit into memory")
        sides = [max(image.lr_height, image.lr_width) for image in record.images]
        if taken.tile and max(sides) <= taken.tile:
            self.terminal.say(f"note: --tile {taken.tile} has no effect on {label}: no image is larger")

    def finish(self, valid: str, test: str | None = None) -> None:
        """Print the table of the sets that ran, and write all tables; end with exit code 1 if a run failed.

        Args:
            valid: the set for the validation columns of results.txt.
            test: the set for its test columns, if any.
        """
        ran = {(conditions_of(record), record.dataset.sha256) for record in self.records}
        rows = complete_ones(current(read_records(self.records_dir)))
        shown = [row for row in rows if (conditions_of(row), row.dataset.sha256) in ran]
        if shown:
            self.terminal.table(shown)
        self.terminal.not_run([record for record in self.records if not record.complete])
        save_dir = self.options.save_dir
        paths = write_tables(save_dir, valid, test)
        written = any(record.images_folder for record in self.records)
        images = ", SR images under <model>/<set>/" if written else ""
        self.terminal.say(f"written to {save_dir}: {', '.join(path.name for path in paths)}, {RECORDS_FOLDER}/{images}")
        if not all(record.complete for record in self.records):
            raise typer.Exit(FAILURE_EXIT)

    def _tasks(self, contenders: Sequence[Contender], dataset: Dataset, protocol: Protocol | None = None) -> list[Task]:
        tasks = [self._task(contender, dataset, protocol or self.options.protocol) for contender in contenders]
        if not self.options.save_images:
            return tasks
        known = read_records(self.records_dir)
        folders = [self.options.save_dir / images_folder(task, known) for task in tasks]
        return [replace(task, images_dir=folder) for task, folder in zip(tasks, folders, strict=True)]

    def _task(self, contender: Contender, dataset: Dataset, protocol: Protocol) -> Task:
        return Task(
            contender=contender,
            dataset=dataset,
            placement=self.placement,
            protocol=protocol,
            with_ssim=self.options.with_ssim,
            runs=self.options.runs,
            examined=self._examined(contender.info),
        )

    def _examined(self, info: ModelInfo) -> Examination | None:
        """Return what this session found out about a network on another set."""
        for record in self.records:
            same = (record.model.label, record.model.source_sha256) == (info.label, info.source_sha256)
            counted = record.complexity is not None and not record.complexity.faults
            if same and counted and record.model.weights_sha256 == info.weights_sha256:
                return Examination(record.complexity, record.flags)
        return None


def _workers(jobs: int) -> int:
    """Return how many threads work beside each network: its share of the cores."""
    return max(1, min(_MOST_WORKERS, (os.cpu_count() or 1) // jobs))
