"""Before a run: what it needs is read, what cannot work is refused, and its output is claimed."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from periogt_ray import __version__
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.layout import read_json
from periogt_ray.artifacts.packages import PACKAGE_NAME, check_id, read_package
from periogt_ray.artifacts.properties import PROPERTIES, UNPUBLISHED
from periogt_ray.errors import ValidationError
from periogt_ray.model.device import choose_device, probe_device
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.runtime.files import PRIVATE_DIRECTORY_MODE, PRIVATE_MODE, make_directory, write_json_atomically
from periogt_ray.settings import Settings
from periogt_ray.training.dataset import Dataset, read_dataset
from periogt_ray.training.label_report import LabelReport, describe_labels
from periogt_ray.training.options import FinetuneOptions
from periogt_ray.training.output_lock import OutputLock, lock_output
from periogt_ray.training.splits import SplitPlan, make_plan

__all__ = [
    "WORK_NAME",
    "check_output",
    "claim_output",
    "clear_work",
    "device_of",
    "plan_of",
    "read_checked",
    "scheme_of",
]

logger = logging.getLogger(__name__)

WORK_NAME = ".work"
_RUN_NAME = "run.json"


def read_checked(options: FinetuneOptions, settings: Settings) -> tuple[ArtifactDirectory, Dataset, LabelReport]:
    """Read everything that a run needs and refuse what cannot work, before any time is spent.

    Raises
    ------
    ValidationError
        The id is taken or has other characters, or the table cannot be used.
    PerioGTError
        The artifacts cannot be used.
    """
    try:
        check_id(options.property_id)
    except ValueError as error:
        raise ValidationError(f"--property: {error}.") from error
    if options.n_members not in (None, 1) and (options.n_members or 0) % options.n_folds:
        raise ValidationError(
            f"--members is {options.n_members}; expected 1, or a multiple of --folds ({options.n_folds})."
        )
    artifacts = ArtifactDirectory.open(settings.checkpoint_dir)
    if options.property_id in artifacts.properties:
        raise ValidationError(
            f"{artifacts.name} serves a property {options.property_id!r} itself; give yours another id with "
            f"--property, for example my_{options.property_id}."
        )
    if options.property_id in PROPERTIES or options.property_id in UNPUBLISHED:
        raise ValidationError(
            f"{options.property_id!r} is the id of a published property, with its own unit and range; give yours "
            f"another id with --property, for example my_{options.property_id}."
        )
    dataset = read_dataset(options.data, options.table)
    return artifacts, dataset, describe_labels(dataset, is_log10=options.table.is_log10)


def _identity(options: FinetuneOptions, artifacts: ArtifactDirectory, dataset: Dataset) -> dict[str, Any]:
    return {
        "options": options.identity(),
        "data_sha256": dataset.sha256,
        "encoder_sha256": artifacts.encoder_sha256,
        "version": __version__,
    }


def check_output(options: FinetuneOptions, artifacts: ArtifactDirectory, dataset: Dataset) -> bool:
    """Look whether this run can have its output, and write nothing; return whether it is finished already.

    Parameters
    ----------
    options : FinetuneOptions
        Of the run.
    artifacts : ArtifactDirectory
        Of the encoder.
    dataset : Dataset
        As read.

    Raises
    ------
    ValidationError
        It holds something else, is no directory, or its package was changed since it was made.
    """
    output = options.output
    place = output / WORK_NAME / _RUN_NAME
    if not place.is_file():
        if output.exists() and not output.is_dir():
            raise ValidationError(
                f"{output} is a file; expected a directory, or a name that is free. Give another --output."
            )
        if output.is_dir() and any(entry.name != WORK_NAME for entry in output.iterdir()):
            held = "a package" if (output / PACKAGE_NAME).is_file() else "other files"
            raise ValidationError(
                f"{output} holds {held}. Give another --output, or remove it (`periogt models remove`)."
            )
        return False
    told = _differences(read_json(place), _identity(options, artifacts, dataset))
    if told:
        raise ValidationError(
            f"{output} holds a run of another kind; it differs in {', '.join(told)}. Repeat that command to go "
            "on with it, or give another --output, or remove the directory."
        )
    if not (output / PACKAGE_NAME).is_file():
        return False
    problems = read_package(output).problems(hashes=False)
    if problems:
        raise ValidationError(
            f"{output} was finished by this command and changed since: {'; '.join(problems)}. Remove it "
            f"(`periogt models remove {options.property_id}`), and run this again."
        )
    return True


def claim_output(options: FinetuneOptions, artifacts: ArtifactDirectory, dataset: Dataset) -> OutputLock | None:
    """Take the output for this run, so that no other works in it; None if the same run is finished already.

    Raises
    ------
    ValidationError
        As :func:`check_output`, or it cannot be written, or another run is working in it.
    """
    if check_output(options, artifacts, dataset):
        clear_work(options.output)
        return None
    work = options.output / WORK_NAME
    try:
        make_directory(options.output.parent)
        make_directory(work, mode=PRIVATE_DIRECTORY_MODE)
        lock = lock_output(work)
    except OSError as error:
        raise ValidationError(
            f"{options.output} cannot be written: {error.strerror or error}. Give another --output."
        ) from error
    try:
        if not (work / _RUN_NAME).is_file():
            write_json_atomically(work / _RUN_NAME, _identity(options, artifacts, dataset), mode=PRIVATE_MODE)
        # Another run may have ended since.
        elif check_output(options, artifacts, dataset):
            lock.release()
            return None
    except BaseException:
        lock.release()
        raise
    return lock


def clear_work(output: Path) -> None:
    """Remove what a finished run worked with; what it was asked for stays, for the same command given again."""
    work = output / WORK_NAME
    for name in ("networks", "features"):
        shutil.rmtree(work / name, ignore_errors=True)
    for path in (*work.glob("prompts-*.safetensors"), work / "prompts.npy"):
        path.unlink(missing_ok=True)


def _differences(recorded: Any, now: dict[str, Any]) -> list[str]:
    before: dict[str, Any] = recorded if isinstance(recorded, dict) else {}
    names = {"data_sha256": "the data", "encoder_sha256": "the encoder", "version": "the version"}
    told = [text for key, text in names.items() if before.get(key) != now[key]]
    asked = before.get("options", {})
    return told + [f"{key} ({asked.get(key)!r})" for key, value in now["options"].items() if asked.get(key) != value]


def scheme_of(options: FinetuneOptions, artifacts: ArtifactDirectory, kind: InputKind) -> PromptScheme:
    """Return the prompt scheme: the user's choice, else that of all properties of the artifacts, else the release's."""
    if options.scheme is not None:
        return PromptScheme.named(options.scheme, kind=kind)
    alike = {info.prompt_scheme for info in artifacts.properties.values() if info.input_kind is kind}
    schemes = alike or {info.prompt_scheme for info in artifacts.properties.values()}
    if len(schemes) == 1:
        return PromptScheme.named(schemes.pop().name, kind=kind)
    return PromptScheme.of_release(kind)


def plan_of(options: FinetuneOptions, dataset: Dataset, groups: np.ndarray | None) -> SplitPlan:
    """Divide the polymers as the options say; ``groups``, int [n], keeps polymers together."""
    n_members = options.n_members
    return make_plan(
        dataset.keys,
        seed=options.seed,
        n_folds=options.n_folds,
        n_rounds=None if n_members in (None, 1) else n_members // options.n_folds,
        test_share=options.test_share,
        parts=[polymer.part for polymer in dataset.polymers] if options.table.split_column else None,
        groups=None if groups is None else groups.tolist(),
        is_authors=options.recipe == "authors",
    )


def device_of(settings: Settings, options: FinetuneOptions) -> torch.device:
    """Choose the device, and set how exactly it computes."""
    choice = choose_device(settings.device, probe_device(), min_driver=settings.min_driver)
    if choice.warning:
        logger.warning("%s", choice.warning)
    if options.is_deterministic:
        torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = options.is_fast
    return torch.device(choice.device)
