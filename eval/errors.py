"""The errors that a user can cause and mend; commands print them without a traceback."""


class UsageError(ValueError):
    """The command asks for something that does not exist or does not fit together; exit code 2."""


class RunError(RuntimeError):
    """Something needed is missing or wrong, so the work cannot be done; exit code 1."""
