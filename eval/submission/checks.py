"""The checks of an entry, one row each: would it be accepted, and is it what it says?"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from eval.errors import one_reason
from eval.submission import network_checks, source_checks
from eval.submission.findings import Finding, not_checked
from eval.submission.subject import Facts

Check = Callable[[Facts], Finding]

CHECKS: dict[str, Check] = {
    "One file": source_checks.one_file,
    "Packages": source_checks.packages,
    "Import": source_checks.import_work,
    "Constructor": source_checks.construction_work,
    "Switches": source_checks.switches,
    "Checkpoint": source_checks.checkpoint,
    "Builds and runs": network_checks.runs,
    "Data range": network_checks.data_range,
    "Output size": network_checks.sizes,
    "Least size": network_checks.least_size,
    "Finite": network_checks.finite,
    "Deterministic": network_checks.deterministic,
    "No state": network_checks.no_state,
    "No writes": partial(network_checks.free_of, code="parameters"),
    "Precision": partial(network_checks.free_of, code="precision"),
    "Deploy form": network_checks.deploy_form,
    "Batch": network_checks.batch,
    "Tiles": network_checks.tiles,
    "FLOPs counted": network_checks.flops_counted,
    "FLOPs fixed": partial(network_checks.free_of, code="input"),
    "PSNR, valid": partial(network_checks.gate, role="valid"),
    "PSNR, test": partial(network_checks.gate, role="test"),
    "Score": network_checks.score,
    "File names": source_checks.file_names,
    "select_model": source_checks.select_model,
    "Placeholder": source_checks.placeholder,
}


def check_all(facts: Facts) -> list[Finding]:
    """Return one finding a check, in the order of the table; a check that cannot be carried out says why."""
    return [replace(_carried_out(check, facts), title=title) for title, check in CHECKS.items()]


def _carried_out(check: Check, facts: Facts) -> Finding:
    try:
        return check(facts)
    except Exception as error:
        return not_checked(one_reason(error))
