"""Members: several networks of one property whose predictions are averaged.

They lie beside one another as ``finetuned_ckpt/<property>/member_<k>.safetensors``, numbered from 0 without a gap. A
property with one network has the single form, ``best_model.*``.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from periogt_ray.artifacts.architecture import Architecture

__all__ = ["WeightFile", "gather_members", "member_number", "member_path"]

_MEMBER = re.compile(r"member_(0|[1-9][0-9]{0,3})")


class WeightFile(NamedTuple):
    """The weights of one network, or of members that share an architecture.

    Attributes
    ----------
    path : str
        Weight file relative to the artifact directory; of members, the first.
    architecture : Architecture
        The network in it.
    members : tuple of str
        All files in the order of their numbers, ``path`` among them; empty for a single network.
    """

    path: str
    architecture: Architecture
    members: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that a prediction reads."""
        return self.members or (self.path,)


def member_path(property_id: str, number: int) -> str:
    """Return where a member's weights are, relative to the artifact directory.

    Examples
    --------
    >>> member_path("eps", 2)
    'finetuned_ckpt/eps/member_2.safetensors'
    """
    return f"finetuned_ckpt/{property_id}/member_{number}.safetensors"


def member_number(path: str) -> int | None:
    """Return the number of a member's file, None for any other file."""
    found = _MEMBER.fullmatch(PurePosixPath(path).stem)
    return None if found is None else int(found[1])


def gather_members(files: Iterable[WeightFile]) -> list[WeightFile]:
    """Put the members of each directory together; other files stay as they are.

    Members that are not numbered from 0 without a gap, or differ in their architecture, become a network that is not
    served, with the reason: their average would not be that of the training.
    """
    gathered: list[WeightFile] = []
    by_directory: dict[PurePosixPath, dict[int, WeightFile]] = {}
    for file in files:
        number = member_number(file.path)
        if number is None:
            gathered.append(file)
            continue
        numbered = by_directory.setdefault(PurePosixPath(file.path).parent, {})
        if number not in numbered or file.path.endswith(".safetensors"):
            numbered[number] = file
    return gathered + [_joined(numbered) for numbered in by_directory.values()]


def _joined(numbered: Mapping[int, WeightFile]) -> WeightFile:
    ordered = [numbered[number] for number in sorted(numbered)]
    first = ordered[0]
    missing = next((number for number in range(len(ordered)) if number not in numbered), None)
    unlike = next((file.path for file in ordered if file.architecture != first.architecture), None)
    architecture = first.architecture
    if missing is not None:
        reason = f"member_{missing} is missing among its members, so their average would not be that of the training"
        architecture = Architecture("unknown", architecture.dims, reason)
    elif unlike is not None:
        reason = f"{unlike} holds another network than {first.path}"
        architecture = Architecture("unknown", architecture.dims, reason)
    return WeightFile(first.path, architecture, tuple(file.path for file in ordered))
