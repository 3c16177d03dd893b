"""Features that are computed in another process while this one loads the network."""

import subprocess
import sys

import numpy as np
import pytest

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.ahead import features_by_scheme, features_under_way
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.inputs import Copolymer
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.runtime.cpus import usable_cpus

MONOMER, RELEASE = PromptScheme.MONOMER, PromptScheme.RELEASE
START = """
import os, sys
from periogt_ray.polymer import ahead
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
scheme = PromptScheme.MONOMER
"""
needs_two_cpus = pytest.mark.skipif(usable_cpus({}).n < 2, reason="with one CPU they are computed here")


def printed(code: str) -> list[str]:
    result = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, check=True)
    return result.stdout.split()


@needs_two_cpus
def test_the_other_process_ends_when_this_one_is_killed() -> None:
    """It holds this one's output open, which whoever reads it waits for."""
    code = """
with ahead.features_under_way(RepeatUnit.parse("*CC*"), [scheme], engine="native") as features:
    features()
    print("ready", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", START + code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"ready\n"
        killed.kill()
        assert killed.communicate(timeout=60)[0] == b""


def test_they_are_those_of_each_scheme() -> None:
    unit = RepeatUnit.parse("*CC(*)C")
    with features_under_way(unit, [MONOMER, RELEASE, MONOMER], engine="native") as features:
        found = features()
    assert list(found) == [MONOMER, RELEASE]
    for scheme, polymer in found.items():
        expected = featurize(unit, scheme)
        assert polymer.scheme == scheme
        assert len(polymer.graphs) == len(expected.graphs)
        np.testing.assert_array_equal(polymer.oligomers[1].descriptors, expected.oligomers[1].descriptors)


def test_monomers_of_a_copolymer() -> None:
    pair = Copolymer.parse("*CC*", "*CO*", ratio_a=0.5, architecture="block")
    [polymer] = features_by_scheme(pair, [MONOMER], engine="native").values()
    assert [monomer.smiles for monomer in polymer.monomers] == ["*CC*", "*CO*"]


@needs_two_cpus
@pytest.mark.slow
def test_this_process_loads_no_kernels() -> None:
    code = """
with ahead.features_under_way(RepeatUnit.parse("*CC*"), [scheme], engine="native") as features:
    found = features()
print(found[scheme].smiles, "numba" in sys.modules)
"""
    assert printed(code) == ["*CC*", "False"]


@pytest.mark.slow
def test_an_error_comes_back_as_it_is() -> None:
    code = """
from periogt_ray.errors import ValidationError
try:
    with ahead.features_under_way(RepeatUnit.parse("*" + "C" * 900 + "*"), [scheme], engine="native") as features:
        features()
except ValidationError as error:
    print(error.message)
"""
    message = " ".join(printed(code))
    with pytest.raises(ValidationError) as here:
        featurize(RepeatUnit.parse("*" + "C" * 900 + "*"), MONOMER)
    assert message == " ".join(here.value.message.split())


@needs_two_cpus
@pytest.mark.slow
def test_where_the_other_process_dies_they_are_computed_here() -> None:
    code = """
real, here = ahead.featurized_input, os.getpid()
ahead.featurized_input = lambda *args: real(*args) if os.getpid() == here else os._exit(9)
with ahead.features_under_way(RepeatUnit.parse("*CC*"), [scheme], engine="native") as features:
    print(features()[scheme].smiles)
"""
    assert printed(code) == ["*CC*"]
