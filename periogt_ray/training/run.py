"""The protocol of a finetuning, from the table to the package, in steps that can be interrupted anywhere.

What a step has finished is a file in ``<output>/.work``. The same command goes on where an interrupted one ended; it
reads what is there and computes the rest. ``package.json`` is written last.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from periogt_ray import __version__
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.layout import read_json
from periogt_ray.artifacts.packages import PACKAGE_NAME, check_id
from periogt_ray.artifacts.statistics import LabelStats
from periogt_ray.errors import ValidationError
from periogt_ray.model.device import choose_device, probe_device
from periogt_ray.model.network import load_encoder
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.runtime.files import make_directory, write_json_atomically
from periogt_ray.settings import Settings
from periogt_ray.training.dataset import Dataset, check_labels, read_dataset
from periogt_ray.training.engines import Engine, LocalEngine, RayEngine
from periogt_ray.training.label_report import LabelReport, describe_labels
from periogt_ray.training.members import Context, Job, Member
from periogt_ray.training.new_network import new_network
from periogt_ray.training.options import FinetuneOptions
from periogt_ray.training.prepared import Prepared, prepare
from periogt_ray.training.recipe import Recipe
from periogt_ray.training.splits import SplitPlan, cluster_of, make_plan
from periogt_ray.training.trainer import Epoch, Labels, Stopped, Trainer

__all__ = ["Finished", "Listener", "check_finetune", "read_checked", "run_finetune"]

logger = logging.getLogger(__name__)

WORK_NAME = ".work"
_RUN_NAME = "run.json"
_FEW = 50
_N_TIMED = 3


@dataclass(frozen=True)
class Listener:
    """Who is told how a run goes.

    Attributes
    ----------
    is_stopping : callable
        Whether to stop.
    on_polymer : callable
        Takes how many polymers are featurized, and of how many.
    on_jobs : callable
        Takes the networks that are to be trained.
    on_epoch : callable
        Takes a job, and an epoch whose error is in the labels' unit.
    on_baselines : callable
        Takes the errors of the mean and of trees, the latter None without scikit-learn.
    """

    is_stopping: Callable[[], bool] = lambda: False
    on_polymer: Callable[[int, int], None] = lambda *_: None
    on_jobs: Callable[[list[Job]], None] = lambda _: None
    on_epoch: Callable[[Job, Epoch], None] = lambda *_: None
    on_baselines: Callable[[float, float | None], None] = lambda *_: None


class Trained(NamedTuple):
    """The networks of one division of the polymers."""

    plan: SplitPlan
    jobs: list[Job]
    members: list[Member]


@dataclass(frozen=True)
class Finished:
    """Everything that a result is written from.

    Attributes
    ----------
    options : FinetuneOptions
        What was asked for.
    artifacts : ArtifactDirectory
        Of the encoder.
    scheme : PromptScheme
        Of the prompts.
    report : LabelReport
        Of the values.
    prepared : Prepared
        The polymers.
    context : Context
        Labels and statistics.
    folds : Trained
        The networks that intervals and figures come from.
    kept : list of Member
        The networks of the package.
    cluster : Trained or None
        Those of the division by clusters.
    trees : dict
        Predictions of trees, labels by polymer, NaN where there is none: ``random``, ``cluster``, ``test``.
    learning_curve : list of dict
        Errors with fewer polymers.
    notes : tuple of str
        What was decided on the way.
    seconds : float
        The run took, this time.
    """

    options: FinetuneOptions
    artifacts: ArtifactDirectory
    scheme: PromptScheme
    report: LabelReport
    prepared: Prepared
    context: Context
    folds: Trained
    kept: list[Member]
    cluster: Trained | None
    trees: dict[str, np.ndarray]
    learning_curve: list[dict[str, Any]]
    notes: tuple[str, ...]
    seconds: float


def read_checked(options: FinetuneOptions, settings: Settings) -> tuple[ArtifactDirectory, Dataset, LabelReport]:
    """Read everything that a run needs and refuse what cannot work, before any time is spent.

    Raises
    ------
    ValidationError
        The id is taken or has other characters, or the table cannot be used.
    PerioGTError
        The artifacts cannot be used.
    """
    try:
        check_id(options.property_id)
    except ValueError as error:
        raise ValidationError(f"--property: {error}.") from error
    artifacts = ArtifactDirectory.open(settings.checkpoint_dir)
    if options.property_id in artifacts.properties:
        raise ValidationError(
            f"{artifacts.name} serves a property {options.property_id!r} itself; give yours another id with "
            f"--property, for example my_{options.property_id}."
        )
    dataset = read_dataset(options.data, options.table)
    return artifacts, dataset, describe_labels(dataset, is_log10=options.table.is_log10)


def run_finetune(options: FinetuneOptions, settings: Settings, listener: Listener | None = None) -> Finished | None:
    """Do the whole protocol, or go on with it.

    Parameters
    ----------
    options : FinetuneOptions
        What is asked for.
    settings : Settings
        Which artifacts, on which device.
    listener : Listener, optional
        Who is told how it goes.

    Returns
    -------
    Finished or None
        None where the same run is finished already.

    Raises
    ------
    Stopped
        The listener said so; the same call goes on.
    ValidationError
        As :func:`read_checked`, or the output holds another run.
    """
    begun = time.monotonic()
    listener = listener or Listener()
    artifacts, dataset, report = read_checked(options, settings)
    identity = _identity(options, artifacts, dataset)
    if _claim(options, identity):
        return None
    return _Run(options, settings, artifacts, listener, begun).finish(dataset, report)


def _identity(options: FinetuneOptions, artifacts: ArtifactDirectory, dataset: Dataset) -> dict[str, Any]:
    return {
        "options": options.identity(),
        "data_sha256": dataset.sha256,
        "encoder_sha256": artifacts.encoder_sha256,
        "version": __version__,
    }


def _claim(options: FinetuneOptions, identity: dict[str, Any]) -> bool:
    """Take the output for this run; return whether it is finished already.

    Raises
    ------
    ValidationError
        It holds something else.
    """
    work = options.output / WORK_NAME
    place = work / _RUN_NAME
    if not place.is_file():
        if options.output.is_dir() and any(entry.name != WORK_NAME for entry in options.output.iterdir()):
            held = "a package" if (options.output / PACKAGE_NAME).is_file() else "other files"
            raise ValidationError(
                f"{options.output} holds {held}. Give another --output, or remove it (`periogt models remove`)."
            )
        make_directory(work)
        write_json_atomically(place, identity)
        return False
    before = read_json(place)
    told = _differences(before, identity)
    if told:
        raise ValidationError(
            f"{options.output} holds a run of another kind; it differs in {', '.join(told)}. Repeat that command to go "
            "on with it, or give another --output, or remove the directory."
        )
    return (options.output / PACKAGE_NAME).is_file()


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    names = {"data_sha256": "the data", "encoder_sha256": "the encoder", "version": "the version"}
    told = [text for key, text in names.items() if before.get(key) != now[key]]
    # Through JSON, a tuple is a list.
    asked = before.get("options", {})
    return told + [f"{key} ({asked.get(key)!r})" for key, value in now["options"].items() if asked.get(key) != value]


@dataclass
class _Run:
    """The steps of a run, in order."""

    options: FinetuneOptions
    settings: Settings
    artifacts: ArtifactDirectory
    listener: Listener
    begun: float
    notes: list[str] = field(default_factory=list)

    def finish(self, dataset: Dataset, report: LabelReport) -> Finished:
        options = self.options
        device = _device(self.settings, options)
        scheme = self._scheme()
        work = options.output / WORK_NAME
        prepared = self._prepare(dataset, scheme, device)
        check_labels(prepared.dataset, options.table, options.data)
        clusters = cluster_of(prepared.fingerprints, prepared.dataset.keys, seed=options.seed)
        sizes = np.sort(np.bincount(clusters))[::-1]
        self.notes.append(f"{len(sizes)} clusters, the largest of {sizes[:5].tolist()} polymers")
        if options.split == "cluster" and len(sizes) < 2 * options.n_folds:
            raise ValidationError(
                f"The polymers form {len(sizes)} clusters; expected at least {2 * options.n_folds}. Take --split "
                "random."
            )
        plan = self._plan(prepared, clusters if options.split == "cluster" else None)
        self.notes.append(f"division: {plan.note}; {len(plan.test)} polymers held out")
        context = self._context(prepared, plan, work)
        trees = self._trees(prepared, context, plan)
        folds, kept = self._networks(context, plan, device)
        cluster, of_clusters = self._cluster(prepared, context, plan, clusters, folds.jobs[0].recipe, device)
        if of_clusters is not None:
            trees["cluster"] = of_clusters
        curve = self._learning_curve(prepared, context, plan)
        return Finished(
            options,
            self.artifacts,
            scheme,
            report,
            prepared,
            context,
            folds,
            kept,
            cluster,
            trees,
            curve,
            tuple(self.notes),
            time.monotonic() - self.begun,
        )

    @property
    def _ends_at(self) -> float | None:
        return None if self.options.time_limit_s is None else self.begun + self.options.time_limit_s

    def _has_time(self, share: float) -> bool:
        """Whether less than a share of the time limit is used."""
        limit = self.options.time_limit_s
        return limit is None or time.monotonic() - self.begun < share * limit

    def _scheme(self) -> PromptScheme:
        if self.options.scheme is not None:
            return PromptScheme.named(self.options.scheme)
        schemes = {info.prompt_scheme for info in self.artifacts.properties.values()}
        return schemes.pop() if len(schemes) == 1 else PromptScheme.RELEASE

    def _prepare(self, dataset: Dataset, scheme: PromptScheme, device: torch.device) -> Prepared:
        try:
            return prepare(
                dataset,
                self.artifacts,
                self.settings,
                scheme=scheme,
                device=device,
                work=self.options.output / WORK_NAME,
                is_stopping=self.listener.is_stopping,
                on_polymer=self.listener.on_polymer,
            )
        except InterruptedError as error:
            raise Stopped from error

    def _plan(self, prepared: Prepared, groups: np.ndarray | None) -> SplitPlan:
        options, dataset = self.options, prepared.dataset
        n_members = options.n_members
        n_rounds = None
        if n_members not in (None, 1):
            if n_members % options.n_folds:
                raise ValidationError(
                    f"--members is {n_members}; expected 1, or a multiple of --folds ({options.n_folds})."
                )
            n_rounds = n_members // options.n_folds
        return make_plan(
            dataset.keys,
            seed=options.seed,
            n_folds=options.n_folds,
            n_rounds=n_rounds,
            test_share=options.test_share,
            parts=[polymer.part for polymer in dataset.polymers] if options.table.split_column else None,
            groups=None if groups is None else groups.tolist(),
            is_authors=options.recipe == "authors",
        )

    def _context(self, prepared: Prepared, plan: SplitPlan, work: Any) -> Context:
        dataset = prepared.dataset
        labels = np.log10(dataset.values) if self.options.table.is_log10 else dataset.values
        known = labels[list(plan.known)]
        make_directory(work / "networks")
        return Context(
            encoder=self.artifacts.encoder_state_dict(),
            source=self.artifacts.encoder,
            polymers=prepared.polymers,
            labels=labels,
            weights=np.array([polymer.weight for polymer in dataset.polymers], np.float32),
            statistics=LabelStats(float(known.mean()), float(known.std()), self.options.table.is_log10),
            directory=work / "networks",
        )

    def _networks(self, context: Context, plan: SplitPlan, device: torch.device) -> tuple[Trained, list[Member]]:
        """Train the networks of the folds, and those of the package where they are others."""
        recipe = self._choose_recipe(context, plan, device)
        folds = self._train(context, plan, recipe, device)
        if self.options.n_members != 1 or len(plan.folds) == 1:
            return folds, folds.members
        whole = make_plan([str(i) for i in plan.known], seed=self.options.seed, n_folds=10, n_rounds=1, test_share=0.0)
        place = plan.known
        rows = whole.folds[0].rows
        everything = tuple(place[i] for i in (*rows.train, *rows.validation, *whole.folds[0].held_out))
        n_validation = max(1, len(everything) // 10)
        fold = plan.folds[0]._replace(
            name="single", rows=type(rows)(everything[n_validation:], everything[:n_validation]), held_out=()
        )
        self.notes.append("one network on all polymers; its intervals come from the networks of the folds")
        jobs = [Job(fold, recipe, self.options.seed, plan.test)]
        return folds, self._train_jobs(jobs, context, device)

    def _choose_recipe(self, context: Context, plan: SplitPlan, device: torch.device) -> Recipe:
        """Try learning rates, and with few polymers the head only, on the first fold's validation."""
        width = load_encoder(context.encoder, context.source).sizes.width
        recipes = self.options.recipes(width)
        if len(plan.known) < _FEW and not self.options.is_frozen:
            recipes = [type(r)(**{**r.as_dict(), "is_frozen": frozen}) for r in recipes for frozen in (False, True)]
        if len(recipes) == 1:
            return recipes[0]
        first = plan.folds[: 1 if len(plan.known) >= _FEW else self.options.n_folds]
        jobs = [
            Job(fold._replace(name=f"try-{number}-{fold.name}"), recipe, self.options.seed, fold.held_out)
            for number, recipe in enumerate(recipes)
            for fold in first
        ]
        members = self._train_jobs(jobs, context, device)
        errors = [
            float(np.mean([m.validation_rmse for m in members[i * len(first) : (i + 1) * len(first)]]))
            for i in range(len(recipes))
        ]
        best = int(np.argmin(errors))
        tried = "; ".join(
            f"rate {r.learning_rate:g}{', head only' if r.is_frozen else ''}: {e:.4g}"
            for r, e in zip(recipes, errors, strict=True)
        )
        self.notes.append(f"validation errors of what was tried: {tried}")
        return recipes[best]

    def _train(self, context: Context, plan: SplitPlan, recipe: Recipe, device: torch.device) -> Trained:
        outside = (*plan.test, *plan.calibration)
        jobs = [Job(fold, recipe, self.options.seed, (*fold.held_out, *outside)) for fold in plan.folds]
        return Trained(plan, jobs, self._train_jobs(jobs, context, device))

    def _train_jobs(self, jobs: list[Job], context: Context, device: torch.device) -> list[Member]:
        self.listener.on_jobs(jobs)
        engine: Engine = LocalEngine()
        if self.options.engine == "ray":
            engine = RayEngine(self.options.address, has_gpus=device.type == "cuda")

        def on_epoch(job: Job, epoch: Epoch) -> None:
            std = float(context.labels[list(job.fold.rows.train)].std())
            self.listener.on_epoch(job, epoch._replace(validation_rmse=epoch.validation_rmse * std))

        return engine.train_all(
            jobs, context, on_epoch=on_epoch, is_stopping=self.listener.is_stopping, ends_at=self._ends_at
        )

    def _trees(self, prepared: Prepared, context: Context, plan: SplitPlan) -> dict[str, np.ndarray]:
        """Fit trees on the folds of the networks; without scikit-learn there are none."""
        from periogt_ray.training.baselines import has_trees

        labels, known = context.labels, list(plan.known)
        mean_error = float(labels[known].std())
        if not has_trees():
            self.notes.append("no trees: scikit-learn is not installed (pip install 'periogt-ray[train]')")
            self.listener.on_baselines(mean_error, None)
            return {}
        found = self._trees_of(prepared, context, plan, "trees")
        if plan.folds[0].held_out:
            error = float(np.sqrt(np.nanmean((found["random"] - labels)[known] ** 2)))
        else:
            validation = list(plan.folds[0].rows.validation)
            error = float(np.sqrt(np.nanmean((found["test"] - labels)[validation] ** 2)))
        self.listener.on_baselines(mean_error, error)
        return found

    def _trees_of(self, prepared: Prepared, context: Context, plan: SplitPlan, name: str) -> dict[str, np.ndarray]:
        """Return out-of-fold predictions of the first round, and the mean of its predictions on the others."""
        from periogt_ray.training.baselines import predict_by_trees

        n = len(context.labels)
        held_out, others = np.full(n, np.nan), []
        outside = sorted(set(range(n)) - {i for fold in plan.folds for i in fold.held_out})
        for number, fold in enumerate(plan.folds[: self.options.n_folds]):
            if number and not fold.held_out:
                break  # the same rows again
            if self.listener.is_stopping():
                raise Stopped
            path = context.directory / f"{name}-{number}.npy"
            asked = (*fold.held_out, *outside)
            if path.is_file():
                predicted = np.load(path, allow_pickle=False)
            else:
                learned = (*fold.rows.train, *fold.rows.validation) if fold.held_out else fold.rows.train
                seed = self.options.seed
                predicted = predict_by_trees(prepared.tree_features, context.labels, learned, asked, seed=seed)
                _save_array(path, predicted)
            held_out[list(fold.held_out)] = predicted[: len(fold.held_out)]
            others.append(predicted[len(fold.held_out) :])
        of_test = np.full(n, np.nan)
        of_test[outside] = np.mean(others, axis=0)
        return {"random": held_out, "test": of_test}

    def _cluster(
        self,
        prepared: Prepared,
        context: Context,
        plan: SplitPlan,
        clusters: np.ndarray,
        recipe: Recipe,
        device: torch.device,
    ) -> tuple[Trained | None, np.ndarray | None]:
        """Train on folds that keep clusters together: how it does on polymers unlike those it has seen."""
        from periogt_ray.training.baselines import has_trees

        if self.options.recipe == "authors" or self.options.split == "cluster" or not plan.folds[0].held_out:
            return None, None
        largest = int(np.bincount(clusters).max())
        if len(set(clusters.tolist())) < 2 * self.options.n_folds or largest > len(clusters) // 2:
            self.notes.append("no figures of a division by clusters: too many polymers are alike")
            return None, None
        if not self._has_time(0.5):
            self.notes.append("no figures of a division by clusters: the time limit left no room")
            return None, None
        divided = make_plan(
            prepared.dataset.keys,
            seed=self.options.seed,
            n_folds=self.options.n_folds,
            n_rounds=1,
            test_share=0.0,
            groups=clusters.tolist(),
        )
        folds = tuple(fold._replace(name=fold.name.replace("member", "cluster")) for fold in divided.folds)
        divided = SplitPlan(folds, (), (), "by clusters")
        trees = self._trees_of(prepared, context, divided, "cluster-trees")["random"] if has_trees() else None
        return self._train(context, divided, recipe, device), trees

    def _learning_curve(self, prepared: Prepared, context: Context, plan: SplitPlan) -> list[dict[str, Any]]:
        """Return the error of trees with a quarter, half and all of the first fold's polymers."""
        from periogt_ray.training.baselines import has_trees, predict_by_trees

        fold = plan.folds[0]
        asked = fold.held_out or plan.test
        if not has_trees() or not asked or not self._has_time(0.9):
            return []
        learned = np.array([*fold.rows.train, *fold.rows.validation])
        order = np.random.default_rng(self.options.seed).permutation(len(learned))
        found = []
        for share in (0.25, 0.5, 1.0):
            if self.listener.is_stopping():
                raise Stopped
            some = learned[order[: max(2, int(share * len(learned)))]].tolist()
            predicted = predict_by_trees(prepared.tree_features, context.labels, some, asked, seed=self.options.seed)
            error = float(np.sqrt(((predicted - context.labels[list(asked)]) ** 2).mean()))
            found.append({"n": len(some), "trees_rmse": error})
        return found


