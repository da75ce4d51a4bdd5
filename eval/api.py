"""What notebooks and scripts import. It measures as the commands do, and leaves the process as it found it.

Autocast, default types and devices, and hooks on all modules are the program's own: networks run without them here.

from eval import evaluate, compare
result = evaluate("PFDNLite", "Set5", data_dir="DATA")
result.to_frame()
compare({"mine": network, "RLFN": "RLFN"}, "Set5", data_dir="DATA")
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn
from tqdm import tqdm

from eval.config import Protocol, RunConfig
from eval.data import datasets
from eval.data.arrays import dataset_of_arrays
from eval.data.datasets import Dataset, check_metric_sizes
from eval.data.images import ImageSize
from eval.device.numerics import as_torch_ships
from eval.errors import RunError, UsageError
from eval.files import check_in_place
from eval.inference.upscaler import Upscaler
from eval.metrics.registry import find_metrics
from eval.ranking.comparison import Side, compare_sides
from eval.records.record import Record, State
from eval.records.store import find_records
from eval.report.columns import flag_notes
from eval.report.results import Result, Verdict, frame_of
from eval.run.evaluation import Evaluation
from eval.run.launch import Launch, resolved
from eval.run.model_source import ModelSource, ZooModel, zoo_model
from eval.run.network_source import NetworkSource, source_of_file, source_of_module, source_of_upscaler
from eval.run.network_state import state_of
from eval.run.observer import Observer
from eval.zoo.from_file import data_range_of
from eval.zoo.manifest import all_models, find_model
from eval.zoo.model_info import with_weights

if TYPE_CHECKING:
    import pandas as pd

check_in_place()
Model = nn.Module | Upscaler | str
Images = str | Path | Dataset | Sequence[tuple[np.ndarray, np.ndarray | None]]
_METRICS = ("psnr", "ssim")


class _RecordedError(Exception):
    """What a model's own code raised, here or in another process; its text is the traceback that is on record."""


class _Notes(Observer):
    """Keeps what is said, and shows progress as a notebook or a terminal can; what it is warned of becomes an error."""

    def __init__(self, bars: bool) -> None:
        self.bars, self.notes = bars, list[str]()

    def say(self, text: str) -> None:
        """Keep a fact once, on one line."""
        if (line := " ".join(text.split()).removeprefix("note: ")) not in self.notes:
            self.notes.append(line)

    @contextmanager
    def progress(self, label: str, total: int, unit: str = "images") -> Iterator[Any]:
        """Show a bar for a block of code."""
        with tqdm(total=total, desc=label, unit=f" {unit}", leave=False, disable=not self.bars) as bar:
            yield lambda _done: bar.update()


@as_torch_ships()
def evaluate(
    model: Model,
    dataset: Images,
    *,
    name: str | None = None,
    data_dir: str | Path | None = None,
    data_range: float | None = None,
    metrics: Sequence[str] = _METRICS,
    config: RunConfig | None = None,
    images_dir: str | Path | None = None,
    progress: bool = True,
) -> Result:
    """Run one model on one set of images and measure it.

    Times of several calls are not to be compared: under the official protocol only the first model of a process is
    cold. ``compare`` times models together.

    Args:
        model: a network that maps ``(N, 3, h, w)`` in ``[0, data_range]`` to ``(N, 3, 4h, 4w)``, also one that was
            defined in a notebook (a copy of it runs); the name of one of the zoo; ``"FILE.py:CLASS"``, imported into
            this process; or what ``load_model`` returned.
        dataset: the name of a set, a folder, what ``open_dataset`` returned, or ``[(lr, hr), …]`` uint8 RGB arrays,
            ``hr`` four times as large, or None.
        name: what the model is called in the result, to tell it from another one.
        data_dir: the folder that holds sets, looked in first; ``$ESR_DATA`` by default, after folders by their path.
        data_range: of a network that is given as such or as ``"FILE.py:CLASS"``: 1, which is the default, or 255. Of
            others it is known.
        metrics: their names, as in ``--metrics``; where only ``config`` names some, it is those.
        config: how it is run; by default as ``test_demo.py`` does it, the official protocol.
        images_dir: where SR images are written: ``<model>/<set>/`` under it for a model of the zoo as plain torch in
            float32, else a folder that also names weights, engine, precision, TF32 or tiles; the record's
            ``images_folder`` says which. None to write none.
        progress: show a bar.

    Raises:
        UsageError: the model, the set or a setting does not exist or does not fit.
        RunError: the run failed; the message says why, and its cause shows the line of the network that failed.
    """
    config = _checked(config) or RunConfig()
    if metrics not in (_METRICS, list(_METRICS)) or config.metrics == RunConfig().metrics:
        config = config.replaced(metrics=metrics)
    source = _source(model, _range_of([model], data_range), name)
    (record,), notes = _records([source], open_dataset(dataset, data_dir), config, images_dir, progress)
    return Result(record, notes)


