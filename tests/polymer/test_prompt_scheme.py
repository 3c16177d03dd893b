import pickle

import pytest

from periogt_ray.errors import ModelLoadError
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.prompt_scheme import SCHEMES, PromptScheme


def test_schemes_have_the_settings_of_the_published_programs() -> None:
    settings = {
        name: (s.multimer_sizes, s.max_graphs, s.max_prompts, s.is_rounded_to_half, s.has_shifted_paths)
        for name, s in SCHEMES.items()
        if not s.is_mirror_invariant
    }
    assert settings == {
        "release": ((1, 2, 3), 10, 20, False, True),
        "release-unshifted": ((1, 2, 3), 10, 20, False, False),
        "monomer": ((1,), 10, 10, False, True),
        "monomer-unshifted": ((1,), 10, 10, False, False),
        "current": ((1, 2, 3), 5, 5, True, True),
        "current-unshifted": ((1, 2, 3), 5, 5, True, False),
        "current-unshifted-unrounded": ((1, 2, 3), 5, 5, False, False),
    }
    assert [name for name, scheme in SCHEMES.items() if scheme.is_mirror_invariant] == ["mirror-invariant"]


def test_a_scheme_is_found_by_its_name_and_equal_in_another_process() -> None:
    assert PromptScheme.named("release") is PromptScheme.RELEASE
    assert pickle.loads(pickle.dumps(PromptScheme.MONOMER)) == PromptScheme.MONOMER


@pytest.mark.parametrize("kind", [InputKind.COPOLYMER, InputKind.CONDITIONS])
def test_the_release_computed_copolymers_and_conditions_without_shifted_paths(kind: InputKind) -> None:
    assert PromptScheme.named("release", kind=kind) is PromptScheme.RELEASE_UNSHIFTED
    assert PromptScheme.named("monomer", kind=kind) is PromptScheme.MONOMER


@pytest.mark.parametrize("kind", InputKind)
def test_the_likeliest_scheme_of_published_weights_is_that_of_the_release(kind: InputKind) -> None:
    candidates = PromptScheme.candidates(kind)
    assert candidates[0] is PromptScheme.named("release", kind=kind)
    assert len(set(candidates)) == len(candidates) >= 3


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(ModelLoadError, match=r"'dimer'; expected release, .*, mirror-invariant"):
        PromptScheme.named("dimer")
