from dataclasses import replace

import pytest

from periogt_ray.errors import CudaUnavailableError, DriverIncompatibleError, GPUUnsupportedError, PerioGTError
from periogt_ray.model.device import DeviceFacts, GPUFacts, choose_device, probe_device

H200 = GPUFacts(0, "NVIDIA H200", (9, 0), 140 << 30)
K80 = GPUFacts(1, "Tesla K80", (3, 7), 12 << 30)
GOOD = DeviceFacts(torch_cuda="12.6", is_available=True, driver_version="560.35.03", gpus=(H200,))
NO_GPU = DeviceFacts(torch_cuda="12.6", is_available=False, driver_version=None)
FLOOR = "560.28"

BROKEN: list[tuple[DeviceFacts, type[PerioGTError], list[str]]] = [
    (NO_GPU, CudaUnavailableError, ["No NVIDIA driver", "--nv", "PERIOGT_DEVICE=cpu"]),
    (replace(NO_GPU, torch_cuda=None), CudaUnavailableError, ["build for the CPU", "PERIOGT_DEVICE=cpu"]),
    (replace(NO_GPU, driver_version="570.1"), CudaUnavailableError, ["570.1", "nvliblist.conf", "--nv"]),
    (replace(GOOD, gpus=(H200, K80)), GPUUnsupportedError, ["GPU 1 Tesla K80 (3.7)", "7.0", "CUDA_VISIBLE_DEVICES"]),
    (replace(GOOD, driver_version="470.57"), DriverIncompatibleError, ["470.57", "560.28"]),
    (replace(GOOD, driver_version="535.104.05"), DriverIncompatibleError, ["535.104.05", "PERIOGT_MIN_DRIVER=525.60"]),
    (
        replace(GOOD, torch_cuda="13.0", gpus=(replace(H200, launch_error="no kernel image is available"),)),
        GPUUnsupportedError,
        ["no kernel image", "CUDA 13.0", "12.6"],
    ),
]


def test_a_good_gpu_is_taken() -> None:
    for requested in ("cuda", None):
        choice = choose_device(requested, GOOD, min_driver=FLOOR)  # type: ignore[arg-type]
        assert (choice.device, choice.warning) == ("cuda", None)


@pytest.mark.parametrize(("facts", "error", "words"), BROKEN)
def test_cuda_that_was_asked_for_must_work(facts: DeviceFacts, error: type[PerioGTError], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        choose_device("cuda", facts, min_driver=FLOOR)
    assert all(word in caught.value.message for word in words)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("facts", "error", "words"), BROKEN)
def test_undecided_falls_back_with_a_warning(facts: DeviceFacts, error: type[PerioGTError], words: list[str]) -> None:
    del error
    choice = choose_device(None, facts, min_driver=FLOOR)
    assert choice.device == "cpu"
    assert choice.warning is not None
    assert (words[0] if facts.driver_version else "No NVIDIA driver was found.") in choice.warning
    assert facts.driver_version or "nstall" not in choice.warning, "a machine without a GPU needs no other torch"


def test_cpu_that_was_asked_for_needs_nothing_and_says_nothing() -> None:
    for facts in (GOOD, NO_GPU, *(broken for broken, _, _ in BROKEN)):
        assert choose_device("cpu", facts, min_driver=FLOOR).warning is None


def test_the_floor_is_a_setting() -> None:
    assert choose_device("cuda", replace(GOOD, driver_version="535.104"), min_driver="525.60").device == "cuda"


def test_probing_this_machine_never_fails() -> None:
    facts = probe_device()
    assert facts.is_available == bool(facts.gpus)
