"""``python -m eval``, and the command ``esr-eval``."""

from eval.cli.app import app
from eval.cli.program import run_program


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    run_program(app)


if __name__ == "__main__":
    main()
