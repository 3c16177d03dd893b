"""Measure the service: requests per second, latency and batch sizes, beside plain uvicorn.

Starts ``periogt serve``, and then the same routes and the same predictor behind plain uvicorn (one
process, no batching, no Ray), asks both the same at 1, 8 and 64 concurrent clients, and prints one
table. Polymers are asked before the measurement, so that features come from the cache: what is
measured is the way to the network and through it. ``--distinct`` asks new polymers instead, so that
featurization counts. Everything stays on 127.0.0.1.

``--in-turn N`` runs them beside each other and lets one client ask each of them in turn, N times: on a machine that
others use, too, only such a comparison tells anything. ``--against DIR`` adds the service of another worktree.

    .venv/bin/python scripts/bench_serve.py [--requests 2000] [--distinct] [--json FILE]
    .venv/bin/python scripts/bench_serve.py --in-turn 500 [--against DIR]
"""

import argparse
import asyncio
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx

LEVELS = (1, 8, 64)
SERVICE = [sys.executable, "-m", "periogt_ray", "serve"]
PLAIN = [sys.executable, __file__, "--plain", "PORT"]
NEW_POLYMERS = 2000  # of each number of clients; more would be asked twice
WARM_UP = 30  # requests to each server before those that count
START_S = 600.0
POLYMERS = ["*CC*", "*CC(*)C", "*CC(*)c1ccccc1", "*CC(*)Cl", "*CCO*", "*CC(*)C#N", "*C=C*", "*CC(C)(*)C(=O)OC"]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000, help="requests at 64 clients; fewer at fewer clients")
    parser.add_argument("--distinct", action="store_true", help="ask new polymers, whose features are not cached")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--in-turn", type=int, metavar="N", help="one client asks each server in turn, N times")
    parser.add_argument("--against", type=Path, metavar="DIR", help="with --in-turn: another worktree of this package")
    parser.add_argument("--plain", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--watch", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        watch_health(options.watch)
        return
    if options.plain:
        serve_plainly(options.plain)
        return
    if options.distinct and options.requests > NEW_POLYMERS:
        parser.error(f"--distinct asks at most {NEW_POLYMERS} new polymers, --requests is {options.requests}.")
    if options.in_turn:
        compare_in_turn(options.in_turn, options.against)
        return
    rows = [
        row
        for name, command in (("ray serve", SERVICE), ("uvicorn", PLAIN))
        for row in measured(name, command, n_requests=options.requests, is_distinct=options.distinct)
    ]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    print_table(rows)


def serve_plainly(port: int) -> None:
    """Serve the same routes with the same predictor in this process alone."""
    import uvicorn

    from periogt_ray.artifacts.directory import ArtifactDirectory
    from periogt_ray.errors import PerioGTError, RequestTimeoutError
    from periogt_ray.model.predictor import Predictor
    from periogt_ray.polymer.drawing import Theme, draw
    from periogt_ray.polymer.features import FeaturizedPolymer, featurize
    from periogt_ray.polymer.prompt_scheme import PromptScheme
    from periogt_ray.polymer.repeat_unit import RepeatUnit
    from periogt_ray.serve.calls import ExplainCall, ExplainReply, PredictCall, PredictReply
    from periogt_ray.serve.explaining import ExplanationRunner
    from periogt_ray.serve.http.routes import create_api
    from periogt_ray.serve.service import Service, Status
    from periogt_ray.settings import Settings

    settings = Settings.from_env(os.environ)
    predictor = Predictor.load(settings)

    class Here:
        async def parse(self, smiles: str) -> RepeatUnit:
            return RepeatUnit.parse(smiles)

        async def draw(self, unit: RepeatUnit, theme: Theme) -> str:
            return await asyncio.to_thread(draw, unit, theme=theme)

        async def featurize(self, unit: RepeatUnit, scheme: PromptScheme, *, deadline: float) -> FeaturizedPolymer:
            if time.time() >= deadline:
                raise RequestTimeoutError("The request's deadline passed before its work began.")
            return await asyncio.to_thread(featurize, unit, scheme, engine=settings.descriptor_engine)

        async def predict(self, call: PredictCall) -> PredictReply:
            started = time.perf_counter()
            outcomes = await asyncio.to_thread(predictor.predict_many, call.tasks)
            return PredictReply(tuple(outcomes), 1, 0.0, time.perf_counter() - started)

        async def explain(self, call: ExplainCall) -> ExplainReply:
            reply = await ExplanationRunner(predictor, asyncio.Lock()).explain(call)
            if isinstance(reply, PerioGTError):
                raise reply
            return reply

    class Unrecorded:
        def request(self, *_: Any) -> None: ...
        def stage(self, *_: Any) -> None: ...
        def batch(self, *_: Any) -> None: ...
        def cache(self, **_: Any) -> None: ...

    service = Service(settings, Here(), Unrecorded())
    service.artifacts = ArtifactDirectory.of_settings(settings)
    service.become(Status.READY)
    uvicorn.run(create_api(service, settings), host="127.0.0.1", port=port, log_level="warning")


def measured(name: str, command: list[str], *, n_requests: int, is_distinct: bool) -> Iterator[dict[str, Any]]:
    """Yield the figures of one server, a level of concurrency each."""
    with tempfile.TemporaryDirectory() as folder, running(command, Path(folder) / "log") as (url, log):
        for n_clients in LEVELS:
            count = max(20, n_requests * n_clients // LEVELS[-1])
            prefix = f"bench-{n_clients}-"
            seconds, times, health, errors = asyncio.run(load(url, n_clients, count, prefix, is_distinct=is_distinct))
            yield {
                "server": name,
                "clients": n_clients,
                "requests": count,
                "errors": errors,
                "rps": count / seconds,
                "p50_ms": 1000 * statistics.median(times),
                "p99_ms": 1000 * quantile(times, 0.99),
                "health_p50_ms": 1000 * statistics.median(health),
                "health_p99_ms": 1000 * quantile(health, 0.99),
                "mean_batch": mean_batch(log.read_text(), prefix),
            }


def compare_in_turn(n_requests: int, against: Path | None) -> None:
    """Print the seconds of one client's requests to servers that run beside each other, and their ratio."""
    servers: dict[str, tuple[list[str], dict[str, str]]] = {"uvicorn": (PLAIN, {}), "ray serve": (SERVICE, {})}
    if against is not None:
        servers[against.name] = (SERVICE, {"PYTHONPATH": str(against.resolve())})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = {
            name: stack.enter_context(running(command, folder / f"log-{number}", **variables))[0]
            for number, (name, (command, variables)) in enumerate(servers.items())
        }
        times = asyncio.run(asked_in_turn(urls, n_requests))
        load = os.getloadavg()[0]
    print(f"load {load:.1f} on {os.cpu_count()} CPUs")
    print(f"{'server':20} {'p25 ms':>8} {'p50 ms':>8} {'p90 ms':>8} {'ratio':>6}")
    for name, seconds in times.items():
        ratio = statistics.median(one / plain for one, plain in zip(seconds, times["uvicorn"], strict=True))
        figures = " ".join(f"{1000 * quantile(seconds, share):8.1f}" for share in (0.25, 0.5, 0.9))
        print(f"{name:20} {figures} {ratio:6.2f}")


def first_of_units(listed: dict[str, Any]) -> str:
    """Return the first property that is predicted of a repeat unit."""
    return next(str(one["id"]) for one in listed["properties"] if one.get("input", "homopolymer") == "homopolymer")


async def asked_in_turn(urls: dict[str, str], n_requests: int) -> dict[str, list[float]]:
    """Ask each server for one polymer after another, in turn; return the seconds of each request."""
    times: dict[str, list[float]] = {name: [] for name in urls}
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{next(iter(urls.values()))}/v1/properties") as answer:
            property_id = first_of_units(await answer.json())
        for number in range(-WARM_UP, n_requests):
            body = {"smiles": POLYMERS[number % len(POLYMERS)], "property": property_id}
            for name, url in urls.items():
                started = time.perf_counter()
                async with client.post(f"{url}/v1/predict", json=body) as answer:
                    answer.raise_for_status()
                    await answer.read()
                if number >= 0:
                    times[name].append(time.perf_counter() - started)
    return times


@contextmanager
def running(command: list[str], log: Path, **variables: str) -> Iterator[tuple[str, Path]]:
    """Run a server on a free port until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "PERIOGT_HOST": "127.0.0.1", "PERIOGT_PORT": str(port), **variables}
    environment.pop("PERIOGT_API_KEY", None)
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(port) if part == "PORT" else part for part in command], stdout=output, stderr=output, env=environment
        )
    try:
        deadline = time.monotonic() + START_S
        while not is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.5)
        yield url, log
    finally:
        process.terminate()
        process.wait(120)


def is_ready(url: str) -> bool:
    """Whether the model can answer."""
    try:
        return bool(httpx.get(f"{url}/v1/health", timeout=5).json()["model_loaded"])
    except (httpx.HTTPError, ValueError, KeyError):
        return False


async def load(
    url: str, n_clients: int, count: int, prefix: str, *, is_distinct: bool
) -> tuple[float, list[float], list[float], int]:
    """Ask from several clients, each one request after another, health at the same time.

    The clients are aiohttp's, because httpx takes more of a core for 64 of them than the service
    does; health is asked by a process of its own, whose clock no client holds up.

    Returns
    -------
    tuple
        Seconds in all, seconds of each request, seconds of each health request, number of errors.
    """
    times: list[float] = []
    n_errors = 0
    numbers = iter(range(count))
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as client:
        async with client.get("/v1/properties") as answer:
            property_id = first_of_units(await answer.json())

        async def ask(smiles: str, request_id: str) -> int:
            body = {"smiles": smiles, "property": property_id}
            async with client.post("/v1/predict", json=body, headers={"X-Request-ID": request_id}) as answer:
                await answer.read()
                return answer.status

        for smiles in POLYMERS:
            await ask(smiles, "first")

        async def one_client() -> None:
            nonlocal n_errors
            for number in numbers:
                smiles = new_polymer(n_clients, number) if is_distinct else POLYMERS[number % len(POLYMERS)]
                started = time.perf_counter()
                status = await ask(smiles, f"{prefix}{number}")
                times.append(time.perf_counter() - started)
                n_errors += status != 200

        with watched_health(url) as health:
            started = time.perf_counter()
            await asyncio.gather(*(one_client() for _ in range(n_clients)))
            seconds = time.perf_counter() - started
    return seconds, times, health or [float("nan")], n_errors


@contextmanager
def watched_health(url: str) -> Iterator[list[float]]:
    """Ask for health from another process while the block runs; the list is filled at its end."""
    health: list[float] = []
    command = [sys.executable, __file__, "--watch", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        watcher.stdout.readline()  # it has begun
        try:
            yield health
        finally:
            health += json.loads(watcher.communicate()[0])


def watch_health(url: str) -> None:
    """Ask for health until the standard input ends, then print the seconds of each request."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    seconds = []
    with httpx.Client(base_url=url, timeout=600) as client:
        client.get("/v1/health")
        print(flush=True)
        while not ended.wait(0.03):
            started = time.perf_counter()
            client.get("/v1/health").raise_for_status()
            seconds.append(time.perf_counter() - started)
    print(json.dumps(seconds))


def new_polymer(n_clients: int, number: int) -> str:
    """Return a polymer that was not asked before."""
    groups = itertools.product("CNO", repeat=8)
    letters = next(itertools.islice(groups, (LEVELS.index(n_clients) * NEW_POLYMERS + number) % 6561, None))
    # Its ends differ, or it would be the same polymer as one that is written from the other end.
    return "*N" + "".join(f"C({letter})" for letter in letters) + "C*"


def mean_batch(log: str, prefix: str) -> float | None:
    """Return the mean number of requests in a forward pass; each of b requests is 1/b of a pass."""
    sizes = []
    for line in log.splitlines():
        if f'{{"request_id": "{prefix}' in line:
            record = json.loads(line[line.index("{") :])
            sizes.append(record["batch_size"])
    sizes = [size for size in sizes if size]
    return len(sizes) / sum(1 / size for size in sizes) if sizes else None


def quantile(values: list[float], share: float) -> float:
    """Return a quantile, the nearest value above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print the figures."""
    print(
        f"{'server':10} {'clients':>7} {'req/s':>7} {'p50 ms':>8} {'p99 ms':>8} {'health p50/p99 ms':>18} {'batch':>6}"
    )
    for row in rows:
        batch = "-" if row["mean_batch"] is None else f"{row['mean_batch']:.1f}"
        health = f"{row['health_p50_ms']:.0f}/{row['health_p99_ms']:.0f}"
        print(
            f"{row['server']:10} {row['clients']:7d} {row['rps']:7.1f} {row['p50_ms']:8.1f} {row['p99_ms']:8.1f} "
            f"{health:>18} {batch:>6}" + (f"   {row['errors']} errors" if row["errors"] else "")
        )


if __name__ == "__main__":
    main()
