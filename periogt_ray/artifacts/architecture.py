"""Which network a weight file holds, and its sizes: told by names and shapes of tensors, never by the file's name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from periogt_ray.artifacts.weight_files import Shapes
from periogt_ray.errors import ModelLoadError
from periogt_ray.polymer.dimensions import (
    N_ATOM_FEATURES,
    N_BOND_FEATURES,
    N_DESCRIPTORS,
    N_FINGERPRINT_BITS,
    PATH_LENGTH,
)
from periogt_ray.polymer.input_kinds import ARCHITECTURES, CONDITIONS, RATIOS, InputKind

__all__ = ["HEAD_FAMILIES", "SERVED_FAMILIES", "Architecture", "ModelSizes", "identify", "input_kind", "is_layer_key"]

_HEAD_WIDTH = 256
_HEAD_INPUT, _HEAD_OUTPUT = "predictor.0.weight", "predictor.3.weight"
_HEAD_KEYS = ("node_attn.cls_token", _HEAD_INPUT, _HEAD_OUTPUT)
_UNUSED_NODE = "node_attn.virutal_node_emb.weight"  # spelt as in the checkpoints; without effect
_PATH_LENGTHS = "model.path_len_emb.weight"
# Width of an input by the matrix that takes it.
_EXPECTED_INPUTS = {
    "node_emb.in_proj.weight": N_ATOM_FEATURES,
    "edge_emb.in_proj.weight": N_BOND_FEATURES,
    "triplet_emb.fp_proj.in_proj.weight": N_FINGERPRINT_BITS,
    "triplet_emb.md_proj.in_proj.weight": N_DESCRIPTORS,
}
# Matrices of every network; whether all the others are there is found out when it is loaded.
_COMMON_KEYS = (
    *_EXPECTED_INPUTS,
    "triplet_emb.in_proj.in_proj.weight",
    _PATH_LENGTHS,
    "model.dist_attn_layer.2.weight",
    "model.path_attn_layer.0.weight",
    "model.mol_T_layers.0.qkv.weight",
)
# Sizes that index.json holds.
_INDEXED_SIZES = (
    "width",
    "n_layers",
    "n_heads",
    "path_length",
    "path_width",
    "n_fingerprint_bits",
    "n_descriptors",
)


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a network.

    Attributes
    ----------
    width : int
        D, of every triplet's state.
    n_layers, n_heads : int
        Of the encoder.
    path_width : int
        Of a triplet's part in a path's encoding.
    ffn_width, head_width : int
        Hidden width of the layers' feed-forward networks and of the property head.
    n_atom_features, n_bond_features, n_fingerprint_bits, n_descriptors : int
        Of the inputs.
    path_length : int
        Slots of a path.
    """

    width: int
    n_layers: int
    n_heads: int
    path_width: int
    ffn_width: int
    head_width: int = _HEAD_WIDTH
    n_atom_features: int = N_ATOM_FEATURES
    n_bond_features: int = N_BOND_FEATURES
    n_fingerprint_bits: int = N_FINGERPRINT_BITS
    n_descriptors: int = N_DESCRIPTORS
    path_length: int = PATH_LENGTH

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, tuple[int, ...]]) -> "ModelSizes":
        """Read the sizes off the shapes of a state dict.

        Raises
        ------
        ModelLoadError
            If a key that tells a size is missing or its tensor has the wrong number of dimensions.
        """

        def matrix(key: str) -> tuple[int, int]:
            shape = shapes.get(key)
            if shape is None or len(shape) != 2:
                raise ModelLoadError(
                    f"The checkpoint is not a PerioGT network: expected a matrix {key!r}, "
                    f"found {'nothing' if shape is None else f'shape {list(shape)}'}."
                )
            return shape[0], shape[1]

        width, n_atom_features = matrix("node_emb.in_proj.weight")
        return cls(
            width=width,
            n_layers=len({key.split(".")[2] for key in shapes if is_layer_key(key)}),
            n_heads=matrix("model.dist_attn_layer.2.weight")[0],
            path_width=matrix("model.trip_fortrans.0.in_proj.weight")[0],
            ffn_width=matrix("model.mol_T_layers.0.node_out_layer.ffn.in_proj.weight")[0],
            head_width=matrix(_HEAD_INPUT)[0] if _HEAD_INPUT in shapes else _HEAD_WIDTH,
            n_atom_features=n_atom_features,
            n_bond_features=matrix("edge_emb.in_proj.weight")[1],
            n_fingerprint_bits=matrix("triplet_emb.fp_proj.in_proj.weight")[1],
            n_descriptors=matrix("triplet_emb.md_proj.in_proj.weight")[1],
            path_length=matrix(_PATH_LENGTHS)[0] - 1 if _PATH_LENGTHS in shapes else PATH_LENGTH,
        )

    def indexed(self) -> dict[str, int]:
        """Return the sizes that index.json holds."""
        return {name: getattr(self, name) for name in _INDEXED_SIZES}


def is_layer_key(key: str) -> bool:
    """Whether a tensor belongs to a layer of the encoder."""
    parts = key.split(".")
    return len(parts) > 3 and parts[:2] == ["model", "mol_T_layers"] and parts[2].isdigit()