@as_torch_ships()
def compare(
    models: Mapping[str, Model] | Sequence[str],
    dataset: Images,
    *,
    data_dir: str | Path | None = None,
    data_range: float | None = None,
    config: RunConfig | None = None,
    progress: bool = True,
) -> Verdict:
    """Time models together by the steady protocol, and say of each pair what is settled.

    What disturbs is dropped, but for what this process does besides, as other threads of a notebook's kernel and the
    processes that it has started: let them rest.

    Args:
        models: by the names that sentences and tables have, or names of the zoo. Each earlier one is compared with each
            later one: ``runtime_ratio`` is its time over the other's. A table's ratios are to the last one's time.
        dataset: as for ``evaluate``, as are the others.
        data_dir: the folder that holds sets.
        data_range: of networks that are given as such or in files.
        config: how they are run; its protocol is taken to be ``steady``.
        progress: show bars.

    Raises:
        UsageError: fewer than two models are given, or as for ``evaluate``.
        RunError: one of them failed.
    """
    if isinstance(models, str) or not isinstance(models, Collection) or len(models) < 2:
        raise UsageError("compare: expected at least two models, as in {'mine': network, 'RLFN': 'RLFN'}")
    named = dict(models) if isinstance(models, Mapping) else {_name_of(name): name for name in models}
    data_range = _range_of(named.values(), data_range)
    # What is called as it is asked for keeps its name in tables.
    sources = [_source(model, data_range, None if name == model else name) for name, model in named.items()]
    labels = [source.info.label for source in sources]
    if len(set(labels)) < len(models):
        raise UsageError(
            f"compare: expected models whose names differ, also as names of folders; got {', '.join(labels)}"
        )
    config = (_checked(config) or RunConfig(protocol=Protocol.STEADY)).replaced(protocol=Protocol.STEADY)
    # The first that is timed is the baseline of the table's ratios; so these are the sentences' own.
    records, notes = _records(sources[::-1], open_dataset(dataset, data_dir), config, None, progress)
    records = records[::-1]
    labels = [with_weights(name, record.model.own_weights) for name, record in zip(named, records, strict=True)]
    sides = [replace(Side.of_record(record), label=label) for label, record in zip(labels, records, strict=True)]
    pairs = combinations(sides, 2)
    return Verdict(tuple(map(Result, records)), tuple(compare_sides(*pair) for pair in pairs), notes)


@as_torch_ships()
def load_model(
    model: str,
    weights: str | Path | None = None,
    *,
    weights_key: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    data_range: float | None = None,
    device: str = "cpu",
) -> Upscaler:
    """Return a loaded model: call it with an LR image ``(h, w, 3)`` uint8 to get ``(sr, runtime_ms)``.

    Its network is ``.network``, a ``torch.nn.Module`` in eval mode.

    Args:
        model: a name or id of the zoo, or ``"FILE.py:CLASS"``, imported into this process.
        weights: a checkpoint's name in the manifest, or a file.
        weights_key: where in that file the weights are, as ``params``; looked for by default.
        model_args: what a file's class or function is called with.
        data_range: of a network of a file; 1 by default.
        device: where it runs.

    Raises:
        UsageError: there is no such model, file or device.
        RunError: the weights are not on this machine, or do not fit.
    """
    source = _source_of_name(model, weights, _range_of([model], data_range), weights_key, model_args)
    config = resolved(RunConfig(device=str(device), tile=None))
    # Whole images of any size.
    with source.open(config, ImageSize(1, 1)) as upscaler:
        loaded = replace(upscaler, as_loaded=state_of(upscaler.network))
        loaded.network.to(loaded.device)
    return loaded


def list_models() -> list[str]:
    """Return the names of the zoo's models, as ``evaluate`` and ``load_model`` take them."""
    return [spec.name for spec in all_models()]


def open_dataset(dataset: Images, data_dir: str | Path | None = None) -> Dataset:
    """Open and check a set of images; arguments as for ``evaluate``.

    Raises:
        UsageError: there is no such set, or arrays have another form.
        RunError: images are missing, damaged or of the wrong size; all of them are named.
    """
    if isinstance(dataset, Dataset):
        return dataset
    if not isinstance(dataset, (str, Path)):
        return dataset_of_arrays(dataset)
    folder = data_dir or os.environ.get("ESR_DATA")
    place = _expanded(dataset)
    inside = data_dir and not place.is_absolute() and (_expanded(data_dir) / place).is_dir()
    if isinstance(dataset, Path) or ({os.sep, os.altsep} & set(dataset) and place.is_dir() and not inside):
        return datasets.open_dataset(place, None)
    return datasets.open_dataset(_expanded(folder) if folder else None, dataset)


