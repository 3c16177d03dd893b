"""Soak the service: ask for minutes while its processes are killed in turn, and compare every value.

Starts the service on a Ray of its own with the embedded model and asks it from several clients at a time: single
predictions, batches, drawings, polymers that were not asked before, and such as are refused. Meanwhile a predictor, a
featurizer and the ingress are killed in turn; ``--swap DIR`` adds rolling updates to the weights in that directory and
back. At the end this process computes every value itself and compares the answers to the last digit.

A failure is an answer other than the expected one, and a connection that is refused or breaks; ``again`` counts
answers 503 with ``Retry-After``, which a client may send again and which are no failures. Each client waits 0.1 s
after either. With ``--url`` it asks a service that runs already, with the key in ``PERIOGT_API_KEY``: nothing is
killed, and values may differ in the last digits.

    .venv/bin/python scripts/soak.py --minutes 3 [--swap DIR] [--json FILE]
    .venv/bin/python scripts/soak.py --minutes 10 --url http://localhost:8000

The exit status is 1 if a value is wrong.
"""

import argparse
import asyncio
import itertools
import json
import math
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from soak_service import KILLED, Disturbance, Disturber, Soaked, Versions, served_name, serving

from periogt_ray import PerioGT
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import PerioGTError
from periogt_ray.polymer.drawing import draw, drawing_problem
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import EMBEDDED_DIR

KNOWN = ["*CC*", "*CC(*)C", "*CC(*)c1ccccc1", "*CC(*)Cl", "*CCO*", "*CC(*)C#N", "*C=C*", "*CC(C)(*)C(=O)OC"]
BAD = "*CC(c1ccccc1"
SHARES = {"single": 60, "new": 12, "batch": 8, "drawing": 14, "refused": 6}
PAUSE_S = 0.1
HEALTH_S = 0.1
MEMORY_S = 5.0
TIMEOUT_S = 60.0
OTHER_PROCESSOR = 1e-5  # relative


class Question(NamedTuple):
    """One request, and the predictions that its answer holds; a blank property is one that is refused."""

    kind: str
    method: str
    path: str
    sent: dict[str, Any]
    items: tuple[tuple[str, str], ...] = ()


class Seen(NamedTuple):
    """A value as it was answered, and the versions of the weights that it may come from."""

    smiles: str
    property_id: str
    versions: frozenset[int]
    value: float


@dataclass
class Record:
    """What came back.

    Attributes
    ----------
    outcomes : Counter of (str, str)
        By kind of question and outcome.
    troubles : list of (float, str)
        When an answer was none, on the monotonic clock, and what was instead.
    times : list of (float, float)
        When a request began, and its seconds, whatever came of it.
    values : Counter of Seen
        Every value, how often.
    drawings : set of (str, str)
        SMILES and SVG.
    health_s : list of float
        Seconds of each answer about health.
    memory : list of dict
        MiB by kind of process, in turn.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    troubles: list[tuple[float, str]] = field(default_factory=list)
    times: list[tuple[float, float]] = field(default_factory=list)
    values: Counter[Seen] = field(default_factory=Counter)
    drawings: set[tuple[str, str]] = field(default_factory=set)
    health_s: list[float] = field(default_factory=list)
    memory: list[dict[str, float]] = field(default_factory=list)

    def note(self, question: Question, outcome: str) -> bool:
        """Count an outcome; return whether the answer was the expected one."""
        self.outcomes[question.kind, outcome] += 1
        if outcome != "ok":
            self.troubles.append((time.monotonic(), outcome))
        return outcome == "ok"


def key_headers(url: str | None) -> dict[str, str]:
    """Return the headers for a service that runs already; one that is started here has no key."""
    key = os.environ.get("PERIOGT_API_KEY") if url else None
    return {"X-Api-Key": key} if key else {}


def main() -> None:
    """Run the soak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long to ask")
    parser.add_argument("--clients", type=int, default=4, help="requests at a time")
    parser.add_argument("--every", type=float, default=20.0, metavar="S", help="seconds from one kill to the next")
    parser.add_argument("--swap", type=Path, metavar="DIR", help="also update to these artifacts, and back, in turn")
    parser.add_argument("--url", help="ask this service, which runs already; it is left as it is")
    parser.add_argument("--artifacts", type=Path, default=EMBEDDED_DIR, help="what is served; default: embedded model")
    parser.add_argument("--seed", type=int, default=0, help="of the order of questions and of who is killed")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    if options.url and options.swap:
        parser.error("--swap updates a service that is started here; leave out --url.")
    directories = [options.artifacts.resolve(), *([options.swap.resolve()] if options.swap else [])]
    ids = property_ids(directories)
    record, versions = Record(), Versions(tuple(directories))
    with ExitStack() as stack:
        soaked = None
        if options.url is None:
            soaked = stack.enter_context(serving(directories[0]))
        elif (name := served_name(options.url, key_headers(options.url))) != (
            expected := ArtifactDirectory.open(directories[0]).name
        ):
            raise SystemExit(f"{options.url} serves {name!r}, but values are compared with {expected!r}: --artifacts.")
        load = os.getloadavg()[0]
        done = asyncio.run(soak(options, soaked, record, versions, ids))
    models = [PerioGT(directory, device="cpu") for directory in directories]
    wrong = wrong_values(record, models, ids, tolerance=OTHER_PROCESSOR if options.url else 0.0)
    figures = {**summary(record, done, wrong), "load_at_start": load, "cpus": os.cpu_count()}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))
    sys.exit(1 if wrong else 0)


