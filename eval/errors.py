"""The errors that a user can cause and mend; commands print them without a traceback."""

from pydantic import ValidationError


class UsageError(ValueError):
    """The command asks for something that does not exist or does not fit together; exit code 2."""


class RunError(RuntimeError):
    """Something needed is missing or wrong, so the work cannot be done; exit code 1."""


def explain(error: ValidationError) -> str:
    """Return what data lacks, one "where: what" a fault, on one line."""
    faults = (f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}" for fault in error.errors())
    return "; ".join(faults)