def _save_array(path: Any, array: np.ndarray) -> None:
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    temporary.replace(path)


def _device(settings: Settings, options: FinetuneOptions) -> torch.device:
    choice = choose_device(settings.device, probe_device(), min_driver=settings.min_driver)
    if choice.warning:
        logger.warning("%s", choice.warning)
    if options.is_deterministic:
        torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = options.is_fast
    return torch.device(choice.device)


def check_finetune(options: FinetuneOptions, settings: Settings) -> dict[str, Any]:
    """Read the table, report on it and estimate the time; train nothing and write nothing.

    Returns
    -------
    dict
        The report and the estimate, JSON.

    Raises
    ------
    ValidationError
        As :func:`read_checked`.
    """
    import tempfile
    from dataclasses import replace
    from pathlib import Path

    artifacts, dataset, report = read_checked(options, settings)
    some = replace(dataset, polymers=dataset.polymers[: options.batch_size])
    device = _device(settings, options)
    run = _Run(options, settings, artifacts, Listener(), time.monotonic())
    with tempfile.TemporaryDirectory() as directory:
        begun = time.monotonic()
        prepared = prepare(some, artifacts, settings, scheme=run._scheme(), device=device, work=Path(directory))
        features_s = (time.monotonic() - begun) / len(some.polymers)
    update_s = _seconds_an_update(artifacts, prepared, options, device)
    plan = run._plan(prepared._replace(dataset=dataset), None)
    recipes = options.recipes(artifacts.encoder_dims["width"])
    n_updates = sum(recipes[0].n_updates(len(fold.rows.train)) for fold in plan.folds)
    n_rounds = (1 if options.recipe == "authors" else 2) + (len(recipes) - 1) / len(plan.folds)
    # A pass over the validation polymers and the schedule's rest cost about a third more.
    seconds = features_s * len(dataset.polymers) + 1.3 * update_s * n_updates * n_rounds
    return {
        "labels": report.as_dict(),
        "left_out": [row._asdict() for row in dataset.left_out[:100]],
        "division": plan.note,
        "n_networks": len(plan.folds),
        "n_test": len(plan.test),
        "device": device.type,
        "seconds_an_update": round(update_s, 4),
        "estimated_seconds": round(seconds),
    }


def _seconds_an_update(
    artifacts: ArtifactDirectory, prepared: Prepared, options: FinetuneOptions, device: torch.device
) -> float:
    encoder = load_encoder(artifacts.encoder_state_dict(), artifacts.encoder)
    recipe = options.recipes(encoder.sizes.width)[0]
    network = new_network(encoder, dropout=recipe.dropout, seed=0).to(device)
    n = len(prepared.dataset.polymers)
    labels = Labels(np.zeros(n, np.float32), np.ones(n, np.float32))
    trainer = Trainer(network, prepared.polymers, labels, recipe=recipe, n_updates=1000)
    trainer.update(1, range(n))
    begun = time.monotonic()
    for number in range(_N_TIMED):
        trainer.update(2 + number, range(n))
    return (time.monotonic() - begun) / _N_TIMED
