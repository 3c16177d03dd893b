"""The prompt graphs of a polymer, without its fingerprints and descriptors."""

from periogt_ray.polymer.bond_classes import BondClasses
from periogt_ray.polymer.features import prompt_graphs
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.triplet_graph import TripletGraph, build_triplet_graph


def graphs_of(smiles: str, scheme: PromptScheme = PromptScheme.RELEASE) -> list[TripletGraph]:
    unit = RepeatUnit.parse(smiles)
    classes = BondClasses(unit)
    built = (build_triplet_graph(text, classes) for text, _ in prompt_graphs(unit, scheme))
    return [graph for graph in built if graph is not None]
