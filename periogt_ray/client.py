"""The Python API over HTTP: the methods of :class:`~periogt_ray.predict.PerioGT`, answered by a running service."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import httpx
import numpy as np

from periogt_ray import errors
from periogt_ray.artifacts.properties import ALIASES
from periogt_ray.errors import (
    InternalError,
    NotReadyError,
    PerioGTError,
    SettingsError,
    UnsupportedPropertyError,
    ValidationError,
)
from periogt_ray.model.explanation import Explanation, checked_passes
from periogt_ray.model.intervals import DEFAULT_LEVEL
from periogt_ray.polymer.given import AnyInput, given_kind
from periogt_ray.polymer.input_kinds import INPUT_COLUMNS, InputKind
from periogt_ray.predict import inputs_of, texts_of
from periogt_ray.runtime.network import is_loopback
from periogt_ray.schemas import MAX_ITEMS, PropertyCard
from periogt_ray.tables.predictions import ROW_ERRORS, Answer, OutputLayout, Prediction, RowFailure

if TYPE_CHECKING:
    import pandas as pd

    from periogt_ray.predict import OnError

__all__ = ["PerioGTClient"]

logger = logging.getLogger(__name__)

_CLASSES = {
    found.code: found
    for found in (getattr(errors, name) for name in errors.__all__)
    if found not in (errors.PerioGTError, errors.SettingsError, errors.DrawingUnavailableError)
}
_RETRYABLE = frozenset({"overloaded", "not_ready"})
_REACHABLE_AFTER_S = 20.0  # a service that starts again, or a tunnel that is opened; else the address is wrong
_PAUSE_S = 2.0  # where the service does not say how long
_T = TypeVar("_T")


class PerioGTClient:
    """A service that runs elsewhere, or behind a tunnel.

    Long inputs are sent in requests of 100 polymers, some at a time. What the service refuses because it is busy or
    still loading is sent again.

    Parameters
    ----------
    url : str
        Address of the service, for example ``http://localhost:8000``.
    api_key : str, optional
        Where the service wants one.
    timeout_s : float
        Seconds to wait for the answer to one request.
    patience_s : float
        Seconds for which a request is sent again while the service is busy or loading; while nothing answers at the
        address, 20 at most.
    n_connections : int
        Requests at a time.

    Examples
    --------
    >>> client = PerioGTClient("http://localhost:8000")  # doctest: +SKIP
    >>> client.predict(["*CC*"], ["egc", "nc"], wide=True)  # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        patience_s: float = 300.0,
        n_connections: int = 4,
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise SettingsError(f"The address of the service is {url!r}; expected one such as http://localhost:8000.")
        # A proxy does not know what this machine calls localhost.
        is_here = is_loopback(urlsplit(url).hostname or "")
        headers = {} if api_key is None else {"X-Api-Key": api_key}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, trust_env=not is_here)
        self._url = url
        self._patience_s = patience_s
        self._n_connections = n_connections

    def __repr__(self) -> str:
        return f"PerioGTClient({self._url!r})"

    def __enter__(self) -> "PerioGTClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @property
    def properties(self) -> dict[str, PropertyCard]:
        """What the service serves, as :attr:`PerioGT.properties <periogt_ray.predict.PerioGT.properties>`."""
        return {card.id: card for card in self._ask("GET", "/v1/model", _cards)}

    def predict(
        self,
        smiles: AnyInput | Sequence[AnyInput],
        properties: str | Sequence[str] = "all",
        *,
        level: float = 0.9,
        wide: bool = False,
        on_error: "OnError" = "row",
    ) -> "pd.DataFrame":
        """Predict properties of polymers; as :meth:`PerioGT.predict <periogt_ray.predict.PerioGT.predict>`.

        Raises
        ------
        UnsupportedPropertyError
            If a property is not served.
        PerioGTError
            If the service does not answer or refuses the key; with ``raise``, the first error of a polymer.
        """
        inputs = inputs_of(smiles, on_error=on_error)
        kind = given_kind(inputs)
        ids = self._ids([properties] if isinstance(properties, str) else properties, kind)
        bodies = [{name: value for name, value in given.body.items() if value is not None} for given in inputs]
        # A service of an earlier version does not know the field.
        chosen: dict[str, Any] = {} if level == DEFAULT_LEVEL else {"level": level}
        items = [{**body, "property": name, **chosen} for body in bodies for name in ids]
        parts = [items[start : start + MAX_ITEMS] for start in range(0, len(items), MAX_ITEMS)]
        with ThreadPoolExecutor(self._n_connections) as pool:
            sent = pool.map(partial(self._predicted, on_error=on_error), parts)
            answers = iter([answer for part in sent for answer in part])
        layout = OutputLayout(ids, is_wide=wide, inputs=INPUT_COLUMNS[kind])
        rows: list[Sequence[Any]] = []
        for number, given in enumerate(inputs):
            rows += layout.rows(str(number), given.cells[0], [next(answers) for _ in ids], others=given.cells[1:])
        return layout.frame(rows)

    def embed(self, smiles: str | Sequence[str], *, on_error: "OnError" = "row") -> np.ndarray:
        """Return what the encoder makes of polymers; as :meth:`PerioGT.embed <periogt_ray.predict.PerioGT.embed>`.

        Returns
        -------
        numpy.ndarray
            float32 [polymers, 3D]; a polymer that has none is a row of NaN, unless ``on_error`` is ``raise``. If no
            polymer has one, [polymers, 0].
        """
        texts = texts_of(smiles, on_error=on_error)
        with ThreadPoolExecutor(self._n_connections) as pool:
            found = list(pool.map(partial(self._embedding, on_error=on_error), texts))
        length = next((len(one) for one in found if one is not None), 0)
        return np.array([[np.nan] * length if one is None else one for one in found], np.float32).reshape(
            len(texts), length
        )

    def explain(self, smiles: str, property_id: str, *, passes: int | None = None) -> Explanation:
        """Explain a prediction; as :meth:`PerioGT.explain <periogt_ray.predict.PerioGT.explain>`.

        Raises
        ------
        PerioGTError
            As for :meth:`predict` with ``raise``; RequestTimeoutError where the service's time limit was too short.
        """
        n_passes = checked_passes(smiles, property_id, passes)
        chosen = {} if n_passes is None else {"passes": n_passes}
        body = {"smiles": smiles, "property": property_id, **chosen}
        return self._ask("POST", "/v1/explain", Explanation.from_dict, body)

    def _ids(self, properties: Sequence[str], kind: InputKind) -> tuple[str, ...]:
        served = self.properties
        names = list(dict.fromkeys(name.strip() for text in properties for name in text.split(",") if name.strip()))
        if names == ["all"]:
            return tuple(name for name, card in served.items() if card.input is kind)
        ids = tuple(dict.fromkeys(name if name in served else ALIASES.get(name, name) for name in names))
        if not ids:
            raise ValidationError("No property was given; expected ids such as eps,tg, or all.")
        for name in ids:
            if name not in served:
                raise UnsupportedPropertyError(
                    f"property {name!r} is not served by {self._url}; supported: {', '.join(served) or 'none'}.",
                    {"property": name, "supported": list(served)},
                )
        return ids

    def _predicted(self, items: Sequence[dict[str, Any]], *, on_error: "OnError") -> list[Answer]:
        """Return the answers to items; items that the service refused because it was busy are sent again."""
        answers: dict[int, Answer] = {}
        waiting = list(range(len(items)))
        for _ in self._turns():
            body = {"items": [items[i] for i in waiting]}
            results = self._ask("POST", "/v1/predict/batch", _answers, body)
            if len(results) != len(waiting):
                raise InternalError(f"{self._url} answered {len(results)} of {len(waiting)} polymers.")
            answers |= zip(waiting, results, strict=True)
            waiting = [i for i in waiting if _is_refused(answers[i])]
            if not waiting:
                break
        if on_error == "raise" or waiting:
            failed = next((answer for answer in answers.values() if isinstance(answer, RowFailure)), None)
            if failed is not None:
                raise _error(failed.code, failed.message, {})
        return [answers[i] for i in range(len(items))]

    def _embedding(self, smiles: str, *, on_error: "OnError") -> list[float] | None:
        try:
            return self._ask("POST", "/v1/embeddings", _vector, {"smiles": smiles})
        except ROW_ERRORS:
            if on_error == "raise":
                raise
            return None

    def _turns(self) -> Iterator[None]:
        """Yield at once and then after pauses, until patience is over."""
        deadline = time.monotonic() + self._patience_s
        yield
        while time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
            yield

    def _ask(self, method: str, path: str, read: Callable[[Any], _T], body: Any = None) -> _T:
        """Send a request, again while the service is busy, and return what is read from the JSON of its answer.

        Raises
        ------
        PerioGTError
            The error that the service answers; NotReadyError if nothing answers.
        """
        began = time.monotonic()
        is_first = True
        while True:
            patience_s = self._patience_s
            pause_s = _PAUSE_S
            try:
                answer = self._http.request(method, path, json=body)
            except httpx.RequestError as error:
                problem: PerioGTError = NotReadyError(
                    f"No answer from {self._url} ({error or type(error).__name__}). Check the address, that the "
                    "service runs, and the SSH tunnel."
                )
                patience_s = min(patience_s, _REACHABLE_AFTER_S)
            else:
                if answer.is_success:
                    try:
                        return read(answer.json())
                    except (ValueError, KeyError, TypeError) as error:
                        raise _not_ours(answer) from error
                problem = _refusal(answer)
                if problem.code not in _RETRYABLE:
                    raise problem
                pause_s = _pause_s(answer)
            if time.monotonic() + pause_s > began + patience_s:
                raise problem
            if is_first:
                logger.warning("%s Trying again for up to %.0f s.", problem.message, patience_s)
            is_first = False
            time.sleep(pause_s)


