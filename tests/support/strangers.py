"""Run on a node where a job of alice's runs: prints as JSON what the user who runs it can get at.

Argument: an address of the node, besides its loopback. Standard input: words that are secret. With
RAY_AUTH_TOKEN_PATH set calls show that token, which proves that they would find something.
"""

import http.client
import json
import os
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

PATHS = (
    *("/", "/metrics", "/api/version", "/api/jobs/", "/api/job_agent/jobs/", "/api/serve/applications/", "/nodes"),
    *("/logs", "/api/v0/logs", "/v1/health", "/v1/properties", "/openapi.json", "/docs", "/v1/docs"),
)
# One call or more of each of Ray's services, none of which changes anything.
CALLS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.JobInfoGcsService/GetAllJobInfo",
    "/ray.rpc.ActorInfoGcsService/GetAllActorInfo",
    "/ray.rpc.autoscaler.AutoscalerStateService/GetClusterStatus",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.ReporterService/HealthCheck",
    "/ray.rpc.RayletDriver/ClusterInfo",
)


def listening_ports() -> list[int]:
    """Return the ports that anything on this node listens at."""
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "0A":
                ports.add(int(local.rpartition(":")[2], 16))
    return sorted(ports)


def pages(address: str, port: int) -> dict[str, str]:
    """Return what HTTP answers, by path; not what it refuses."""
    found = {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for path in PATHS:
        try:
            with opener.open(f"http://{address}:{port}{path}", timeout=5) as answer:
                found[path] = answer.read(2000).decode(errors="replace")
        except urllib.error.HTTPError as error:
            if error.code not in (401, 403, 404):
                found[path] = str(error.code)
        except (OSError, http.client.HTTPException):
            break  # not HTTP, or nobody there: the same for every path
    return found


def calls(address: str, port: int) -> dict[str, str]:
    """Return the status of every call that somebody at the port knows."""
    token = os.environ.get("RAY_AUTH_TOKEN_PATH")
    metadata = [("authorization", f"Bearer {Path(token).read_text()}")] if token else None
    found = {}
    with grpc.insecure_channel(f"{address}:{port}") as channel:
        for call in CALLS:
            try:
                channel.unary_unary(call)(b"", timeout=5, metadata=metadata)
                status = "OK"
            except grpc.RpcError as error:
                status = error.code().name
            if status == "UNAVAILABLE" or (status == "DEADLINE_EXCEEDED" and not found):
                break
            if status != "UNIMPLEMENTED":
                found[call] = status
    return found


def leaks(secrets: list[str]) -> list[str]:
    """Return the files and processes in which this user sees a secret."""
    found = []
    places = [path for entry in Path("/proc").glob("[0-9]*") for path in (entry / "cmdline", entry / "environ")]
    for root in ("/tmp", "/dev/shm", "/var/tmp"):
        for directory, _, names in os.walk(root):
            places += [Path(directory) / name for name in names]
    for path in places:
        try:
            content = path.read_bytes()[:1_000_000].decode(errors="replace") if path.is_file() else ""
        except OSError:
            continue
        if any(secret in content for secret in secrets):
            found.append(str(path))
    return found


def main() -> None:
    address, secrets = sys.argv[1], sys.stdin.read().split()
    found: dict[str, dict[str, dict[str, str]]] = {"http": {}, "grpc": {}}
    places = [(host, port) for port in listening_ports() for host in (address, "127.0.0.1")]
    # Most of the time is spent waiting for ports that say nothing.
    with ThreadPoolExecutor(len(places)) as threads:
        shown, called = ([threads.submit(ask, *place) for place in places] for ask in (pages, calls))
    for place, page, call in zip(places, shown, called, strict=True):
        name = "{}:{}".format(*place)
        found["http"][name], found["grpc"][name] = page.result(), call.result()
    print(json.dumps({**found, "leaks": leaks(secrets)}))


main()
