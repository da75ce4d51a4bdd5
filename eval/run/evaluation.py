"""Models times sets, by one configuration: the one way from what is asked to records, for every front door.

What is on record is taken from there, the rest is carried out here, in processes or on a cluster, and each record is
written as it comes. What a person sees on the way is an ``Observer``'s matter.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from eval.config import AUTO, Protocol, RunConfig
from eval.data.datasets import Dataset
from eval.device.placing import is_usable
from eval.errors import RunError, UsageError
from eval.intervals import open_pairs
from eval.metrics.figures import ModelAnalysis
from eval.records.record import Compiled, Record, State
from eval.run.environment import commit
from eval.run.images_folders import give_up_unused, images_folder
from eval.run.interrupts import ctrl_c_after_keeping
from eval.run.keeper import Keeper
from eval.run.keys import measuring_sha256
from eval.run.launch import RAY, Launch, note_on_half_precision, note_on_threads, resolved
from eval.run.model_source import ModelSource
from eval.run.network_source import NetworkSource
from eval.run.observer import Observer
from eval.run.processes import carry_out, carry_out_all
from eval.run.ray_launcher import carry_out_on_ray, node_of
from eval.run.runner import as_failed, with_timing
from eval.run.speed_pass import as_steady, cut_as, steady_keys, time_together
from eval.run.tasks import EvaluationTask, largest_lr, unless_changed
from eval.timing.presets import preset_of
from eval.timing.samples import Timing
from eval.timing.warmup import TimingError
from eval.words import counted


class BrokenOffError(KeyboardInterrupt):
    """Ctrl-C, after what is finished has been stored."""


class Evaluation:
    """Runs models by one configuration, and remembers what was done."""

    def __init__(self, config: RunConfig, launch: Launch | None = None, observer: Observer | None = None) -> None:
        # Asked for now: they are remembered as they were before anything ran.
        commit()
        measuring_sha256()
        self.launch, self.observer = launch or Launch(), observer or Observer()
        # The machine of a cluster that is to carry tasks out; None where that is this one.
        elsewhere = self.launch.launcher == RAY and (self.launch.ray_address is not None or config.device != "cpu")
        self.node = node_of(config.device, self.launch.ray_address) if elsewhere else None
        self.asked, self.config = config, resolved(config, self.launch, self.node and self.node.device)
        self.launch.check(self.config)
        if note := note_on_half_precision(self.config, self.launch.force):
            self.observer.say(f"note: {note}")
        self.keeper = Keeper(self.launch.save_dir, self.launch.images_dir, self.launch.redo, self.observer)
        self.records: list[Record] = []
        if self.node is None and (note := note_on_threads(self.config)):
            self.observer.say(f"note: {note}")
        for note in self.config.notes(config):
            self.observer.say(f"note: {note}")
        if self.launch.jobs > 1 and self.launch.launcher == RAY:
            why = "a Ray cluster runs as many tasks as it has room for"
            self.observer.say(f"note: --jobs {self.launch.jobs} has no effect: {why}")

    def run(self, models: Sequence[ModelSource], datasets: Sequence[Dataset]) -> list[Record]:
        """Run every model on every set, and return the records of this evaluation so far, complete or not.

        Raises:
            BrokenOffError: ctrl-C; what was finished is stored.
            RunError: a record could not be written.
        """
        for dataset in datasets:
            self.observer.announce_data(dataset)
            tasks = self._tasks(models, dataset)
            try:
                if self.config.protocol is Protocol.STEADY:
                    self._run_together(tasks, dataset)
                else:
                    self._carry_out(tasks)
            finally:
                give_up_unused(task.images_dir for task in tasks if task.images_dir)
        return self.records

    def _run_together(self, tasks: list[EvaluationTask], dataset: Dataset) -> None:
        """Run models by the steady protocol: each one's accuracy first, then all runtimes of those that ran."""
        untimed = [replace(task, config=task.config.replaced(protocol=Protocol.ACCURACY)) for task in tasks]
        records = self._carry_out(untimed)
        able = [(task, record) for task, record in zip(tasks, records, strict=True) if record.complete]
        timed_later = {id(record) for _, record in able}
        self.records = [record for record in self.records if id(record) not in timed_later]
        while able:
            keys = steady_keys([task for task, _ in able])
            known = self.keeper.answers(keys)
            if all(key in known for key in keys):
                self.observer.say(f"on record: the times of {len(keys)} models together on {dataset.name}")
                self.records += [known[key] for key in keys]
                return
            steady = [as_steady(record, task, key) for key, (task, record) in zip(keys, able, strict=True)]
            try:
                with _keeping():
                    timings = self._time([cut_as(task, record) for task, record in able])
                    for (task, _), record, timing in zip(able, steady, timings, strict=True):
                        self._store(unless_changed(with_timing(record, timing), task))
            except TimingError as error:
                # The others are timed without it, all anew: only models timed together are compared.
                failed = unless_changed(as_failed(steady[error.index], error), able[error.index][0])
                self._store(failed)
                if failed.state is State.DEVICE_FAILED and not is_usable(torch.device(self.config.device)):
                    told = f"{failed.model.label} has made the device unusable for this process"
                    raise RunError(f"{told}; the same command with the other models times them") from error
                del able[error.index]
                continue
            self._say_what_is_settled([record.model.label for record in steady], timings)
            return

    def _say_what_is_settled(self, labels: Sequence[str], timings: Sequence[Timing]) -> None:
        """Say whether the places that were to be settled are, and which pairs of models are not."""
        if (places := self.config.settle) is None:
            return
        samples = [timing.samples_ms for timing in timings]
        after = f"after {counted(len(samples[0][0]), 'round')}"
        left = open_pairs(np.array(samples, dtype=float), places)
        if not left:
            self.observer.say(f"settled  the order of the {places} fastest, each pair at 95%, {after}")
        for faster, slower in left:
            words = f"{labels[faster]} faster than {labels[slower]}: not settled at 95% {after}"
            self.observer.say(f"unsettled  {words}")

    def _time(self, tasks: Sequence[EvaluationTask]) -> list[Timing]:
        """Carry out the speed pass of models that are all open at once; if one fails, it is a ``TimingError``."""
        preset = preset_of(self.config)
        names = ", ".join(task.model.info.label for task in tasks)
        self.observer.say(f"timing   {names} together, preset {preset.name}")
        try:
            with self.observer.progress("rounds", preset.most_rounds, "rounds") as on_round:
                return time_together(tasks, on_round)
        except KeyboardInterrupt:
            self.observer.warn("interrupted while timing; the records hold the accuracy only")
            raise BrokenOffError from None

    def _carry_out(self, tasks: Sequence[EvaluationTask]) -> list[Record]:
        """Return the record of each task: from the folder, or carried out and stored."""
        known, jobs = self.keeper.answers(task.key for task in tasks), self.launch.jobs
        done = {task.key: known[task.key] for task in tasks if task.key in known}
        for record in done.values():
            self.observer.say(f"on record: {record.model.label} on {record.dataset.name}")
            self.records.append(record)
        left = [task for task in tasks if task.key not in done]
        if jobs > 1 and len(left) == 1:
            share = f"it runs with its share of the threads, {self.config.threads}"
            self.observer.say(f"note: --jobs {jobs} has no effect: one pass is left to run; {share}")
        if self.launch.launcher == RAY:
            done |= self._gather(left, carry_out_on_ray(left, self.launch.ray_address))
        elif len(left) > 1 and (jobs > 1 or _kept_apart(left)):
            done |= self._gather(left, carry_out_all(left, jobs))
        else:
            for task in left:
                done[task.key] = self._one(task)
        return [done[task.key] for task in tasks]

    def _one(self, task: EvaluationTask) -> Record:
        self.observer.announce(task)
        with _keeping():
            with self.observer.progress(task.model.info.label, len(task.dataset.pairs) * task.config.runs) as on_image:
                record = carry_out(task, on_image)
            self._store(record)
        if record.status == "interrupted":
            raise BrokenOffError
        return record

    def _gather(
        self, tasks: Sequence[EvaluationTask], results: Iterator[tuple[EvaluationTask, Record]]
    ) -> dict[str, Record]:
        """Store the records of tasks that are carried out elsewhere, as they come."""
        done = {}
        how = "side by side" if self.launch.jobs > 1 or self.launch.launcher == RAY else "in a process of their own"
        self.observer.say(f"running  {len(tasks)} passes {how}, threads of each: {self.config.threads}")
        try:
            with self.observer.progress("models x sets", len(tasks), "passes") as on_pass:
                for task, record in results:
                    with _keeping(held=True):
                        self._store(record)
                        done[task.key] = record
                        on_pass(record)
        except KeyboardInterrupt:
            self.observer.warn(f"interrupted after {len(done)} of {len(tasks)} passes; the same command goes on")
            raise BrokenOffError from None
        return done

    def _store(self, record: Record) -> None:
        self.keeper.store(record)
        self.records.append(record)
        self.observer.finished(record)
        if record.complete:
            self._say_what_was_taken(record)

    def _say_what_was_taken(self, record: Record) -> None:
        """Say where a run differs from what was asked for."""
        label, taken, asked = record.model.label, record.settings, self.asked
        if taken.engine_asked == AUTO:
            left_out = f"; left out: {', '.join(taken.left_out)}" if taken.left_out else ""
            self.observer.say(f"engine   auto selected {taken.engine} for {label}{left_out}")
        elif taken.precision != asked.precision or asked.engine not in (None, taken.engine):
            self.observer.say(f"note: {label} has no weights: it ran as plain torch in float32")
        if asked.streams not in (None, taken.streams) and "streams" not in self.config.idle:
            had = f"{label} had {taken.streams} stream{'s' * (taken.streams != 1)}, not {asked.streams}"
            self.observer.say(f"note: {had}: its network, memory or so few images allow no more")
        if taken.compiled and (words := _why_compiling_lost(taken.compiled, len(record.images))):
            self.observer.say(f"note: --engine {taken.engine} {words}")
        if asked.tile_overlap is not None and taken.tile is None and asked.tile is not None:
            self.observer.say(f"note: --tile_overlap has no effect on {label}: whole images fit into memory")
        for step in record.model.weights_steps:
            self.observer.say(f"weights  {label}: {step}")
        sides = [max(image.lr_height, image.lr_width) for image in record.images]
        if taken.tile and max(sides) <= taken.tile:
            self.observer.say(f"note: --tile {taken.tile} has no effect on {label}: no image is larger")

    def _tasks(self, models: Sequence[ModelSource], dataset: Dataset) -> list[EvaluationTask]:
        tasks = [self._task(model, dataset) for model in models]
        images_dir = self.launch.images_dir
        if images_dir is None:
            return tasks
        known, kept = self.keeper.beside_images(), self.launch.save_dir is not None
        return [replace(task, images_dir=images_folder(task, images_dir, known, kept)) for task in tasks]

    def _task(self, model: ModelSource, dataset: Dataset) -> EvaluationTask:
        config, asked, left_out = self.config, None, ()
        if config.engine == AUTO and (taken := self.keeper.engine_taken_before(model.info, config)):
            config, asked, left_out = config.replaced(engine=taken.engine), AUTO, taken.left_out
        try:
            settled = model.settled(config, largest_lr(dataset))
            config = settled.config
            if choice := settled.choice:
                asked, left_out = AUTO, choice.left_out
                if settled.new:
                    trial = f"trial for {model.info.label} (one photograph in three sizes)"
                    self.observer.say(f"engine   {trial}: {choice.tried}")
        except UsageError:
            raise
        except Exception:
            # It fails in the same way when it is opened, and then it is a record.
            pass
        where = self.node and self.node.machine
        known = self._analysed(model)
        return EvaluationTask(
            model, dataset, config, analysis=known, engine_asked=asked, left_out=left_out, machine=where
        )

    def _analysed(self, model: ModelSource) -> ModelAnalysis | None:
        """Return what this evaluation found out about a network on another set."""
        info = model.info
        for record in self.records:
            same = (record.model.label, record.model.source_sha256) == (info.label, info.source_sha256)
            counted = record.complexity is not None and not record.complexity.faults
            if same and counted and record.model.weights_sha256 == info.weights_sha256:
                return ModelAnalysis(record.complexity, tuple(flag for flag in record.flags if flag.of_network))
        return None


