"""SMILES in, values out, in this process and without Ray: the Python API, and what the command line and doctor use."""

import os
import reprlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from periogt_ray.artifacts.card import read_card
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import ValidationError
from periogt_ray.model.intervals import DEFAULT_LEVEL, LEVELS
from periogt_ray.polymer.ahead import features_under_way
from periogt_ray.polymer.feature_store import featurized
from periogt_ray.polymer.features import FeaturizedPolymer
from periogt_ray.polymer.given import AnyInput, GivenInput, as_given, given_kind
from periogt_ray.polymer.input_features import Featurized, featurized_input
from periogt_ray.polymer.input_kinds import INPUT_COLUMNS, InputKind
from periogt_ray.polymer.inputs import Copolymer, PolymerInput, PolymerWithConditions
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.schemas import PropertyCard
from periogt_ray.settings import Settings
from periogt_ray.tables.predictions import ROW_ERRORS, Answer, Cell, OutputLayout, RowFailure

if TYPE_CHECKING:  # torch is loaded after the input has been checked
    import pandas as pd

    from periogt_ray.model.explanation import Explanation
    from periogt_ray.model.predictor import Predictor
    from periogt_ray.model.tasks import Outcome

__all__ = ["OnError", "PerioGT", "inputs_of", "texts_of"]

OnError = Literal["row", "raise"]
_AT_ONCE = 256  # polymers that are featurized before a pass; bounds memory


@cache
def _survive_forks() -> None:
    """Let torch work in processes that are forked from now on: it would wait for threads that a fork does not copy."""
    import torch

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def texts_of(smiles: Any, *, on_error: OnError) -> list[str]:
    """Return what a caller gave as texts, among which a missing one is blank.

    Parameters
    ----------
    smiles : str or sequence
        Texts, and what else a column of a table may hold.
    on_error : {"row", "raise"}
        As :meth:`PerioGT.predict` takes it.

    Raises
    ------
    ValueError
        If ``on_error`` is something else.
    """
    import pandas as pd

    if on_error not in ("row", "raise"):
        raise ValueError(f"on_error is {on_error!r}; expected 'row' or 'raise'.")
    cells = [smiles] if isinstance(smiles, str) else list(smiles)
    shown = (cell if isinstance(cell, str) else "" if pd.isna(cell) is True else str(cell) for cell in cells)
    # A lone surrogate is in no file, and no table can hold it.
    return [text.encode("utf-8", "backslashreplace").decode() for text in shown]


def inputs_of(given: Any, *, on_error: OnError) -> list[GivenInput]:
    """Return what a caller gave as inputs of one kind.

    Parameters
    ----------
    given : str, Copolymer, PolymerWithConditions, Mapping, or a sequence of such
        Repeat units, among which a missing one is blank, or inputs of another kind.
    on_error : {"row", "raise"}
        As :meth:`PerioGT.predict` takes it.

    Raises
    ------
    ValidationError
        If it is none of these, a mapping has unknown fields, or there are several kinds.
    ValueError
        If ``on_error`` is something else.
    """
    if hasattr(given, "columns") and hasattr(given, "itertuples"):
        raise ValidationError(
            f"A table with the columns {', '.join(map(repr, given.columns))} was given; expected polymers: its column "
            "of SMILES, for example table['smiles'], or for copolymers table.to_dict('records')."
        )
    kinds = (RepeatUnit, Copolymer, PolymerWithConditions, Mapping)
    if isinstance(given, (bytes, bytearray)) or not isinstance(given, (str, Iterable, *kinds)):
        raise ValidationError(
            f"{reprlib.repr(given)} was given; expected the SMILES of a repeat unit, such as '*CC*', or several."
        )
    ones = [given] if isinstance(given, (str, *kinds)) else list(given)
    if not any(isinstance(one, kinds) for one in ones):
        return [GivenInput.of_smiles(text) for text in texts_of(ones, on_error=on_error)]
    texts_of([], on_error=on_error)
    inputs = [as_given(one if isinstance(one, kinds) else texts_of([one], on_error=on_error)[0]) for one in ones]
    given_kind(inputs)
    return inputs


class _Polymer(NamedTuple):
    """What was left out of its SMILES, and its features by prompt scheme."""

    warnings: tuple[str, ...]
    features: dict[PromptScheme, Featurized]


