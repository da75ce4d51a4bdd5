"""What a check, a pack or a scoring has to say: a status, why, and what to do; as a table and as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from eval.report.table import Column, Table

Status = Literal["pass", "note", "warn", "fail", "not checked"]


@dataclass(frozen=True)
class Finding:
    """One line: what was found, and how to mend it."""

    status: Status
    why: str
    fix: str = ""
    title: str = ""


def passed(why: str) -> Finding:
    """Return what is right."""
    return Finding("pass", why)


def warned(why: str, fix: str) -> Finding:
    """Return what may be wrong."""
    return Finding("warn", why, fix)


def failed(why: str, fix: str) -> Finding:
    """Return what keeps an entry out."""
    return Finding("fail", why, fix)


def not_checked(why: str) -> Finding:
    """Return what could not be looked at, or does not apply."""
    return Finding("not checked", why)


def findings_table(findings: Sequence[Finding], what: str = "Check") -> Table:
    """Return one row a finding."""
    columns = (
        Column("title", what, left=True),
        Column("status", "Result", left=True),
        Column("why", "Why", left=True, wraps=True),
        Column("fix", "What to do", left=True, wraps=True),
    )
    return Table.of(columns, [(its.title, its.status, its.why, its.fix or None) for its in findings])


def summary(findings: Sequence[Finding]) -> str:
    """Return how many findings there are of each status."""
    statuses = [finding.status for finding in findings]
    counts = ((status, statuses.count(status)) for status in ("fail", "warn", "note", "not checked", "pass"))
    return ", ".join(f"{count} {status}" for status, count in counts if count)
