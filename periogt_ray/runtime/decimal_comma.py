"""Numbers as some spreadsheets write them, with a comma as decimal sign."""

import re

__all__ = ["decimal_comma_hint"]

_WITH_COMMA = re.compile(r"\s*[+-]?(\d+|\d{1,3}(\.\d{3})+)?,\d+([eE][+-]?\d+)?\s*")


def decimal_comma_hint(text: str) -> str:
    """Return what to do about a number with a decimal comma, as a sentence behind an error; empty for another text.

    Examples
    --------
    >>> decimal_comma_hint("0,5")
    ' It has a decimal comma: write 0.5, or save the table with decimal points (spreadsheets: English number format).'
    >>> decimal_comma_hint("half")
    ''
    """
    if not _WITH_COMMA.fullmatch(text):
        return ""
    point = text.strip().replace(".", "").replace(",", ".")
    return (
        f" It has a decimal comma: write {point[:40]}, or save the table with decimal points (spreadsheets: English "
        "number format)."
    )
