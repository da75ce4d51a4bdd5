"""``python -m eval``: its commands, one thin function each."""

import typer

from eval.cli import comparing, judging, measuring, running, supplies
from eval.cli.program import new_app

app = new_app()
fetch_app = typer.Typer(help="Download what the project needs; nothing is downloaded otherwise.")
fetch_app.command("weights")(supplies.fetch_weights)


@app.callback()
def describe() -> None:
    """Evaluate x4 super-resolution networks by the Efficient Super-Resolution challenge's rules."""


app.command("models")(supplies.list_models)
app.add_typer(fetch_app, name="fetch")
app.command("run")(running.run_models)
app.command("compare")(comparing.compare)
app.command("table1")(measuring.table1)
app.command("report")(judging.report)
app.command("factsheet")(judging.factsheet)
app.command("score")(judging.score)
app.command("audit")(judging.audit)
app.command("make-lr")(supplies.make_lr)
