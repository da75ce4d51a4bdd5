"""The flags that training and fine-tuning share."""

from typing import Annotated, Literal

import typer

Precision = Annotated[
    Literal["no", "bf16", "fp16", "auto"],
    typer.Option(help="What autocast computes in: no is float32, auto is bf16 where that is faster here."),
]
OnCpu = Annotated[bool, typer.Option("--cpu", help="Train on the CPU even where there is a GPU.")]
SkipBad = Annotated[bool, typer.Option("--skip_bad", help="Leave unreadable images out, and name them.")]