def property_ids(directories: Sequence[Path]) -> list[str]:
    """Return the properties of repeat units, which all weights have to have."""
    opened = [ArtifactDirectory.open(directory) for directory in directories]
    ids = [list(one.property_ids(["all"])) for one in opened]
    if any(one != ids[0] for one in ids):
        raise SystemExit(f"The weights of --swap serve {', '.join(ids[1])}; expected {', '.join(ids[0])}.")
    return ids[0]


async def soak(
    options: argparse.Namespace, soaked: Soaked | None, record: Record, versions: Versions, ids: list[str]
) -> list[Disturbance]:
    """Ask until the time is over; return what was done to the service meanwhile."""
    url = options.url or (soaked.url if soaked else "")
    until = time.monotonic() + 60 * options.minutes
    questions = asked(ids, random.Random(options.seed))
    disturber = Disturber(soaked, versions, random.Random(options.seed)) if soaked else None
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    headers = key_headers(options.url)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout, headers=headers) as client:
        work = [ask_in_turn(client, questions, record, versions, until) for _ in range(options.clients)]
        work.append(watch_health(client, record, until))
        if soaked is not None and disturber is not None:
            work += [disturber.run(every_s=options.every, until=until), watch_memory(soaked, record, until)]
        await asyncio.gather(*work)
    return disturber.done if disturber else []


def asked(ids: list[str], chance: random.Random) -> Iterator[Question]:
    """Yield questions of all kinds, by their shares, without end."""
    shares = dict(SHARES) if drawing_problem() is None else {**SHARES, "drawing": 0}
    new = new_polymers(chance)
    while True:
        [kind] = chance.choices(list(shares), list(shares.values()))
        if kind == "drawing":
            yield Question(kind, "GET", "/v1/depict", {"params": {"smiles": chance.choice(KNOWN)}})
        elif kind == "batch":
            items = [(chance.choice(KNOWN), chance.choice(ids)) for _ in range(10)]
            items += [(next(new), chance.choice(ids)), (BAD, "")]
            bodies = [{"smiles": smiles, "property": name or ids[0]} for smiles, name in items]
            yield Question(kind, "POST", "/v1/predict/batch", {"json": {"items": bodies}}, tuple(items))
        else:
            smiles = {"new": lambda: next(new), "refused": lambda: BAD}.get(kind, lambda: chance.choice(KNOWN))()
            name = chance.choice(ids)
            items = [(smiles, "" if kind == "refused" else name)]
            yield Question(kind, "POST", "/v1/predict", {"json": {"smiles": smiles, "property": name}}, tuple(items))


def new_polymers(chance: random.Random) -> Iterator[str]:
    """Yield repeat units, none twice until all 19,683 were had."""
    letters = ["".join(f"C({letter})" for letter in group) for group in itertools.product("CNO", repeat=9)]
    chance.shuffle(letters)
    return (f"*C{chain}C*" for chain in itertools.cycle(letters))


async def ask_in_turn(
    client: aiohttp.ClientSession, questions: Iterator[Question], record: Record, versions: Versions, until: float
) -> None:
    """Ask one question after another."""
    while time.monotonic() < until:
        question = next(questions)
        began = time.monotonic()
        try:
            outcome = await ask(client, question, record, versions)
        except aiohttp.ClientConnectorError:
            outcome = "refused connection"
        except TimeoutError:
            outcome = "no answer"
        except aiohttp.ClientError:
            outcome = "broken connection"
        record.times.append((began, time.monotonic() - began))
        if not record.note(question, outcome):
            await asyncio.sleep(PAUSE_S)


async def ask(client: aiohttp.ClientSession, question: Question, record: Record, versions: Versions) -> str:
    """Send a request and record the values that come back; return the outcome."""
    before = versions.accepted
    async with client.request(question.method, question.path, **question.sent) as answer:
        text = await answer.text()
    if answer.status == 503 and "Retry-After" in answer.headers:
        return "again"
    if answer.status != (422 if question.kind == "refused" else 200):
        return f"status {answer.status}"
    if question.kind == "drawing":
        record.drawings.add((question.sent["params"]["smiles"], text))
        return "ok"
    if question.kind == "refused":
        return "ok"
    body = json.loads(text)
    found = [read(result) for result in body.get("results", [body])]
    for (smiles, name), value in zip(question.items, found, strict=True):
        if isinstance(value, float):
            record.values[Seen(smiles, name, before | versions.accepted, value)] += 1
    refused = {
        value
        for (_, name), value in zip(question.items, found, strict=True)
        if isinstance(value, str) and (name or value != "validation_error")
    }
    return "ok" if not refused else "again" if refused <= {"not_ready", "overloaded"} else f"item {min(refused)}"


