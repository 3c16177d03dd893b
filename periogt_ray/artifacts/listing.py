"""What a model serves, as a table for people."""

from collections.abc import Sequence

from periogt_ray.schemas import PropertiesResponse

__all__ = ["property_table"]


def property_table(listed: PropertiesResponse) -> str:
    """Return the properties that are served, and below them those that are not, with the reason.

    Parameters
    ----------
    listed : PropertiesResponse
        As /v1/properties answers.
    """
    served = [(entry.id, entry.label, entry.units) for entry in listed.properties]
    lines = [f"{listed.artifacts}: {listed.description}", "", *_aligned([("id", "property", "unit"), *served])]
    if listed.unsupported:
        refused = [(entry.id, entry.label, entry.reason) for entry in listed.unsupported]
        lines += ["", "Not served:", "", *_aligned([("id", "property", "reason"), *refused])]
    return "\n".join(lines)


def _aligned(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return [f"{first:{widths[0]}}  {second:{widths[1]}}  {last}".rstrip() for first, second, last in rows]
