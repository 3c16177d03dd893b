"""What the documents say exists: links, anchors, commands, options, scripts, error codes and settings."""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import distributions
from pathlib import Path

import click
import pytest
import yaml

import periogt_ray
from periogt_ray import errors
from periogt_ray.cli import cli
from periogt_ray.doctor.run import run_checks
from periogt_ray.settings import BATCH_ON_CPU, BATCH_ON_GPU, VARIABLES, ServiceSettings, Settings
from support.documents import DOCUMENTS, ROOT, Command, anchors_of, commands_of, links_of

COMMANDS = [command for path in DOCUMENTS for command in commands_of(path)]
# sbatch scripts that hand their arguments to a command of the same name.
WITH_ARGUMENTS = {"batch", "calibrate", "evaluate", "featurize", "finetune", "predict", "setup"}
FOLDERS = ("apptainer/", "deploy/", "scripts/", "slurm/", "tests/")
# A user makes it.
OF_USERS = {"slurm/site.env"}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_links_lead_to_files_and_headings() -> None:
    broken = []
    links = [(path, link) for path in DOCUMENTS for link in links_of(path.read_text(encoding="utf-8"))]
    for path, link in links:
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        is_there = target.is_relative_to(ROOT) and target.exists()
        if not is_there or (anchor and anchor not in anchors_of(target.read_text(encoding="utf-8"))):
            broken.append(f"{path.relative_to(ROOT)}: {link}")
    assert not broken, "\n".join(broken)
    assert len(links) > 50


def calls_of(command: Command) -> Iterator[Sequence[str]]:
    """Arguments of the command line, wherever it is called in a command."""
    words = command.words
    for i, word in enumerate(words):
        if word in ("periogt", ".venv/bin/periogt", "scripts/run"):
            yield words[i + 1 :]
            return
        if word.endswith("periogt.sif") and words[i + 1 : i + 2] and words[i + 1] in cli.commands:
            yield words[i + 1 :]
            return
        if word.endswith(".sbatch") and Path(word).stem in WITH_ARGUMENTS:
            given = words[i + 1 :]
            if "--check" in given:
                given = given[given.index("--") + 1 :] if "--" in given else ()
            if given:
                yield (Path(word).stem, *given)
            return


CALLS = [(command, arguments) for command in COMMANDS for arguments in calls_of(command) if arguments]


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], None]:
    """Parse arguments by click, without running the command that they name."""
    monkeypatch.setattr(click.Command, "invoke", lambda *_: None)

    def parsed(arguments: Sequence[str]) -> None:
        has_command = not all(word.startswith("-") for word in arguments) or "--version" in arguments
        cli.main([*arguments] if has_command else [*arguments, "doctor"], "periogt", standalone_mode=False)

    return parsed


def test_commands_and_options_exist(parse: Callable[[Sequence[str]], None]) -> None:
    problems = []
    for command, arguments in CALLS:
        try:
            parse(arguments)
        except (click.MissingParameter, click.BadOptionUsage, click.exceptions.NoArgsIsHelpError) as error:
            # Text names an option without all that a call needs; what is to be copied is complete.
            if command.is_block:
                problems.append(f"{command}: {error.format_message()}")
        except click.UsageError as error:
            problems.append(f"{command}: {error.format_message()}")
    assert not problems, "\n".join(problems)
    assert set(cli.commands) <= {arguments[0] for _, arguments in CALLS}
    assert len(CALLS) > 100


def test_a_wrong_option_is_seen(parse: Callable[[Sequence[str]], None]) -> None:
    for arguments in (["batch", "--input", "i.csv", "--property", "egc", "--no-such-option"], ["models", "nothing"]):
        with pytest.raises(click.UsageError):
            parse(arguments)
    with pytest.raises(click.MissingParameter):
        parse(["predict", "--smiles", "*CC*"])


def is_there(name: str) -> bool:
    """Whether a path or a pattern is in the repository; the map leaves out the package's own folder."""
    return any(next(folder.glob(name), None) is not None for folder in (ROOT, ROOT / "periogt_ray"))


def test_scripts_that_are_named_exist() -> None:
    named = {word for command in COMMANDS for word in command.words if word.startswith(FOLDERS)}
    named = {word.partition("::")[0].partition(":")[0].rstrip(",.") for word in named} - OF_USERS
    assert len(named) > 30
    assert [name for name in sorted(named) if "<" not in name and not is_there(name)] == []


def test_job_scripts_that_are_named_exist() -> None:
    named = {word for command in COMMANDS for word in command.words if re.fullmatch(r"[\w/]+\.sbatch", word)}
    assert [name for name in sorted(named) if not (ROOT / "slurm" / Path(name).name).is_file()] == []