def read(result: dict[str, Any]) -> float | str:
    """Return the value of a prediction, or the code of its error."""
    return float(result["prediction"]["value"]) if "prediction" in result else str(result["code"])


async def watch_health(client: aiohttp.ClientSession, record: Record, until: float) -> None:
    """Ask for health at short intervals; answers that do not come are counted by the other clients."""
    while time.monotonic() < until:
        started = time.perf_counter()
        try:
            async with client.get("/v1/health") as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            pass
        else:
            record.health_s.append(time.perf_counter() - started)
        await asyncio.sleep(HEALTH_S)


async def watch_memory(soaked: Soaked, record: Record, until: float) -> None:
    """Note the memory of the service's processes."""
    while time.monotonic() < until:
        record.memory.append(await asyncio.to_thread(soaked.memory_mib))
        await asyncio.sleep(MEMORY_S)


def wrong_values(record: Record, models: list[PerioGT], ids: list[str], *, tolerance: float) -> list[str]:
    """Compute every value in this process, and describe those that were answered otherwise."""
    polymers = sorted({seen.smiles for seen in record.values})
    frames = [model.predict(polymers, ids, wide=True).set_index("smiles") for model in models] if polymers else []
    expected = [{name: dict(frame[name]) for name in ids} for frame in frames]
    wrong = []
    for seen, count in record.values.items():
        right = [expected[version][seen.property_id][seen.smiles] for version in sorted(seen.versions)]
        if not any(math.isclose(seen.value, value, rel_tol=tolerance, abs_tol=0.0) for value in right):
            wrong.append(f"{seen.property_id} of {seen.smiles}: {seen.value} ({count} times), expected {right}")
    for smiles, drawing in sorted(record.drawings):
        try:
            is_right = drawing == draw(RepeatUnit.parse(smiles), theme="light")
        except PerioGTError:
            continue
        if not is_right:
            wrong.append(f"drawing of {smiles}")
    return wrong


def summary(record: Record, done: list[Disturbance], wrong: list[str]) -> dict[str, Any]:
    """Return the figures, by name."""
    n_asked = sum(record.outcomes.values())
    failed = Counter[str]()
    for (_, outcome), count in record.outcomes.items():
        if outcome not in ("ok", "again"):
            failed[outcome] += count
    kinds = dict.fromkeys(event.kind for event in done)
    health = sorted(record.health_s) or [float("nan")]
    return {
        "requests": n_asked,
        "by_kind": dict(Counter(kind for kind, _ in record.outcomes.elements())),
        "again": sum(count for (_, outcome), count in record.outcomes.items() if outcome == "again"),
        "failures": dict(failed),
        "failures_per_million": round(1e6 * failed.total() / max(1, n_asked)),
        "values_compared": record.values.total(),
        "wrong_values": len(wrong),
        "wrong": wrong[:10],
        "disturbances": {kind: recovery(record, done, kind) for kind in kinds},
        "health_ms": {
            "p50": round(1000 * health[len(health) // 2], 1),
            "p99": round(1000 * health[int(0.99 * len(health))], 1),
            "asked": len(record.health_s),
        },
        "memory_mib": memory_growth(record.memory),
    }


def recovery(record: Record, done: list[Disturbance], kind: str) -> list[dict[str, float | None]]:
    """Return what each disturbance of a kind cost, seconds from its begin.

    ``failures_end_s`` is the last failure, ``disturbed_s`` the last answer that was none, ``slowest_s`` the longest
    that a client waited, all before the next disturbance; ``replaced_s`` is when the new process was there.
    """
    found = []
    for event, after in itertools.zip_longest(done, done[1:]):
        if event.kind != kind:
            continue
        end = after.began if after else float("inf")
        during = [(at - event.began, what) for at, what in record.troubles if event.began <= at < end]
        failures = [at for at, what in during if what != "again"]
        slowest = max(
            (seconds for at, seconds in record.times if at < end and at + seconds >= event.began), default=0.0
        )
        replaced = event.replaced - event.began
        found.append(
            {
                "failures": len(failures),
                "failures_end_s": round(max(failures, default=0.0), 2),
                "disturbed_s": round(max((at for at, _ in during), default=0.0), 2),
                "slowest_s": round(slowest, 2),
                "replaced_s": round(replaced, 2) if math.isfinite(replaced) else None,
            }
        )
    return found


def memory_growth(samples: list[dict[str, float]]) -> dict[str, Any]:
    """Return the median memory in the first and the last third of the time, by kind of process."""
    third = max(1, len(samples) // 3)
    return {
        kind: {
            "first": round(_median([sample[kind] for sample in samples[:third]])),
            "last": round(_median([sample[kind] for sample in samples[-third:]])),
        }
        for kind in (*KILLED, "Ray")
        if samples
    }


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    main()