def load_records(*places: str | Path) -> "pd.DataFrame":
    """Return records as one tidy frame: a row an image, with what its record says of model, set and run.

    Places are folders that were given as ``--save_dir``, folders of records, or record files; a record that lies in
    several counts once. Means are of one kind where rows share all columns up to ``weights_sha256``: models of one name
    may have other weights, and sets of one name other images.

    Raises:
        UsageError: a place holds no record.
    """
    return frame_of(find_records(list(map(_expanded, places))))


def _expanded(place: str | Path) -> Path:
    """Return a path that may begin with ~, as a shell's user types it."""
    if not isinstance(place, (str, Path)):
        raise UsageError(f"expected the path of one file or folder, got {place!r:.80}; give several one after another")
    return Path(os.path.expanduser(place))


def _checked(config: RunConfig | None) -> RunConfig | None:
    if config is not None and not isinstance(config, RunConfig):
        got = type(config).__name__
        raise UsageError(f"config: expected RunConfig(device='cpu', ...) of eval, got a {got}: RunConfig(**config)")
    return config


def _records(
    sources: Sequence[ModelSource], dataset: Dataset, config: RunConfig, images_dir: str | Path | None, progress: bool
) -> tuple[list[Record], tuple[str, ...]]:
    """Return the records of models on a set, in their order, all complete; and what was said on the way."""
    if config.runs > 1:
        raise UsageError(f"runs={config.runs}: each run is a process of its own, as `test_demo.py --runs` starts them")
    check_metric_sizes(dataset, find_metrics(config.metrics))
    # Who writes a program has chosen; where half precision gains nothing, a note says so.
    launch = Launch(images_dir=_expanded(images_dir) if images_dir else None, force=True)
    observer = _Notes(bars=progress)
    records = Evaluation(config, launch, observer).run(sources, [dataset])
    if failed := [record for record in records if not record.complete]:
        said = [f"{record.model.label}: {record.outcome}" for record in failed]
        if any(record.state is State.SOURCE_CHANGED for record in failed):
            said.append("this process keeps what it has imported: run it in a new one, as of a restarted notebook")
        traces = "\n".join(record.traceback for record in failed if record.traceback)
        raise RunError("\n".join(said)) from (_RecordedError(f"\n{traces}") if traces else None)
    return records, (*observer.notes, *flag_notes(records))


def _range_of(models: Iterable[Model], given: float | None) -> float:
    """Return the data range of those of some models that do not say theirs; refuse one that none of them takes."""
    if given is not None and not any(isinstance(its, nn.Module) or _is_of_a_file(its) for its in models):
        raise UsageError(f"data_range={given}: only for a network that is given as such or as FILE.py:CLASS")
    return data_range_of(given)


def _is_of_a_file(model: Model) -> bool:
    return isinstance(model, str) and ".py:" in model


def _source(model: Model, data_range: float, name: str | None) -> ModelSource:
    if _is_of_a_file(model):
        return source_of_file(str(model), None, data_range, called=name)
    if isinstance(model, str) and name:
        model = load_model(model)
    if isinstance(model, Upscaler):
        return source_of_upscaler(model, name)
    if isinstance(model, nn.Module):
        return source_of_module(model, data_range, name)
    return zoo_model(find_model(_name_of(model)))


def _name_of(model: object) -> str:
    """Return what names a model; refuse anything else, as a class in place of an instance."""
    if isinstance(model, (str, int)):
        return str(model)
    kind = getattr(model, "__name__", None)
    got = f"{kind} itself: call it, {kind}()" if kind else f"an object of the class {type(model).__name__}"
    takes = "evaluate also takes a network, and compare {'mine': network}"
    raise UsageError(f"expected a model's name or FILE.py:CLASS, got {got}; {takes}")


def _source_of_name(
    model: str,
    weights: str | Path | None,
    data_range: float,
    weights_key: str | None = None,
    model_args: Mapping[str, Any] | None = None,
) -> ZooModel | NetworkSource:
    if _is_of_a_file(model):
        return source_of_file(model, _expanded(weights) if weights else None, data_range, weights_key, model_args)
    if model_args:
        raise UsageError(f"model_args: only for FILE.py:CLASS; the arguments of {model} stand in the manifest")
    return zoo_model(find_model(_name_of(model)), str(_expanded(weights)) if weights else None, weights_key)
