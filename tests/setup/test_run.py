"""Setup from end to end: sources, layouts, second runs, hand-placed directories, locks, full disks."""

import dataclasses
import json
import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.index import write_index
from periogt_ray.artifacts.manifest import is_ready
from periogt_ray.artifacts.scaler import read_scaler
from periogt_ray.artifacts.verification import verify
from periogt_ray.artifacts.weight_files import read_shapes, read_state_dict
from periogt_ray.errors import CheckpointMissingError, ChecksumMismatchError, ModelLoadError, SettingsError
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.setup.convert import Conversion, convert_in_child
from periogt_ray.setup.lock import hold_lock
from periogt_ray.setup.published import PublishedFile, load_published
from periogt_ray.setup.run import run_setup
from periogt_ray.setup.state import SetupOptions
from periogt_ray.setup.trial_load import load_everything
from support.published_site import (
    GOLDEN,
    HEADS,
    LAYOUTS,
    QUICK,
    Behaviour,
    Site,
    as_modal_leaves_it,
    convert_here,
    golden_files,
    snapshot,
    write_manifest_file,
    zip_bytes,
)

Publish = Callable[[Mapping[str, bytes]], tuple[PublishedFile, ...]]


def assert_golden(directory: Path) -> None:
    """The directory predicts what the golden artifacts predict: same tensors, statistics and scaler."""
    opened, golden = ArtifactDirectory.open(directory), ArtifactDirectory.open(GOLDEN)
    assert opened.supported == golden.supported == ["eps", "tg"]
    for made, expected in [(opened.encoder_state_dict(), golden.encoder_state_dict())] + [
        (opened.property_state_dict(name), golden.property_state_dict(name)) for name in golden.supported
    ]:
        assert made.keys() == expected.keys()
        assert all(torch.equal(made[key], expected[key]) for key in made)
    for name in golden.supported:
        assert opened.label_stats(name) == pytest.approx(golden.label_stats(name), rel=1e-12)
        assert opened.property(name).prompt_scheme is PromptScheme.RELEASE
    assert np.array_equal(opened.scaler().mean, golden.scaler().mean)
    assert np.array_equal(opened.scaler().scale, golden.scaler().scale)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_empty_directory_becomes_the_golden_one(
    layout: str, options: SetupOptions, publish: Publish, finished: dict[str, str]
) -> None:
    report = run_setup(dataclasses.replace(options, files=publish(golden_files(layout))))
    assert report.is_changed
    assert report.supported == ("eps", "tg")
    assert_golden(options.directory)
    assert snapshot(options.directory) == finished
    assert set(finished) == {
        ".ready",
        *(f"datasets/{name}/{file}" for name in ("eps", "tg") for file in (f"{name}.csv", "split.pkl")),
        "descriptor_scaler.npz",
        "finetuned_ckpt/eps/best_model.safetensors",
        "finetuned_ckpt/tg/best_model.safetensors",
        "index.json",
        "label_stats.json",
        "manifest.json",
        "pretrained_ckpt/base.safetensors",
    }


def test_a_second_run_changes_nothing(options: SetupOptions, site: Site) -> None:
    run_setup(options)
    before = {path: path.stat().st_mtime_ns for path in options.directory.rglob("*") if path.name != ".setup.lock"}
    n_requests = len(site.requests)
    report = run_setup(options)
    assert not report.is_changed
    assert report.elapsed_s < 2
    assert len(site.requests) == n_requests
    after = {path: path.stat().st_mtime_ns for path in options.directory.rglob("*") if path.name != ".setup.lock"}
    # The directory's own time moves with the note of who holds the lock.
    assert {path: after[path] for path in after if path.is_file()} == {
        path: before[path] for path in before if path.is_file()
    }


def test_the_log_tells_what_was_done(options: SetupOptions, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "periogt_ray.setup")
    run_setup(options)
    for fact in (
        "7 files to fetch",
        "pretrained_ckpt.zip: fetching http://127.0.0.1",
        "finetuned_ckpt.zip: complete and verified",
        "finetuned_ckpt/eps/best_model.pth is eps (common)",
        "converted finetuned_ckpt/tg/best_model.safetensors",
        "label_stats.json: eps, tg",
        "descriptor_scaler.npz: mean and scale of 1613 descriptors",
        "is ready: eps, tg",
    ):
        assert fact in caplog.text
    caplog.clear()
    run_setup(options)
    assert "was set up before; nothing to do" in caplog.text


