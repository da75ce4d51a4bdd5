"""How a person wants models to be run, and what of it does not go together."""

from dataclasses import dataclass
from pathlib import Path

from eval.errors import UsageError
from eval.inference.engines.registry import EAGER
from eval.records.record import Protocol
from eval.run.model_source import AUTO

RAY = "ray"


@dataclass(frozen=True)
class Options:
    """How models are run.

    Attributes:
        tile: "auto", None for whole images, or a number of LR pixels.
        jobs: so many untimed passes run side by side; timed ones own the machine.
        engine: what runs networks, or "ray" for plain torch on a cluster.
        workers: threads beside the network in untimed passes; None for one a core and job, at most 8.
        redo: measure again what the records folder holds.
    """

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
    jobs: int = 1
    engine: str = EAGER
    precision: str = "fp32"
    workers: int | None = None
    ray_address: str | None = None
    redo: bool = True

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if self.runs > 1 and self.protocol is not Protocol.OFFICIAL:
            raise UsageError(f"--runs {self.runs}: only the official protocol averages runs, not {self.protocol}")
        if self.jobs > 1 and self.protocol is Protocol.OFFICIAL:
            raise UsageError(
                f"--jobs {self.jobs}: the official protocol times what it runs, so models run one by one; "
                "use --protocol accuracy, or steady, whose speed pass is apart"
            )
        owns_device = self.protocol is Protocol.OFFICIAL and self.device.startswith("cuda")
        if self.engine == RAY and self.protocol is not Protocol.ACCURACY and not owns_device:
            raise UsageError(
                f"--engine ray: passes share a node's CPU, so {self.protocol} cannot be timed there; "
                "use --protocol accuracy, or official with --device cuda, where each pass has a GPU of its own"
            )
        plain = self.engine in (EAGER, RAY) and self.precision == "fp32"
        if self.protocol is Protocol.OFFICIAL and not plain:
            raise UsageError(
                f"--engine {self.engine} --precision {self.precision}: the official protocol times plain torch in "
                "fp32, as the challenge does; use --protocol accuracy or steady"
            )
        if self.engine == RAY and not plain:
            raise UsageError(f"--precision {self.precision}: not with --engine ray, which runs plain torch in fp32")
        if self.ray_address and self.engine != RAY:
            raise UsageError(f"--ray_address {self.ray_address}: only with --engine ray")


def without_effect(options: Options, device: str) -> list[str]:
    """Return a sentence for each option that was given and changes nothing in such a run.

    Args:
        options: as given.
        device: the kind of device that was taken.
    """
    protocol, default = options.protocol, Options(options.save_dir)
    idle = [
        ("--preset", options.preset, default.preset, protocol is not Protocol.STEADY, f"{protocol} has no rounds"),
        ("--seed", options.seed, default.seed, protocol is not Protocol.STEADY, f"{protocol} draws nothing"),
        ("--workers", options.workers, None, protocol is Protocol.OFFICIAL, "nothing runs beside a timed network"),
        ("--jobs", options.jobs, 1, options.engine == RAY, "a Ray cluster runs as many tasks as it has room for"),
        ("--tile_overlap", options.tile_overlap, None, options.tile is None, "--tile none cuts no tiles"),
        ("--threads", options.threads, None, device != "cpu", f"the network runs on {device}"),
    ]
    return [
        f"{flag} {given} has no effect: {why}"
        for flag, given, usual, is_idle, why in idle
        if is_idle and given != usual
    ]
