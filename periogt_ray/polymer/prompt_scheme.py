"""Prompt schemes: which prompt graphs a checkpoint was trained with, and how prompts are made of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from periogt_ray.errors import ModelLoadError

__all__ = ["SCHEMES", "PromptScheme"]


@dataclass(frozen=True)
class PromptScheme:
    """One way to make prompts; an artifact's index.json holds its name.

    The settings are those in which the published programs differ. ``RELEASE`` belongs to the published checkpoints of
    homopolymers, ``MONOMER`` to the authors' present code and to the embedded model.

    Attributes
    ----------
    name : str
        What it is called in index.json.
    multimer_sizes : tuple of int
        Repeat units per prompt graph, ascending, 1 first.
    max_graphs : int
        Most prompt graphs of a polymer.
    max_prompts : int
        Most prompts of a triplet.
    is_rounded_to_half : bool
        Whether finished prompts are rounded to float16. No homopolymer needs it, and the predictor does not do it.
    has_shifted_paths : bool
        Whether a path in the prompt pass names triplets of its own graph, as it should. Otherwise it names those of
        the first graph; no homopolymer of the release needs that, and the predictor does not do it.

    Examples
    --------
    >>> PromptScheme.named("monomer").multimer_sizes
    (1,)
    """

    name: str
    multimer_sizes: tuple[int, ...]
    max_graphs: int
    max_prompts: int
    is_rounded_to_half: bool = False
    has_shifted_paths: bool = True

    RELEASE: ClassVar["PromptScheme"]
    MONOMER: ClassVar["PromptScheme"]

    @classmethod
    def named(cls, name: str) -> "PromptScheme":
        """Return the scheme of a name.

        Raises
        ------
        ModelLoadError
            If there is no scheme of this name.
        """
        if name not in SCHEMES:
            raise ModelLoadError(f"There is no prompt scheme {name!r}; expected {' or '.join(SCHEMES)}.")
        return SCHEMES[name]


PromptScheme.RELEASE = PromptScheme("release", multimer_sizes=(1, 2, 3), max_graphs=10, max_prompts=20)
PromptScheme.MONOMER = PromptScheme("monomer", multimer_sizes=(1,), max_graphs=10, max_prompts=10)

# By name.
SCHEMES: Mapping[str, PromptScheme] = MappingProxyType(
    {scheme.name: scheme for scheme in (PromptScheme.RELEASE, PromptScheme.MONOMER)}
)
