"""How many processors this process may use: fewer than the machine has where a container or a user limits it."""

import math
import os

from eval.device.groups import cpu_quotas


def usable_cpus() -> int:
    """Return the processors that this process may use: by its affinity and its control groups' quota, rounded up."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min([affinity, *cpu_quotas()])))
