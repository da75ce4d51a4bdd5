"""Gates: the least PSNR on a part of the challenge's images, compared as it is printed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from eval.frozen import Frozen

Role = Literal["valid", "test"]
GateRule = Literal["rounded", "strict"]
# The challenge prints PSNR to so many decimals and compares what it prints.
PRINTED_DECIMALS = 2
_MOST_DECIMALS = 9
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(gt=0, strict=True)]


@dataclass(frozen=True)
class Verdict:
    """One gate: whether a PSNR passes as printed, and unrounded; ``decimals`` are the gate's."""

    role: Role
    psnr_db: float
    least_db: float
    rounded: bool
    strict: bool
    decimals: int

    @property
    def least(self) -> str:
        """The gate as it is printed."""
        return _printed(self.least_db, self.decimals)

    @property
    def psnr(self) -> str:
        """The PSNR with so many decimals that a reader sees what rounding does."""
        return f"{self.psnr_db:.{max(5, self.decimals + 3)}f}"


def _printed(least_db: float, decimals: int) -> str:
    """Return a gate's PSNR in its decimals; where these are too few for it, all that it has."""
    text = f"{least_db:.{decimals}f}"
    return text if float(text) == least_db else repr(least_db)


class Gate(Frozen):
    """The least PSNR on one part of the challenge's images; None where a part is defined without one.

    Attributes:
        sets: the names under which that part is known.
        images: how many it has; a part of it is not the challenge's set.
        decimals: to how many the PSNR is printed, and compared as printed.
    """

    role: Role
    sets: tuple[str, ...]
    images: PositiveInt
    psnr_db: PositiveFloat | None = None
    decimals: int = Field(PRINTED_DECIMALS, ge=0, le=_MOST_DECIMALS)

    @property
    def least(self) -> str:
        """The least PSNR as it is printed; empty where the part has none."""
        return "" if self.psnr_db is None else _printed(self.psnr_db, self.decimals)

    def judge(self, psnr_db: float | None) -> Verdict | None:
        """Hold a PSNR against the gate; None if there is nothing to compare."""
        if self.psnr_db is None or psnr_db is None:
            return None
        printed = float(f"{psnr_db:.{self.decimals}f}")
        passes = printed >= self.psnr_db, psnr_db >= self.psnr_db
        return Verdict(self.role, psnr_db, self.psnr_db, *passes, self.decimals)


def psnr_decimals(gates: Iterable[Gate], strict_db: Iterable[float] = ()) -> int:
    """Return to how many decimals PSNRs are printed under gates, so that each shows on which side of them it lies.

    ``strict_db`` are those that are compared unrounded: where rounding would show another side there are more.
    """
    gates, psnrs_db = list(gates), list(strict_db)
    decimals = max((gate.decimals for gate in gates), default=PRINTED_DECIMALS)
    pairs = [(db, gate.psnr_db) for db in psnrs_db for gate in gates if gate.psnr_db is not None]
    told = (n for n in range(decimals, _MOST_DECIMALS) if all((round(db, n) < its) == (db < its) for db, its in pairs))
    return next(told, _MOST_DECIMALS)
