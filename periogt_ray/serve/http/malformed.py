"""What is wrong with a request that does not have the form of its route, and what to write instead."""

from email.message import Message
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from periogt_ray.errors import ValidationError

__all__ = ["malformed_request", "with_plus_hint"]

_MAX_PROBLEMS = 20
_MAX_FIELD_LENGTH = 100  # characters of a field's name that are repeated
_BAD_ESCAPE = "Invalid \\escape"  # of Python's json


def malformed_request(request: Request, error: RequestValidationError) -> ValidationError:
    """Describe a request that was refused before its route ran.

    Parameters
    ----------
    request : Request
        What was sent.
    error : RequestValidationError
        What FastAPI found. Its input is not repeated: it may be large, or hold what JSON cannot.

    Returns
    -------
    ValidationError
        ``details["problems"]`` lists the fields.
    """
    problems = [_problem(one) for one in error.errors()[:_MAX_PROBLEMS]]
    hint = _body_hint(request, error.errors()[0])
    if hint is not None:
        return ValidationError(hint, {"problems": problems})
    named = "; ".join(f"{problem['field']}: {problem['problem']}" for problem in problems[:3])
    return ValidationError(f"Invalid request: {named}. See /docs.", {"problems": problems})


def with_plus_hint(error: ValidationError, query: str) -> ValidationError:
    """Return the error of a SMILES in a query, which says so where a ``+`` has become a blank on the way."""
    if "+" not in query:
        return error
    hint = "In an address a + stands for a blank: write %2B for +, as curl does with -G --data-urlencode 'smiles=...'."
    return ValidationError(f"{error.message} {hint}", error.details)


def _problem(found: dict[str, Any]) -> dict[str, str]:
    field = ".".join(str(part) for part in found["loc"])[:_MAX_FIELD_LENGTH]
    reason = found.get("ctx", {}).get("error") if found["type"] == "json_invalid" else None
    return {"field": field, "problem": f"{found['msg']}: {reason}" if reason else found["msg"]}


def _body_hint(request: Request, first: dict[str, Any]) -> str | None:
    """Return what to change where the body as a whole cannot be read."""
    if first["type"] == "json_invalid":
        return _json_hint(first)
    # FastAPI leaves a body of another type as it is, and then finds no object.
    if first["loc"] != ("body",) or first["type"] == "missing" or _is_json(request):
        return None
    given = request.headers.get("Content-Type")
    found = f"The Content-Type is {given[:_MAX_FIELD_LENGTH]!r}" if given else "The request has no Content-Type"
    return f"{found}; expected application/json. With curl, add -H 'Content-Type: application/json'."


def _json_hint(found: dict[str, Any]) -> str:
    reason, position = found["ctx"]["error"], found["loc"][-1]
    text = f"The body is not JSON: {reason} at character {position}."
    if reason.startswith(_BAD_ESCAPE):
        text += r' In JSON write \\ for one backslash, for example {"smiles": "*C\\C=C\\C*"}.'
    return text


def _is_json(request: Request) -> bool:
    """Whether the Content-Type says JSON, by FastAPI's rule."""
    message = Message()
    message["content-type"] = request.headers.get("Content-Type", "")
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))
