"""Which errors say that memory is exhausted: a device's, or the CPU's."""

import torch

# What is said of it in errors of no type of their own.
_WORDS = (
    "can't allocate memory",  # the CPU's allocator
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "STATUS_ALLOC_FAILED",  # cuDNN and cuBLAS
    "ALLOCATION_FAILED",  # cuDNN
    "Insufficient memory",  # OpenCV
)


def is_exhausted(error: BaseException) -> bool:
    """Tell whether an error says that memory is exhausted; on the CPU torch reports that as a plain RuntimeError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in _WORDS)