@dataclass(frozen=True)
class _Family:
    """A kind of network.

    Attributes
    ----------
    name : str
        What it is called in index.json.
    prefixes : tuple of str
        Beginnings of the names of tensors that tell it from the kinds after it in the table.
    n_readouts : int or None
        Inputs of its property head, in widths; None where there is no head.
    inputs : Mapping of str to (int or None, int or None)
        Shapes of the matrices that take what is given beside repeat units; None stands for the width.
    """

    name: str
    prefixes: tuple[str, ...]
    n_readouts: int | None = None
    inputs: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)


# The first whose prefixes occur. Of the published networks, three take inputs that are not published (three monomers,
# a salt); they have keys of the first two families.
_FAMILIES = (
    _Family(
        "copolymer",
        ("triplet_emb.embedding.", "triplet_emb.global_node_emb."),
        n_readouts=5,
        inputs={
            "triplet_emb.embedding.weight": (len(RATIOS), None),
            "triplet_emb.global_node_emb.weight": (len(ARCHITECTURES), None),
            _UNUSED_NODE: (1, None),
        },
    ),
    _Family(
        "conditions",
        ("triplet_emb.gs_proj.",),
        n_readouts=4,
        inputs={
            "triplet_emb.gs_proj.in_proj.weight": (None, len(CONDITIONS)),
            "triplet_emb.gs_proj.out_proj.weight": (None, None),
            _UNUSED_NODE: (1, None),
        },
    ),
    _Family("common", ("node_attn.", "predictor."), n_readouts=3),
    _Family("encoder", ("",)),
)

SERVED_FAMILIES = frozenset(family.name for family in _FAMILIES)
HEAD_FAMILIES = frozenset(family.name for family in _FAMILIES if family.n_readouts is not None)
_INPUT_KINDS: Mapping[str, InputKind] = {"copolymer": InputKind.COPOLYMER, "conditions": InputKind.CONDITIONS}


def input_kind(family: str) -> InputKind:
    """Return what a property is predicted of, by the family of its network."""
    return _INPUT_KINDS.get(family, InputKind.HOMOPOLYMER)


@dataclass(frozen=True)
class Architecture:
    """The network that the names and shapes of a state dict identify.

    Attributes
    ----------
    family : str
        ``encoder`` (pretrained), ``common`` (one property of a homopolymer), ``copolymer`` (of two monomers),
        ``conditions`` (of a repeat unit with three numbers) or ``unknown``.
    dims : dict
        Sizes as index.json holds them; empty for ``unknown``.
    reason : str or None
        Why a property with these weights is not served; None where it is one of the known networks.
    """

    family: str
    dims: dict[str, int] = field(default_factory=dict)
    reason: str | None = None


def identify(shapes: Shapes) -> Architecture:
    """Tell which network a state dict belongs to.

    Parameters
    ----------
    shapes : dict
        From :func:`~periogt_ray.artifacts.weight_files.read_shapes`.
    """
    missing = [key for key in _COMMON_KEYS if len(shapes.get(key, ())) != 2]
    if missing:
        return Architecture("unknown", reason=f"not the network of PerioGT: no usable {missing[0]}")
    try:
        sizes = ModelSizes.from_shapes(shapes)
    except ModelLoadError as error:
        return Architecture("unknown", reason=error.message.rstrip("."))
    for key, n_inputs in _EXPECTED_INPUTS.items():
        if shapes[key][1] != n_inputs:
            return Architecture("unknown", reason=f"{key} takes {shapes[key][1]} inputs, expected {n_inputs}")
    marked = [family for family in _FAMILIES[:-1] if any(key.startswith(family.prefixes) for key in shapes)]
    family = (marked or _FAMILIES[-1:])[0]
    problem = _input_problem(shapes, family, marked, width=sizes.width)
    if problem is None and family.n_readouts is not None:
        problem = _head_problem(shapes, family.n_readouts * sizes.width)
    return Architecture(family.name if problem is None else "unknown", sizes.indexed(), problem)


def _input_problem(shapes: Shapes, family: _Family, marked: Sequence[_Family], *, width: int) -> str | None:
    """Name the matrix of further inputs whose shape differs from that of the family."""
    if len([one for one in marked if one.inputs]) > 1:
        return "it takes both ratios and conditions, as no published network does"
    for key, expected in family.inputs.items():
        wanted = tuple(width if size is None else size for size in expected)
        found = shapes.get(key)
        if found != wanted:
            shown = "absent" if found is None else f"{list(found)}"
            kind = f"those of a {family.name} network"
            return f"its inputs are others than {kind}: {key} is {shown}, expected {list(wanted)}"
    return None


def _head_problem(shapes: Shapes, n_inputs: int) -> str | None:
    """Say why a property head cannot be served."""
    if not all(key in shapes for key in _HEAD_KEYS):
        return "its property head is not complete"
    hidden, output = shapes[_HEAD_INPUT], shapes[_HEAD_OUTPUT]
    if hidden[1:] != (n_inputs,) or output != (1, hidden[0]):
        expected = f"expected {n_inputs} inputs in {_HEAD_INPUT} and one output"
        return f"its property head has shapes {list(hidden)} and {list(output)}, {expected}"
    return None
