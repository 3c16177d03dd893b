"""The result of a check, and a report of many."""

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

__all__ = ["Check", "Status", "render", "verdict"]


class Status(IntEnum):
    """Result of a check; the value is the exit status of the command."""

    PASS = 0
    WARN = 1
    FAIL = 2


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes
    ----------
    name : str
        What was checked.
    status : Status
        How it went.
    message : str
        What was found.
    remedy : str
        What to do; empty where there is nothing to do.
    """

    name: str
    status: Status
    message: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the check as JSON types."""
        return {**asdict(self), "status": self.status.name}


def verdict(checks: list[Check]) -> Status:
    """Return the worst status."""
    return max((check.status for check in checks), default=Status.PASS)


def render(checks: list[Check]) -> str:
    """Return the report as text: a line a check, what to do below it, and the verdict."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.status.name:4}  {check.name:{width}}  {check.message}")
        if check.remedy:
            lines.append(f"{'':{width + 8}}-> {check.remedy}")
    n_warnings = sum(check.status is Status.WARN for check in checks)
    n_failures = sum(check.status is Status.FAIL for check in checks)
    return "\n".join([*lines, "", f"{verdict(checks).name}: {n_failures} failed, {n_warnings} warnings."])
