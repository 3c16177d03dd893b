"""The order of the checks, and those that need settings: directories, device, artifacts, predictions."""

import math
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from periogt_ray.artifacts.properties import UNPUBLISHED
from periogt_ray.doctor.calibration import check_calibration
from periogt_ray.doctor.installation import (
    check_drawings,
    check_embedded,
    check_environment,
    check_kernels,
    check_lock_file,
    check_versions,
)
from periogt_ray.doctor.node import (
    check_clock,
    check_cpus,
    check_directory,
    check_gpu,
    check_gpu_libraries,
    check_key,
    check_memory,
    check_place,
    check_port,
    check_ray,
    check_shared_memory,
    gpu_remedy,
)
from periogt_ray.doctor.probes import (
    Surroundings,
    probe_directory,
    probe_gpu_libraries,
    probe_ray,
    probe_shared_memory,
    probe_surroundings,
)
from periogt_ray.doctor.report import Check, Status, render, verdict
from periogt_ray.errors import PerioGTError
from periogt_ray.model.device import DeviceFacts, choose_device, cuda_problem, probe_device
from periogt_ray.polymer.input_kinds import CONDITIONS, InputKind
from periogt_ray.runtime.cpus import usable_cpus
from periogt_ray.settings import Settings

if TYPE_CHECKING:
    from periogt_ray.artifacts.directory import ArtifactDirectory
    from periogt_ray.polymer.given import GivenInput

__all__ = ["Check", "Status", "render", "run_checks", "verdict"]

_TEST_SMILES = "*CC(*)c1ccccc1"
_ACTIVATION_BYTES = 2 << 30  # for the largest passes; an estimate, not measured
_Facts = TypeVar("_Facts")
_SETUP_REMEDY = (
    "Run `periogt setup`, or `periogt setup --skip-download` for files placed by hand, or set PERIOGT_CHECKPOINT_DIR "
    "to a directory that setup has finished."
)
_FINDING_REMEDIES = {"permissions": "Do this, unless you trust everybody who can write there."}


def run_checks(env: Mapping[str, str], *, hashes: bool = False) -> list[Check]:
    """Run every check; a check that fails or raises does not stop the others.

    Parameters
    ----------
    env : Mapping
        Usually ``os.environ``.
    hashes : bool
        Whether to hash every artifact, which reads all of it.
    """
    checks = [
        *_guarded("versions", check_versions),
        *_guarded("lock file", check_lock_file),
        *_guarded("environment", lambda: check_environment(env)),
        *_guarded("drawings", _check_drawings),
        *_guarded("cpus", lambda: [check_cpus(usable_cpus(env))]),
        *_guarded("ray", lambda: check_ray(probe_ray(env))),
        *_guarded("shared memory", lambda: filter(None, [check_shared_memory(probe_shared_memory())])),
    ]
    try:
        settings = Settings.from_env(env)
    except PerioGTError as error:
        # Without settings the directories are unknown; the place of the program still helps to see why.
        checks += _guarded("place", lambda: [check_place(probe_surroundings(env, results_dir=Path("/nonexistent")))])
        remedy = "Correct the variable, then check again; in a container, bind the directory: --bind DIR."
        checks.append(Check("settings", Status.FAIL, error.message, remedy))
    else:
        checks += _checks_with_settings(env, settings, hashes=hashes)
    return [*checks, *_guarded("self-test", check_embedded), *_guarded("kernels", _check_kernels)]


def _checks_with_settings(env: Mapping[str, str], settings: Settings, *, hashes: bool) -> list[Check]:
    checks: list[Check] = []

    def run(name: str, check: Callable[[], Iterable[Check]]) -> None:
        checks.extend(_guarded(name, check))

    listens_at = (settings.host, settings.port)
    place, failures = _probed(
        "place",
        lambda: probe_surroundings(env, results_dir=settings.results_dir, listens_at=listens_at),
        otherwise=Surroundings(platform.node()),
    )
    checks += failures
    run("place", lambda: [check_place(place), check_clock(place), check_port(place, *listens_at)])
    run("api key", lambda: [check_key(settings.host, has_key=settings.api_key is not None)])
    run("directories", lambda: _check_directories(settings, place))
    facts, failures = _probed("device", probe_device, otherwise=DeviceFacts(None, False, None))
    checks += failures
    run("device", lambda: _check_device(settings, facts, place))
    run("artifacts", lambda: _check_artifacts(settings, facts, place, hashes=hashes))
    run("load", lambda: _check_predictions(settings))
    return checks