def test_keep_archives_and_pth(options: SetupOptions, with_options: Callable[..., SetupOptions]) -> None:
    kept = with_options(keep_archives=True, keep_pth=True)
    run_setup(kept)
    names = set(snapshot(options.directory))
    assert {"pretrained_ckpt.zip", "finetuned_ckpt.zip", "pretrained_ckpt/base.pth"} <= names
    assert "finetuned_ckpt/eps/best_model.pth" in names
    assert_golden(options.directory)
    before = snapshot(options.directory)
    assert not run_setup(kept).is_changed
    assert snapshot(options.directory) == before


def test_pth_files_that_were_kept_go_when_no_longer_wanted(
    with_options: Callable[..., SetupOptions], finished: dict[str, str]
) -> None:
    run_setup(with_options(keep_pth=True))
    report = run_setup(with_options())
    assert report.is_changed
    assert snapshot(report.directory) == finished


def test_a_newer_pth_replaces_its_conversion(with_options: Callable[..., SetupOptions]) -> None:
    kept = with_options(keep_pth=True)
    run_setup(kept)
    path = kept.directory / "finetuned_ckpt" / "eps" / "best_model.pth"
    state = read_state_dict(path)
    state["predictor.3.bias"] += 1
    torch.save(state, path)
    later = path.with_suffix(".safetensors").stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    assert run_setup(kept).is_changed
    converted = ArtifactDirectory.open(kept.directory).property_state_dict("eps")
    assert torch.equal(converted["predictor.3.bias"], state["predictor.3.bias"])
    assert not run_setup(kept).is_changed


def test_from_a_directory_without_any_network(
    with_options: Callable[..., SetupOptions], site: Site, tmp_path: Path, finished: dict[str, str]
) -> None:
    brought = tmp_path / "brought"
    for number, (name, content) in enumerate(sorted(golden_files().items())):
        # Names as published, and flat as a browser saves them.
        path = brought / (name if number % 2 else name.replace("/split", "_split").rpartition("/")[2])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    before = snapshot(brought)
    run_setup(with_options(from_dir=brought))
    assert snapshot(with_options().directory) == finished
    assert snapshot(brought) == before
    assert site.requests == []


def test_from_a_directory_that_lacks_files_names_all_of_them(
    with_options: Callable[..., SetupOptions], tmp_path: Path
) -> None:
    brought = tmp_path / "brought"
    brought.mkdir()
    (brought / "scaler_all.pkl").write_bytes(golden_files()["scaler_all.pkl"])
    with pytest.raises(CheckpointMissingError) as caught:
        run_setup(with_options(from_dir=brought))
    assert len(caught.value.details["missing"]) == 6
    for name in ("pretrained_ckpt.zip", "finetuned_ckpt.zip", "eps/eps.csv", "tg/split.pkl"):
        assert f"{brought}/{name}" in caught.value.message
    with pytest.raises(SettingsError, match="nowhere"):
        run_setup(with_options(from_dir=tmp_path / "nowhere"))


def test_a_wrong_file_that_the_user_brought_is_named_and_left(
    with_options: Callable[..., SetupOptions], tmp_path: Path
) -> None:
    brought = tmp_path / "brought"
    brought.mkdir()
    for name, content in golden_files().items():
        (brought / name).parent.mkdir(exist_ok=True)
        (brought / name).write_bytes(content + (b"x" if name == "finetuned_ckpt.zip" else b""))
    before = snapshot(brought)
    with pytest.raises(ChecksumMismatchError) as caught:
        run_setup(with_options(from_dir=brought))
    for fact in (str(brought / "finetuned_ckpt.zip"), caught.value.details["expected"], caught.value.details["found"]):
        assert fact in caught.value.message
    assert snapshot(brought) == before
    assert not (with_options().directory / ".ready").exists()


def test_archives_placed_in_the_directory_are_used_and_left(
    options: SetupOptions, site: Site, finished: dict[str, str]
) -> None:
    options.directory.mkdir()
    placed = {}
    for name in ("pretrained_ckpt.zip", "finetuned_ckpt.zip"):
        placed[name] = golden_files()[name]
        (options.directory / name).write_bytes(placed[name])
    run_setup(options)
    assert site.count(".zip") == 0
    after = snapshot(options.directory)
    for name, content in placed.items():
        assert (options.directory / name).read_bytes() == content
        del after[name]
    assert after == finished


