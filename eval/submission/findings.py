"""What a check, a pack or a scoring has to say: a status, why, and what to do; as a table and as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from eval.report.table import Column, Table

Status = Literal["pass", "note", "warn", "fail", "not checked"]


@dataclass(frozen=True)
class Finding:
    """One line: what was found, and how to mend it.

    Attributes:
        status: "warn" is what may be wrong, "fail" what keeps an entry out; "not checked" does not apply, or could not
            be looked at.
    """

    status: Status
    why: str
    fix: str = ""
    title: str = ""


passed, warned = partial(Finding, "pass"), partial(Finding, "warn")
failed, not_checked = partial(Finding, "fail"), partial(Finding, "not checked")


def findings_table(findings: Sequence[Finding]) -> Table:
    """Return one row a finding."""
    columns = (
        Column("title", "Check", left=True),
        Column("status", "Result", left=True),
        Column("why", "Why", left=True),
        Column("fix", "What to do", left=True),
    )
    return Table.of(columns, [(its.title, its.status, its.why, its.fix or None) for its in findings])


def summary(findings: Sequence[Finding]) -> str:
    """Return how many findings there are of each status."""
    statuses = [finding.status for finding in findings]
    counts = ((status, statuses.count(status)) for status in ("fail", "warn", "note", "not checked", "pass"))
    return ", ".join(f"{count} {status}" for status, count in counts if count)