def _probed(name: str, probe: Callable[[], _Facts], *, otherwise: _Facts) -> tuple[_Facts, list[Check]]:
    """Gather facts; where that fails, return others and the failure."""
    found: list[_Facts] = []

    def gather() -> Iterator[Check]:
        found.append(probe())
        yield from ()

    failures = _guarded(name, gather)
    return (found[0] if found else otherwise), failures


def _guarded(name: str, check: Callable[[], Iterable[Check]]) -> list[Check]:
    """Run one check; an exception becomes its result."""
    done: list[Check] = []
    try:
        done.extend(check())
    except Exception as error:  # a broken installation breaks in any way, and the other checks still have to run
        is_package = isinstance(error, ImportError)
        remedy = "Run scripts/install, which installs the locked versions." if is_package else "Please report this."
        message = f"the check itself failed: {type(error).__name__}: {error}"
        done.append(Check(name, Status.FAIL, message, remedy))
    return done


def _check_drawings() -> Iterator[Check]:
    from periogt_ray.polymer.drawing import drawing_problem

    yield check_drawings(drawing_problem())


def _check_kernels() -> Iterator[Check]:
    """Say whether the kernels that the self-test has used were on disk."""
    from periogt_ray.polymer.kernels import kernel_facts

    modules = [module for name, module in sys.modules.items() if name.startswith("periogt_ray.polymer.")]
    yield check_kernels(kernel_facts(modules))


def _check_directories(settings: Settings, place: Surroundings) -> Iterator[Check]:
    base = probe_directory("base_dir", settings.base_dir)
    yield check_directory(base, place, is_kept=settings.is_embedded, is_written=False)
    results = probe_directory("results_dir", settings.results_dir)
    yield check_directory(results, place, is_kept=False, is_written=True)
    if settings.feature_store is not None:
        cache = probe_directory("feature_store", settings.feature_store)
        yield check_directory(cache, place, is_kept=False, is_written=True)
        from periogt_ray.polymer.feature_store import older_features

        if older := older_features(settings.feature_store):
            message, remedy = older
            yield Check("feature store", Status.WARN, message, remedy)
    if settings.is_embedded:
        yield Check(
            "checkpoint_dir",
            Status.WARN,
            f"{settings.checkpoint_dir}: the embedded compact model, because {settings.base_dir / 'checkpoints'} "
            "holds no artifacts",
            "For the published weights run `periogt setup`, or set PERIOGT_CHECKPOINT_DIR.",
        )
    else:
        checkpoints = probe_directory("checkpoint_dir", settings.checkpoint_dir)
        yield check_directory(checkpoints, place, is_kept=True, is_written=False)


def _check_device(settings: Settings, facts: DeviceFacts, place: Surroundings) -> Iterator[Check]:
    for gpu in facts.gpus:
        yield check_gpu(gpu, facts, settings.min_driver)
    libraries_of_gpu = probe_gpu_libraries()
    if (libraries := check_gpu_libraries(place, facts, libraries_of_gpu)) is not None:
        yield libraries
    stack = f"driver {facts.driver_version or 'none'}, torch built for CUDA {facts.torch_cuda or 'none (CPU build)'}"
    problem = cuda_problem(facts, settings.min_driver)
    try:
        choice = choose_device(settings.device, facts, min_driver=settings.min_driver)
    except PerioGTError as error:
        yield Check("device", Status.FAIL, f"{stack}: {error.message}", gpu_remedy(place))
        return
    if choice.warning is None:
        yield Check("device", Status.PASS, f"{choice.device} ({stack})")
        return
    # A CPU is right on a machine without a GPU, and wrong where a GPU cannot be used.
    if not facts.gpus and facts.driver_version is None and not libraries_of_gpu.devices:
        hint = f". {gpu_remedy(place)}" if place.has_slurm else ""
        yield Check("device", Status.PASS, f"cpu; this machine has no NVIDIA GPU and no driver ({stack}){hint}")
        return
    yield Check("device", Status.WARN, f"cpu ({stack})", gpu_remedy(place) if problem is None else problem.message)


