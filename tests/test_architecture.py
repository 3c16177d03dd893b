"""The direction of imports, and what must stay light."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import periogt_ray

PACKAGE = Path(periogt_ray.__file__).parent

# Each layer may import from those before it and from its own.
LAYERS = [
    {"settings", "errors", "slurm.job", "runtime.ports", "slurm.connection_note", "slurm.job_directory"},
    {"polymer.dimensions", "polymer.limits", "polymer.prompt_scheme"},
    {"polymer.repeat_unit", "polymer.atoms_and_bonds", "polymer.fingerprint"},
    {
        "polymer.drawing",
        "polymer.kernels",
        "polymer.descriptors",
        "polymer.bond_classes",
        "polymer.dgl_graph",
        "polymer.triplet_graph",
        "polymer.triplet_paths",
        "polymer.substructure",
    },
    {"polymer.features"},
    {"schemas"},
    {
        "artifacts.properties",
        "artifacts.safe_pickle",
        "artifacts.weight_files",
        "artifacts.architecture",
        "artifacts.inventory",
        "artifacts.layout",
        "artifacts.statistics",
        "artifacts.scaler",
        "artifacts.index",
        "artifacts.manifest",
        "artifacts.directory",
        "artifacts.verification",
        "runtime.files",
    },
    {"artifacts.card"},
    {"model.device", "model.collate", "model.network"},
    {"model.tasks", "model.answers"},
    {"model.predictor"},
    {"doctor.report", "doctor.probes", "doctor.node"},
    {
        "setup.published",
        "setup.downloads",
        "setup.archives",
        "setup.convert",
        "setup.label_statistics",
        "setup.trial_load",
    },
    {"setup.lock", "setup.staging"},
    {"setup.state"},
    {"setup.fetch_step", "setup.convert_step", "setup.verify_step", "setup.activate_step"},
    {"setup.run"},
    {"schemas", "doctor.run", "artifacts.card"},
    {"serve.http.auth", "serve.feature_cache", "polymer.feature_store", "serve.http.request_ids"},
    {"serve.service"},
    {"serve.http.access_log"},
    {"serve.http.gate", "serve.http.page", "serve.http.routes", "serve.http.head_limits"},
    {"slurm.ray_node"},
    {"serve.metrics", "slurm.node"},
    {"serve.batcher", "serve.featurizer_replica", "serve.predictor_replica"},
    {"serve.model_watch"},
    {"serve.backend"},
    {"serve.ingress"},
    {"serve.application"},
    {"serve.run"},
    {"batch.csv_input", "batch.options", "batch.results", "batch.shares", "batch.summary"},
    {"batch.failures", "batch.output", "batch.parts", "batch.progress", "batch.report_figures"},
    {"batch.ledger", "batch.report", "batch.resume"},
    {"batch.featurize_stage"},
    {"batch.predict_stage"},
    {"batch.pipeline"},
    {"batch.run"},
    {"slurm.head"},
    {"cli", "slurm.__main__"},
    {"__main__"},
]
FORBIDDEN = {
    "polymer.repeat_unit": {"torch", "ray", "fastapi", "click"},
    "polymer.drawing": {"torch", "ray", "fastapi", "click"},
    "batch.report": {"torch", "ray", "fastapi", "click"},
    "polymer.triplet_graph": {"torch", "dgl", "ray", "fastapi", "click"},
    "polymer.features": {"dgl", "torch", "ray", "fastapi", "click"},
    "model.tasks": {"torch", "ray", "fastapi", "click"},
    "model.answers": {"torch", "ray", "fastapi", "click"},
    "serve.featurizer_replica": {"torch", "fastapi", "click"},
    "batch.featurize_stage": {"torch", "fastapi", "click"},
    "model.predictor": {"ray", "fastapi", "click", "dgl"},
    "serve.service": {"ray", "fastapi", "click"},
    "serve.http.routes": {"ray", "click"},
    "serve.http.request_ids": {"ray", "torch", "rdkit", "fastapi", "click"},
    "model.network": {"ray", "fastapi", "click", "dgl"},
    "model.collate": {"ray", "fastapi", "click", "dgl"},
}


LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def level_of(module: str) -> int | None:
    """Level of a module or of the nearest package around it that has one."""
    parts = module.split(".")
    return next((LEVEL[name] for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in LEVEL), None)


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if level_of(module_of(path)) is not None]


def test_every_module_has_its_level() -> None:
    assert {
        module_of(path) for path in set(PACKAGE.rglob("*.py")) - set(SOURCES) if path.name != "__init__.py"
    } == set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    own = level_of(module_of(path))
    for name in imports_of(path):
        imported = level_of(name.removeprefix("periogt_ray.")) if name.startswith("periogt_ray.") else None
        assert imported is None or own is None or imported <= own, f"{path.name} imports {name}"


def loaded_statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported: not those of functions, nor those for type checkers only."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        is_for_checkers = isinstance(statement, ast.If) and ast.unparse(statement.test).endswith("TYPE_CHECKING")
        blocks = ["orelse"] if is_for_checkers else ["body", "orelse", "finalbody"]
        for block in blocks:
            yield from loaded_statements(getattr(statement, block, []))
        for handler in getattr(statement, "handlers", []):
            yield from loaded_statements(handler.body)


def file_of(module: str) -> Path | None:
    """File of a module of the package, by its name below ``periogt_ray``."""
    base = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def imports_when_loaded(path: Path) -> set[str]:
    """Full names of the modules that a file imports as it is imported, those of the package with all their parents."""
    names: set[str] = set()
    for statement in loaded_statements(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            assert statement.module is not None, f"{path.name} imports by a relative name"
            assert statement.level == 0, f"{path.name} imports by a relative name"
            names |= {statement.module} | {f"{statement.module}.{alias.name}" for alias in statement.names}
    parts = [name.split(".") for name in names]
    return {".".join(words[:n]) for words in parts for n in range(1, len(words) + 1)}


def loaded_with(module: str) -> set[str]:
    """Full names of what importing a module of the package loads, read from the sources of the package only."""
    found: set[str] = set()
    queue = [f"periogt_ray.{module}".rstrip(".")]
    while queue:
        name = queue.pop()
        if name in found:
            continue
        own = name.removeprefix("periogt_ray").removeprefix(".")
        path = file_of(own) if name.split(".")[0] == "periogt_ray" else None
        if path is not None:
            found.add(name)
            queue += [*imports_when_loaded(path), *name.rsplit(".", 1)[:-1]]
        elif name.split(".")[0] != "periogt_ray":
            found.add(name)
    return found


def heavy(names: Iterable[str]) -> set[str]:
    """Libraries among modules, with those that ray.serve brings along."""
    libraries = {name.split(".")[0] for name in names}
    return libraries | ({"fastapi"} if "ray.serve" in names else set())


@pytest.mark.parametrize("module", sorted(FORBIDDEN))
def test_modules_leave_what_they_do_not_need_alone(module: str) -> None:
    """Type checking alone may name a library; the code that runs does not import it."""
    assert not FORBIDDEN[module] & heavy(loaded_with(module))


def test_what_is_read_is_what_an_interpreter_loads() -> None:
    """One real start, which imports the modules from the lightest to the heaviest."""
    without_ray = [module for module in FORBIDDEN if "ray" in FORBIDDEN[module]]
    in_order = sorted(without_ray, key=lambda module: ("torch" not in FORBIDDEN[module], -len(FORBIDDEN[module])))
    report = "".join(f"import periogt_ray.{module}; print(*sys.modules)\n" for module in in_order)
    done = subprocess.run([sys.executable, "-c", f"import sys\n{report}"], capture_output=True, text=True, check=True)
    read: set[str] = set()
    for module, line in zip(in_order, done.stdout.splitlines(), strict=True):
        loaded = set(line.split())
        read |= loaded_with(module)
        assert not FORBIDDEN[module] & loaded, module
        assert {name for name in loaded if name.split(".")[0] == "periogt_ray"} == {
            name for name in read if name.split(".")[0] == "periogt_ray"
        }, module


def test_only_settings_and_the_command_line_see_the_environment() -> None:
    readers = {
        module_of(path)
        for path in SOURCES
        if any(
            isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
    }
    # A child process that converts checkpoints is started with its parent's environment; Ray is told its
    # mode and token by the environment, which its processes inherit; `serve deploy` starts at application.build;
    # cluster is the command line of a Slurm job.
    # DGL takes its backend from the environment.
    allowed = {"polymer.dgl_graph", "serve.application", "cli", "slurm.__main__", "setup.convert", "runtime.local_ray"}
    assert readers <= allowed, "settings are built once, at the command line, and passed on"


def test_nothing_is_loaded_unsafely() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in ("pickle.load", "pickle.loads"), path
            if called == "torch.load":
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert keywords.get("weights_only") == "True", path


def test_every_variable_in_scripts_is_known() -> None:
    import re

    from periogt_ray.settings import RENAMED, VARIABLES

    root = PACKAGE.parent
    files = [
        p for folder in ("scripts", "slurm", "apptainer", "deploy") for p in (root / folder).rglob("*") if p.is_file()
    ]
    for path in files:
        if path.suffix in (".pyc", ".sif"):
            continue
        for name in re.findall(r"\bPERIOGT_[A-Z_]+\b", path.read_text(encoding="utf-8")):
            assert name in {*VARIABLES, *RENAMED}, f"{path} uses {name}"