class PerioGT:
    """A model in this process.

    It may be used from threads, in notebooks, and in processes that were forked or spawned; each process loads the
    networks for itself, at its first prediction. For many thousands of polymers use `periogt batch`, which takes all
    processors and GPUs.

    Parameters
    ----------
    artifacts : str or pathlib.Path, optional
        Artifact directory; None: ``PERIOGT_CHECKPOINT_DIR``, else what `periogt setup` installed, else the embedded
        compact model.
    device : {"cpu", "cuda"}, optional
        Where the networks run; None: ``PERIOGT_DEVICE``, else a GPU where there is one.

    Raises
    ------
    SettingsError, CheckpointMissingError, ModelLoadError
        If the directory does not exist or cannot be used.

    Examples
    --------
    >>> from periogt_ray.settings import EMBEDDED_DIR
    >>> model = PerioGT(EMBEDDED_DIR, device="cpu")
    >>> frame = model.predict(["*CC*", "*CC(*)c1ccccc1", "*CC"], ["egc", "nc"])
    >>> frame[["smiles", "property", "prediction_units", "ok", "error_code"]]
               smiles property prediction_units     ok        error_code
    0            *CC*      egc               eV   True
    1            *CC*       nc                    True
    2  *CC(*)c1ccccc1      egc               eV   True
    3  *CC(*)c1ccccc1       nc                    True
    4             *CC      egc                   False  validation_error
    5             *CC       nc                   False  validation_error
    >>> model.embed("*CC*").shape
    (1, 288)
    """

    def __init__(self, artifacts: str | Path | None = None, *, device: Literal["cpu", "cuda"] | None = None) -> None:
        self._open(Settings.of_process(checkpoint_dir=artifacts, device=device))

    @classmethod
    def of_settings(cls, settings: Settings) -> "PerioGT":
        """Return the model that settings name; raises as the class."""
        model = cls.__new__(cls)
        model._open(settings)
        return model

    def _open(self, settings: Settings) -> None:
        self._settings = settings
        self._artifacts = ArtifactDirectory.of_settings(settings)
        self._predictor: Predictor | None = None
        self._forget()

    def __repr__(self) -> str:
        return f"PerioGT({str(self._artifacts.root)!r}, {self._artifacts.name!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"_settings": self._settings, "_artifacts": self._artifacts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    @property
    def artifacts(self) -> ArtifactDirectory:
        """The files of the model."""
        return self._artifacts

    @property
    def properties(self) -> dict[str, PropertyCard]:
        """What is served: label, unit, training data and accuracy, by property id."""
        return {card.id: card for card in read_card(self._artifacts).properties}

    def predict(
        self,
        smiles: AnyInput | Sequence[AnyInput],
        properties: str | Sequence[str] = "all",
        *,
        level: float = DEFAULT_LEVEL,
        wide: bool = False,
        on_error: OnError = "row",
    ) -> "pd.DataFrame":
        """Predict properties of polymers.

        Parameters
        ----------
        smiles : str, Copolymer, PolymerWithConditions, Mapping, or a sequence of them
            Repeat units, or for properties of another kind :class:`~periogt_ray.Copolymer`,
            :class:`~periogt_ray.PolymerWithConditions`, or mappings with the fields ``smiles_a``, ``smiles_b``,
            ``ratio_a`` and ``architecture``, or ``smiles`` and ``conditions``. One kind a call.
        properties : str or sequence of str
            Property ids, or ``all``: those that take this kind of input.
        level : {0.9, 0.5, 0.8, 0.95}
            Coverage of the intervals.
        wide : bool
            One row a polymer, and a column a property; else one row a polymer and property.
        on_error : {"row", "raise"}
            What becomes of an error of one polymer: a row that holds it, or an exception.

        Returns
        -------
        pandas.DataFrame
            The columns of `periogt batch`, in the order of the input; ``id`` is the position. Of copolymers
            ``smiles_a``, ``smiles_b``, ``ratio_a`` and ``architecture`` stand in place of ``smiles``; conditions
            stand behind it.

        Raises
        ------
        UnsupportedPropertyError
            If a property is not served.
        ValueError
            If ``level`` is another one.
        ValidationError
            If a property takes another kind of input, or a mapping has other fields.
        PerioGTError
            If the model cannot be loaded; with ``raise``, the first error of a polymer.
        """
        inputs = inputs_of(smiles, on_error=on_error)
        if level not in LEVELS:
            raise ValueError(f"level is {level!r}; expected one of {', '.join(map(str, LEVELS))}.")
        kind = given_kind(inputs)
        ids = self._artifacts.property_ids([properties] if isinstance(properties, str) else properties, kind=kind)
        rows: list[Sequence[Cell]] = []
        layout = OutputLayout(ids, is_wide=wide, inputs=INPUT_COLUMNS[kind])
        for number, (given, warnings, answers) in enumerate(self._answers(inputs, ids, on_error, level)):
            rows += layout.rows(str(number), given.cells[0], answers, warnings=warnings, others=given.cells[1:])
        return layout.frame(rows)

    def embed(self, smiles: str | Sequence[str], *, on_error: OnError = "row") -> np.ndarray:
        """Return what the encoder makes of polymers.

        Returns
        -------
        numpy.ndarray
            float32 [polymers, 3D]; a polymer that has none is a row of NaN, unless ``on_error`` is ``raise``.

        Raises
        ------
        PerioGTError
            As :meth:`predict`.
        """
        from periogt_ray.model.tasks import Task

        given = inputs_of(smiles, on_error=on_error)
        if given_kind(given) is not InputKind.HOMOPOLYMER:
            raise ValidationError(
                "A copolymer, or a repeat unit with conditions, has no embedding; ask for that of each repeat unit."
            )
        texts = [one.cells[0] for one in given]
        predictor = self._loaded()
        scheme = predictor.scheme(None)
        found = np.full((len(texts), predictor.embedding_dim), np.nan, np.float32)
        for start in range(0, len(texts), _AT_ONCE):
            inputs = [GivenInput.of_smiles(text) for text in texts[start : start + _AT_ONCE]]
            polymers = self._read(inputs, {scheme}, on_error)
            ready = [i for i, polymer in enumerate(polymers) if isinstance(polymer, _Polymer)]
            tasks = [Task(polymer.features[scheme]) for polymer in polymers if isinstance(polymer, _Polymer)]
            for i, outcome in zip(ready, predictor.predict_many(tasks), strict=True):
                if outcome.error is None:
                    found[start + i] = outcome.embedding
                elif on_error == "raise" or not isinstance(outcome.error, ROW_ERRORS):
                    raise outcome.error
        return found

    def outcomes(
        self,
        given: GivenInput | AnyInput,
        properties: Sequence[str],
        *,
        return_embedding: bool = False,
        level: float = DEFAULT_LEVEL,
    ) -> "dict[str, Outcome]":
        """Compute properties of one polymer, with everything that an answer as JSON tells.

        Parameters
        ----------
        given : GivenInput, str, Copolymer, PolymerWithConditions or Mapping
            The polymer; a text is a repeat unit.
        properties : sequence of str
            Property ids, or only ``all``: those that take such an input.
        return_embedding : bool
            Whether each prediction comes with the embedding.
        level : float
            Coverage of the intervals.

        Returns
        -------
        dict
            Outcomes by property id, in the order given. What is wrong with one prediction is its ``error``.

        Raises
        ------
        ValidationError, UnsupportedPropertyError
            If the input is wrong; this is checked before the networks are loaded.
        PerioGTError
            If they cannot be loaded.
        """
        given = given if isinstance(given, GivenInput) else as_given(given)
        read = given.read()
        ids = self._artifacts.property_ids(properties, kind=given.kind)
        schemes = {name: self._artifacts.property(name).prompt_scheme for name in ids}
        with self._features_under_way(read, set(schemes.values())) as features:
            predictor = self._loaded()
            ready = features()
        from periogt_ray.model.consistency import with_consistency
        from periogt_ray.model.tasks import Task

        tasks = [Task(ready[schemes[name]], name, return_embedding, read.warnings, level) for name in ids]
        outcomes = with_consistency([(read.key, name) for name in ids], predictor.predict_many(tasks))
        return dict(zip(ids, outcomes, strict=True))

    def embedding(self, smiles: str) -> "Outcome":
        """Compute what :meth:`embed` gives of one repeat unit, with its warnings; raises as :meth:`outcomes`."""
        from periogt_ray.model.tasks import Task

        read = RepeatUnit.parse(smiles)
        predictor = self._loaded()
        scheme = predictor.scheme(None)
        task = Task(self._featurized(read, {scheme})[scheme], None, False, read.warnings, DEFAULT_LEVEL)
        [outcome] = predictor.predict_many([task])
        return outcome

    def explain(self, smiles: str, property_id: str, *, passes: int | None = None) -> "Explanation":
        """Explain a prediction: which bonds and atoms of the repeat unit carry it.

        Parameters
        ----------
        smiles : str
            A repeat unit of at most 100 atoms.
        property_id : str
            Of a property that is predicted of a repeat unit only.
        passes : int, optional
            Most coalitions of bonds that are computed, which bounds the time and, where orders are sampled, sets the
            errors. None: up to 1024, which are all subsets for 9 bonds, and fewer for larger polymers.

        Returns
        -------
        Explanation
            Values in the unit of the property. They describe the model's answer relative to a stand-in for absent
            bonds; they are not causes.

        Raises
        ------
        ValidationError
            If the SMILES is wrong, the property takes another input, the polymer is too large or the passes too few.
        UnsupportedPropertyError
            If the property is not served.
        PerioGTError
            If the model cannot be loaded.

        Examples
        --------
        >>> from periogt_ray.settings import EMBEDDED_DIR
        >>> found = PerioGT(EMBEDDED_DIR, device="cpu").explain("*CC(*)C", "egc")
        >>> [(bond.atoms, bond.is_between_units) for bond in found.bonds]
        [((1, 2), False), ((2, 4), False), ((2, 1), True)]
        >>> total = found.baseline + sum(bond.value for bond in found.bonds) + found.whole_molecule.value
        >>> abs(total - found.prediction) < 1e-6
        True
        """
        from periogt_ray.model.explain import explain
        from periogt_ray.model.explanation import check_explained, checked_passes

        n_passes = checked_passes(smiles, property_id, passes)
        unit = RepeatUnit.parse(smiles)
        info = self._artifacts.property(property_id)
        check_explained(unit, info)
        with self._features_under_way(unit, {info.prompt_scheme}) as features:
            predictor = self._loaded()
            polymer = features()[info.prompt_scheme]
        assert isinstance(polymer, FeaturizedPolymer)
        return explain(predictor, polymer, unit, property_id=info.id, smiles=smiles, passes=n_passes)

    def _features_under_way(
        self, read: PolymerInput, schemes: set[PromptScheme]
    ) -> AbstractContextManager[Callable[[], Mapping[PromptScheme, Featurized]]]:
        if self._settings.feature_store is None:
            return features_under_way(read, schemes, engine=self._settings.descriptor_engine)
        return nullcontext(partial(self._featurized, read, schemes))  # this process has the store's writer

    def _featurized(self, read: PolymerInput, schemes: set[PromptScheme]) -> dict[PromptScheme, Featurized]:
        def features(unit: RepeatUnit, scheme: PromptScheme) -> FeaturizedPolymer:
            return featurized(unit, scheme, self._settings)[0]

        return {scheme: featurized_input(read, partial(features, scheme=scheme)) for scheme in schemes}

    def _answers(
        self, inputs: Sequence[GivenInput], ids: Sequence[str], on_error: OnError, level: float
    ) -> Iterator[tuple[GivenInput, tuple[str, ...], list[Answer]]]:
        """Yield each input with the warnings of its reading and one answer a property."""
        from periogt_ray.model.answers import answer_of
        from periogt_ray.model.consistency import with_consistency
        from periogt_ray.model.tasks import Task

        predictor = self._loaded()
        schemes = {name: predictor.scheme(name) for name in ids}
        for start in range(0, len(inputs), _AT_ONCE):
            some = inputs[start : start + _AT_ONCE]
            polymers = self._read(some, set(schemes.values()), on_error)
            ready = [polymer for polymer in polymers if isinstance(polymer, _Polymer)]
            asked = [(number, name) for number in range(len(ready)) for name in ids]
            tasks = [Task(ready[number].features[schemes[name]], name, level=level) for number, name in asked]
            outcomes = iter(with_consistency(asked, predictor.predict_many(tasks)))
            for given, polymer in zip(some, polymers, strict=True):
                if isinstance(polymer, RowFailure):
                    yield given, (), [polymer] * len(ids)
                    continue
                found = [next(outcomes) for _ in ids]
                failed = next((outcome.error for outcome in found if outcome.error is not None), None)
                if failed is not None and on_error == "raise":
                    raise failed
                yield given, polymer.warnings, [answer_of(outcome) for outcome in found]

    def _read(
        self, inputs: Sequence[GivenInput], schemes: set[PromptScheme], on_error: OnError
    ) -> "list[_Polymer | RowFailure]":
        """Parse and featurize polymers; equal repeat units once, also where they are monomers."""
        known: dict[tuple[str, PromptScheme], FeaturizedPolymer] = {}

        def features(unit: RepeatUnit, scheme: PromptScheme) -> FeaturizedPolymer:
            key = (unit.smiles, scheme)
            if key not in known:
                known[key] = featurized(unit, scheme, self._settings)[0]
            return known[key]

        found: list[_Polymer | RowFailure] = []
        for given in inputs:
            try:
                read = given.read()
                of_scheme = {one: featurized_input(read, partial(features, scheme=one)) for one in schemes}
                found.append(_Polymer(read.warnings, of_scheme))
            except ROW_ERRORS as error:
                if on_error == "raise":
                    raise
                found.append(RowFailure.of(error))
        return found

    def _loaded(self) -> "Predictor":
        """Return the predictor of this process: threads of another one, and its GPU, cannot be used after a fork."""
        from periogt_ray.model.predictor import Predictor

        _survive_forks()
        if self._pid != os.getpid():
            self._forget()
        with self._lock:
            if self._predictor is None:
                self._predictor = Predictor.of(self._artifacts, self._settings)
            return self._predictor

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._predictor = None
