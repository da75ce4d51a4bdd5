"""``python -m eval``."""

from eval.cli import app
from eval.program import run_program

if __name__ == "__main__":
    run_program(app)
