import asyncio

import pytest

from periogt_ray.batch.ledger import LedgerActor
from periogt_ray.batch.shares import Shares
from periogt_ray.errors import CudaUnavailableError


@pytest.mark.parametrize(
    ("resources", "device", "asked", "expected"),
    [
        ({"CPU": 2.0}, None, None, (2, 1, "cpu")),
        ({"CPU": 1.0}, None, None, (1, 1, "cpu")),
        ({"CPU": 8.0, "GPU": 2.0}, None, None, (8, 2, "cuda")),
        ({"CPU": 8.0, "GPU": 2.0}, "cuda", 5, (8, 2, "cuda")),
        ({"CPU": 8.0, "GPU": 2.0}, "cuda", 1, (8, 1, "cuda")),
        ({"CPU": 8.0, "GPU": 2.0}, "cpu", 3, (8, 3, "cpu")),
        ({"CPU": 2.0}, "cpu", 40, (2, 40, "cpu")),
    ],
)
def test_shares(
    resources: dict[str, float], device: str | None, asked: int | None, expected: tuple[int, int, str]
) -> None:
    shares = Shares.of(resources, resources, device, n_predictors=asked)
    assert (shares.n_featurizers, shares.n_predictors, shares.device) == expected
    assert shares.predictor_cpus > 0
    assert shares.n_predictors * shares.predictor_cpus + shares.featurizer_cpus <= resources["CPU"]


@pytest.mark.parametrize(
    ("free", "gpus"),
    [({"CPU": 0.5, "GPU": 0.98}, 0.49), ({"CPU": 5.5, "GPU": 1.98}, 0.49), ({"CPU": 1.0, "GPU": 2.0}, 1.0)],
)
def test_workers_find_room_beside_a_service(free: dict[str, float], gpus: float) -> None:
    shares = Shares.of({"CPU": 8.0, "GPU": 2.0}, free, None, n_predictors=None)
    assert shares.predictor_gpus == gpus
    assert 0 < shares.predictor_cpus < shares.featurizer_cpus
    assert shares.n_predictors * shares.predictor_cpus + shares.featurizer_cpus <= free["CPU"]
    assert shares.n_predictors * shares.predictor_gpus <= free["GPU"]


@pytest.mark.parametrize("free", [{}, {"CPU": 8.0, "GPU": 0.2}])
def test_a_batch_that_has_to_wait_says_so(free: dict[str, float], caplog: pytest.LogCaptureFixture) -> None:
    shares = Shares.of({"CPU": 8.0, "GPU": 1.0}, free, None, n_predictors=None)
    assert shares.featurizer_cpus == 0.5
    assert "waits until enough are free" in caplog.text


def test_cuda_without_a_gpu_is_an_error() -> None:
    with pytest.raises(CudaUnavailableError, match="PERIOGT_DEVICE=cpu"):
        Shares.of({"CPU": 4.0}, {"CPU": 4.0}, "cuda", n_predictors=None)


def test_a_polymer_belongs_to_the_first_that_claims_it() -> None:
    async def scenario() -> None:
        ledger = LedgerActor(n_under_way=2)
        assert await ledger.claim(0, ["*CC*", "*OC*"]) == ["*CC*", "*OC*"]
        assert await ledger.claim(1, ["*OC*", "*NC*"]) == ["*NC*"]
        assert await ledger.claim(0, ["*CC*", "*OC*", "*NC*"]) == ["*CC*", "*OC*"], "a part that is tried again"

    asyncio.run(scenario())


def test_parts_wait_until_another_is_kept() -> None:
    async def scenario() -> None:
        ledger = LedgerActor(n_under_way=2)
        await ledger.begin("featurize", 0)
        await ledger.begin("featurize", 1)
        third = asyncio.create_task(ledger.begin("featurize", 2))
        await ledger.begin("predict", 0)
        assert not third.done()
        await ledger.finish(1)
        assert await third is False

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_deaths_are_counted_where_an_item_was_alone() -> None:
    async def scenario() -> None:
        ledger = LedgerActor(n_under_way=2)
        assert await ledger.begin("featurize", 0) is False
        assert await ledger.begin("featurize", 0) is True, "a worker died"
        assert await ledger.begin("predict", 0) is False, "stages are apart"
        assert await ledger.touch("featurize", 0, "*CC*") == 0
        await ledger.done("featurize", 0, "*CC*")
        assert await ledger.touch("featurize", 0, "*CC*") == 0, "it was survived"
        assert await ledger.touch("featurize", 0, "*CC*") == 1
        assert await ledger.touch("featurize", 0, "*CC*") == 2
        await ledger.finish(0)
        assert await ledger.touch("featurize", 0, "*CC*") == 0

    asyncio.run(scenario())