@contextmanager
def _keeping(held: bool = False) -> Iterator[None]:
    """Run a block to whose end ctrl-C waits once its figures are there; in whatever part it is a ``BrokenOffError``."""
    try:
        with ctrl_c_after_keeping(held):
            yield
    except KeyboardInterrupt:
        raise BrokenOffError from None


def _why_compiling_lost(took: Compiled, images: int) -> str | None:
    """Return by how much a compiled network was slower over a set than one that is not; None if it was not."""
    if (lost_s := took.lost_s(images)) <= 0:
        return None
    ready = f"{took.ready_s:.1f} s to start instead of {took.beside_ready_s:.1f} s"
    each = f"{took.image_ms:.0f} ms per image instead of {took.beside_ms:.0f} ms"
    pays = "it is never faster here" if took.pays_from is None else f"it is faster from {took.pays_from} such images on"
    return f"took {lost_s:.1f} s longer over {counted(images, 'image')} than {took.beside}: {ready}, {each}; {pays}"


def _kept_apart(tasks: Sequence[EvaluationTask]) -> bool:
    """Tell whether several models run outside of this process: after some errors of CUDA a process cannot use it.

    A network of a notebook cannot leave its process; of several runs, each has one of its own anyway.
    """
    config = tasks[0].config
    on_gpu = config.device.startswith("cuda") and config.runs == 1
    return on_gpu and not any(isinstance(task.model, NetworkSource) for task in tasks)
