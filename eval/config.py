"""All that figures depend on besides the model and the images, as one checked value.

The flags of ``test_demo.py`` and ``python -m eval run`` come from the fields of ``RunConfig``, tasks carry it, records
store it. A new flag is one field with its help; unless it is named below, its value is taken to decide pixels, and is
part of every key.
"""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from eval.errors import UsageError
from eval.frozen import Frozen

AUTO, EAGER, FULL_PRECISION = "auto", "eager", "fp32"
# Fields that change no pixel. Of these, fields that change no figure at all are recorded, but are no part of a key.
_NO_PIXELS = frozenset({"protocol", "metrics", "threads", "streams", "workers", "runs", "preset", "settle", "seed"})
_NO_FIGURES = frozenset({"workers"})
# Fields that change pixels, and that tables, rankings and submissions know by name.
_KNOWN_BY_NAME = frozenset({"device", "engine", "precision", "tf32", "tile", "tile_overlap"})


class Protocol(StrEnum):
    """How a run is carried out.

    ``official`` repeats the challenge's template: every image is timed once, the first one with its cold start.
    ``accuracy`` takes no time. ``steady`` measures runtime in a pass of its own: all models warmed alike, timed in
    interleaved rounds until the comparison is settled.
    """

    OFFICIAL = "official"
    ACCURACY = "accuracy"
    STEADY = "steady"


