"""The driver's side of a batch with a pipeline of plain functions: what is refused, kept and resumed."""

import csv
import gzip
import json
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar
from unittest import mock

import pytest

from periogt_ray.batch import parts as batch_parts
from periogt_ray.batch import run as batch_run
from periogt_ray.batch.options import BatchOptions
from periogt_ray.batch.parts import PartsDirectory
from periogt_ray.batch.progress import Progress
from periogt_ray.batch.results import Counts, FinishedPart, PartRow
from periogt_ray.batch.run import run_batch
from periogt_ray.batch.summary import BatchSummary
from periogt_ray.errors import ModelLoadError, PerioGTError, UnsupportedPropertyError, ValidationError
from periogt_ray.runtime.record_file import records_of
from periogt_ray.settings import Settings
from periogt_ray.tables.columns import TableOptions
from periogt_ray.tables.parts import Part
from periogt_ray.tables.predictions import OUTPUT_COLUMNS, Prediction, RowFailure
from support.golden import ARTIFACTS

SETTINGS = Settings(base_dir=ARTIFACTS, checkpoint_dir=ARTIFACTS, results_dir=ARTIFACTS, device="cpu")


class PlainPipeline:
    """Answers with the length of the SMILES; every polymer is claimed by one part, as in the ledger."""

    computed: ClassVar[list[int]] = []
    interrupt_after: ClassVar[int | None] = None

    def __init__(self, spec: batch_run.BatchSpec, shares: batch_run.Shares) -> None:
        self.spec = spec
        self.claims: dict[str, int] = {}
        assert shares.device == "cpu"

    def claim(self, part: int, keys: Sequence[str]) -> None:
        for key in keys:
            self.claims.setdefault(key, part)

    def finish(self, part: int) -> None:
        self.computed.append(part)
        if self.interrupt_after is not None and len(self.computed) == self.interrupt_after:
            os.kill(os.getpid(), signal.SIGTERM)

    def results(self, parts: Sequence[Part], *, is_stopped: Callable[[], bool]) -> Iterator[FinishedPart | None]:
        # Claimed in one order and finished in another, as several workers would.
        ready = [self.result(part) for part in parts]
        for result in reversed(ready):
            if is_stopped():
                return
            yield None
            yield result

    def result(self, part: Part) -> FinishedPart:
        given = self.spec.table.read(part)
        failure = RowFailure("validation_error", "no, 2 *")
        rows = [
            PartRow(
                row.id,
                row.smiles,
                row.smiles.strip() if row.smiles.count("*") == 2 else failure,
                ("an isotope was cleared",) if "[" in row.smiles else (),
                row.kept,
            )
            for row in given
        ]
        self.claim(part.number, [row.polymer for row in rows if isinstance(row.polymer, str)])
        mine = [key for key, owner in self.claims.items() if owner == part.number]
        warnings = {"*CO*": ("far from the training data",)}
        answers = {
            key: [Prediction(len(key) / 3, "K", warnings.get(key, ()))] * len(self.spec.properties) for key in mine
        }
        return FinishedPart(part.number, rows, answers)


def _cpus() -> dict[str, float]:
    return {"CPU": 2.0}


