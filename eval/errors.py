"""The errors that a user can cause and mend; commands print them without a traceback."""

from pydantic import ValidationError

from eval.words import printable

_MOST_CHARACTERS = 200


class UsageError(ValueError):
    """The command asks for something that does not exist or does not fit together; exit code 2."""


class RunError(RuntimeError):
    """Something needed is missing or wrong, so the work cannot be done; exit code 1."""


class EngineError(RunError):
    """An engine cannot run a network, or lacks something on this machine; another one may do."""


class MissingPartError(EngineError):
    """An engine lacks a program or a folder on this machine; nothing is said of what it computes."""


def explain(error: ValidationError) -> str:
    """Return what data lacks, one "where: what" a fault, on one line."""
    faults = (f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}" for fault in error.errors())
    return "; ".join(faults)


def one_reason(error: BaseException) -> str:
    """Return the first line of what an error says, with its type unless it is one of ours; cut to a note's length."""
    said = (str(error).strip().splitlines() or ["no reason given"])[0]
    told = said if isinstance(error, (UsageError, RunError)) else f"{type(error).__name__}: {said}"
    return printable(told)[:_MOST_CHARACTERS]
