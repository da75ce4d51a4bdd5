"""Where a model ran: software, device, and the state of the machine, as a record holds them."""

from eval.frozen import Frozen
from eval.words import counted


class MachineState(Frozen):
    """The machine at a moment; None where it cannot be read."""

    load_1min: float | None
    cpu_mhz: float | None
    gpu_mhz: float | None
    gpu_temperature_c: float | None
    gpu_power_limit_w: float | None = None
    gpu_throttling: str | None = None


class Environment(Frozen):
    """Where it ran.

    Attributes:
        gpu: None for a run on the CPU.
        instructions: which of the CPU's instructions torch takes; processors of one name can differ in them.
    """

    commit: str | None
    platform: str
    python: str
    torch: str
    numpy: str
    opencv: str
    fvcore: str
    cpu: str
    gpu: str | None
    cuda: str | None
    cudnn: int | None
    driver: str | None
    threads: int
    cudnn_benchmark: bool
    cudnn_tf32: bool
    matmul_tf32: bool
    deterministic: bool
    keeps_freed_memory: bool = False
    instructions: str | None = None

    @property
    def device_name(self) -> str:
        """What computed: the GPU, or the CPU with its instructions."""
        return self.gpu or ", ".join(filter(None, (self.cpu, self.instructions)))

    @property
    def machine(self) -> str:
        """What computed, as far as times depend on it: a GPU's kernels are started by a CPU."""
        if self.gpu is None:
            return f"{self.device_name}, {counted(self.threads, 'thread')}"
        # The name of an Apple chip's GPU begins with the chip's.
        return self.gpu if self.gpu.startswith(self.cpu) else f"{self.gpu}, {self.cpu}"