def _check_artifacts(settings: Settings, facts: DeviceFacts, place: Surroundings, *, hashes: bool) -> Iterator[Check]:
    from periogt_ray.artifacts.directory import ArtifactDirectory
    from periogt_ray.artifacts.verification import verify

    try:
        artifacts = ArtifactDirectory.of_settings(settings)
    except PerioGTError as error:
        yield Check("artifacts", Status.FAIL, error.message, _SETUP_REMEDY)
        return
    n_bytes = {artifacts.encoder: artifacts.encoder_path.stat().st_size}
    for info in artifacts.properties.values():
        if info.supported:
            n_bytes |= {path: artifacts.path_of(path).stat().st_size for path in info.weight_paths}
        elif info.id in UNPUBLISHED:
            yield Check(f"property {info.id}", Status.PASS, f"not served: {info.reason}")
        else:
            remedy = "Do nothing unless you need it; `periogt setup` fetches the published weights."
            yield Check(f"property {info.id}", Status.WARN, f"not served: {info.reason}", remedy)
    yield from check_calibration(artifacts)
    yield from _check_packages(artifacts, hashes=hashes)
    yield Check("artifacts", Status.PASS, f"{artifacts.name}; serves {', '.join(artifacts.supported)}")
    needed = n_bytes[artifacts.encoder] + min(sum(n_bytes.values()), settings.weights_bytes) + _ACTIVATION_BYTES
    smallest = min((gpu.memory_bytes for gpu in facts.gpus), default=math.inf)
    yield Check(
        "memory",
        Status.PASS if needed < smallest else Status.WARN,
        f"about {needed / 2**30:.1f} GiB with all properties loaded",
        "" if needed < smallest else "Lower PERIOGT_WEIGHTS_GB or use a GPU with more memory.",
    )
    if (job := check_memory(place, needed)) is not None:
        yield job
    if not settings.is_embedded:
        for finding in verify(settings.checkpoint_dir, hashes=hashes, load=False):
            if finding.check != "location":  # told with the directory
                status = Status[finding.level.upper()]
                remedy = "" if status is Status.PASS else _FINDING_REMEDIES.get(finding.check, _SETUP_REMEDY)
                yield Check(finding.check, status, finding.message, remedy)


def _check_packages(artifacts: "ArtifactDirectory", *, hashes: bool) -> Iterator[Check]:
    """Compare the user's own finetuned properties with what their training recorded."""
    for package in artifacts.packages.values():
        problems = package.problems(hashes=hashes)
        told = (
            f"{package.root}: finetuned from {package.encoder_name} (encoder {package.encoder_sha256[:12]}) on data "
            f"{package.data_sha256[:12]}, {len(package.members)} networks"
        )
        if problems:
            remedy = "Import the package again, or remove it with `periogt models remove`."
            yield Check(f"package {package.id}", Status.FAIL, f"{told}; changed: {'; '.join(problems)}", remedy)
        else:
            yield Check(f"package {package.id}", Status.PASS, told)


def _check_predictions(settings: Settings) -> Iterator[Check]:
    """Load every served property for real and predict one polymer, copolymer, or polymer with conditions."""
    from periogt_ray.model.tasks import Outcome
    from periogt_ray.predict import PerioGT

    outcomes: dict[str, Outcome] = {}
    try:
        # Features are computed rather than taken from a store: they are part of what is tried.
        model = PerioGT.of_settings(replace(settings, feature_store=None))
        infos = [model.artifacts.properties[name] for name in model.artifacts.supported]
        for kind, given in _test_inputs().items():
            if ids := [info.id for info in infos if info.input_kind is kind]:
                outcomes |= model.outcomes(given, ids)
    except PerioGTError as error:
        yield Check("load", Status.FAIL, error.message, _SETUP_REMEDY)
        return
    for property_id, outcome in sorted(outcomes.items()):
        if outcome.error is not None:
            yield Check(f"property {property_id}", Status.FAIL, outcome.error.message, _SETUP_REMEDY)
        else:
            shown = f"{outcome.value:.4g} {outcome.units}".rstrip()
            yield Check(f"property {property_id}", Status.PASS, f"loaded; {_TEST_SMILES} gives {shown}")


def _test_inputs() -> "dict[InputKind, GivenInput]":
    """Return an input of each kind, made of the same repeat unit."""
    from periogt_ray.polymer.given import GivenInput

    averages = dict.fromkeys((condition.name for condition in CONDITIONS), 0.0)
    return {
        InputKind.HOMOPOLYMER: GivenInput.of_smiles(_TEST_SMILES),
        InputKind.COPOLYMER: GivenInput.of_copolymer(_TEST_SMILES, _TEST_SMILES, 0.5, "random"),
        InputKind.CONDITIONS: GivenInput.with_conditions(_TEST_SMILES, averages),
    }
