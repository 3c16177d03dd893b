"""Prompt schemes: which prompt graphs a checkpoint was trained with, and how prompts are made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

from periogt_ray.errors import ModelLoadError
from periogt_ray.polymer.input_kinds import InputKind

__all__ = ["SCHEMES", "PromptScheme"]


@dataclass(frozen=True)
class PromptScheme:
    """One way to make prompts; an artifact's index.json holds its name.

    The settings are those in which the published programs differ, and one of our own. ``RELEASE`` belongs to the
    published checkpoints of homopolymers, ``RELEASE_UNSHIFTED`` to those of copolymers and of polymers with conditions,
    ``MONOMER`` and, for copolymers, ``CURRENT`` to the authors' present code, ``MIRROR_INVARIANT`` to networks
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
        Whether finished prompts are rounded to float16 and read back before the property's network gets them.
    has_shifted_paths : bool
        Whether a path in the prompt pass names triplets of its own graph, as it should. Otherwise its numbers count
        from the first triplet of the polymer's first graph, a slip of the release that weights were trained with.
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
    RELEASE_UNSHIFTED: ClassVar["PromptScheme"]
    MONOMER: ClassVar["PromptScheme"]
    MONOMER_UNSHIFTED: ClassVar["PromptScheme"]
    CURRENT: ClassVar["PromptScheme"]
    CURRENT_UNSHIFTED: ClassVar["PromptScheme"]
    MIRROR_INVARIANT: ClassVar["PromptScheme"]

    @classmethod
    def named(cls, name: str, *, kind: InputKind = InputKind.HOMOPOLYMER) -> "PromptScheme":
        """Return the scheme of a name.

        Parameters
        ----------
        name : str
            As in index.json.
        kind : InputKind
            What the network takes: ``release`` means other settings for copolymers and conditions, those of
            ``release-unshifted``, because the release's programs differ in the paths.

        Raises
        ------
        ModelLoadError
            If there is no scheme of this name.
        """
        if name not in SCHEMES:
            raise ModelLoadError(f"There is no prompt scheme {name!r}; expected {', '.join(SCHEMES)}.")
        return cls.of_release(kind) if name == cls.RELEASE.name else SCHEMES[name]

    @classmethod
    def of_release(cls, kind: InputKind) -> "PromptScheme":
        """Return the scheme of the published checkpoints for a kind of input, as far as is known."""
        return cls.RELEASE if kind is InputKind.HOMOPOLYMER else cls.RELEASE_UNSHIFTED

    @classmethod
    def candidates(cls, kind: InputKind) -> tuple["PromptScheme", ...]:
        """Return the schemes that published weights for a kind of input may have been trained with, likeliest first.

        Which one it was shows in the accuracy on the test rows.
        """
        if kind is InputKind.COPOLYMER:
            return cls.RELEASE_UNSHIFTED, cls.CURRENT, cls.CURRENT_UNSHIFTED, SCHEMES["current-unshifted-unrounded"]
        if kind is InputKind.CONDITIONS:
            return cls.RELEASE_UNSHIFTED, cls.MONOMER, cls.MONOMER_UNSHIFTED
        return cls.RELEASE, cls.RELEASE_UNSHIFTED, cls.MONOMER


PromptScheme.RELEASE = PromptScheme("release", multimer_sizes=(1, 2, 3), max_graphs=10, max_prompts=20)
PromptScheme.RELEASE_UNSHIFTED = replace(PromptScheme.RELEASE, name="release-unshifted", has_shifted_paths=False)
PromptScheme.MONOMER = PromptScheme("monomer", multimer_sizes=(1,), max_graphs=10, max_prompts=10)
PromptScheme.MONOMER_UNSHIFTED = replace(PromptScheme.MONOMER, name="monomer-unshifted", has_shifted_paths=False)
PromptScheme.CURRENT = PromptScheme("current", (1, 2, 3), max_graphs=5, max_prompts=5, is_rounded_to_half=True)
PromptScheme.CURRENT_UNSHIFTED = replace(PromptScheme.CURRENT, name="current-unshifted", has_shifted_paths=False)
PromptScheme.MIRROR_INVARIANT = replace(PromptScheme.MONOMER, name="mirror-invariant", is_mirror_invariant=True)

# By name. Whether the authors' versions between release and present rounded prompts is not known.
SCHEMES: Mapping[str, PromptScheme] = MappingProxyType(
    {
        scheme.name: scheme
        for scheme in (
            PromptScheme.RELEASE,
            PromptScheme.RELEASE_UNSHIFTED,
            PromptScheme.MONOMER,
            PromptScheme.MONOMER_UNSHIFTED,
            PromptScheme.CURRENT,
            PromptScheme.CURRENT_UNSHIFTED,
            replace(PromptScheme.CURRENT_UNSHIFTED, name="current-unshifted-unrounded", is_rounded_to_half=False),
            PromptScheme.MIRROR_INVARIANT,
        )
    }
)
