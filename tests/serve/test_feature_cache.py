"""The feature cache: bounded, one computation a polymer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from periogt_ray.errors import ValidationError
from periogt_ray.polymer.features import FeaturizedPolymer, featurize
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.serve.feature_cache import FeatureCache, FeatureKey, n_bytes


def polymer_of(smiles: str) -> FeaturizedPolymer:
    return featurize(RepeatUnit.parse(smiles), PromptScheme.MONOMER)


def key_of(smiles: str, scheme: PromptScheme = PromptScheme.MONOMER) -> FeatureKey:
    return FeatureKey(smiles, scheme, "native")


def giving(polymer: FeaturizedPolymer, asked: list[str]) -> Callable[[], Awaitable[FeaturizedPolymer]]:
    async def compute() -> FeaturizedPolymer:
        asked.append(polymer.smiles)
        await asyncio.sleep(0)
        return polymer

    return compute


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def runner() -> Any:
        return await main()

    return asyncio.run(runner())


def test_a_polymer_is_computed_once_however_many_ask() -> None:
    polymer, asked = polymer_of("*CC*"), []

    async def main() -> list[tuple[FeaturizedPolymer, bool]]:
        cache = FeatureCache(1 << 20)
        together = await asyncio.gather(*(cache.get(key_of("*CC*"), giving(polymer, asked)) for _ in range(5)))
        return [*together, await cache.get(key_of("*CC*"), giving(polymer, asked))]

    found = run(main)
    assert asked == ["*CC*"]
    assert [is_hit for _, is_hit in found] == [False, True, True, True, True, True]
    assert all(one is polymer for one, _ in found)


def test_what_features_depend_on_is_in_the_key() -> None:
    polymer, asked = polymer_of("*CC*"), []

    async def main() -> None:
        cache = FeatureCache(1 << 20)
        keys = [key_of("*CC*"), key_of("*CC*", PromptScheme.RELEASE), key_of("*CC*")._replace(engine="mordred")]
        for key in [*keys, key_of("*CC*")._replace(version=-1)]:
            _, is_hit = await cache.get(key, giving(polymer, asked))
            assert not is_hit

    run(main)
    assert len(asked) == 4


def test_memory_is_bounded_and_the_least_recently_used_goes_first() -> None:
    polymers = [polymer_of("*" + "C" * n + "*") for n in (2, 3, 4)]
    asked: list[str] = []

    async def main() -> None:
        cache = FeatureCache(n_bytes(polymers[0]) + n_bytes(polymers[2]))
        for polymer in polymers[:2]:
            await cache.get(key_of(polymer.smiles), giving(polymer, asked))
        await cache.get(key_of("*CC*"), giving(polymers[0], asked))  # used again
        await cache.get(key_of("*CCCC*"), giving(polymers[2], asked))  # the second has to go
        assert cache.used_bytes == n_bytes(polymers[0]) + n_bytes(polymers[2])
        _, is_hit = await cache.get(key_of("*CC*"), giving(polymers[0], asked))
        assert is_hit
        _, is_hit = await cache.get(key_of("*CCC*"), giving(polymers[1], asked))
        assert not is_hit

    run(main)


def test_nothing_is_kept_without_memory() -> None:
    polymer, asked = polymer_of("*CC*"), []

    async def main() -> None:
        cache = FeatureCache(0)
        for _ in range(2):
            await cache.get(key_of("*CC*"), giving(polymer, asked))
        assert (len(cache), cache.used_bytes) == (0, 0)

    run(main)
    assert len(asked) == 2


def test_an_error_goes_to_all_who_wait_and_is_not_kept() -> None:
    n_asked = 0

    async def fails() -> FeaturizedPolymer:
        nonlocal n_asked
        n_asked += 1
        await asyncio.sleep(0)
        raise ValidationError("no")

    async def main() -> None:
        cache = FeatureCache(1 << 20)
        found = await asyncio.gather(*(cache.get(key_of("*CC*"), fails) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(one, ValidationError) for one in found)
        with pytest.raises(ValidationError):
            await cache.get(key_of("*CC*"), fails)

    run(main)
    assert n_asked == 2


def test_a_computation_goes_on_for_those_who_still_wait_and_else_ends() -> None:
    polymer = polymer_of("*CC*")

    async def main() -> None:
        cache, release, cancelled = FeatureCache(1 << 20), asyncio.Event(), asyncio.Event()

        async def slow() -> FeaturizedPolymer:
            try:
                await release.wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return polymer

        first, second = (asyncio.create_task(cache.get(key_of("*CC*"), slow)) for _ in range(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        release.set()
        assert (await second)[0] is polymer
        assert not cancelled.is_set()

        release.clear()
        alone = asyncio.create_task(cache.get(key_of("*CCC*"), slow))
        while not cancelled.is_set():
            await asyncio.sleep(0)
            alone.cancel()
        release.set()
        assert not (await cache.get(key_of("*CCC*"), slow))[1], "what was given up is computed anew"

    run(main)