@contextmanager
def no_ray(**_options: object) -> Iterator[None]:
    """Let Ray be imported within only, because its environment is set then."""
    with mock.patch.dict(sys.modules, {"ray": SimpleNamespace(cluster_resources=_cpus, available_resources=_cpus)}):
        yield


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> type[PlainPipeline]:
    monkeypatch.setattr(batch_run, "Pipeline", PlainPipeline)
    monkeypatch.setattr(batch_run, "local_ray", no_ray)
    monkeypatch.setattr(batch_run, "chosen_engine", lambda *_: "ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(PlainPipeline, "computed", [])
    monkeypatch.setattr(PlainPipeline, "interrupt_after", None)
    return PlainPipeline


@pytest.fixture
def input_path(tmp_path: Path) -> Path:
    path = tmp_path / "input.csv"
    smiles = [f"*{'C' * (i % 37 + 1)}*" if i % 11 else f"bad{i}" for i in range(200)]
    path.write_text("smiles\n" + "".join(f"{text}\n" for text in smiles))
    return path


def run(
    input_path: Path, *, resume: bool = False, properties: tuple[str, ...] = ("tg",), **more: object
) -> BatchSummary | None:
    options = BatchOptions(input_path, None, properties, is_resumed=resume, rows_per_part=4, **more)  # type: ignore[arg-type]
    return run_batch(options, SETTINGS)


def output_of(input_path: Path) -> Path:
    return input_path.with_name("input_predictions.csv")


def rows_but_request_ids(output: Path) -> list[list[str]]:
    with output.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == OUTPUT_COLUMNS
    assert len({row[8] for row in rows}) == len(rows)
    return [row[:8] + row[9:] for row in rows]


def test_output_is_in_input_order_and_whole(input_path: Path) -> None:
    found = run(input_path, properties=("tg", "eps", "tg"))
    rows = rows_but_request_ids(output_of(input_path))
    smiles = input_path.read_text().splitlines()[1:]
    assert [row[:3] for row in rows] == [[str(i), s, p] for i, s in enumerate(smiles) for p in ("tg", "eps")]
    for row in rows:
        if row[1].startswith("bad"):
            assert row[3:] == ["", "", "false", "validation_error", "no, 2 *", "", "", "", ""]
        else:
            assert row[3:] == [repr(len(row[1]) / 3), "K", "true", "", "", "", "", "", ""]
    assert found is not None
    assert found.exit_code == 1
    summary = json.loads(output_of(input_path).with_name("input_predictions.csv.summary.json").read_text())
    assert summary == found.document
    assert (summary["n_rows"], summary["n_failed"]) == (400, 38)
    assert summary["failures"] == {"validation_error": 38}
    assert {path.name for path in input_path.parent.iterdir()} == {
        "input.csv",
        "input_predictions.csv",
        "input_predictions.csv.summary.json",
    }


@pytest.mark.parametrize(("device", "has_driver", "n_parts"), [("cpu", True, 75), (None, False, 75), (None, True, 19)])
def test_parts_are_longer_where_a_gpu_may_compute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str | None, has_driver: bool, n_parts: int
) -> None:
    monkeypatch.setattr(batch_run, "has_driver", lambda: has_driver)
    path = tmp_path / "long.csv"
    path.write_text("smiles\n" + "".join(f"*[{i}CH2]*\n" for i in range(4800)))
    run_batch(BatchOptions(path, None, ("tg",)), replace(SETTINGS, device=device))
    assert len(PlainPipeline.computed) == n_parts


def test_success_is_0(input_path: Path) -> None:
    input_path.write_text("smiles\n*CC*\n")
    assert run(input_path).exit_code == 0


@pytest.mark.parametrize(("content", "words"), [("smiles\n", "a header and no rows"), ("", "is empty")])
def test_an_input_without_rows_is_said(input_path: Path, content: str, words: str) -> None:
    input_path.write_text(content)
    with pytest.raises(ValidationError, match=words):
        run(input_path)
    assert [path.name for path in input_path.parent.iterdir()] == ["input.csv"]


