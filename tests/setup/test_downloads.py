"""Downloads against a server that behaves in every way that servers do."""

import contextlib
import dataclasses
import gzip
import logging
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from periogt_ray.artifacts.statistics import LabelStats
from periogt_ray.errors import CheckpointMissingError, ChecksumMismatchError, SettingsError
from periogt_ray.runtime.network import is_reachable
from periogt_ray.setup.downloads import download, make_client, require_network, verify_file
from periogt_ray.setup.published import PublishedFile, load_published, load_statistics, mirrored
from support.published_site import QUICK, Behaviour, Site
from support.terminal import Terminal

CONTENT = bytes(range(256)) * 2000
NAME = "pretrained_ckpt.zip"
PATH = f"/files/{NAME}"


@pytest.fixture
def file(publish: Callable[[Mapping[str, bytes]], tuple[PublishedFile, ...]]) -> PublishedFile:
    """A published file of 512 kB."""
    return publish({NAME: CONTENT})[0]


def fetch(file: PublishedFile, directory: Path, mirror: str | None = None) -> Path:
    """Download with little patience."""
    with make_client(QUICK) as client:
        return download(file, directory, client=client, policy=QUICK, mirror=mirror)


def test_a_file_gets_its_name_when_it_is_verified(file: PublishedFile, tmp_path: Path) -> None:
    path = fetch(file, tmp_path / "d")
    assert path.read_bytes() == CONTENT
    assert list((tmp_path / "d").iterdir()) == [path]


def test_what_is_there_is_not_fetched_again(file: PublishedFile, site: Site, tmp_path: Path) -> None:
    fetch(file, tmp_path)
    fetch(file, tmp_path)
    assert site.count(NAME) == 1


def test_slow(file: PublishedFile, site: Site, tmp_path: Path) -> None:
    site.behaviours[PATH] = Behaviour(CONTENT, chunk_bytes=32_000, pause_s=0.02)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert site.count(NAME) == 1


def test_cut_in_mid_file_goes_on_where_it_stopped(file: PublishedFile, site: Site, tmp_path: Path) -> None:
    site.behaviours[PATH] = Behaviour(CONTENT, cut_first=3, cut_after=100_000)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert [request.range for request in site.requests] == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]


def test_progress_renews_the_patience(file: PublishedFile, site: Site, tmp_path: Path) -> None:
    site.behaviours[PATH] = Behaviour(CONTENT, cut_first=25, cut_after=20_000)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert site.count(NAME) == 26


def test_a_server_that_never_gets_further_is_given_up(file: PublishedFile, site: Site, tmp_path: Path) -> None:
    site.behaviours[PATH] = Behaviour(CONTENT, cut_first=1000, cut_after=20_000, ignore_range=True)
    with pytest.raises(CheckpointMissingError, match=r"was cut.*tried 6 times.*--from-dir"):
        fetch(file, tmp_path)


def test_ignoring_range_starts_anew(file: PublishedFile, site: Site, tmp_path: Path) -> None:
    site.behaviours[PATH] = Behaviour(CONTENT, cut_first=1, cut_after=100_000, ignore_range=True)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert site.requests[1].range == "bytes=100000-"


def test_a_later_run_goes_on(file: PublishedFile, site: Site, tmp_path: Path) -> None:
    site.behaviours[PATH] = Behaviour(CONTENT, cut_first=1000, cut_after=0)
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:70_000])
    (tmp_path / f"{NAME}.part.json").write_text(f'{{"url": "{file.url}", "validator": ""}}')
    with pytest.raises(CheckpointMissingError):
        fetch(file, tmp_path)
    site.behaviours[PATH] = Behaviour(CONTENT)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert {request.range for request in site.requests} == {"bytes=70000-"}