def _cards(document: Any) -> list[PropertyCard]:
    # A newer service may tell more.
    return [PropertyCard.model_validate(card, extra="ignore") for card in document["properties"]]


def _answers(document: Any) -> list[Answer]:
    return [_answer(result) for result in document["results"]]


def _answer(result: dict[str, Any]) -> Answer:
    if "code" in result:
        return RowFailure(str(result["code"]), str(result["message"]))
    found = result["prediction"]
    bounds, domain = result.get("interval"), result.get("domain")
    return Prediction(
        float(found["value"]),
        str(found["units"]),
        tuple(result.get("warnings") or ()),
        None if bounds is None else (float(bounds["lower"]), float(bounds["upper"])),
        "" if domain is None else str(domain["status"]),
    )


def _vector(document: Any) -> list[float]:
    return [float(value) for value in document["embedding"]]


def _pause_s(answer: httpx.Response) -> float:
    """Return the seconds of Retry-After; without a number of seconds, the default pause."""
    try:
        given = float(answer.headers["Retry-After"])
    except (KeyError, ValueError):
        return _PAUSE_S
    return max(given, _PAUSE_S / 10) if math.isfinite(given) else _PAUSE_S


def _is_refused(answer: Answer) -> bool:
    return isinstance(answer, RowFailure) and answer.code in _RETRYABLE


def _refusal(answer: httpx.Response) -> PerioGTError:
    """Return the error of an answer; what is not JSON comes from something between."""
    try:
        body = answer.json()["error"]
        return _error(body["code"], body["message"], body["details"])
    except (ValueError, KeyError, TypeError):
        return _not_ours(answer)


def _not_ours(answer: httpx.Response) -> InternalError:
    return InternalError(
        f"{answer.request.url} answered {answer.status_code} without an error or a result of PerioGT; is it the "
        "service's address?"
    )


def _error(code: str, message: str, details: dict[str, Any]) -> PerioGTError:
    return _CLASSES.get(code, InternalError)(message, details)
