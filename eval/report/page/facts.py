"""What was run, as short facts for the head of a table and for a model's page."""

from collections import Counter
from collections.abc import Iterable

from eval.records.record import Record
from eval.report.board import Board
from eval.words import counted
from eval.zoo.model_info import ZOO


def facts_of(board: Board) -> list[tuple[str, str]]:
    """Return name and value of what all rows of a table were run with."""
    records = board.records
    complete = [record for record in records if record.complete] or records
    weights = Counter(map(_weights_of, complete))
    days = sorted({f"{record.started_at:%Y-%m-%d}" for record in records})
    return [
        ("Set", f"{board.conditions.dataset}, {counted(complete[0].dataset.num_images, 'image')}"),
        ("Protocol", board.conditions.protocol),
        ("Device", _several({record.environment.machine for record in complete})),
        ("Settings", _several({_settings(record) for record in complete})),
        ("Models", f"{sum(record.complete for record in records)} of {len(records)} complete"),
        ("Weights", ", ".join(f"{count} {name}" for name, count in weights.items())),
        ("Measured", days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"),
        ("Software", _several({f"torch {record.environment.torch}" for record in complete})),
    ]


def environment_facts(record: Record) -> list[tuple[str, str]]:
    """Return where a record was made, line by line."""
    its, loads = record.environment, (record.before.load_1min, record.after.load_1min)
    switches = {"cuDNN benchmark": its.cudnn_benchmark, "TF32 in cuDNN": its.cudnn_tf32}
    switches |= {"TF32 in matmul": its.matmul_tf32, "deterministic": its.deterministic}
    facts = [
        ("GPU", its.gpu),
        ("CPU", f"{its.cpu}, {counted(its.threads, 'thread')}"),
        ("CUDA", its.cuda),
        ("cuDNN", its.cudnn),
        ("Driver", its.driver),
        ("Switches on", ", ".join(name for name, on in switches.items() if on) or "none"),
        ("Software", f"torch {its.torch}, numpy {its.numpy}, OpenCV {its.opencv}, fvcore {its.fvcore}"),
        ("Platform", f"{its.platform}, Python {its.python}"),
        ("Commit", its.commit),
        ("Load before, after", ", ".join("unknown" if load is None else f"{load:.1f}" for load in loads)),
    ]
    return [(name, str(value)) for name, value in facts if value is not None]


def _several(values: Iterable[str]) -> str:
    return "; ".join(sorted(values))


def _settings(record: Record) -> str:
    its = record.settings
    tiles = f"tiles of {its.tile}, overlap {its.tile_overlap}" if its.tile else "whole images"
    return f"{tiles}, {its.precision}, {its.engine}" + (f", {its.runs} runs averaged" if its.runs > 1 else "")


def _weights_of(record: Record) -> str:
    model = record.model
    if model.origin != ZOO:
        return f"from {model.origin}"
    return model.checkpoint or ("from a file" if model.weights_file else "without")