def test_all_is_every_property(input_path: Path) -> None:
    input_path.write_text("smiles\n*CC*\n")
    run(input_path, properties=("all",))
    assert [row[2] for row in rows_but_request_ids(output_of(input_path))] == ["eps", "tg"]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"properties": ("nope",)}, UnsupportedPropertyError, "eps, tg"),
        ({"properties": ("",)}, ValidationError, "No property"),
        ({"input": Path("absent.csv")}, ValidationError, "--input"),
        ({"output": Path("absent/output.csv")}, ValidationError, "does not exist"),
        ({"output": Path()}, ValidationError, "is a directory"),
        ({"output": Path("input.csv")}, ValidationError, "is the input"),
    ],
)
def test_what_is_wrong_is_told_before_ray_starts(
    input_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, object],
    error: type[PerioGTError],
    words: str,
) -> None:
    monkeypatch.setattr(batch_run, "local_ray", None)
    monkeypatch.chdir(input_path.parent)
    options = BatchOptions(**{"input": Path("input.csv"), "output": None, "properties": ("tg",), **change})  # type: ignore[arg-type]
    with pytest.raises(error) as caught:
        run_batch(options, SETTINGS)
    assert words in caught.value.message
    assert caught.value.exit_code == 2
    assert [path.name for path in input_path.parent.iterdir()] == ["input.csv"]


def test_an_interrupted_run_says_how_to_go_on(
    input_path: Path, plain: type[PlainPipeline], caplog: pytest.LogCaptureFixture
) -> None:
    run(input_path)
    expected = rows_but_request_ids(output_of(input_path))
    output_of(input_path).unlink()
    plain.computed.clear()
    plain.interrupt_after = 3
    assert run(input_path) is None
    assert "--resume" in caplog.text
    assert not output_of(input_path).exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(ValidationError, match="--resume"):
        run(input_path)
    plain.interrupt_after = None
    first, plain.computed = plain.computed, []
    assert run(input_path, resume=True).exit_code == 1
    assert sorted(first + plain.computed) == list(range(50))
    assert rows_but_request_ids(output_of(input_path)) == expected


def test_a_resumed_run_that_was_complete_does_nothing(input_path: Path, plain: type[PlainPipeline]) -> None:
    first = run(input_path)
    before = output_of(input_path).read_bytes()
    plain.computed.clear()
    assert run(input_path, resume=True) == first
    assert (plain.computed, output_of(input_path).read_bytes()) == ([], before)
    input_path.write_text("smiles\n*CC*\n")
    run(input_path, resume=True)
    assert plain.computed == [0]


def test_a_changed_run_is_not_resumed(input_path: Path, plain: type[PlainPipeline]) -> None:
    plain.interrupt_after = 3
    run(input_path)
    plain.interrupt_after = None
    with pytest.raises(ValidationError, match="--property"):
        run(input_path, resume=True, properties=("eps",))
    original = input_path.read_text()
    input_path.write_text(original + "*CC*\n")
    with pytest.raises(ValidationError, match="the input"):
        run(input_path, resume=True)
    input_path.write_text(original)
    assert run(input_path, resume=True) is not None


def test_two_runs_do_not_share_an_output(input_path: Path) -> None:
    with PartsDirectory(output_of(input_path)).held(), pytest.raises(ValidationError, match="Another run"):
        run(input_path)


def test_the_end_of_a_run_leaves_the_directory_of_the_next(tmp_path: Path) -> None:
    """A run that has its output removes its directory before it ends; another may begin at once."""
    output = tmp_path / "o.csv"
    first, second = PartsDirectory(output), PartsDirectory(output)
    with first.held():
        first.remove()
        with second.held():
            second.begin({})
            with pytest.raises(ValidationError, match="Another run"), PartsDirectory(output).held():
                pass
            second.write(FinishedPart(0, [], {}))
    assert second.finished() == [0]


def test_what_a_killed_run_left_beside_the_output_goes(tmp_path: Path) -> None:
    output = tmp_path / "o.csv"
    left = [tmp_path / ".o.csv.0123abcd.part", tmp_path / ".o.csv.summary.json.x1y2.part"]
    others = [tmp_path / f"{name}.0123abcd.part" for name in (".p.csv", "o.csv", ".o.csv2", ".o.csv.old")]
    for path in (*left, *others):
        path.touch()
    with PartsDirectory(output).held():
        assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)


