"""Which shims a submission has met."""


class Notes:
    """The names of the shims met so far."""

    def __init__(self) -> None:
        self.met: set[str] = set()

    def note(self, name: str) -> None:
        """Remember that a shim was needed."""
        self.met.add(name)
