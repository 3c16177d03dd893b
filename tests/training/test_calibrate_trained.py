"""`periogt calibrate` tells under which scheme a network was trained, by networks that are trained here.

Each network memorises random labels under one scheme. Noise has no other source than the inputs of that training, so
under other inputs the errors grow. They grow measurably where the prompts matter: to the golden encoder shifted and
unshifted paths are prompts that differ by a thousandth, and a network that starts with the trainer's small weights
memorises without its prompts (root mean squared errors of 0.000186 standard deviations under both schemes). So here
paths count 40 times as much in the encoder, and prompts 100 times as much at the start of the training. The prompts
then differ by a fifth of their deviation, and errors under other schemes are 87 to 909 times those under the scheme of
the training. It takes the 80 epochs: after 25 the noise is memorised to an R2 above 0.95, mostly without the prompts,
and the schemes' errors are within 10 % of one another.
"""

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.model.network import PerioGTEncoder, PerioGTRegressor, load_encoder
from periogt_ray.model.packing import Packing
from periogt_ray.model.predictor import Predictor
from periogt_ray.polymer.features import FeaturizedPolymer, featurize
from periogt_ray.polymer.prompt_scheme import SCHEMES
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import Settings
from periogt_ray.training.calibrate import calibrate_weights
from periogt_ray.training.measured import MeasuredRow
from periogt_ray.training.new_network import new_network
from periogt_ray.training.own_rows import OwnRows
from periogt_ray.training.polymer_set import PolymerSet
from periogt_ray.training.prompts import encode
from periogt_ray.training.recipe import Recipe
from periogt_ray.training.trainer import Labels, Trainer
from support.golden import ARTIFACTS

NAMES = ("release", "release-unshifted", "monomer")
SMILES = [
    f"*{chain}{group}*"
    for chain in ("C", "CC", "CCC", "CCO", "CS", "CN", "CC(C)", "CC(F)")
    for group in ("CO", "c1ccc(cc1)", "C(=O)O", "N")
]
PATHS, PROMPTS = 40, 100  # times as much
RECIPE = Recipe(2e-3, epochs=80, batch_size=8, dropout=0.0)
CLEARLY = 3  # times the error of the scheme of the training
CPU = torch.device("cpu")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = Path(shutil.copytree(ARTIFACTS, tmp_path / "artifacts"))
    state = ArtifactDirectory.open(root).encoder_state_dict()
    (root / "pretrained_ckpt" / "base.pth").unlink()
    changed = {key: value * (PATHS if "path_attn_layer" in key else 1) for key, value in state.items()}
    save_file(
        {key: value.contiguous() for key, value in changed.items()}, root / "pretrained_ckpt" / "base.safetensors"
    )
    return root


@cache
def features(smiles: str, name: str) -> FeaturizedPolymer:
    return featurize(RepeatUnit.parse(smiles), SCHEMES[name])


def memorised(encoder: PerioGTEncoder, artifacts: ArtifactDirectory, name: str, labels: np.ndarray) -> PerioGTRegressor:
    """Train a network on noise, under a scheme, with the trainer of `periogt finetune`."""
    polymers = [features(smiles, name) for smiles in SMILES]
    packing, scaler, n = Packing.for_device(CPU, width=24), artifacts.scaler(), len(SMILES)
    prompts = [found.prompts for found in encode(encoder, polymers, scaler, packing=packing, device=CPU)]
    inputs = PolymerSet.of(polymers, prompts, scaler, packing=packing, device=CPU)
    network = new_network(encoder, dropout=0.0, seed=0)
    with torch.no_grad():
        network.node_attn.linear_3.weight *= PROMPTS
    values = Labels(labels.astype(np.float32), np.ones(n, np.float32))
    trainer = Trainer(network, inputs, values, recipe=RECIPE, n_updates=RECIPE.n_updates(n))
    random = np.random.default_rng(0)
    batches = [part for _ in range(RECIPE.epochs) for part in random.permutation(n).reshape(-1, RECIPE.batch_size)]
    for number, chosen in enumerate(batches, 1):
        trainer.update(number, chosen.tolist())
    assert trainer.error(range(n)) < 0.1, "the noise is memorised"
    return network


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_recognised_under_the_scheme_of_its_training(name: str, root: Path) -> None:
    artifacts = ArtifactDirectory.open(root)
    encoder = load_encoder(artifacts.encoder_state_dict(), artifacts.encoder)
    noise = np.random.default_rng(0).standard_normal(len(SMILES))
    labels = (noise - noise.mean()) / noise.std()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = memorised(encoder, artifacts, name, labels)
    finally:
        torch.set_num_threads(threads)
    (root / "finetuned_ckpt" / "eps" / "best_model.pth").unlink()
    state = {key: value.detach().contiguous() for key, value in network.state_dict().items()}
    save_file(state, root / "finetuned_ckpt" / "eps" / "best_model.safetensors")
    artifacts = ArtifactDirectory.open(root)
    values = artifacts.label_stats("eps").values(labels)
    rows = [
        MeasuredRow(smiles, RepeatUnit.parse(smiles), float(value))
        for smiles, value in zip(SMILES, values, strict=True)
    ]
    verdict = calibrate_weights(
        artifacts,
        "eps",
        OwnRows(tuple(rows[:1]), tuple(rows), "noise"),  # as of a property's own data set
        settings=Settings.of_process(checkpoint_dir=root, device="cpu"),
        load=lambda found: Predictor(found, CPU),
    )
    errors = {scheme: figures["rmse"] for scheme, figures in verdict.schemes.items()}
    assert set(errors) == set(NAMES)
    assert verdict.r2 > 0.95
    assert verdict.scheme == name, errors
    assert min(error for scheme, error in errors.items() if scheme != name) > CLEARLY * errors[name], errors
    assert ArtifactDirectory.open(root).property("eps").prompt_scheme.name == name
