import pickle

import pytest

from periogt_ray.errors import ModelLoadError
from periogt_ray.polymer.prompt_scheme import SCHEMES, PromptScheme


def test_schemes_have_the_settings_of_the_published_programs() -> None:
    settings = {
        name: (s.multimer_sizes, s.max_graphs, s.max_prompts, s.is_rounded_to_half, s.has_shifted_paths)
        for name, s in SCHEMES.items()
        if not s.is_mirror_invariant
    }
    assert settings == {"release": ((1, 2, 3), 10, 20, False, True), "monomer": ((1,), 10, 10, False, True)}
    assert [name for name, scheme in SCHEMES.items() if scheme.is_mirror_invariant] == ["mirror-invariant"]


def test_a_scheme_is_found_by_its_name_and_equal_in_another_process() -> None:
    assert PromptScheme.named("release") is PromptScheme.RELEASE
    assert pickle.loads(pickle.dumps(PromptScheme.MONOMER)) == PromptScheme.MONOMER


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(ModelLoadError, match="'dimer'; expected release, monomer, mirror-invariant"):
        PromptScheme.named("dimer")
