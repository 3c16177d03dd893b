"""Features of one polymer, computed in another process while this one loads the network.

What features need (RDKit, numba and the kernels) and what a network needs (torch) take about the same time to load, and
both hold the interpreter's lock, so threads would not help.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context

from periogt_ray.polymer.descriptors import DescriptorEngine
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.input_features import Featurized, featurized_input
from periogt_ray.polymer.inputs import PolymerInput
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.runtime.cpus import usable_cpus
from periogt_ray.runtime.processes import end_with_parent

__all__ = ["features_by_scheme", "features_under_way"]


def features_by_scheme(
    read: PolymerInput, schemes: Iterable[PromptScheme], *, engine: DescriptorEngine
) -> dict[PromptScheme, Featurized]:
    """Compute the features of a polymer, or of its monomers, once a prompt scheme.

    Parameters
    ----------
    read : PolymerInput
        The polymer.
    schemes : iterable of PromptScheme
        Which prompt graphs are wanted.
    engine : {"native", "mordred"}
        What computes the descriptors.

    Raises
    ------
    ValidationError
        As :func:`~periogt_ray.polymer.features.featurize`.
    """
    return {
        one: featurized_input(read, partial(featurize, scheme=one, engine=engine)) for one in dict.fromkeys(schemes)
    }


@contextmanager
def features_under_way(
    read: PolymerInput, schemes: Iterable[PromptScheme], *, engine: DescriptorEngine
) -> Iterator[Callable[[], Mapping[PromptScheme, Featurized]]]:
    """Begin to compute features, and give what waits for them; parameters as :func:`features_by_scheme`.

    They are computed here, at the call, where a second process gains nothing (one CPU) or cannot be forked safely
    (other threads, as torch has).

    Examples
    --------
    >>> from periogt_ray.polymer.repeat_unit import RepeatUnit
    >>> monomer = PromptScheme.MONOMER
    >>> with features_under_way(RepeatUnit.parse("*CC*"), [monomer], engine="native") as features:
    ...     pass  # load the network
    ...     features()[monomer].smiles
    '*CC*'
    """
    wanted = tuple(schemes)
    here = partial(features_by_scheme, read, wanted, engine=engine)
    if threading.active_count() > 1 or "torch" in sys.modules or usable_cpus({}).n < 2:
        yield here
        return
    # It holds both ends of its pipe, so it would wait for ever, and keep the output open, if this process was killed.
    with ProcessPoolExecutor(1, mp_context=get_context("fork"), initializer=end_with_parent) as other:
        pending = other.submit(features_by_scheme, read, wanted, engine=engine)

        def awaited() -> Mapping[PromptScheme, Featurized]:
            try:
                return pending.result()
            except BrokenProcessPool:  # it was killed, for want of memory perhaps
                return here()

        yield awaited
