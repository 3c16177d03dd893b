"""The environment of a container, and the start of its command."""

import os
import re
import sys
from pathlib import Path

from .container import enter
from .options import Options

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT_BY_CLEANENV = ("TERM", "HOME", "USER", "LOGNAME", "http_proxy", "https_proxy", "no_proxy")
_PREFIXES = ("SINGULARITYENV_", "APPTAINERENV_")
# The image's own environment first, then what the caller sets for the container, one assignment a line.
_STAGE = """for file in /.singularity.d/env/*.sh; do [ -f "$file" ] && . "$file"; done
while IFS= read -r line; do [ -n "$line" ] && export "$line"; done <<ASSIGNMENTS
{assignments}
ASSIGNMENTS
{body}"""
_EXEC = """if ! command -v "$1" >/dev/null 2>&1; then
  echo "FATAL:   \\"$1\\": executable file not found in \\$PATH" >&2; exit 255
fi
exec "$@"
"""


def launch(options: Options, command: str, words: list[str], *, body: str = _EXEC, writes_image: bool = False) -> None:
    """Become the container and its command; does not return."""
    environment, chosen = _environment(options, command), _chosen(options)
    enter(options, writes_image=writes_image)
    assignments = "\n".join(f"{name}={value}" for name, value in chosen.items())
    quoted = re.sub(r"([\\$`])", r"\\\1", assignments)
    script = _STAGE.format(assignments=quoted, body=body)
    sys.stdout.flush()
    os.execve("/bin/sh", ["/bin/sh", "-c", script, "sh", *words], environment)


def _environment(options: Options, command: str) -> dict[str, str]:
    if options.cleans_environment:
        kept = {name: os.environ[name] for name in _KEPT_BY_CLEANENV if name in os.environ} | {"LANG": "C"}
    else:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIXES)}
    kept.pop("BASH_ENV", None)
    own = {
        "USER_PATH": kept.get("PATH", ""),
        "PATH": _DEFAULT_PATH,
        "LD_LIBRARY_PATH": "/.singularity.d/libs",
        "APPTAINER_COMMAND": command,
        "PS1": "Apptainer> ",
    }
    for prefix in ("APPTAINER", "SINGULARITY"):
        own[f"{prefix}_CONTAINER"] = str(options.image)
        own[f"{prefix}_NAME"] = options.image.name
        own[f"{prefix}_ENVIRONMENT"] = "/.singularity.d/env/91-environment.sh"
    return kept | own


def _chosen(options: Options) -> dict[str, str]:
    """Return what is set for the container by variables with a prefix, files and --env, the last one winning."""
    chosen = {name.split("_", 1)[1]: value for name, value in os.environ.items() if name.startswith(_PREFIXES)}
    lines = [line for name in options.variable_files for line in Path(name).read_text().splitlines()]
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    # A comma separates assignments only where another one follows.
    lines += [one for some in options.variables for one in re.split(r",(?=[A-Za-z_][A-Za-z0-9_]*=)", some)]
    for line in lines:
        name, _, value = line.partition("=")
        chosen[name] = value
    return chosen
