"""The flags that several commands share, each defined once; those of ``RunConfig`` come from its fields."""

import inspect
import os
from collections.abc import Callable, Mapping
from enum import Enum
from functools import wraps
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from typer import BadParameter, CallbackParam, Option

from eval.config import EAGER, RunConfig, split
from eval.errors import UsageError
from eval.files import why_unwritable
from eval.inference.engines.registry import ENGINES
from eval.metrics.registry import METRICS


def writable(parameter: CallbackParam, folder: Path | None) -> Path | None:
    """Refuse a folder to write to that is a file, or may not be written, before the work whose results it is to hold.

    Raises:
        UsageError: it is; the message names the flag, or the argument.
    """
    # The command itself is given the path without its ~ later.
    if folder is not None and (reason := why_unwritable(Path(os.path.expanduser(folder)))):
        name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.opts[0].upper()
        raise UsageError(f"{name} {folder}: cannot be written: {reason}; name another folder")
    return folder


def out(words: str) -> Any:
    """Return the flag of the folder that a command writes to, with its help."""
    return Option("--save_dir", "--out", help=words, callback=writable)


def some(names: str | None) -> str | None:
    """Refuse a list of names that has none, as of a variable that is empty: to leave the flag out means others.

    Raises:
        BadParameter: it has none; wrong usage, with the flag's name before it.
    """
    if names is not None and not split(names):
        raise BadParameter(f"expected one name or several with commas between, got {names!r}; or leave the flag out.")
    return names


def refuse_idle(given: Mapping[str, object], why: str) -> None:
    """Refuse flags that would have no effect, ``given`` by name with their values; those left out have none.

    Raises:
        UsageError: one of them was given.
    """
    if idle := [flag for flag, value in given.items() if value not in (None, (), [])]:
        raise UsageError(f"{', '.join(idle)}: {why}")


DataDir = Annotated[
    Path | None,
    Option("--data_dir", envvar="ESR_DATA", help="Look for image sets in this folder, which may be one set itself."),
]
Device = Annotated[
    str, Option("--device", help="Where networks run: auto (cuda, then mps, then cpu), cuda, cuda:N, mps or cpu.")
]
SaveDir = Annotated[Path, out("Write SR images (<model>/<set>/), records and tables to this folder.")]
Datasets = Annotated[
    str | None,
    Option(
        "--datasets",
        "--dataset",
        help="Image sets, by name, separated by commas; 'sample' needs no data; 'valid', 'test': the challenge's.",
        callback=some,
    ),
]
ModelId = Annotated[
    str, Option("--model_id", help="Model to run, by id or name; `python -m eval models` lists all models.")
]
OfTheZoo = Annotated[str | None, Option("--model_id", help="A model of the zoo, by id or name.")]
IncludeTest = Annotated[bool, Option("--include_test", help="Run the challenge's test set, too.")]
Open = Annotated[bool, Option("--open", help="Open the folder of results at the end.")]
Weights = Annotated[
    str | None,
    Option("--weights", help="Weights to use: the name of a checkpoint in the manifest, such as released, or a file."),
]
Force = Annotated[bool, Option("--force", help="Allow half precision even if it is slower on this processor.")]
WeightsKey = Annotated[
    str | None,
    Option("--weights_key", help="Key of the weights in the checkpoint, for example params or state_dict.params_ema."),
]
ModelFile = Annotated[
    str | None,
    Option("--model_file", help="Run your own network in a sandbox: FILE.py:NAME, a class or a function in it."),
]
Checkpoint = Annotated[
    Path | None,
    Option("--checkpoint", help="Checkpoint for the network of FILE.py:NAME; without it the network runs untrained."),
]
DataRange = Annotated[
    float | None,
    Option("--data_range", help="Largest input value of the network of FILE.py:NAME: 1 (the default) or 255."),
]
More = Annotated[
    list[Path] | None,
    Option("--with", help="Further folder that the code of FILE.py may read in the sandbox; may be repeated."),
]
ModelArgs = Annotated[
    str | None, Option("--model_args", help="Arguments for the class or function of FILE.py:NAME: dim=36,n_blocks=8.")
]
Sandbox = Annotated[
    str | None,
    Option(
        "--sandbox", help="What isolates third-party code: bubblewrap, or none (the code then has your permissions)."
    ),
]
Trust = Annotated[
    bool, Option("--trust", help="Allow checkpoints that run code when they are loaded, in the sandbox only.")
]
Timeout = Annotated[
    float | None,
    Option(
        "--timeout",
        min=1,
        help="Time limit in seconds for each of: building the network, one image, counting FLOPs. Default: 900.",
    ),
]
EditionFlag = Annotated[
    str, Option("--edition", help="Rules to use: a year, newest, or a FILE.toml with your own rules.")
]
NoImages = Annotated[bool, Option("--no_images", help="Write no SR images.")]

DEFAULT_SAVE_DIR = Path("results")
RAY = "ray"
# What a field of the configuration is called on the command line, where that is not its name alone.
_SWITCHES = {"tf32": "--tf32/--no_tf32"}
_WORDS = {"engines": ", ".join(ENGINES), "metrics": ", ".join(METRICS)}
Command = Callable[..., None]


def configured(*names: str, **fixed: Any) -> Callable[[Command], Command]:
    """Give a command flags for fields of ``RunConfig``, in place of its parameter ``config``.

    Args:
        names: the fields; all of them by default, and ``--ssim`` as a short form of ``--metrics psnr,ssim``.
        fixed: values of fields that the command does not ask for.
    """
    fields = [name for name in names or RunConfig.model_fields if name not in fixed]
    flags = [_flag(name, fixed) for name in fields]
    if "metrics" in fields:
        flags.append(_keyword("ssim", Annotated[bool, Option("--ssim", help="Calculate SSIM, too.")], False))

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)

        @wraps(command)
        def run(**given: Any) -> None:
            values = {name: given.pop(name) for name in fields}
            if values.get("engine") == RAY and "launcher" in given:
                # What spreads passes was called an engine once.
                values["engine"], given["launcher"] = EAGER, RAY
            if given.pop("ssim", False):
                values["metrics"] += ",ssim"
            command(**given, config=RunConfig(**fixed, **values))

        own = [parameter for name, parameter in signature.parameters.items() if name != "config"]
        parameters = [*(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own), *flags]
        vars(run)["__signature__"] = signature.replace(parameters=parameters)
        run.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
        return run

    return decorate


def _flag(name: str, fixed: dict[str, Any]) -> inspect.Parameter:
    """Return the flag of a field: its help, its type as a command line has it, its default."""
    field = RunConfig.model_fields[name]
    least = next((limit.ge for limit in field.metadata if hasattr(limit, "ge")), None)
    words = (field.description or "").format(**_WORDS)
    option = Option(_SWITCHES.get(name, f"--{name}"), help=words, min=least)
    default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
    return _keyword(name, Annotated[_typed(field.annotation), option], fixed.get(name, default))


def _typed(annotation: Any) -> Any:
    """Return a field's type where a command line has one like it; text is read by the field itself."""
    plain = {part for part in get_args(annotation) if part is not type(None)}
    if get_origin(annotation) in (Union, UnionType):
        return (plain.pop() if len(plain) == 1 else str) | None
    if annotation in (bool, int, float, str) or get_origin(annotation) is Literal:
        return annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Enum) else str


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
