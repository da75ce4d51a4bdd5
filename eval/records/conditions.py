"""Under which conditions a record's figures were made; figures of unlike conditions never stand side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from eval.records.record import Protocol, Record

_PLAIN_ENGINE, _PLAIN_PRECISION = "eager", "fp32"


@dataclass(frozen=True, order=True)
class Conditions:
    """What all rows of a table have in common; figures of different conditions are never in one table.

    Attributes:
        machine: the name of what computed; where time was taken, with the number of threads of a CPU.
        manner: how networks ran if not as plain torch in float32; an engine counts where time was taken, for engines
            have the same pixels.
    """

    dataset: str
    protocol: str
    device: str
    machine: str
    manner: str = ""

    @property
    def place(self) -> str:
        """Machine and manner in one line."""
        return ", ".join(filter(None, (self.machine, self.manner)))

    @property
    def title(self) -> str:
        """All of them in one line; the device where it is not the first of its kind."""
        other = self.device if ":" in self.device else ""
        return " · ".join(filter(None, (self.dataset, self.protocol, self.machine, other, self.manner)))


_PARTS = {"dataset": "set", "protocol": "protocol", "machine": "machine", "device": "device", "manner": "manner"}


def names_of(tables: Sequence[Conditions]) -> tuple[str, list[str]]:
    """Return what tells tables apart, and each one's name by that: its set, and what else they do not all share."""
    told = [key for key in _PARTS if key == "dataset" or len({getattr(its, key) for its in tables}) > 1]
    machines = {its.machine for its in tables}
    if "machine" in told and "device" in told and len({(its.machine, its.device) for its in tables}) == len(machines):
        told.remove("device")
    what = ", ".join(_PARTS[key] for key in told)
    return what.capitalize(), [" · ".join(filter(None, (getattr(its, key) for key in told))) for its in tables]


def conditions_of(record: Record) -> Conditions:
    """Return the conditions of a record's figures."""
    settings, environment, manner = record.settings, record.environment, ", ".join(manner_of(record))
    machine = environment.machine if is_timed(record) else environment.device_name
    return Conditions(record.dataset.name, settings.protocol.value, settings.device, machine, manner)


def manner_of(record: Record) -> tuple[str, ...]:
    """Return how a network ran if not as plain torch in float32, TF32 as its protocol has it, all else by default."""
    settings = record.settings
    engine = settings.engine if is_timed(record) and settings.engine != _PLAIN_ENGINE else ""
    precision = settings.precision if settings.precision != _PLAIN_PRECISION else ""
    return tuple(filter(None, (engine, precision, tf32_of(record), *unusual_of(record))))


def tf32_of(record: Record) -> str:
    """Return how TF32 was set where that is not as its protocol has it; empty where it is."""
    config = record.config
    if config is None or config.tf32 is None or "tf32" in config.idle:
        return ""
    return "" if config.tf32 == is_timed(record) else "TF32" if config.tf32 else "no TF32"


def unusual_of(record: Record) -> tuple[str, ...]:
    """Return what else of a run's settings changes pixels and is not as by default."""
    return record.config.unusual if record.config else ()


def memory_measure(record: Record) -> tuple[str | None, str]:
    """Return where and how memory was taken; figures of unlike measures are not comparable."""
    return record.peak_memory_method, record.environment.device_name


def is_timed(record: Record) -> bool:
    """Tell whether a record's protocol takes times."""
    return record.settings.protocol != Protocol.ACCURACY
