"""How passes are spread and kept, and what a configuration comes to on this machine."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from eval.config import AUTO, EAGER, FULL_PRECISION, Protocol, RunConfig
from eval.device.gain import half_precision_gain
from eval.device.groups import usable_cpus
from eval.device.numerics import convolutions_take_tf32
from eval.device.placing import pick_device, threads_set
from eval.errors import UsageError
from eval.inference.engines.registry import Execution, check_engine
from eval.metrics.registry import METRICS, find_metrics
from eval.run.streams import streams_within
from eval.words import counted

HERE, RAY = "here", "ray"
_MOST_WORKERS = 8
# Less than this is no gain that a run would show.
_LEAST_GAIN = 1.1


@dataclass(frozen=True)
class Launch:
    """How passes are spread, and what is kept of them; it changes no figure.

    Attributes:
        save_dir: the folder of results, whose ``records/`` are read and written; None to keep nothing.
        images_dir: for SR images, ``<model>/<set>/`` under it; None to write none.
        redo: measure again what is on record.
        jobs: so many untimed passes run side by side; timed ones own the machine.
        launcher: "here", or "ray" for a cluster, whose address may be given.
        force: run in half precision also where that is slower than float32.
    """

    save_dir: Path | None = None
    images_dir: Path | None = None
    redo: bool = True
    jobs: int = 1
    launcher: str = HERE
    ray_address: str | None = None
    force: bool = False

    def check(self, config: RunConfig) -> None:
        """Refuse what does not go together.

        Raises:
            UsageError: timed passes side by side, or what a cluster cannot do.
        """
        if self.jobs > 1 and config.is_timed:
            raise UsageError(
                f"--jobs {self.jobs}: the official protocol times each model, so only one can run at a time; "
                "use --protocol accuracy or steady, or leave --jobs out"
            )
        owns_device = config.is_timed and config.device.startswith("cuda")
        if self.launcher == RAY and config.protocol is not Protocol.ACCURACY and not owns_device:
            raise UsageError(
                f"--launcher ray: passes share a node's CPU, so {config.protocol} cannot be timed there; "
                "use --protocol accuracy, or official with --device cuda, where each pass has a GPU of its own"
            )
        if self.launcher == RAY and not config.is_plain:
            raise UsageError(
                f"--engine {config.engine} --precision {config.precision}: not with --launcher ray, which runs plain "
                "torch in fp32"
            )
        if self.ray_address and self.launcher != RAY:
            raise UsageError(
                f"--ray_address {self.ray_address}: only with --launcher ray; add it, or leave the address out"
            )


def note_on_half_precision(config: RunConfig, force: bool) -> str | None:
    """Return what is to be said of half precision on this machine, if that is asked for; None if it gains.

    Raises:
        UsageError: it is slower than float32, and not forced.
    """
    device = torch.device(config.device)
    if config.precision == FULL_PRECISION or device.type == "cuda":
        return None
    with threads_set(config.threads):
        gain = half_precision_gain(device, config.precision)
    if gain >= _LEAST_GAIN:
        return None
    found = f"a convolution takes {1 / gain:.1f} times as long as in float32 on this {device.type.upper()}"
    if gain < 1 and not force:
        raise UsageError(
            f"--precision {config.precision}: {found}; leave the flag out, or give --force to run it all the same"
        )
    return f"--precision {config.precision} gains nothing: {found}"


def note_on_threads(config: RunConfig) -> str | None:
    """Return what is to be said where a network is timed on more threads than there are processors for it."""
    cpus, threads = usable_cpus(), config.threads or 1
    if config.protocol is Protocol.ACCURACY or "threads" in config.idle or threads <= cpus:
        return None
    allowed = f"this process may use {counted(cpus, 'processor')}"
    return f"--threads {threads}: {allowed}, so threads take turns and times are longer; give --threads {cpus}"


def resolved(config: RunConfig, launch: Launch | None = None, device_there: str | None = None) -> RunConfig:
    """Return a configuration with what this machine makes of it: device, engine, threads, workers, TF32, metrics.

    ``device_there`` is the device where that is another machine's.

    Raises:
        UsageError: there is no such device, engine or metric here.
    """
    launch = launch or Launch()
    device = torch.device(device_there) if device_there else pick_device(config.device)
    # A cluster runs plain torch, and what is timed is what was asked for.
    chosen_by_itself = config.protocol is Protocol.ACCURACY and launch.launcher != RAY
    engine = config.engine or (AUTO if chosen_by_itself else EAGER)
    check_engine(Execution(engine, config.precision), str(device))
    # Refuses unknown ones.
    find_metrics(config.metrics)
    threads, streams, workers, tf32 = config.threads, config.streams, config.workers, config.tf32
    if threads is None:
        threads = 1 if launch.launcher == RAY else max(_threads_here() // launch.jobs, 1)
    if streams is None:
        # Who names workers wants them beside one network.
        alone = device.type != "cpu" or config.is_timed or workers is not None
        streams = 1 if alone else streams_within(threads)
    if workers is None:
        workers = workers_beside(str(device), threads, usable_cpus() // launch.jobs)
    if tf32 is None:
        tf32 = config.protocol is not Protocol.ACCURACY and convolutions_take_tf32()
    metrics = tuple(name for name in METRICS if name in config.metrics)
    taken = {"device": str(device), "engine": engine, "tf32": tf32}
    taken |= {"threads": threads, "streams": streams, "workers": workers}
    return config.replaced(**taken, metrics=metrics)


def workers_beside(device: str, threads: int, cpus: int) -> int:
    """Return how many threads decode, measure and write beside a network, where nobody says.

    Beside a GPU all processors are free. On a CPU the workers get those that the network's threads leave, at least a
    third of all, and two where there are two. Reading an image, PSNR, SSIM and PNG take up to a third of PFDNLite's own
    processor time, so fewer would keep it waiting; each one more takes turns with a thread of the network that the
    others wait for. On two cores two took as long as one or a little less, and none took longest. ``cpus`` are those
    that one pass may use.
    """
    wanted = max(min(cpus, 2), math.ceil(cpus / 3), cpus - threads) if device == "cpu" else cpus
    return max(1, min(_MOST_WORKERS, wanted))


def _threads_here() -> int:
    """Return torch's own threads: as asked for by OMP_NUM_THREADS, else no more than this process has processors."""
    threads = torch.get_num_threads()
    return threads if os.environ.get("OMP_NUM_THREADS") else min(threads, usable_cpus())
