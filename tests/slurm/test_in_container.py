"""Service and batch as jobs whose commands run in the image, by the test double of Apptainer."""

import csv
import json

import pytest

from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import Settings
from support.sif_image import BIN, sif_image
from support.slurm_site import START_S, SlurmSite

pytestmark = [pytest.mark.slurm, pytest.mark.container]

SMILES = ["*CC*", "*CC(*)c1ccccc1", "*CCO*", "*CC(*)Cl"]
# Kernels in the image are compiled for any x86-64 processor, those outside for this one.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def in_container() -> dict[str, str]:
    return {
        "PERIOGT_RUNTIME": "apptainer",
        "PERIOGT_CONTAINER": str(sif_image()),
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    }


@pytest.fixture(scope="module")
def expected() -> dict[str, float]:
    """What this process predicts with the embedded model."""
    predictor = Predictor.load(Settings.from_env({"PERIOGT_DEVICE": "cpu"}))
    jobs = [Task(featurize(RepeatUnit.parse(one), PromptScheme.MIRROR_INVARIANT), "egc") for one in SMILES]
    values = [outcome.value for outcome in predictor.predict_many(jobs)]
    return {one: value for one, value in zip(SMILES, values, strict=True) if value is not None}


def test_a_batch_on_two_nodes(site: SlurmSite, in_container: dict[str, str], expected: dict[str, float]) -> None:
    given, output = site.home / "in_container.csv", site.home / "in_container_out.csv"
    given.write_text("smiles\n" + "".join(f"{one}\n" for one in SMILES))
    given.chmod(0o644)
    arguments = ("--input", str(given), "--property", "egc", "--output", str(output))
    job = site.submit("batch.sbatch", *arguments, options=("--nodes=2",), **in_container)
    assert job.wait_until_ended(2 * START_S) == "COMPLETED", job.log[-3000:]
    with output.open(newline="") as file:
        found = {row["smiles"]: float(row["prediction_value"]) for row in csv.DictReader(file)}
    assert found == pytest.approx(expected, abs=TOLERANCE)
    site.assert_nothing_left(job)


def test_the_service_and_scancel_on_two_nodes(
    site: SlurmSite, in_container: dict[str, str], expected: dict[str, float]
) -> None:
    job = site.submit("ray_serve.sbatch", options=("--nodes=2",), **in_container)
    job.wait_until_logged("scancel", 2 * START_S)
    url = next(line.split()[-1] for line in job.log.splitlines() if line.startswith("url"))
    body = json.dumps({"smiles": SMILES[1], "property": "egc"})
    ask = ("curl", "--silent", "--max-time", "120", f"{url}/v1/predict", "--json", body)
    refused = json.loads(site.user(*ask).stdout)
    assert refused["error"]["code"] == "unauthorized"
    answer = json.loads(site.user(*ask, "--header", f"X-Api-Key: {job.key}").stdout)
    assert answer["prediction"]["value"] == pytest.approx(expected[SMILES[1]], abs=TOLERANCE)
    job.cancel()
    assert job.wait_until_ended() == "CANCELLED"
    site.assert_nothing_left(job)
