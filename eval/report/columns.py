"""The columns of every table: where a figure comes from, its unit, and to how many digits it is printed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from eval.record import Protocol, Record


@dataclass(frozen=True)
class Column:
    """One column. ``decimals`` are those of the challenge's own table; ``scale`` divides before printing."""

    key: str
    title: str
    unit: str
    decimals: int
    value: Callable[[Record], float | int | None]
    scale: float = 1

    @property
    def heading(self) -> str:
        """Title and unit in one line."""
        return f"{self.title} [{self.unit}]" if self.unit else self.title

    def text(self, record: Record) -> str:
        """Return the rounded figure, or a dash where it was not taken."""
        value = self.value(record)
        return "-" if value is None else f"{value / self.scale:.{self.decimals}f}"


def _complexity(key: str) -> Callable[[Record], int | None]:
    return lambda record: getattr(record.complexity, key) if record.complexity else None


COLUMNS = (
    Column("psnr_db", "PSNR", "dB", 2, lambda record: record.mean("psnr_db")),
    Column("ssim", "SSIM", "", 4, lambda record: record.mean("ssim")),
    Column("runtime_ms", "Time", "ms", 2, lambda record: record.mean("runtime_ms")),
    Column("num_params", "Params", "M", 3, _complexity("num_params"), 1e6),
    Column("flops", "FLOPs", "G", 2, _complexity("flops"), 1e9),
    Column("activations", "Acts", "M", 2, _complexity("activations"), 1e6),
    Column("num_conv", "Conv", "", 0, _complexity("num_conv")),
    Column("peak_memory_mib", "Mem", "MiB", 1, lambda record: record.peak_memory_mib),
)


def legend(records: Iterable[Record]) -> list[str]:
    """Return the sentences that a table of these records needs to be understood."""
    records = list(records)
    lines = ["PSNR and SSIM: RGB, 8 bits, 4-pixel border, mean over images."]
    protocols = {record.settings.protocol for record in records}
    if Protocol.OFFICIAL in protocols:
        devices = sorted({_device(record) for record in records})
        lines.append(f"Time: the network alone, mean over images, cold first image included; on {'; '.join(devices)}.")
    if any(record.complexity for record in records):
        lines.append("FLOPs are multiply-adds (fvcore); they and Acts are for one 256x256 input.")
    methods = sorted({record.peak_memory_method for record in records if record.peak_memory_method})
    lines += [f"Mem: {method}." for method in methods]
    return lines


def _device(record: Record) -> str:
    environment = record.environment
    return environment.gpu or f"{environment.cpu}, {environment.threads} thread(s)"


def newest(records: Iterable[Record]) -> list[Record]:
    """Return the newest complete record of each model, set, protocol and device; by set, then by id."""
    latest = {}
    for record in sorted(records, key=lambda record: record.started_at):
        if record.complete:
            settings = record.settings
            latest[record.model.label, record.dataset.name, settings.protocol, settings.device] = record
    return sorted(latest.values(), key=lambda record: (record.dataset.name, record.model.id))
