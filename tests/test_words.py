"""One word for one thing: names that a reader of the code, the command line, a table or the JSON meets."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import click
import pytest

import periogt_ray
from periogt_ray import schemas
from periogt_ray.cli import cli
from periogt_ray.polymer.input_kinds import INPUT_COLUMNS
from periogt_ray.tables.predictions import OUTPUT_COLUMNS

PACKAGE = Path(periogt_ray.__file__).parent

# The one list: words that no public name holds, and what to write instead.
BANNED = {
    "base": "encoder, for the pretrained network",
    "regressor": "head",
    "replica": "predictor or featurizer",
    "replicas": "predictors or featurizers",
    "worker": "predictor or featurizer",
    "ensemble": "members",
    "minibatch": "pass",
    "chunk": "part",
    "star": "connection point",
    "wildcard": "connection point",
    "util": "the thing that the module holds",
    "utils": "the thing that the module holds",
    "helper": "what it does",
    "helpers": "what it does",
    "manager": "what it does",
    "num": "n",
    "count": "n",
    "seconds": "s",
    "secs": "s",
    "sec": "s",
    "millis": "s",
}
# Words of Slurm, which mean nothing else: a node is a machine, a job is what sbatch submits.
BANNED_IN_MODELS = {
    "node": "triplet, in a graph",
    "nodes": "triplets, in a graph",
    "job": "task, for a polymer and a property",
    "jobs": "tasks, for polymers and properties",
}
WINGS_OF_MODELS = {"artifacts", "batch", "client", "model", "polymer", "predict", "schemas", "serve", "setup", "tables"}
# Each with its reason; what the code says of itself, not what a user meets.
ALLOWED = {
    "base_dir": "the setting PERIOGT_BASE_DIR, which is specified",
    "count_rows": "a verb",
    "FeaturizerReplica": "what Ray Serve replicates",
    "PredictorReplica": "what Ray Serve replicates",
    "featurizer_replica": "its module",
    "predictor_replica": "its module",
    "node_manager": "a process of Ray, which has this name",
    "object_manager": "a process of Ray, which has this name",
    "run_worker": "a node of Ray that is not the head",
    "NodePrefix": "the path /node/<host>/<port>/ of Open OnDemand",
    "seconds": "of a function's argument that has no other meaning",
    # Virtual nodes of a graph are no triplets.
    "NodeKind": "triplets and virtual nodes",
    "node_kind": "triplets and virtual nodes",
    "NodeAttention": "over triplets and virtual nodes",
    "NodeOutLayer": "of triplets and virtual nodes",
    "PROMPT_BLOCK_NODES": "triplets and virtual nodes",
    **dict.fromkeys(
        ("descriptor_nodes", "fingerprint_nodes", "global_nodes", "ratio_nodes"), "virtual nodes that carry a vector"
    ),
    **dict.fromkeys(("first_nodes", "max_nodes", "n_nodes", "nodes"), "triplets and virtual nodes"),
    # Left from the names of the release; a head network is meant.
    **dict.fromkeys(
        ("ConditionsRegressor", "CopolymerRegressor", "PerioGTRegressor", "load_regressor"), "a head network"
    ),
}


def words_of(name: str) -> list[str]:
    """Words of a name in snake_case, kebab-case or CamelCase, in lower case."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return [word.lower() for word in re.split(r"[_\-\s.]+", parted) if word]


def names_in(path: Path) -> Iterator[str]:
    """Public names of a module: its own, those of classes, functions and methods, their arguments and fields."""
    yield path.stem
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                if node.name.startswith("_"):
                    continue
                yield node.name
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                yield from (argument.arg for argument in arguments if not argument.arg.startswith("_"))
            elif isinstance(node, ast.ClassDef):
                waiting.append(node)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                if not node.target.id.startswith("_"):
                    yield node.target.id
            elif isinstance(node, ast.Assign):
                named = (target.id for target in node.targets if isinstance(target, ast.Name))
                yield from (name for name in named if not name.startswith("_"))


def options_of(command: click.Command) -> Iterator[str]:
    yield command.name or ""
    for parameter in command.params:
        if not getattr(parameter, "hidden", False):
            yield from (option.lstrip("-") for option in parameter.opts)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from options_of(inner)


def banned_in(names: Iterable[str], banned: Mapping[str, str]) -> list[str]:
    """Names that hold a banned word, with what to write instead."""
    found = {(name, word) for name in names for word in words_of(name) if word in banned and name not in ALLOWED}
    return [f"{name}: not {word!r}, but {banned[word]}" for name, word in sorted(found)]


@pytest.mark.parametrize("wing", sorted({path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")}))
def test_names_of_the_code(wing: str) -> None:
    paths = [PACKAGE / wing] if wing.endswith(".py") else (PACKAGE / wing).rglob("*.py")
    names = {name for path in paths for name in names_in(path)}
    banned = BANNED | (BANNED_IN_MODELS if wing.removesuffix(".py") in WINGS_OF_MODELS else {})
    assert banned_in(names, banned) == []


def test_names_on_the_command_line() -> None:
    assert banned_in(options_of(cli), BANNED | BANNED_IN_MODELS) == []


def test_names_of_columns() -> None:
    columns = {*OUTPUT_COLUMNS, *(name for names in INPUT_COLUMNS.values() for name in names)}
    assert len(columns) > 15
    assert banned_in(columns, BANNED | BANNED_IN_MODELS) == []


def test_names_in_the_json() -> None:
    models = [model for name in schemas.__all__ if hasattr(model := getattr(schemas, name), "model_fields")]
    fields = {field for model in models for field in model.model_fields}
    assert len(fields) > 40
    assert banned_in(fields, BANNED | BANNED_IN_MODELS) == []


def test_what_is_allowed_is_still_there() -> None:
    names = {name for path in PACKAGE.rglob("*.py") for name in names_in(path)}
    assert set(ALLOWED) - names == set()


def test_a_banned_word_is_seen(tmp_path: Path) -> None:
    module = tmp_path / "pass_utils.py"
    module.write_text(
        "class GraphHelper:\n    n_count: int\n    def run(self, num_polymers): ...\ndef _manager(): ...\n"
    )
    found = banned_in(names_in(module), BANNED)
    assert [line.partition(":")[0] for line in found] == ["GraphHelper", "n_count", "num_polymers", "pass_utils"]