def test_every_error_code_has_an_entry() -> None:
    faq = read("docs/faq.md")
    rows = dict(re.findall(r"^\| \[(\w+)\]\(#\1\) \| (.+?) \|", faq, re.MULTILINE))
    exits = dict(re.findall(r"^\| \[(\w+)\]\(#\1\) \| .+? \| (\d) \|", faq, re.MULTILINE))
    classes = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.PerioGTError)]
    assert {cls.code for cls in classes} == set(rows) == {name for name in anchors_of(faq) if name in rows}
    for cls in classes:
        section = re.search(rf"^### {cls.code}\n(.*?)(?=^##)", faq, re.MULTILINE | re.DOTALL)
        assert section is not None
        assert "**Why.**" in section[1]
        assert "what to do" in section[1].lower()
        assert int(exits[cls.code]) == cls.exit_code
        if cls is not errors.SettingsError:  # of a start, which no client sees
            assert str(cls.http_status) in rows[cls.code].split(", ")


def test_every_setting_has_its_line() -> None:
    named = set(re.findall(r"^\| (.+?) \|", read("docs/settings.md"), re.MULTILINE))
    assert {name for cell in named for name in re.findall(r"`(PERIOGT_\w+)`", cell)} == set(VARIABLES)


def test_defaults_are_those_of_the_settings() -> None:
    """As the text of --help and docs/settings.md say them."""
    service = ServiceSettings()
    defaults = {
        "PERIOGT_PORT": Settings.port,
        "PERIOGT_HOST": Settings.host,
        "PERIOGT_MAX_BATCH": f"{BATCH_ON_GPU} on a GPU, else {BATCH_ON_CPU}",
        "PERIOGT_BATCH_WAIT_MS": round(1000 * service.batch_wait_s),
        "PERIOGT_MAX_QUEUE": service.max_queue,
        "PERIOGT_TIMEOUT_S": round(service.timeout_s),
        "PERIOGT_GPU_SHARE": service.gpu_share,
        "PERIOGT_CACHE_MB": service.cache_bytes >> 20,
        "PERIOGT_MAX_BODY_KB": service.max_body_bytes >> 10,
        "PERIOGT_FEATURE_STORE_GB": Settings.feature_store_bytes >> 30,
        "PERIOGT_WEIGHTS_GB": Settings.weights_bytes >> 30,
        "PERIOGT_MIN_DRIVER": Settings.min_driver,
        "PERIOGT_DESCRIPTORS": Settings.descriptor_engine,
        "PERIOGT_PRECISION": Settings.precision,
    }
    rows = re.findall(r"^\| (.+?) \| .+ \| (.*?) \|$", read("docs/settings.md"), re.MULTILINE)
    for name, default in defaults.items():
        assert VARIABLES[name].endswith(f"(default: {default})"), name
        [told] = [told for names, told in rows if f"`{name}`" in names]
        assert re.search(rf"(?<![\w.]){re.escape(str(default))}(?![\w])", told), name


def test_every_route_and_every_check_of_doctor_is_explained(tmp_path: Path) -> None:
    routes = (ROOT / "periogt_ray" / "serve" / "http" / "routes.py").read_text(encoding="utf-8")
    paths = set(re.findall(r'"(/v1/[^"]+)"', routes))
    service = read("docs/service.md")
    assert paths
    assert [path for path in sorted(paths) if re.sub(r"\{\w+\}", "{id}", path) not in service] == []
    rows = re.findall(r"^\| (`.+?) \| ", read("docs/clusters.md"), re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    explained |= {one.name for one in distributions()}
    found = {check.name for check in run_checks({"HOME": str(tmp_path)}, hashes=False)}
    assert [name for name in sorted(found) if not {name, f"{name.split()[0]} ..."} & explained] == []


def test_every_public_name_is_in_the_reference() -> None:
    reference = read("docs/api.md")
    assert [name for name in periogt_ray.__all__ if not re.search(rf"\b{name}\b", reference)] == []


def test_documents_are_of_this_version() -> None:
    version = periogt_ray.__version__
    citation = yaml.safe_load(read("CITATION.cff"))
    assert (citation["version"], citation["license"]) == (version, "MIT")
    [newest, *_] = re.findall(r"^## (\S+) \((.+)\)$", read("docs/changelog.md"), re.MULTILINE)
    assert newest[0] == version
    assert set(re.findall(r"periogt_ray-([\d.]+)-py3", read("docs/getting_started.md"))) == {version}


def test_the_readme_is_short_and_its_picture_small() -> None:
    assert len(read("README.md").splitlines()) <= 130
    [picture] = re.findall(r"!\[.+?\]\((.+?)\)", read("README.md"))
    assert (ROOT / picture).read_bytes().startswith(b"\x89PNG")
    assert (ROOT / picture).stat().st_size < 200_000
