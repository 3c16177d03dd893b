"""The copolymers of a training as batches of tensors; a monomer's prompts are held once for all that have it."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from periogt_ray.artifacts.scaler import Scaler
from periogt_ray.model.collate import collate_prompts
from periogt_ray.model.composite_passes import collate_composites, monomers_of, prompt_counts
from periogt_ray.model.packing import Packing
from periogt_ray.polymer.input_features import FeaturizedComposite, featurized_kind
from periogt_ray.training.polymer_set import TRAINING_PADDING, PolymerBatch, PolymerSet
from periogt_ray.training.prompts import Prompts

__all__ = ["CompositeSet"]


class CompositeSet(PolymerSet):
    """Copolymers with the prompts of their monomers.

    Parameters
    ----------
    polymers : sequence of FeaturizedComposite
        Of one kind and scheme.
    prompts : Mapping of str to Prompts
        Of each monomer, by the SMILES of its features.
    scaler : Scaler
        Of descriptors.
    packing : Packing
        How polymers share a pass that trains nothing.
    device : torch.device
        Where batches go.
    """

    def __init__(
        self,
        polymers: Sequence[FeaturizedComposite],
        prompts: Mapping[str, Prompts],
        scaler: Scaler,
        *,
        packing: Packing,
        device: torch.device,
    ) -> None:
        super().__init__((), (), (), (), packing=packing, device=device)
        self._polymers = polymers
        self._prompts_of = prompts
        self._scaler = scaler
        self.kind = featurized_kind(polymers[0])

    def __len__(self) -> int:
        return len(self._polymers)

    def batch(self, chosen: Sequence[int], *, max_padding: float = TRAINING_PADDING) -> PolymerBatch:
        """Return some copolymers as one batch, in the order given."""
        polymers = [self._polymers[i] for i in chosen]
        graphs = collate_composites(polymers, self._scaler, max_padding=max_padding)
        names = [monomer.smiles for monomer in monomers_of(polymers)]
        parts = [self._prompts_of[name] for name in names]
        ends = np.cumsum([0, *(len(part.states) for part in parts)])
        begins = dict(zip(names, ends[:-1].tolist(), strict=True))
        of_each = [[monomer.smiles for monomer in polymer.monomers] for polymer in polymers]
        places = collate_prompts(
            [
                prompt_counts(polymer, [self._prompts_of[name].counts for name in some])
                for polymer, some in zip(polymers, of_each, strict=True)
            ],
            [np.concatenate([self._prompts_of[name].rows + begins[name] for name in some]) for some in of_each],
            graphs.first_nodes,
        )
        states = torch.from_numpy(np.concatenate([part.states for part in parts]).astype(np.float32))
        return PolymerBatch(graphs.to(self.device), states.to(self.device), places.to(self.device))

    def _n_nodes(self, position: int) -> int:
        return sum(monomer.graphs[0].n_triplets for monomer in self._polymers[position].monomers)
