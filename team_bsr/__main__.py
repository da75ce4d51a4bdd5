"""Entry point of ``python -m team_bsr``."""

from eval.cli.program import run_program
from team_bsr.cli import app

if __name__ == "__main__":
    run_program(app)
