"""What notebooks get: results that show themselves as tables and give frames. pandas is imported for a frame."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from eval.ranking.comparison import Comparison
from eval.records.record import FIGURES, Record
from eval.report.columns import LABEL, SET, filled_columns, flag_notes, legend
from eval.report.comparison import sentences
from eval.report.renderers import to_html
from eval.report.table import Table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Result:
    """One model on one set, as it was measured; ``record`` holds everything.

    ``notes`` say what a run has to tell besides: settings that had no effect, the engine that was taken, how weights
    were found in their file; and its flags, in words.
    """

    record: Record
    notes: tuple[str, ...] = ()

    def to_frame(self) -> "pd.DataFrame":
        """Return one row an image: ``model``, ``dataset``, ``image``, then one column a figure that was taken."""
        import pandas as pd

        figures = dict(_figures(self.record))
        columns = [key for key in FIGURES if any(its[key] is not None for its in figures.values())]
        named = {"model": self.record.model.full_name, "dataset": self.record.dataset.name}
        rows = [named | {"image": image} | {key: its[key] for key in columns} for image, its in figures.items()]
        return pd.DataFrame(rows)

    def summary(self) -> dict[str, Any]:
        """Return the means over images, the counts, and the peak memory, each under its key; None if not taken."""
        record = self.record
        means = {key: mean.mean for key, mean in record.means.items()}
        named = {"model": record.model.full_name, "dataset": record.dataset.name}
        return named | means | record.counts | {"peak_memory_mib": record.peak_memory_mib}

    def _repr_html_(self) -> str:
        return _html([self.record], self.notes)

    def __repr__(self) -> str:
        figures = ", ".join(f"{key}={value:.6g}" for key, value in self.summary().items() if isinstance(value, float))
        return f"Result({self.record.model.full_name} on {self.record.dataset.name}: {figures})"


@dataclass(frozen=True)
class Verdict:
    """Models that were timed together on one set: their results, how each pair compares, and notes as of a result."""

    results: tuple[Result, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    def to_frame(self) -> "pd.DataFrame":
        """Return one row a pair: differences in dB, ratios of runtimes, their 95% intervals, and what they rest on."""
        import pandas as pd

        rows = [
            {"first": its.first, "second": its.second, "dataset": its.dataset}
            | its.figures
            | {"verdict": its.sentence, "notes": "; ".join(its.notes)}
            for its in self.comparisons
        ]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        return "\n".join(sentences(self.comparisons))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = _html([its.record for its in self.results], self.notes)
        return "".join(f"<p>{escape(line)}</p>\n" for line in sentences(self.comparisons)) + table


def frame_of(records: Sequence[Record]) -> "pd.DataFrame":
    """Return a row an image, with what its record says of model, set and run."""
    import pandas as pd

    return pd.DataFrame([row for record in records for row in _rows(record)])


def _rows(record: Record) -> Iterator[dict[str, Any]]:
    settings = record.settings
    shared = {
        "model": record.model.full_name,
        "dataset": record.dataset.name,
        "dataset_sha256": record.dataset.sha256,
        "protocol": settings.protocol.value,
        "device": settings.device,
        "machine": record.environment.machine,
        "engine": settings.engine,
        "precision": settings.precision,
        "tile": settings.tile,
        "tile_overlap": settings.tile_overlap,
        "runs": settings.runs,
        "torch": record.environment.torch,
        "figures_key": record.figures_key,
        "status": record.status,
        "checkpoint": record.model.checkpoint,
        "weights_file": record.model.weights_file,
        "weights_sha256": record.model.weights_sha256,
        "started_at": record.started_at,
    }
    costs = record.counts | {"peak_memory_mib": record.peak_memory_mib}
    for image, figures in _figures(record):
        yield shared | {"image": image} | figures | costs
    if not record.images:
        yield shared | {"image": None}


def _figures(record: Record) -> Iterator[tuple[str, dict[str, float | None]]]:
    """Yield each image with its figures: of a steady record, the median of its times."""
    medians = record.timing.medians_ms() if record.timing else {}
    for image in record.images:
        figures = {key: image.figure(key) for key in FIGURES}
        yield image.name, figures | {"runtime_ms": medians.get(image.name, figures["runtime_ms"])}


def _html(records: Sequence[Record], notes: Sequence[str]) -> str:
    """Return a table of records with its legend and notes, as a notebook shows it."""
    table = to_html(Table.about((LABEL, SET, *filled_columns(records)), records))
    # Flags are among the notes of what has just run, not of each of several.
    lines = "<br>".join(map(escape, dict.fromkeys((*legend(records), *flag_notes(records), *notes))))
    return f"{table}\n<p><small>{lines}</small></p>"