class RunConfig(Frozen):
    """How models are run and measured.

    Raises:
        UsageError: a value has a wrong type or range, or values do not fit together; the message names the flag.
            Names of devices, engines and metrics are checked where they are looked up.
    """

    protocol: Protocol = Field(
        Protocol.OFFICIAL,
        description="How a run is timed. official: as in the challenge, each image once, with the cold start. accuracy:"
        " no timing. steady: all models warmed up and timed together in rounds until their ratios are precise enough.",
    )
    device: str = Field(
        AUTO, description="Where the network runs: auto (cuda, then mps, then cpu), cuda, cuda:N, mps or cpu."
    )
    engine: str | None = Field(
        None,
        description="Backend that runs the network: {engines}; auto selects the fastest one that needs no compilation"
        " and gives the same images as eager. Default: auto with --protocol accuracy, else eager.",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        FULL_PRECISION, description="Number format of the network's layers."
    )
    tf32: bool | None = Field(
        None,
        description="Use TF32 in convolutions on a GPU. Default: torch's default, and off with --protocol accuracy.",
    )
    tile: int | Literal["auto"] | None = Field(
        AUTO,
        description="Side length of tiles in LR pixels; 'none': whole images; 'auto': tiles only where memory is too"
        " small for the whole image.",
    )
    tile_overlap: int | None = Field(
        None, ge=0, description="How many LR pixels neighbouring tiles share; by default 32, or a quarter of a tile."
    )
    metrics: tuple[str, ...] = Field(
        ("psnr",), description="Which metrics are calculated, separated by commas: {metrics}."
    )
    threads: int | None = Field(
        None, ge=1, description="Number of CPU threads that the network uses. Default: torch's default."
    )
    streams: int | None = Field(
        None,
        ge=1,
        description="Number of images that an untimed run on a CPU processes at once; they share the threads. Default:"
        " the number of threads, at most 8, and fewer where memory is small or images are few.",
    )
    workers: int | None = Field(
        None,
        ge=0,
        description="Number of threads that read, measure and write images while an untimed network runs with one"
        " stream. Default: the number of free processors, at most 8 (docs/measuring.md has the exact rule).",
    )
    runs: int = Field(1, ge=1, description="Number of official runs whose figures are averaged; the challenge uses 5.")
    preset: Literal["rapid", "quick", "normal"] = Field(
        "rapid",
        description="Time limit of the steady protocol per model: rapid 30 s, quick 2 min, normal 10 min.",
    )
    settle: int | None = Field(
        None,
        ge=1,
        description="Continue timing until the order of the N fastest models is settled at 95%, or until the preset's"
        " time limit.",
    )
    seed: int = Field(0, ge=0, description="Random seed of the steady protocol, for the order of models and images.")

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise UsageError("; ".join(map(_fault, error.errors()))) from None
        self._check_together()

    @field_validator("tile", mode="before")
    @classmethod
    def _read_tile(cls, given: object) -> object:
        if given == "none":
            return None
        if isinstance(given, str) and given != AUTO and not given.isdecimal():
            raise ValueError("expected auto, none, or a number of LR pixels")
        return int(given) if isinstance(given, str) and given != AUTO else given

    @field_validator("metrics", mode="before")
    @classmethod
    def _read_metrics(cls, given: object) -> object:
        return tuple(split(given)) if isinstance(given, str) else given

    def _check_together(self) -> None:
        if self.runs > 1 and self.protocol is not Protocol.OFFICIAL:
            raise UsageError(
                f"--runs {self.runs}: only with --protocol official, got {self.protocol}; leave --runs out"
            )
        if self.protocol is Protocol.OFFICIAL and not self.is_plain:
            raise UsageError(
                f"--engine {self.engine or EAGER} --precision {self.precision}: the official protocol times plain torch"
                " in fp32, as the challenge does; use --protocol accuracy or steady"
            )
        if not self.metrics:
            raise UsageError("--metrics: expected at least one metric, such as psnr, got none")
        if isinstance(self.tile, int):
            if self.tile < 1:
                raise UsageError(f"--tile {self.tile}: expected at least 1")
            if self.tile_overlap is not None and self.tile_overlap >= self.tile:
                raise UsageError(f"--tile_overlap {self.tile_overlap}: expected 0 to {self.tile - 1}, less than --tile")

    @property
    def is_plain(self) -> bool:
        """Tell whether networks run as plain torch in float32."""
        return (self.engine or EAGER, self.precision) == (EAGER, FULL_PRECISION)

    @property
    def is_timed(self) -> bool:
        """Tell whether the official protocol times each image, with nothing beside the network."""
        return self.protocol is Protocol.OFFICIAL

    @property
    def threads_each(self) -> int | None:
        """How many threads work on one image: of an untimed pass, a stream's share of them."""
        if self.threads is None or self.protocol is not Protocol.ACCURACY or "streams" in self.idle:
            return self.threads
        return max(1, self.threads // (self.streams or 1))

    def replaced(self, **changes: Any) -> "RunConfig":
        """Return a copy with other values, checked like this one."""
        return RunConfig(**(dict(self) | changes))

    @property
    def idle(self) -> dict[str, str]:
        """The fields that change nothing in such a run, each with the reason."""
        kind = self.device.partition(":")[0]
        no_rounds = self.protocol is not Protocol.STEADY and f"{self.protocol} has no rounds"
        reasons = {
            "preset": no_rounds,
            "settle": no_rounds or (self.settle is None and "nothing is to be settled"),
            "seed": self.protocol is not Protocol.STEADY and f"{self.protocol} draws nothing",
            "streams": (self.is_timed and "a timed network runs alone")
            or (kind not in (AUTO, "cpu") and f"the network runs on {kind}"),
            "workers": (self.is_timed and "nothing runs beside a timed network")
            or ((self.streams or 1) > 1 and "each stream does that itself"),
            "tile_overlap": self.tile is None and "--tile none cuts no tiles",
            "threads": kind not in (AUTO, "cpu") and f"the network runs on {kind}",
            "tf32": kind in ("cpu", "mps") and f"{kind} has no TF32",
        }
        return {name: why for name, why in reasons.items() if isinstance(why, str)}

    def notes(self, given: "RunConfig") -> list[str]:
        """Return a sentence for each value that was given, other than the default, and has no effect here."""
        values = {name: getattr(given, name) for name in self.idle}
        unusual = {name: value for name, value in values.items() if value != type(self).model_fields[name].default}
        return [f"--{name} {value} has no effect: {self.idle[name]}" for name, value in unusual.items()]

    @property
    def decides(self) -> dict[str, Any]:
        """The fields that figures depend on, those without effect left out: what a key is made of."""
        left_out = _NO_FIGURES | self.idle.keys()
        values = self.model_dump(mode="json") | {"device": one_form(self.device)}
        return {name: value for name, value in values.items() if name not in left_out}

    @property
    def decides_pixels(self) -> dict[str, Any]:
        """The fields that pixels depend on."""
        return {name: value for name, value in self.decides.items() if name not in _NO_PIXELS}

    @property
    def unusual(self) -> tuple[str, ...]:
        """What else changes pixels and is not as by default, as "name value": figures of such runs stand apart."""
        fields = type(self).model_fields
        others = {name: value for name, value in self.decides_pixels.items() if name not in _KNOWN_BY_NAME}
        return tuple(f"{name} {value}" for name, value in others.items() if value != fields[name].default)

    def __str__(self) -> str:
        tiling = {None: "whole images", AUTO: "whole images if memory allows"}.get(self.tile)
        overlap = "" if self.tile_overlap is None else f", overlap {self.tile_overlap}"
        words = [f"protocol {self.protocol}", f"on {self.device}", tiling or f"tiles of {self.tile}{overlap}"]
        words += [f"engine {self.engine}"] if self.engine not in (None, EAGER) else []
        words += [self.precision] if self.precision != FULL_PRECISION else []
        words += ["TF32 on" if self.tf32 else "TF32 off"] if "tf32" not in self.idle and self.tf32 is not None else []
        return ", ".join([*words, *self.unusual, *([f"{self.runs} runs"] if self.runs > 1 else [])])


def one_form(device: str) -> str:
    """Return a device's name as it is compared: the first GPU is ``cuda``, though ``--jobs`` takes that for any."""
    return device.removesuffix(":0")


def split(names: str | None) -> list[str]:
    """Split a list given with commas; an absent one is empty."""
    return [name.strip() for name in (names or "").split(",") if name.strip()]


def _fault(fault: Any) -> str:
    """Return one of pydantic's faults as a sentence about a flag."""
    name = str(fault["loc"][0]) if fault["loc"] else ""
    if fault["type"] == "extra_forbidden":
        return f"{name}: no such setting; there are {', '.join(RunConfig.model_fields)}"
    expected = fault.get("ctx", {}).get("expected")
    said = f"expected {expected}" if expected else fault["msg"].removeprefix("Value error, ")
    return f"--{name} {fault['input']}: {said}"
