"""``python -m eval``."""

from eval.cli.app import app
from eval.cli.program import run_program

if __name__ == "__main__":
    run_program(app)
