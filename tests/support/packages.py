"""A package without a training: members that are copies of a small seeded network."""

from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.layout import LABEL_STATS_NAME
from periogt_ray.artifacts.manifest import RecordedFile
from periogt_ray.artifacts.members import member_path
from periogt_ray.artifacts.packages import Package, read_package, write_package
from periogt_ray.runtime.files import sha256_of, write_json_atomically
from support.golden import ARTIFACTS

FACTOR = 2.0  # between its values and those of the property that it is a copy of


def write_small_package(models: Path, property_id: str = "my_eps", **changes: Any) -> Package:
    """Write a package whose two members are the golden network of eps, with twice its statistics."""
    artifacts = ArtifactDirectory.open(ARTIFACTS)
    root = models / property_id
    members = [member_path(property_id, number) for number in range(2)]
    state = {key: value.contiguous() for key, value in artifacts.property_state_dict("eps").items()}
    for path in members:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        save_file(state, root / path)
    known = artifacts.label_stats("eps")
    doubled = {"mean": FACTOR * known.mean, "std": FACTOR * known.std}
    write_json_atomically(root / LABEL_STATS_NAME, {property_id: doubled})
    (root / "rows.csv").write_text("line,smiles\n2,*CC*\n")
    names = [*members, LABEL_STATS_NAME, "rows.csv"]
    document = {
        "id": property_id,
        "label": "My constant",
        "units": "eV",
        "scheme": artifacts.property("eps").prompt_scheme.name,
        "members": members,
        "encoder": {
            "name": artifacts.name,
            "sha256": artifacts.encoder_sha256,
            "width": artifacts.encoder_dims["width"],
        },
        "data_sha256": "0" * 64,
        "summary": {"test": {"r2": 0.5, "rmse": 1.0, "n": 10}, "n_train": 40},
    }
    files = {name: RecordedFile((root / name).stat().st_size, sha256_of(root / name)) for name in names}
    write_package(root, {**document, **changes}, files)
    return read_package(root)
