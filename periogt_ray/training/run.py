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

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.statistics import LabelStats
from periogt_ray.errors import ValidationError
from periogt_ray.model.network import load_encoder
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.runtime.files import PRIVATE_DIRECTORY_MODE, make_directory
from periogt_ray.settings import Settings
from periogt_ray.training.claim import WORK_NAME, claim_output, device_of, plan_of, read_checked, scheme_of
from periogt_ray.training.dataset import Dataset, check_labels
from periogt_ray.training.engines import Engine, LocalEngine, RayEngine
from periogt_ray.training.label_report import LabelReport
from periogt_ray.training.members import Context, Job, Member
from periogt_ray.training.options import FinetuneOptions
from periogt_ray.training.output_lock import OutputLock
from periogt_ray.training.prepared import Prepared, prepare
from periogt_ray.training.recipe import Recipe
from periogt_ray.training.splits import SplitPlan, cluster_of, make_plan
from periogt_ray.training.trainer import Epoch, Stopped
from periogt_ray.training.tree_folds import fold_trees

__all__ = ["Finished", "Listener", "run_finetune"]

logger = logging.getLogger(__name__)

_FEW = 50


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
    lock : OutputLock
        Of the output; released when the result is written.
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
    lock: OutputLock


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
        As :func:`~periogt_ray.training.claim.read_checked`, or the output holds another run.
    """
    begun = time.monotonic()
    listener = listener or Listener()
    artifacts, dataset, report = read_checked(options, settings)
    lock = claim_output(options, artifacts, dataset)
    if lock is None:
        return None
    try:
        return _Run(options, settings, artifacts, listener, lock, begun).finish(dataset, report)
    except BaseException:
        lock.release()
        raise


@dataclass
class _Run:
    """The steps of a run, in order."""

    options: FinetuneOptions
    settings: Settings
    artifacts: ArtifactDirectory
    listener: Listener
    lock: OutputLock
    begun: float
    notes: list[str] = field(default_factory=list)

    def finish(self, dataset: Dataset, report: LabelReport) -> Finished:
        options = self.options
        device = device_of(self.settings, options)
        scheme = scheme_of(options, self.artifacts, dataset.kind)
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
        plan = plan_of(options, prepared.dataset, clusters if options.split == "cluster" else None)
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
            self.lock,
        )

    @property
    def _ends_at(self) -> float | None:
        return None if self.options.time_limit_s is None else self.begun + self.options.time_limit_s

    def _has_time(self, share: float) -> bool:
        """Whether less than a share of the time limit is used."""
        limit = self.options.time_limit_s
        return limit is None or time.monotonic() - self.begun < share * limit

    def _prepare(self, dataset: Dataset, scheme: PromptScheme, device: torch.device) -> Prepared:
        try:
            return prepare(
                dataset,
                self.artifacts,
                self.settings,
                scheme=scheme,
                device=device,
                work=self.options.output / WORK_NAME,
                shared=self.options.shared,
                is_stopping=self.listener.is_stopping,
                on_polymer=self.listener.on_polymer,
            )
        except InterruptedError as error:
            raise Stopped from error

    def _context(self, prepared: Prepared, plan: SplitPlan, work: Any) -> Context:
        dataset = prepared.dataset
        labels = np.log10(dataset.values) if self.options.table.is_log10 else dataset.values
        known = labels[list(plan.known)]
        make_directory(work / "networks", mode=PRIVATE_DIRECTORY_MODE)
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
        from periogt_ray.training.baselines import MOST_TREE_ROWS, has_trees

        labels, known = context.labels, list(plan.known)
        mean_error = float(labels[known].std())
        if not has_trees():
            self.notes.append("no trees: scikit-learn is not installed (pip install 'periogt-ray[train]')")
            self.listener.on_baselines(mean_error, None)
            return {}
        if max(len(fold.rows.train) for fold in plan.folds) > MOST_TREE_ROWS:
            self.notes.append(f"trees learn from {MOST_TREE_ROWS:,} polymers of each fold, networks from all")
        found = self._trees_of(prepared, context, plan, "trees")
        if plan.folds[0].held_out:
            error = float(np.sqrt(np.nanmean((found["random"] - labels)[known] ** 2)))
        else:
            validation = list(plan.folds[0].rows.validation)
            error = float(np.sqrt(np.nanmean((found["test"] - labels)[validation] ** 2)))
        self.listener.on_baselines(mean_error, error)
        return found

    def _trees_of(self, prepared: Prepared, context: Context, plan: SplitPlan, name: str) -> dict[str, np.ndarray]:
        folds = plan.folds[: self.options.n_folds]
        features, seed, stopping = prepared.tree_features, self.options.seed, self.listener.is_stopping
        return fold_trees(features, context, folds, name=name, seed=seed, is_stopping=stopping)

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