def test_what_lies_where_parts_would_is_left_alone(input_path: Path) -> None:
    output = output_of(input_path)
    place = output.with_name(f"{output.name}.parts")
    place.write_text("mine")
    with pytest.raises(ValidationError, match="not a directory"):
        run(input_path)
    assert place.read_text() == "mine"
    place.unlink()
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    with pytest.raises(ValidationError, match=r"holds 'notes\.txt'"):
        run(input_path)
    assert [path.name for path in place.iterdir()] == ["notes.txt"]


def test_a_damaged_part_is_named_and_computed_again(tmp_path: Path) -> None:
    parts = PartsDirectory(tmp_path / "o.csv")
    with parts.held():
        for number in range(3):
            parts.write(FinishedPart(number, [PartRow(str(number), "*CC*", "*CC*")], {}))
        [path] = parts.path.glob("parts-*")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(ValidationError, match=r"Part 1 in .* is damaged .* --resume"):
            parts.read(1)
    again = PartsDirectory(tmp_path / "o.csv")
    assert again.finished() == [0, 2]
    assert again.read(2).rows[0].id == "2"


def test_many_parts_are_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_parts, "_FILE_BYTES", 4000)
    parts = PartsDirectory(tmp_path / "o.csv")
    given = [FinishedPart(number, [PartRow(str(number), "*CC*", "*CC*")], {}) for number in range(200)]
    for some in (given[:150], given[150:]):
        with parts.held():
            for part in some:
                parts.write(part)
        parts = PartsDirectory(tmp_path / "o.csv")
    assert parts.finished() == list(range(200))
    assert [parts.read(number) for number in reversed(range(200))] == given[::-1]
    files = list(parts.path.glob("parts-*"))
    assert len(files) > 2
    assert max(path.stat().st_size for path in files) < 4400


def test_parts_are_seen_while_another_process_writes_them(tmp_path: Path) -> None:
    writer, reader = PartsDirectory(tmp_path / "o.csv"), PartsDirectory(tmp_path / "o.csv")
    with writer.held():
        for number in range(5):
            part = FinishedPart(number, [PartRow(str(number), "*CC*", "*CC*")], {})
            writer.write(part)
            assert reader.finished() == list(range(number + 1))
            assert reader.read(number) == part
        writer.begin({})
        assert reader.finished() == []


def test_parts_of_an_earlier_version_are_not_taken_for_none(input_path: Path) -> None:
    place = PartsDirectory(output_of(input_path)).path
    place.mkdir()
    (place / "part-00000000.json").write_text("{}")
    with pytest.raises(ValidationError, match=r"holds 'part-00000000\.json', which this version does not write"):
        run(input_path, resume=True)
    assert (place / "part-00000000.json").exists()


def test_killed_in_the_middle_of_writing_a_part_it_goes_on(input_path: Path, chance: random.Random) -> None:
    """Killed when so many bytes of parts are written, which may be anywhere within a part."""
    run(input_path)
    expected = rows_but_request_ids(output_of(input_path))
    output_of(input_path).unlink()
    write = os.write

    def killed_after(n_bytes: int) -> None:
        left = n_bytes

        def cut(descriptor: int, content: bytes) -> int:
            nonlocal left
            if len(content) > left:
                write(descriptor, content[:left])
                os.kill(os.getpid(), signal.SIGKILL)
            left -= len(content)
            return write(descriptor, content)

        os.write = cut  # type: ignore[assignment]
        run(input_path, resume=True)

    n_cut = 0
    for _ in range(12):
        if in_child(partial(killed_after, chance.randrange(1, 2500))):
            break
        n_cut += any(is_cut(path) for path in PartsDirectory(output_of(input_path)).path.glob("parts-*"))
    assert n_cut > 2
    assert run(input_path, resume=True).exit_code == 1
    assert rows_but_request_ids(output_of(input_path)) == expected


def is_cut(path: Path) -> bool:
    return records_of(path.read_bytes())[1] < path.stat().st_size


