"""A network as a folder for the Hugging Face hub: code in one file, config.json, weights, card and results."""

import json
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import yaml
from torch import nn

from eval.files import PROJECT
from eval.metrics.registry import METRICS
from eval.records.conditions import manner_of
from eval.records.current import current
from eval.records.record import Record
from eval.report.tables import markdown_leaderboard
from eval.submission.inlining import one_file
from eval.submission.texts import filled
from eval.zoo.manifest import ModelSpec

# Where the sets of papers lie on the hub.
_DATASETS = {"Set5": "eugenesiow/Set5", "Set14": "eugenesiow/Set14", "Urban100": "eugenesiow/Urban100"}
_MIXIN = '''

from huggingface_hub import PyTorchModelHubMixin


class {name}Hub({name}, PyTorchModelHubMixin):
    """{name} with ``from_pretrained`` and ``push_to_hub``."""


{name} = {name}Hub
'''


def write_hub(spec: ModelSpec, network: nn.Module, records: Sequence[Record], folder: Path) -> list[Path]:
    """Write the folder of a network with its weights; nothing is uploaded.

    The figures of ``records``, of this model with these weights, stand on the card.
    """
    (folder / ".eval_results").mkdir(parents=True, exist_ok=True)
    module, _, class_name = spec.target.partition(":")
    texts = {
        "modeling.py": one_file(PROJECT, module) + _MIXIN.format(name=class_name),
        "config.json": json.dumps(spec.arguments, indent=2) + "\n",
        "README.md": _card(spec, class_name, records),
    }
    texts |= {f".eval_results/{name}.yaml": text for name, text in _results(records).items()}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    safetensors.torch.save_file(network.state_dict(), folder / "model.safetensors")
    return [folder / name for name in (*texts, "model.safetensors")]


def _card(spec: ModelSpec, class_name: str, records: Sequence[Record]) -> str:
    counts = spec.counts
    return filled(
        "card.md",
        name=spec.name,
        class_name=class_name,
        note=spec.note,
        team=spec.team,
        edition=spec.edition,
        paper=spec.paper,
        license=spec.license.lower(),
        data_range=f"{spec.data_range:g}",
        counts=""
        if counts is None
        else f"{counts.num_params / 1e6:.3f} M parameters, {counts.flops / 1e9:.2f} G multiply-adds for 256x256.",
        measured=markdown_leaderboard(current(records)) if records else "Nothing is on record yet.",
    )


def _results(records: Sequence[Record]) -> dict[str, str]:
    """Return the files of the hub's evaluation results, one a set that the hub has: in float32, of whole images."""
    found: dict[str, str] = {}
    for conditions, record in [(its, row) for its, rows in current(records) for row in rows]:
        dataset = _DATASETS.get(conditions.dataset)
        figures = {metric.key: record.mean(metric.key) for metric in METRICS.values()}
        plain = record.complete and not manner_of(record) and record.settings.tile is None
        if dataset and plain and record.dataset.name not in found:
            entries = [
                {"dataset": {"id": dataset, "task_id": key}, "value": value, "date": str(record.finished_at.date())}
                for key, value in figures.items()
                if value is not None
            ]
            found[record.dataset.name] = yaml.safe_dump(entries, sort_keys=False)
    return found
