"""The cache of drawings."""

from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.serve.drawing_cache import DrawingCache


def test_the_cache_drops_the_least_recently_used() -> None:
    cache = DrawingCache(25)
    a, b, c = (RepeatUnit.parse(smiles) for smiles in ("*CC*", "*CCC*", "*CCCC*"))
    cache.put(a, "light", "x" * 10)
    cache.put(b, "light", "y" * 10)
    assert cache.get(a, "light") == "x" * 10
    assert cache.get(a, "dark") is None
    cache.put(c, "light", "z" * 10)
    assert cache.get(b, "light") is None
    assert cache.get(a, "light") is not None
    assert cache.used_bytes == 20
    cache.put(a, "light", "x" * 26)
    assert cache.get(a, "light") is None
    assert cache.used_bytes <= 25
