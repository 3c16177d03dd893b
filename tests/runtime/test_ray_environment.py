"""What Ray is told; that it obeys is tested with a real one."""

from pathlib import Path

import pytest

from periogt_ray.runtime.ray_environment import (
    environment_of_cluster,
    environment_to_connect,
    environment_to_start,
    object_store_size,
    write_token,
)

GIB = 1 << 30
TOKEN = Path("/private/token")


def test_a_token_is_private_and_never_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_token(tmp_path / name)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()
    assert len((tmp_path / "a").read_text()) == 64


def test_our_own_ray_has_its_own_token_and_forgets_another_ray() -> None:
    found = environment_to_start(TOKEN)
    assert (found["RAY_AUTH_MODE"], found["RAY_AUTH_TOKEN_PATH"]) == ("token", str(TOKEN))
    assert (found["RAY_AUTH_TOKEN"], found["RAY_ADDRESS"]) == (None, None)


@pytest.mark.parametrize(
    ("env", "has_default", "mode"),
    [
        ({}, False, None),
        ({}, True, "token"),
        ({"RAY_AUTH_TOKEN": "x"}, False, "token"),
        ({"RAY_AUTH_TOKEN_PATH": "/x"}, False, "token"),
        ({"RAY_AUTH_TOKEN_PATH": "/x", "RAY_AUTH_MODE": "disabled"}, True, "disabled"),
    ],
)
def test_a_token_that_is_there_is_shown(
    env: dict[str, str], has_default: bool, mode: str | None, tmp_path: Path
) -> None:
    if has_default:
        (tmp_path / "auth_token").touch()
    found = environment_to_connect(env, default_token=tmp_path / "auth_token")
    assert found["RAY_AUTH_MODE"] == mode
    assert found["RAY_AUTH_TOKEN_PATH"] == env.get("RAY_AUTH_TOKEN_PATH")


def test_every_ray_is_told_the_same_of_what_concerns_every_ray() -> None:
    start = environment_to_start(TOKEN)
    connect = environment_to_connect({}, default_token=TOKEN)
    cluster = environment_of_cluster({"HOME": "/h"}, token_file=TOKEN, scratch_dir=Path("/scratch"))
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_worker_niceness", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        assert start[name] == connect[name] == cluster[name] == "0"
    assert (cluster["HOME"], cluster["TMPDIR"]) == ("/h", "/scratch")


@pytest.mark.parametrize(
    ("memory", "shared", "found"),
    [
        (16 * GIB, 64 * GIB, 16 * GIB // 10),
        (512 * GIB, 64 * GIB, 4 * GIB),
        (16 * GIB, 2 * GIB, GIB),
        (GIB, 64 * GIB, 128 << 20),
        (16 * GIB, 64 << 20, 128 << 20),
    ],
)
def test_size_of_the_object_store(memory: int, shared: int, found: int) -> None:
    assert object_store_size(memory, shared_memory_bytes=shared, least_bytes=128 << 20) == found
