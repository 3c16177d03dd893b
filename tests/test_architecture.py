"""The direction of imports, and what must stay light."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import periogt_ray

PACKAGE = Path(periogt_ray.__file__).parent

# The one list: a wing, or a module of the face, imports from itself and from lines above its own.
ORDER = [
    {"errors"},
    {"settings"},
    {"runtime"},
    {"polymer"},
    {"tables"},
    {"schemas"},
    {"artifacts"},
    {"model"},
    {"predict"},
    {"client"},
    {"serve", "batch", "setup", "training"},
    {"slurm"},
    {"doctor"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
FACE = {"__init__.py", "__main__.py", "cli.py", "client.py", "errors.py", "predict.py", "schemas.py", "settings.py"}
# Featurizers stay small, and predictions run without a service.
WING_WITHOUT = {
    "errors": {"torch", "ray", "fastapi", "click", "rdkit"},
    "settings": {"torch", "ray", "fastapi", "click", "rdkit"},
    "polymer": {"torch", "ray", "fastapi", "click"},
    "tables": {"torch", "ray", "fastapi", "click"},
    "artifacts": {"ray", "fastapi", "click"},
    "model": {"ray", "fastapi", "click"},
    "training": {"ray", "fastapi", "click"},
}
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
    "batch.predict_stage": {"torch", "fastapi", "click"},
    "serve.application": {"torch", "click"},
    "model.predictor": {"ray", "fastapi", "click", "dgl"},
    "serve.service": {"ray", "fastapi", "click"},
    "serve.http.routes": {"ray", "click"},
    "serve.http.request_ids": {"ray", "torch", "rdkit", "fastapi", "click"},
    "model.network": {"ray", "fastapi", "click", "dgl"},
    "model.collate": {"ray", "fastapi", "click", "dgl"},
}


LEVEL = {wing: level for level, wings in enumerate(ORDER) for wing in wings}
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def wing_of(module: str) -> str:
    """Wing, or module of the face, of a module by its name below ``periogt_ray``."""
    return module.split(".")[0]


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports, anywhere in it, by their names below ``periogt_ray``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path.name} imports by a relative name"
            assert node.level == 0, f"{path.name} imports by a relative name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names |= {one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return {name.removeprefix("periogt_ray.") for name in names if name.startswith("periogt_ray.")}


def wings_imported() -> dict[str, set[str]]:
    """Wings that each wing imports from, itself left out."""
    table: dict[str, set[str]] = {wing: set() for wings in ORDER for wing in wings}
    for path in SOURCES:
        own = wing_of(module_of(path))
        # Constants of the package itself, such as its version, are above no wing.
        table.setdefault(own, set()).update({wing_of(name) for name in imports_of(path)} - {own, "__version__"})
    return table


def test_imports_between_wings_go_one_way() -> None:
    table = wings_imported()
    assert set(table) == set(LEVEL), "every wing, and every module of the face, has its place in ORDER"
    # What is no module, as a name of the face, is above all.
    levels = {name: LEVEL.get(name, len(ORDER)) for names in table.values() for name in names} | LEVEL
    print("\n".join(f"{wing:10} imports {', '.join(sorted(table[wing], key=levels.__getitem__))}" for wing in table))
    upward = {wing: others for wing in table if (others := {x for x in table[wing] if levels[x] >= levels[wing]})}
    assert upward == {}


def test_modules_of_a_wing_import_in_no_circle() -> None:
    imported = {module_of(path): imports_of(path) for path in SOURCES}
    below = {
        module: {name for other in names for name in (other, other.rpartition(".")[0]) if name in imported} - {module}
        for module, names in imported.items()
    }
    order = TopologicalSorter(below)
    order.prepare()  # raises CycleError, which names the circle


def test_the_face_is_small_and_wings_only_say_what_they_are() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} <= FACE
    for path in PACKAGE.glob("*/__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert len(body) == 1 or path.parent.name == "descriptors", f"{path.parent.name}/__init__.py holds a docstring"
        assert 3 <= len((ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()) <= 10, path.parent.name


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


@cache
def imports_when_loaded(path: Path) -> set[str]:
    """Full names of the modules that a file imports as it is imported, those of the package with all their parents."""
    names: set[str] = set()
    for statement in loaded_statements(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            names |= {str(statement.module)} | {f"{statement.module}.{alias.name}" for alias in statement.names}
    parts = [name.split(".") for name in names]
    return {".".join(words[:n]) for words in parts for n in range(1, len(words) + 1)}


@cache
def loaded_with(module: str) -> frozenset[str]:
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
    return frozenset(found)


def heavy(names: Iterable[str]) -> set[str]:
    """Libraries among modules, with those that ray.serve brings along."""
    libraries = {name.split(".")[0] for name in names}
    return libraries | ({"fastapi"} if "ray.serve" in names else set())


@pytest.mark.parametrize("wing", sorted(WING_WITHOUT))
def test_no_module_of_a_wing_brings_what_the_wing_is_without(wing: str) -> None:
    modules = [module_of(path) for path in SOURCES if wing_of(module_of(path)) == wing]
    assert {module: found for module in modules if (found := WING_WITHOUT[wing] & heavy(loaded_with(module)))} == {}


@pytest.mark.parametrize("module", sorted(FORBIDDEN))
def test_modules_leave_what_they_do_not_need_alone(module: str) -> None:
    """Type checking alone may name a library; the code that runs does not import it."""
    assert not FORBIDDEN[module] & heavy(loaded_with(module))


def test_what_is_read_is_what_an_interpreter_loads() -> None:
    """One real start, which imports the modules from the lightest to the heaviest."""
    without_ray = [module for module in FORBIDDEN if "ray" in FORBIDDEN[module]]
    by_weight = [
        name for library in ("rdkit", "torch", "fastapi") for name in without_ray if library in FORBIDDEN[name]
    ]
    in_order = list(dict.fromkeys([*by_weight, *without_ray]))
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
            (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"))
            or (isinstance(node, ast.ImportFrom) and {"environ", "getenv"} & {alias.name for alias in node.names})
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
    }
    # A child process that converts checkpoints is started with its parent's environment; Ray is told its
    # mode and token by the environment, which its processes inherit; `serve deploy` starts at application.build;
    # cluster is the command line of a Slurm job.
    # DGL takes its backend from the environment.
    allowed = {"settings", "polymer.dgl_graph", "serve.application", "cli", "slurm.__main__"}
    allowed |= {"setup.convert", "runtime.local_ray"}
    readers = {module for module in readers if wing_of(module) != "commands"}
    assert readers <= allowed, "settings are built once, at the command line, and passed on"


PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
# What they are read by instead, and the errors of that.
ABOUT_PICKLES = {"artifacts.safe_pickle", "artifacts.weight_files"}


def test_nothing_is_loaded_unsafely() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported = {alias.name for alias in node.names} | {getattr(node, "module", "")}
                assert module_of(path) in ABOUT_PICKLES or not PICKLES & imported, path
                assert not any(alias.name == "torch" and alias.asname for alias in node.names), path
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in ("pickle.load", "pickle.loads"), path
            if called == "torch.load":
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert keywords.get("weights_only") == "True", path


def test_private_interfaces_stand_in_one_table() -> None:
    """Modules of libraries that are not promised, by name; they are looked at first when a version moves."""
    import re

    root = PACKAGE.parent
    table = (root / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Private interfaces")[2]
    rows = re.findall(r"^\| `([\w.]+)` \| [^|]+ \| `([\w/.]+)` \|", table, flags=re.MULTILINE)
    private = (
        r"\b(?:(?:ray|torch|numba|uvicorn|starlette|fastapi|click)(?:\.\w+)*\._\w+(?:\.\w+)*"
        r"|numba\.core\.\w+|uvicorn\.protocols(?:\.\w+)+)"
    )
    used = {
        (name, str(path.relative_to(PACKAGE)))
        for path in SOURCES
        for line in path.read_text(encoding="utf-8").splitlines()
        for name in re.findall(private, line)
        if "import" in line or "torch.cuda._" in line
    }
    assert used == set(rows)


def test_what_answers_users_knows_their_finetuned_properties() -> None:
    """Artifacts of the settings are opened with the packages, except where only the published ones are meant."""
    bare = {
        module_of(path) for path in SOURCES if "ArtifactDirectory.open(settings.checkpoint_dir)" in path.read_text()
    }
    # An encoder for training, weights that get intervals, and ids that a package cannot have; directories of another
    # origin are opened bare, too.
    assert bare <= {"training.claim", "commands.calibrate", "commands.models"}


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