def test_a_name_without_room_for_those_beside_it_is_refused(input_path: Path) -> None:
    with pytest.raises(ValidationError, match="more than 200 bytes"):
        run_batch(BatchOptions(input_path, input_path.with_name("a" * 252), ("tg",)), SETTINGS)


def test_a_lone_carriage_return_does_not_break_the_output(tmp_path: Path) -> None:
    given = tmp_path / "input.csv"
    given.write_bytes(b'id,smiles\n"a\rb",*CC*\nplain,*CCC*\n')
    run(given)
    assert [row[:2] for row in rows_but_request_ids(output_of(given))] == [["a\rb", "*CC*"], ["plain", "*CCC*"]]


def test_a_fatal_error_keeps_what_is_done(
    input_path: Path, plain: type[PlainPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(
        self: PlainPipeline, parts: Sequence[Part], *, is_stopped: Callable[[], bool]
    ) -> Iterator[FinishedPart | None]:
        assert not is_stopped()
        yield self.result(parts[0])
        raise ModelLoadError("corrupt")

    with monkeypatch.context() as patch:
        patch.setattr(plain, "results", failing)
        with pytest.raises(ModelLoadError):
            run(input_path)
    assert PartsDirectory(output_of(input_path)).finished() == [0]
    assert not output_of(input_path).exists()


def in_child(
    work: Callable[[], object], *, kill_after_s: float | None = None, once: Callable[[], object] = lambda: True
) -> bool:
    """Run work in a forked process, killed so many seconds after ``once`` is true; return whether it ended before."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    if kill_after_s is not None:
        while not once() and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            time.sleep(0.001)
        time.sleep(kill_after_s)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return not os.WIFSIGNALED(status)


# Everything by which a run changes or reads a file, as the interpreter announces it just before it happens.
EVENTS = frozenset({"open", "os.chmod", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "fcntl.flock"})


def events_of(work: Callable[[], object], directory: Path, *, kill_at: int | None = None) -> int | None:
    """Run work in a forked process that kills itself before its n-th event at a file; None if it was killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        n_events = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal n_events
            # What is removed with a directory is named within it; a lock is a number.
            if event in EVENTS and (
                event in ("os.remove", "os.rmdir", "fcntl.flock") or str(directory) in str(arguments)
            ):
                n_events += 1
                if n_events == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count)
            work()
            os.write(writing, str(n_events).encode())
        finally:
            os._exit(0)
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(reading) as answer:
        told = answer.read()
    assert told or os.WIFSIGNALED(status), "the run failed"
    return int(told) if told else None


def test_killed_before_every_event_at_a_file_and_resumed_it_is_the_same(
    input_path: Path, chance: random.Random, is_full: bool
) -> None:
    """One kill at each event of a run, and another one while it is resumed; with --full at each of its events."""
    input_path.write_text("smiles\n*CC*\nbad\n*CO*\n*CC*\n*CCC*\n*CO*\n*CCO*\n*CCC*\n*CS*\n")
    folder, output = input_path.parent, output_of(input_path)

    def go_on() -> BatchSummary:
        summary = run(input_path, resume=True)
        assert summary is not None
        return summary

    total = events_of(go_on, folder)
    assert total is not None
    assert total > 20
    expected = rows_but_request_ids(output)
    names = {path.name for path in folder.iterdir()}
    n_killed = n_resumed = 0
    for first in range(1, total + 1):
        for second in range(1, total + 1) if is_full else [chance.randint(1, total)]:
            for path in (output, output.with_name(f"{output.name}.summary.json")):
                path.unlink(missing_ok=True)
            assert events_of(go_on, folder, kill_at=first) is None
            n_resumed += bool(PartsDirectory(output).finished())
            n_killed += 1
            # Its name appears when it is whole, also where the parts are still there.
            assert not output.exists() or rows_but_request_ids(output) == expected
            n_killed += events_of(go_on, folder, kill_at=second) is None
            assert go_on().exit_code == 1
            assert rows_but_request_ids(output) == expected, f"after kills at {first} and {second} of {total} events"
            assert {path.name for path in folder.iterdir()} == names
    assert n_killed > total
    assert n_resumed > total // 4, "the kills came before there was anything to lose"


def test_killed_at_twenty_points_and_resumed_it_is_the_same(input_path: Path, chance: random.Random) -> None:
    started_s = time.monotonic()
    assert in_child(lambda: run(input_path))
    duration_s = time.monotonic() - started_s
    output = output_of(input_path)
    expected = rows_but_request_ids(output)
    output.unlink()
    n_killed = n_whole = n_kept_at_kill = 0
    while n_killed < 20:
        # Most of a short run is its start; so every other kill comes among the parts.
        parts = PartsDirectory(output)
        among = {"kill_after_s": chance.uniform(0, 0.02), "once": parts.finished} if n_killed % 2 else {}
        given = {"kill_after_s": chance.uniform(0, 0.6 * duration_s), **among}
        if in_child(lambda: run(input_path, resume=True), **given):
            n_whole += 1
            assert rows_but_request_ids(output) == expected
            output.unlink()
            continue
        n_killed += 1
        n_kept_at_kill += bool(PartsDirectory(output).finished())
        if output.exists():
            # Its name appears when it is whole, also where the parts are still there.
            assert rows_but_request_ids(output) == expected
    assert in_child(lambda: run(input_path, resume=True))
    assert rows_but_request_ids(output) == expected
    assert n_kept_at_kill > 5, "the kills came before there was anything to lose"
    assert not PartsDirectory(output).path.exists()
    assert not list(input_path.parent.glob(".*"))


def test_a_part_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = PartsDirectory(tmp_path / "output.csv")
    result = FinishedPart(3, [PartRow("0", "\ud800*CC*", "*CC*")], {"*CC*": [Prediction(0.1, "")]})
    with parts.held():
        parts.write(result)
        assert parts.read(3) == result

    def full_disk(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ValidationError, match=r"No space left.*--resume"), parts.held():
        parts.write(replace(result, number=4))
    assert parts.finished() == [3]
    assert PartsDirectory(tmp_path / "output.csv").read(3) == result


def test_progress_counts_this_run_alone() -> None:
    progress = Progress(Counts(n_total=100, n_done=40, n_failed=1, n_computed=20), started_s=time.monotonic() - 10)
    assert progress.line() == "40 of 100 rows (40 %), 1 failed, 2.0 rows/s, 30 s left"


def test_the_time_left_follows_from_the_rows_of_late(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run starts slowly, and its first minute must not foretell the others."""
    clock = SimpleNamespace(now_s=0.0, monotonic=lambda: clock.now_s)
    monkeypatch.setattr("periogt_ray.batch.progress.time", clock)
    progress = Progress(Counts(n_total=1000), started_s=0.0)
    with caplog.at_level(logging.INFO, logger="periogt_ray"):
        for clock.now_s, n_rows in ((30.0, 30), (60.0, 300), (90.0, 0)):
            progress.counts.add(n_rows, 0)
            progress.show()
            progress.show()
    assert [record.message for record in caplog.records] == [
        "30 of 1000 rows (3 %), 0 failed, 1.0 rows/s, 16 min left",
        "330 of 1000 rows (33 %), 0 failed, 10.0 rows/s, 67 s left",
        "330 of 1000 rows (33 %), 0 failed, 3.7 rows/s, 3 min left",
    ]
    assert progress.rate == pytest.approx(330 / 90), "of the run as a whole"


def test_a_report_is_written_with_the_output_and_again_without_computing(tmp_path: Path) -> None:
    input_path, report = tmp_path / "in.csv", tmp_path / "report.html"
    input_path.write_text("id,smiles\na,*CC*\nb,bad\n")
    asked = BatchOptions(input=input_path, output=tmp_path / "out.csv", properties=("eps",), report=report)
    assert run_batch(asked, SETTINGS).exit_code == 1
    first = report.read_text(encoding="utf-8")
    assert "Batch report" in first
    assert "no, 2 *" in first
    report.unlink()
    PlainPipeline.computed.clear()
    run_batch(replace(asked, is_resumed=True), SETTINGS)
    assert report.read_text(encoding="utf-8") == first
    assert PlainPipeline.computed == []


@pytest.mark.parametrize("name", ["out.csv", "in.csv", "nowhere/report.html", "", "report.txt", "report"])
def test_a_report_that_cannot_be_written_is_refused_before_anything_is_computed(tmp_path: Path, name: str) -> None:
    input_path = tmp_path / "in.csv"
    input_path.write_text("smiles\n*CC*\n")
    asked = BatchOptions(
        input=input_path, output=tmp_path / "out.csv", properties=("eps",), report=tmp_path / name if name else tmp_path
    )
    with pytest.raises(ValidationError, match=r"--report|report|input|directory"):
        run_batch(asked, SETTINGS)
    assert not (tmp_path / "out.csv").exists()


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


def test_wide_has_one_row_a_row_of_the_input_and_keeps_columns(tmp_path: Path) -> None:
    given, report = tmp_path / "in.csv", tmp_path / "report.html"
    given.write_text("Tg;PSMILES;ok;eps\n1,5;*CC*;x;\n2;bad;y;z\n3;*CO*;;\n")
    options = BatchOptions(
        given,
        None,
        ("tg", "eps"),
        report=report,
        table=TableOptions(keeps_columns=True),
        is_wide=True,
    )
    summary = run_batch(options, SETTINGS)
    assert summary is not None
    assert (summary.n_rows, summary.n_failed, summary.n_warned) == (3, 1, 1)
    header, rows = read_rows(tmp_path / "in_predictions.csv")
    trust = [f"{name}_{part}" for name in ("tg", "eps") for part in ("interval_lower", "interval_upper", "domain")]
    own = ["id", "smiles", "tg", "eps", "ok", "error_code", "error_message", *trust, "warnings", "request_id"]
    assert header == [*own, "Tg", "input_ok", "input_eps"]
    assert len({row.pop(14) for row in rows}) == 3
    assert [row[7:13] for row in rows] == [[""] * 6] * 3
    rows = [row[:7] + row[13:] for row in rows]
    assert rows == [
        ["0", "*CC*", repr(4 / 3), repr(4 / 3), "true", "", "", "", "1,5", "x", ""],
        ["1", "bad", "", "", "false", "validation_error", "no, 2 *", "", "2", "y", "z"],
        ["2", "*CO*", repr(4 / 3), repr(4 / 3), "true", "", "", "far from the training data", "3", "", ""],
    ]
    text = report.read_text(encoding="utf-8")
    assert "far from the training data" in text
    assert "rows with warnings" in text


def test_a_run_that_keeps_columns_is_not_resumed_without_them(input_path: Path, plain: type[PlainPipeline]) -> None:
    plain.interrupt_after = 3
    input_path.write_text(input_path.read_text().replace("smiles", "smiles,note", 1))
    run(input_path, table=TableOptions(keeps_columns=True))
    plain.interrupt_after = None
    with pytest.raises(ValidationError, match="--keep-columns"):
        run(input_path, resume=True)
    assert run(input_path, resume=True, table=TableOptions(keeps_columns=True)) is not None


def test_another_layout_is_not_resumed(input_path: Path, plain: type[PlainPipeline]) -> None:
    plain.interrupt_after = 3
    run(input_path, is_wide=True)
    plain.interrupt_after = None
    with pytest.raises(ValidationError, match="--wide"):
        run(input_path, resume=True)
    assert run(input_path, resume=True, is_wide=True) is not None


def test_warnings_are_those_of_the_text_and_of_the_answer(tmp_path: Path) -> None:
    given = tmp_path / "input.csv"
    given.write_text("id,smiles\na,*[14CH2]C*\nb,*CO*\nc,*CC*\nd,b[ad\n")
    summary = run(given)
    assert summary is not None
    assert summary.n_warned == 3
    _, rows = read_rows(output_of(given))
    assert [row[-1] for row in rows] == [
        "an isotope was cleared",
        "far from the training data",
        "",
        "an isotope was cleared",
    ]


def test_parquet_in_and_out_is_the_same_as_csv(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    given = {"id": ["007", None, "x"], "psmiles": ["*CC*", "bad", "*CO*"], "Tg": [1.5, None, 300.0], "n": [1, 2, None]}
    pq.write_table(pa.table(given), tmp_path / "in.parquet", row_group_size=2)
    (tmp_path / "in.csv").write_text("id,psmiles,Tg,n\n007,*CC*,1.5,1\n,bad,,2\nx,*CO*,300.0,\n")
    table = TableOptions(keeps_columns=True)
    summaries = [
        run_batch(
            BatchOptions(tmp_path / source, tmp_path / out, ("tg", "eps"), table=table, rows_per_part=2), SETTINGS
        )
        for source, out in (("in.csv", "a.csv"), ("in.parquet", "b.csv"), ("in.parquet", "c.parquet"))
    ]
    header, rows = read_rows(tmp_path / "a.csv")
    found = pq.read_table(tmp_path / "c.parquet")
    assert found.column_names == header
    typed = {name: str(found.schema.field(name).type) for name in header}
    assert {name: kind for name, kind in typed.items() if kind != "string"} == {
        "prediction_value": "double",
        "interval_lower": "double",
        "interval_upper": "double",
        "ok": "bool",
    }
    for row in rows:
        row[8] = "r"
    again = read_rows(tmp_path / "b.csv")[1]
    for row in again:
        row[8] = "r"
    assert again == rows
    for row, values in zip(rows, found.to_pylist(), strict=True):
        texts = {**values, "ok": str(values["ok"]).lower(), "request_id": "r"}
        for name in ("prediction_value", "interval_lower", "interval_upper"):
            texts[name] = "" if values[name] is None else repr(values[name])
        assert list(texts.values()) == row
    assert {summary.n_rows for summary in summaries if summary is not None} == {6}
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.parametrize("is_wide", [False, True])
def test_the_report_of_a_parquet_output_is_that_of_the_csv(tmp_path: Path, is_wide: bool) -> None:
    given = tmp_path / "in.csv"
    given.write_text("id,smiles\na,*CC*\nb,bad\nc,*CO*\nd,*CCCC*\n")
    texts = []
    for name in ("out.csv", "out.parquet"):
        report = tmp_path / f"{name}.html"
        run_batch(BatchOptions(given, tmp_path / name, ("eps",), report=report, is_wide=is_wide), SETTINGS)
        text = report.read_text(encoding="utf-8")
        texts.append(text[: text.index("<h2>Settings")])
    assert texts[0] == texts[1]
    assert "3</strong> predictions" in texts[0]


@pytest.mark.parametrize("name", ["input.csv.gz", "input.csv"])
def test_a_packed_input_is_resumed_and_its_copy_goes(tmp_path: Path, plain: type[PlainPipeline], name: str) -> None:
    text = "id\tsmiles\r\n" + "".join(f"{i}\t*{'C' * (i + 1)}*\r\n" for i in range(20))
    given = tmp_path / name
    given.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode("utf-16"))
    plain.interrupt_after = 3
    assert run(given) is None
    copy = PartsDirectory(output_of(given)).path / "input.csv"
    assert copy.exists()
    copy.write_bytes(copy.read_bytes()[:40])
    plain.interrupt_after = None
    assert run(given, resume=True).exit_code == 0
    assert [row[:2] for row in rows_but_request_ids(output_of(given))] == [
        [str(i), f"*{'C' * (i + 1)}*"] for i in range(20)
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [name, "input_predictions.csv", "input_predictions.csv.summary.json"]
    )
