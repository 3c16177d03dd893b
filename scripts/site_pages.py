"""Hook of mkdocs: the site has the documents at the places that they have in the repository.

So a relative link works alike in the site, in an editor and on a web page of the repository.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "slurm/README.md",
    "apptainer/README.md",
    "deploy/*/README.md",
    "periogt_ray/embedded/MODEL_CARD.md",
)
# What pages link to and show beside one another.
OTHERS = (
    "CITATION.cff",
    "docs/images/*.png",
    "docs/notebooks/*.ipynb",
    "periogt_ray/web/table_rules.json",
    "slurm/site.env.example",
)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Replace what lies in docs_dir by the documents; what the theme brings stays."""
    kept = [file for file in files if not (file.src_dir and Path(file.src_dir) == Path(config.docs_dir))]
    paths = sorted({path for pattern in (*PAGES, *OTHERS) for path in ROOT.glob(pattern)})
    found = [File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)) for path in paths]
    return Files([*kept, *found])