def test_a_file_that_changed_meanwhile_is_not_patched_together(file: PublishedFile, site: Site, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(b"old version" * 1000)
    (tmp_path / f"{NAME}.part.json").write_text(f'{{"url": "{file.url}", "validator": "\\"zero\\""}}')
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert site.count(NAME) == 1


def test_pieces_that_do_not_add_up_are_fetched_in_one_go(file: PublishedFile, site: Site, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(b"other bytes" * 1000)
    (tmp_path / f"{NAME}.part.json").write_text(f'{{"url": "{file.url}", "validator": ""}}')
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert [request.range for request in site.requests] == ["bytes=11000-", None]


def test_all_bytes_are_there_but_the_name(file: PublishedFile, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    (tmp_path / f"{NAME}.part.json").write_text(f'{{"url": "{file.url}", "validator": ""}}')
    assert fetch(file, tmp_path).read_bytes() == CONTENT


def test_more_bytes_than_the_file_has(file: PublishedFile, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT + b"x")
    (tmp_path / f"{NAME}.part.json").write_text(f'{{"url": "{file.url}", "validator": ""}}')
    assert fetch(file, tmp_path).read_bytes() == CONTENT


def test_wrong_hash(file: PublishedFile, site: Site, tmp_path: Path) -> None:
    site.behaviours[PATH] = Behaviour(CONTENT[:-1] + b"!")
    with pytest.raises(ChecksumMismatchError, match="MD5") as caught:
        fetch(file, tmp_path)
    assert caught.value.details["name"] == NAME
    assert caught.value.details["expected"] == file.md5
    assert caught.value.details["found"] in caught.value.message
    assert not list(tmp_path.glob(f"{NAME}*"))


@pytest.mark.parametrize("content", [CONTENT[:100], CONTENT + b"more", CONTENT * 50])
def test_wrong_length(file: PublishedFile, site: Site, tmp_path: Path, content: bytes) -> None:
    site.behaviours[PATH] = Behaviour(content)
    with pytest.raises(ChecksumMismatchError):
        fetch(file, tmp_path)
    assert not list(tmp_path.glob(f"{NAME}*"))


def test_an_exact_size_is_held_before_anything_is_hashed(tmp_path: Path) -> None:
    exact = PublishedFile("a.zip", "encoder", "http://localhost/a.zip", size=10)
    (tmp_path / "a.zip").write_bytes(b"123")
    with pytest.raises(ChecksumMismatchError, match="expected size 10, found 3"):
        verify_file(exact, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == b"123"


def test_a_wrong_content_length_does_not_hide_a_whole_file(file: PublishedFile, site: Site, tmp_path: Path) -> None:
    site.behaviours[PATH] = Behaviour(CONTENT, declared_length=len(CONTENT) + 100)
    assert fetch(file, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_file_that_is_not_there(file: PublishedFile, site: Site, tmp_path: Path, status: int) -> None:
    site.behaviours[PATH] = Behaviour(CONTENT, fail_first=1000, fail_status=status)
    with pytest.raises(CheckpointMissingError, match=rf"pretrained_ckpt\.zip.*{status}"):
        fetch(file, tmp_path)
    assert site.count(NAME) == 1


@pytest.mark.parametrize("retry_after", [None, "0", "Mon, 01 Jan 2024 00:00:00 GMT", "soon"])
def test_503_then_fine(file: PublishedFile, site: Site, tmp_path: Path, retry_after: str | None) -> None:
    site.behaviours[PATH] = Behaviour(CONTENT, fail_first=4, retry_after=retry_after)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert site.count(NAME) == 5


def test_503_for_ever(file: PublishedFile, site: Site, tmp_path: Path) -> None:
    site.behaviours[PATH] = Behaviour(CONTENT, fail_first=1000)
    with pytest.raises(CheckpointMissingError, match="503"):
        fetch(file, tmp_path)


def test_redirect(file: PublishedFile, site: Site, tmp_path: Path) -> None:
    site.behaviours["/elsewhere/file"] = Behaviour(CONTENT, cut_first=1, cut_after=50_000)
    site.behaviours[PATH] = Behaviour(b"", redirect_to=f"{site.url}/elsewhere/file")
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert site.requests[-1].range == "bytes=50000-"


def test_redirects_in_a_circle(file: PublishedFile, site: Site, tmp_path: Path) -> None:
    site.behaviours[PATH] = Behaviour(b"", redirect_to=file.url)
    with pytest.raises(CheckpointMissingError, match="redirect"):
        fetch(file, tmp_path)


def test_an_encoded_body_is_decoded(file: PublishedFile, site: Site, tmp_path: Path) -> None:
    site.behaviours[PATH] = Behaviour(gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"})
    assert fetch(file, tmp_path).read_bytes() == CONTENT


def test_no_network_is_said_in_seconds(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/{NAME}"
        started = time.monotonic()
        with pytest.raises(CheckpointMissingError, match=r"no connection.*--from-dir"):
            fetch(PublishedFile(NAME, "encoder", url), tmp_path)
    assert time.monotonic() - started < 5


def test_an_unknown_host_is_said_in_seconds(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissingError, match=r"host\.invalid.*--from-dir"):
        fetch(PublishedFile(NAME, "encoder", f"http://host.invalid/{NAME}"), tmp_path)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that answers nothing to a connection, as behind a firewall: its queue is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_a_firewall_is_noticed_in_seconds_however_many_addresses(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", silent_port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: [entry] * 8)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    blocked = PublishedFile(NAME, "encoder", f"https://published.invalid/{NAME}")
    started = time.monotonic()
    with pytest.raises(CheckpointMissingError, match=r"no connection.*--from-dir"):
        require_network(blocked, policy=dataclasses.replace(QUICK, connect_timeout_s=0.3))
    assert time.monotonic() - started < 2


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*_args: object, **_options: object) -> list[object]:
        released.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    started = time.monotonic()
    assert not is_reachable("https://published.invalid/x", timeout_s=0.2)
    assert time.monotonic() - started < 2
    released.set()


def test_reachable(site: Site, file: PublishedFile) -> None:
    assert is_reachable(site.url, timeout_s=2)
    require_network(file, policy=QUICK)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert not is_reachable(f"http://127.0.0.1:{unused.getsockname()[1]}", timeout_s=2)


def test_behind_a_proxy_the_host_itself_need_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = PublishedFile(NAME, "encoder", f"https://published.invalid/{NAME}")
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    require_network(blocked, policy=QUICK)


def test_a_log_gets_plain_lines(
    file: PublishedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("periogt_ray.setup.downloads._LOG_EVERY_S", 0.0)
    caplog.set_level(logging.INFO, "periogt_ray.setup")
    fetch(file, tmp_path)
    assert re.search(r"pretrained_ckpt\.zip: [\d.]+ kB of 512\.0 kB \(\d+ %\), .*/s", caplog.text)
    assert "\r" not in caplog.text


def test_a_terminal_gets_a_bar(file: PublishedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Terminal() as terminal:
        monkeypatch.setattr(sys, "stderr", terminal.file)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
        fetch(file, tmp_path)
    assert NAME in terminal.shown
    assert "━" in terminal.shown
    assert "512.0/512.0 kB" in terminal.shown


def test_a_stalled_server_times_out_and_is_tried_again(site: Site, tmp_path: Path, file: PublishedFile) -> None:
    site.behaviours[PATH] = Behaviour(CONTENT, chunk_bytes=400_000, pause_s=3.0)
    quick = type(QUICK)(attempts=3, backoff_s=0.01, read_timeout_s=0.2)
    with make_client(quick) as client:
        assert download(file, tmp_path, client=client, policy=quick).read_bytes() == CONTENT
    assert site.requests[-1].range == "bytes=400000-"


def test_mirror_replaces_the_host(site: Site, tmp_path: Path) -> None:
    site.behaviours[f"/mirror{PATH}"] = Behaviour(CONTENT)
    published = PublishedFile(NAME, "encoder", f"https://published.invalid{PATH}?download=1")
    assert fetch(published, tmp_path, mirror=f"{site.url}/mirror/").read_bytes() == CONTENT
    assert mirrored(published.url, None) == published.url
    for wrong in ("mirror.example.org", "ftp://mirror.example.org"):
        with pytest.raises(SettingsError, match="PERIOGT_MIRROR"):
            mirrored(published.url, wrong)


def test_proxies_are_honoured(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.behaviours[PATH] = Behaviour(CONTENT)
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", site.url)
    published = PublishedFile(NAME, "encoder", f"http://published.invalid{PATH}")
    assert fetch(published, tmp_path).read_bytes() == CONTENT
    assert site.requests[-1].is_proxied


def test_statistics_of_unpublished_rows() -> None:
    """Train rows of the authors' sets before they were removed."""
    assert load_statistics() == {
        "tg": LabelStats(140.918, 112.02),
        "mt": LabelStats(201.536, 108.208),
        "density": LabelStats(1.22976, 0.200094),
    }


def test_the_packages_manifest() -> None:
    files = {file.name: file for file in load_published()}
    assert len(files) == 23
    assert files["pretrained_ckpt.zip"].md5 == "7adbcfc4da134692e9a2965270321662"
    assert files["finetuned_ckpt.zip"].url == "https://zenodo.org/records/17035498/files/finetuned_ckpt.zip?download=1"
    assert all(file.md5 or file.sha256 for file in files.values())
    assert files["egc/split.pkl"].url.endswith(
        "/PerioGT/fe649e2b71e5d93d2dbd85ea1bc6428ac452ee36/PerioGT_common/datasets/egc/split.pkl"
    )
    assert (files["egc/split.pkl"].flat_name, files["egc/egc.csv"].flat_name) == ("egc_split.pkl", "egc.csv")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "no json",
        '{"files": [{"name": "../x", "role": "scaler", "url": ""}]}',
        '{"files": [{"name": "x", "role": "nonsense", "url": ""}]}',
        '{"files": [{"name": "x", "role": "labels", "property": "x", "url": ""}]}',
    ],
)
def test_a_malformed_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(SettingsError, match=r"m\.json"):
        load_published(tmp_path / "m.json")


@pytest.mark.parametrize(
    "text", ['{"statistics": {"tg": 4}}', '{"statistics": [1]}', '{"statistics": {"tg": {"mean": 1}}}']
)
def test_malformed_statistics(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(SettingsError, match=r"m\.json"):
        load_statistics(tmp_path / "m.json")
