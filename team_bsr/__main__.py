"""Entry point of ``python -m team_bsr``."""

from eval.cli.program import errors_told

if __name__ == "__main__":
    with errors_told():
        # Its packages are of an extra, which may be absent.
        from team_bsr.cli import app

        app()
