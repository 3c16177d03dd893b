"""What is asked of copolymers and of polymers with conditions, and the outcomes."""

from collections.abc import Callable, Sequence

import numpy as np

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.properties import PropertyInfo, check_kind
from periogt_ray.errors import InternalError, PerioGTError, ValidationError
from periogt_ray.model.composite_passes import CompositePasses
from periogt_ray.model.network import PerioGTRegressor
from periogt_ray.model.plausibility import polymer_warnings, value_warnings
from periogt_ray.model.tasks import Outcome, Task, shortest
from periogt_ray.polymer.input_features import FeaturizedComposite, FeaturizedConditions, featurized_kind
from periogt_ray.polymer.input_kinds import CONDITIONS

__all__ = ["CompositeAnswers"]


class CompositeAnswers:
    """Answers tasks whose polymer is a copolymer or has conditions.

    Parameters
    ----------
    artifacts : ArtifactDirectory
        What is served.
    passes : CompositePasses
        What computes.
    network_of : callable
        Returns the network of a property, loaded.
    """

    def __init__(
        self,
        artifacts: ArtifactDirectory,
        passes: CompositePasses,
        *,
        network_of: Callable[[PropertyInfo], PerioGTRegressor],
    ) -> None:
        self._artifacts = artifacts
        self._passes = passes
        self._network_of = network_of

    def outcomes(
        self, property_id: str | None, members: Sequence[tuple[int, FeaturizedComposite]], tasks: Sequence[Task]
    ) -> dict[int, Outcome]:
        """Answer tasks of one property; equal polymers are computed once.

        Parameters
        ----------
        property_id : str or None
            None asks for embeddings, which these polymers do not have.
        members : sequence of (int, FeaturizedComposite)
            Position among the tasks, and polymer, of each task to answer.
        tasks : sequence of Task
            All tasks.

        Returns
        -------
        dict
            Outcome by position.
        """
        distinct = {polymer.key: polymer for _, polymer in members}
        try:
            values = dict(zip(distinct, self._values(property_id, list(distinct.values())), strict=True))
        except PerioGTError as error:
            return {index: Outcome(error=error) for index, _ in members}
        return {index: self._outcome(tasks[index], polymer, values[polymer.key]) for index, polymer in members}

    def _values(self, property_id: str | None, polymers: Sequence[FeaturizedComposite]) -> list[float | PerioGTError]:
        """Return the property in its unit, or why a polymer has none."""
        if property_id is None:
            raise _no_embedding()
        info = self._artifacts.property(property_id)
        for polymer in polymers:
            check_kind(info, featurized_kind(polymer))
            if any(monomer.scheme != info.prompt_scheme for monomer in polymer.monomers):
                raise ValueError(f"{property_id} needs polymers featurized by the scheme {info.prompt_scheme.name!r}")
        statistics = self._artifacts.label_stats(property_id)
        return [
            value if isinstance(value, PerioGTError) else shortest(np.float32(value * statistics.std + statistics.mean))
            for value in self._passes.normalized(self._network_of(info), polymers)
        ]

    def _outcome(self, task: Task, polymer: FeaturizedComposite, value: float | PerioGTError) -> Outcome:
        if isinstance(value, PerioGTError):
            return Outcome(error=value)
        if task.return_embedding:
            return Outcome(error=_no_embedding())
        if not np.isfinite(value):
            return Outcome(error=_not_finite(polymer, task.property_id))
        info = self._artifacts.property(str(task.property_id))
        told = [text for one in polymer.monomers for text in polymer_warnings(one.smiles, kind=info.input_kind)]
        warnings = dict.fromkeys((*task.warnings, *told, *value_warnings(info, value)))
        return Outcome(value=value, units=info.units, checkpoint=info.checkpoint, warnings=tuple(warnings))


def _no_embedding() -> ValidationError:
    return ValidationError(
        "A copolymer or a polymer with conditions has no embedding. Ask for that of each repeat unit, and leave "
        "return_embedding out."
    )


def _not_finite(polymer: FeaturizedComposite, property_id: str | None) -> PerioGTError:
    """Return the error of an output that is not finite: the conditions are at fault, or the network."""
    if isinstance(polymer, FeaturizedConditions):
        given = zip(CONDITIONS, polymer.conditions, strict=True)
        told = ", ".join(f"{one.name} {value:g} (in training {one.low:g} to {one.high:g})" for one, value in given)
        return ValidationError(
            f"The conditions are so far outside training that the result is not a finite number: {told}; expected "
            "standardised numbers."
        )
    return InternalError(
        f"The network's {property_id} for {polymer.smiles} is not a finite number; it is far outside what the network "
        "knows."
    )