def test_mirror(
    with_options: Callable[..., SetupOptions], site: Site, finished: dict[str, str], tmp_path: Path
) -> None:
    files = load_published(write_manifest_file(tmp_path / "m.json", golden_files(), "https://published.invalid"))
    report = run_setup(with_options(files=files, mirror=site.url))
    assert snapshot(report.directory) == finished


@pytest.mark.parametrize("skip_download", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_directory_as_modal_leaves_it(
    layout: str, skip_download: bool, with_options: Callable[..., SetupOptions], site: Site
) -> None:
    chosen = with_options(skip_download=skip_download)
    as_modal_leaves_it(chosen.directory, layout)
    report = run_setup(chosen)
    assert report.is_changed
    assert site.requests == []
    assert_golden(chosen.directory)
    assert not list(chosen.directory.rglob("*.pth"))
    assert (chosen.directory / "descriptor_scaler.pkl").exists()
    index = json.loads((chosen.directory / "index.json").read_text())
    assert index["properties"]["tg"]["units"] == "degC"
    assert not Path(index["properties"]["tg"]["checkpoint"]).is_absolute()
    assert not run_setup(chosen).is_changed


def test_a_directory_as_modal_leaves_it_keeping_pth(with_options: Callable[..., SetupOptions]) -> None:
    chosen = with_options(skip_download=True, keep_pth=True)
    as_modal_leaves_it(chosen.directory, "directories")
    run_setup(chosen)
    assert len(list(chosen.directory.rglob("*.pth"))) == 3
    assert_golden(chosen.directory)
    assert not run_setup(chosen).is_changed


def test_skip_download_on_an_empty_directory_lists_everything(with_options: Callable[..., SetupOptions]) -> None:
    chosen = with_options(skip_download=True)
    with pytest.raises(CheckpointMissingError) as caught:
        run_setup(chosen)
    root = chosen.directory
    assert len(caught.value.details["missing"]) == 4
    for place in ("pretrained_ckpt/base.safetensors", "finetuned_ckpt/<property>", "label_stats.json"):
        assert f"{root}/{place}" in caught.value.message
    assert "descriptor_scaler.npz or descriptor_scaler.pkl" in caught.value.message
    assert not (root / ".ready").exists()


@pytest.mark.parametrize("removed", ["label_stats.json", "descriptor_scaler.pkl", "pretrained_ckpt"])
def test_skip_download_lists_what_is_missing(removed: str, with_options: Callable[..., SetupOptions]) -> None:
    chosen = with_options(skip_download=True)
    as_modal_leaves_it(chosen.directory, "directories")
    path = chosen.directory / removed
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(CheckpointMissingError) as caught:
        run_setup(chosen)
    assert len(caught.value.details["missing"]) == 1
    assert str(path).removesuffix(".pkl") in caught.value.details["missing"][0]
    assert not (chosen.directory / ".ready").exists()
    # Nothing that was placed is touched before everything is there.
    assert (chosen.directory / "finetuned_ckpt" / "eps" / "best_model.pth").exists()


def test_the_command_says_what_is_missing_and_exits_2(
    command: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    started = time.monotonic()
    out, err = (process := command("--dir", tmp_path / "a", "--skip-download")).communicate()
    assert process.returncode == 2
    assert out == ""
    assert "checkpoint_missing" in err
    assert str(tmp_path / "a" / "label_stats.json") in err
    assert "Traceback" not in err
    assert time.monotonic() - started < 30


def test_files_put_there_later_are_indexed(options: SetupOptions) -> None:
    run_setup(options)
    added = options.directory / "finetuned_ckpt" / "xc" / "best_model.pth"
    added.parent.mkdir()
    shutil.copy(HEADS["tg"], added)
    report = run_setup(options)
    assert report.is_changed
    assert "label_stats.json" in report.unsupported["xc"]
    stats = json.loads((options.directory / "label_stats.json").read_text())
    (options.directory / "label_stats.json").write_text(json.dumps(stats | {"xc": {"mean": 40.0, "std": 10.0}}))
    assert run_setup(options).supported == ("eps", "tg", "xc")
    assert not run_setup(options).is_changed


def test_networks_of_other_kinds_are_listed_with_the_reason(options: SetupOptions, publish: Publish) -> None:
    files, heads = golden_files(), {f"finetuned_ckpt/{name}/best_model.pth": path for name, path in HEADS.items()}
    copolymer = read_state_dict(HEADS["eps"]) | {"triplet_emb.global_node_emb.weight": torch.zeros(1, 48)}
    buffer = options.directory.parent / "copolymer.pth"
    torch.save(copolymer, buffer)
    members = {name: path.read_bytes() for name, path in heads.items()}
    files["finetuned_ckpt.zip"] = zip_bytes(members | {"finetuned_ckpt/ea/best_model.pth": buffer.read_bytes()})
    report = run_setup(dataclasses.replace(options, files=publish(files)))
    assert report.supported == ("eps", "tg")
    assert "copolymer" in report.unsupported["ea"]


def test_prompt_schemes_that_an_index_stated_stay(with_options: Callable[..., SetupOptions]) -> None:
    chosen = with_options(skip_download=True)
    as_modal_leaves_it(chosen.directory, "directories")
    write_index(chosen.directory, scheme=PromptScheme.MONOMER, name="own")
    run_setup(chosen)
    opened = ArtifactDirectory.open(chosen.directory)
    assert (opened.name, opened.property("eps").prompt_scheme) == ("own", PromptScheme.MONOMER)


def test_the_ready_marker_needs_the_check(options: SetupOptions, finished: dict[str, str]) -> None:
    def refuse(_root: Path) -> dict[str, str]:
        raise ModelLoadError("does not load")

    with pytest.raises(ModelLoadError, match="does not load"):
        run_setup(dataclasses.replace(options, check=refuse))
    assert not (options.directory / ".ready").exists()
    assert not is_ready(options.directory)
    run_setup(dataclasses.replace(options, check=load_everything))
    assert snapshot(options.directory) == finished


def with_surplus_key(options: SetupOptions, names: list[str]) -> None:
    """Hand-placed weights that look right by what identifies them, and are not."""
    as_modal_leaves_it(options.directory, "directories")
    for name in names:
        state = read_state_dict(HEADS[name])
        state["predictor.9.weight"] = torch.zeros(3)
        torch.save(state, options.directory / LAYOUTS["directories"][1].format(name))


def test_a_head_that_does_not_load_strictly_is_listed_with_the_reason(
    with_options: Callable[..., SetupOptions],
) -> None:
    chosen = with_options(skip_download=True, check=load_everything)
    with_surplus_key(chosen, ["tg"])
    report = run_setup(chosen)
    assert report.supported == ("eps",)
    assert "predictor.9.weight" in report.unsupported["tg"]
    assert not run_setup(chosen).is_changed
    assert ArtifactDirectory.open(chosen.directory).supported == ["eps"]


def test_if_no_head_loads_setup_fails(with_options: Callable[..., SetupOptions]) -> None:
    chosen = with_options(skip_download=True, check=load_everything)
    with_surplus_key(chosen, ["eps", "tg"])
    with pytest.raises(ModelLoadError, match=r"predictor\.9\.weight"):
        run_setup(chosen)
    assert not (chosen.directory / ".ready").exists()


def test_an_encoder_that_does_not_load_strictly_fails(with_options: Callable[..., SetupOptions]) -> None:
    chosen = with_options(skip_download=True, check=load_everything)
    as_modal_leaves_it(chosen.directory, "directories")
    state = read_state_dict(chosen.directory / "pretrained_ckpt" / "base.pth")
    del state["model.mol_T_layers.1.qkv.bias"]
    torch.save(state, chosen.directory / "pretrained_ckpt" / "base.pth")
    with pytest.raises(ModelLoadError, match=r"mol_T_layers\.1\.qkv\.bias"):
        run_setup(chosen)
    assert not (chosen.directory / ".ready").exists()


def test_a_stale_ready_marker_does_not_survive_a_failure(with_options: Callable[..., SetupOptions]) -> None:
    chosen = with_options(skip_download=True)
    chosen.directory.mkdir()
    (chosen.directory / ".ready").write_text("ready")
    with pytest.raises(CheckpointMissingError):
        run_setup(chosen)
    assert not (chosen.directory / ".ready").exists()


def test_labels_and_split_that_do_not_fit(options: SetupOptions, publish: Publish) -> None:
    files = golden_files()
    files["eps/eps.csv"] = b"smiles,value\n*C*,1.0\n"
    with pytest.raises(ModelLoadError, match=r"eps\.csv \(1 rows\)"):
        run_setup(dataclasses.replace(options, files=publish(files)))
    files["eps/eps.csv"] = b"smiles,target\n*C*,1.0\n"
    with pytest.raises(ModelLoadError, match=r"in the column value"):
        run_setup(dataclasses.replace(options, files=publish(files), directory=options.directory.with_name("b")))


def test_a_download_that_fails_goes_on_later(options: SetupOptions, site: Site, finished: dict[str, str]) -> None:
    path = "/files/finetuned_ckpt.zip"
    content = site.behaviours[path].content
    site.behaviours[path] = Behaviour(content, cut_first=1, cut_after=200_000)
    once = dataclasses.replace(QUICK, attempts=1)
    with pytest.raises(CheckpointMissingError, match="was cut"):
        run_setup(dataclasses.replace(options, policy=once))
    run_setup(options)
    assert [request.range for request in site.requests if request.path == path] == [None, "bytes=200000-"]
    assert site.count("scaler_all.pkl") == 1
    assert snapshot(options.directory) == finished


def test_a_lock_names_its_holder(options: SetupOptions) -> None:
    options.directory.mkdir()
    holder = rf"host {socket.gethostname()}, pid {os.getpid()}"
    with hold_lock(options.directory, timeout_s=0), pytest.raises(SettingsError, match=holder):
        run_setup(dataclasses.replace(options, lock_timeout_s=0.2))
    assert run_setup(options).is_changed


def test_four_at_once_give_one_result(
    command: Callable[..., subprocess.Popen[str]], site: Site, tmp_path: Path, finished: dict[str, str]
) -> None:
    files = golden_files()
    site.publish(files)
    manifest = write_manifest_file(tmp_path / "published.json", files, site.url)
    running = [command("--dir", tmp_path / "artifacts", "--catalogue", manifest) for _ in range(4)]
    outputs = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0] * 4, outputs
    assert sum(": ready" in out for out, _err in outputs) == 1
    assert sum("already set up" in out for out, _err in outputs) == 3
    assert all("properties: eps, tg" in out for out, _err in outputs)
    assert any("another setup works" in err and "pid" in err for _out, err in outputs)
    assert {site.count(name) for name in files} == {1}
    assert snapshot(tmp_path / "artifacts") == finished


def test_conversion_in_a_child_process(tmp_path: Path) -> None:
    done: list[Conversion] = []
    jobs = [Conversion(path, tmp_path / f"{name}.safetensors") for name, path in HEADS.items()]
    convert_in_child(jobs, done=done.append)
    assert done == jobs
    for job in jobs:
        assert read_shapes(job.destination) == read_shapes(job.source)
        expected = read_state_dict(job.source)
        assert all(torch.equal(value, expected[key]) for key, value in read_state_dict(job.destination).items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eps.safetensors", "tg.safetensors"]


def test_conversion_reports_what_the_child_met(tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(b"rubbish")
    with pytest.raises(ModelLoadError, match=r"bad\.pth"):
        convert_in_child([Conversion(tmp_path / "bad.pth", tmp_path / "bad.safetensors")], done=lambda _job: None)
    with pytest.raises(OSError, match="No such file"):
        convert_in_child([Conversion(HEADS["eps"], tmp_path / "no" / "x.safetensors")], done=lambda _job: None)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = read_state_dict(HEADS["eps"])
    state["predictor.0.bias"][3] = float("nan")
    torch.save(state, tmp_path / "eps.pth")
    with pytest.raises(ModelLoadError, match=r"predictor\.0\.bias.*finite"):
        convert_here([Conversion(tmp_path / "eps.pth", tmp_path / "eps.safetensors")], done=lambda _job: None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB; for tests with the mark ``root``."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.root
def test_too_little_space_is_said_before_anything_is_fetched(
    options: SetupOptions, small_disk: Path, site: Site
) -> None:
    with pytest.raises(SettingsError, match=r"needs .* MB, and .* MB are free.*PERIOGT_CHECKPOINT_DIR"):
        run_setup(dataclasses.replace(options, directory=small_disk / "artifacts"))
    assert site.requests == []


@pytest.mark.root
@pytest.mark.parametrize("size_mb", [1, 2, 3, 4, 6])
def test_a_disk_that_fills_up_meanwhile(
    options: SetupOptions, small_disk: Path, size_mb: int, finished: dict[str, str]
) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size_mb}m", small_disk], check=True)
    assert options.files is not None
    # Sizes that are not known beforehand, so that only writing finds out.
    unknown = tuple(dataclasses.replace(file, approximate_bytes=0) for file in options.files)
    chosen = dataclasses.replace(options, directory=small_disk / "artifacts", files=unknown)
    with pytest.raises(SettingsError, match=r"disk is full|are free") as caught:
        run_setup(chosen)
    assert "free some space" in caught.value.message.lower()
    assert not (chosen.directory / ".ready").exists()
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    run_setup(chosen)
    assert snapshot(chosen.directory) == finished


def levels(root: Path, **options: bool) -> dict[str, set[str]]:
    """Levels found by each check."""
    found: dict[str, set[str]] = {}
    for finding in verify(root, **options):
        found.setdefault(finding.check, set()).add(finding.level)
    return found


def test_verify_a_finished_directory(options: SetupOptions) -> None:
    run_setup(options)
    assert levels(options.directory, hashes=True) == {
        "manifest": {"pass"},
        "load": {"pass"},
        "permissions": {"pass"},
        "location": {"pass"},
    }


def test_verify_finds_a_flipped_bit_by_hash_alone(options: SetupOptions) -> None:
    run_setup(options)
    path = options.directory / "finetuned_ckpt" / "tg" / "best_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    assert levels(options.directory, hashes=False)["manifest"] == {"pass"}
    findings = [finding for finding in verify(options.directory, hashes=True) if finding.level == "fail"]
    assert len(findings) == 1
    assert str(path) in findings[0].message


def test_verify_finds_what_does_not_load_or_is_gone(options: SetupOptions) -> None:
    run_setup(options)
    path = options.directory / "finetuned_ckpt" / "tg" / "best_model.safetensors"
    path.write_bytes(b"x" * path.stat().st_size)
    assert levels(options.directory)["load"] == {"pass", "fail"}
    path.unlink()
    assert levels(options.directory)["manifest"] == {"fail"}
    assert [finding.level for finding in verify(options.directory / "nowhere")] == ["fail"]


def test_verify_warns_of_edited_statistics_and_unfinished_directories(options: SetupOptions) -> None:
    run_setup(options)
    (options.directory / "label_stats.json").write_text('{"eps": {"mean": 1, "std": 1}}')
    assert levels(options.directory)["manifest"] == {"warn"}
    (options.directory / ".ready").unlink()
    assert levels(options.directory)["manifest"] == {"warn"}


@pytest.mark.parametrize(("mode", "who"), [(0o775, "its group"), (0o757, "every user")])
def test_verify_warns_of_directories_that_others_write_to(options: SetupOptions, mode: int, who: str) -> None:
    run_setup(options)
    (options.directory / "finetuned_ckpt").chmod(mode)
    messages = [finding.message for finding in verify(options.directory) if finding.check == "permissions"]
    assert len(messages) == 1
    assert who in messages[0]
    assert any(who in text for text in run_setup(options).warnings)


def test_what_setup_makes_is_for_its_owner_to_write(with_options: Callable[..., SetupOptions]) -> None:
    before = os.umask(0o002)
    try:
        report = run_setup(with_options(keep_pth=True, keep_archives=True))
    finally:
        os.umask(before)
    assert report.warnings == ()
    modes = {path.name: path.stat().st_mode & 0o777 for path in report.directory.rglob("*") if path.is_file()}
    assert {mode for name, mode in modes.items() if name != ".setup.lock"} == {0o644}


def test_a_scratch_location_is_warned_of(with_options: Callable[..., SetupOptions], tmp_path: Path) -> None:
    report = run_setup(with_options(directory=tmp_path / "scratch" / "user" / "artifacts"))
    assert any("scratch storage" in text for text in report.warnings)
    assert levels(report.directory)["location"] == {"warn"}


def test_a_directory_that_cannot_be_written(with_options: Callable[..., SetupOptions], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=str(tmp_path / "file")):
        run_setup(with_options(directory=tmp_path / "file" / "artifacts"))


def test_the_scaler_file_is_plain_arrays(options: SetupOptions) -> None:
    run_setup(options)
    with np.load(options.directory / "descriptor_scaler.npz") as arrays:
        assert set(arrays) == {"mean", "scale"}
    assert read_scaler(options.directory).mean.shape == (1613,)


def test_list_prints_every_address(command: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    out, _err = command("--dir", tmp_path / "a", "--list").communicate()
    assert "https://zenodo.org/records/17035498/files/finetuned_ckpt.zip?download=1" in out
    assert out.count("https://raw.githubusercontent.com/") == 21
    assert not (tmp_path / "a").exists()
