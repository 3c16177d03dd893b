"""Prompt schemes: which prompt graphs a checkpoint was trained with, and how prompts are made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

from periogt_ray.errors import ModelLoadError

__all__ = ["SCHEMES", "PromptScheme"]


@dataclass(frozen=True)
class PromptScheme:
    """One way to make prompts; an artifact's index.json holds its name.

    The settings are those in which the published programs differ, and one of our own. ``RELEASE`` belongs to the
    published checkpoints of homopolymers, ``MONOMER`` to the authors' present code, ``MIRROR_INVARIANT`` to networks
    of this package: as ``MONOMER``, but mirror images get the same values.

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
    is_mirror_invariant : bool
        Whether of a repeat unit and its mirror image the one is computed whose canonical SMILES sorts first.
        Enantiomers have the same properties. The published networks give them slightly different values.

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
    is_mirror_invariant: bool = False

    RELEASE: ClassVar["PromptScheme"]
    MONOMER: ClassVar["PromptScheme"]
    MIRROR_INVARIANT: ClassVar["PromptScheme"]

    @classmethod
    def named(cls, name: str) -> "PromptScheme":
        """Return the scheme of a name.

        Raises
        ------
        ModelLoadError
            If there is no scheme of this name.
        """
        if name not in SCHEMES:
            raise ModelLoadError(f"There is no prompt scheme {name!r}; expected {', '.join(SCHEMES)}.")
        return SCHEMES[name]


PromptScheme.RELEASE = PromptScheme("release", multimer_sizes=(1, 2, 3), max_graphs=10, max_prompts=20)
PromptScheme.MONOMER = PromptScheme("monomer", multimer_sizes=(1,), max_graphs=10, max_prompts=10)
PromptScheme.MIRROR_INVARIANT = replace(PromptScheme.MONOMER, name="mirror-invariant", is_mirror_invariant=True)

# By name.
SCHEMES: Mapping[str, PromptScheme] = MappingProxyType(
    {scheme.name: scheme for scheme in (PromptScheme.RELEASE, PromptScheme.MONOMER, PromptScheme.MIRROR_INVARIANT)}
)
