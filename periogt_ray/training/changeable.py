"""Whether intervals can be stored in an artifact directory, told before anything is computed."""

import os
from pathlib import Path

from periogt_ray.artifacts.calibration import calibration_path
from periogt_ray.errors import ValidationError
from periogt_ray.settings import EMBEDDED_DIR

__all__ = ["check_writable", "is_embedded_model"]


def is_embedded_model(root: Path) -> bool:
    """Whether an artifact directory is the embedded model's own, also by a link to it.

    Examples
    --------
    >>> is_embedded_model(EMBEDDED_DIR / "finetuned_ckpt" / ".."), is_embedded_model(EMBEDDED_DIR.parent)
    (True, False)
    """
    return root.resolve() == EMBEDDED_DIR.resolve()


def check_writable(root: Path, property_id: str, *, has_verdict: bool = False) -> None:
    """Refuse a directory into which this user cannot write.

    Parameters
    ----------
    root : pathlib.Path
        Artifact directory.
    property_id : str
        Whose intervals are to be stored.
    has_verdict : bool
        Whether files of the whole directory are to be written, too.

    Raises
    ------
    ValidationError
        The message names the folder, and what to do.
    """
    folders = [(root / calibration_path(property_id)).parent, *([root] if has_verdict else [])]
    for folder in folders:
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            raise ValidationError(
                f"{folder} cannot be written, and the intervals are stored there. Let its owner run this command, or "
                f"copy {root} to a directory of your own and name the copy by PERIOGT_CHECKPOINT_DIR."
            )
