"""Names and order of the 1613 descriptor columns, in blocks of columns that are computed together.

The order is that of mordred's 2D descriptors, which the checkpoints' scaler is aligned with.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

__all__ = ["ESTATE_TYPES", "assemble", "blocks", "column_names"]

# Properties that weight atoms: charge, valence electrons, sigma electrons, intrinsic state, atomic
# number, mass, van der Waals volume, three electronegativities, polarizability, ionisation.
_CHARGE = "c"
_VALENCE = ("dv", "d", "s")
_ELEMENT = ("Z", "m", "v", "se", "pe", "are", "p", "i")

_MATRIX = (
    "SpAbs", "SpMax", "SpDiam", "SpAD", "SpMAD", "LogEE", "SM1", "VE1", "VE2", "VE3", "VR1", "VR2", "VR3",
)  # fmt: skip

_ATOM_COUNTS = (
    "nAtom", "nHeavyAtom", "nSpiro", "nBridgehead", "nHetero", "nH", "nB", "nC", "nN", "nO", "nS", "nP", "nF",
    "nCl", "nBr", "nI", "nX",
)  # fmt: skip

_CARBON_TYPES = (
    "C1SP1", "C2SP1", "C1SP2", "C2SP2", "C3SP2", "C1SP3", "C2SP3", "C3SP3", "C4SP3", "HybRatio", "FCSP3",
)  # fmt: skip

ESTATE_TYPES = (
    "sLi", "ssBe", "ssssBe", "ssBH", "sssB", "ssssB", "sCH3", "dCH2", "ssCH2", "tCH", "dsCH", "aaCH", "sssCH",
    "ddC", "tsC", "dssC", "aasC", "aaaC", "ssssC", "sNH3", "sNH2", "ssNH2", "dNH", "ssNH", "aaNH", "tN", "sssNH",
    "dsN", "aaN", "sssN", "ddsN", "aasN", "ssssN", "sOH", "dO", "ssO", "aaO", "sF", "sSiH3", "ssSiH2", "sssSiH",
    "ssssSi", "sPH2", "ssPH", "sssP", "dsssP", "sssssP", "sSH", "dS", "ssS", "aaS", "dssS", "ddssS", "sCl", "sGeH3",
    "ssGeH2", "sssGeH", "ssssGe", "sAsH2", "ssAsH", "sssAs", "sssdAs", "sssssAs", "sSeH", "dSe", "ssSe", "aaSe",
    "dssSe", "ddssSe", "sBr", "sSnH3", "ssSnH2", "sssSnH", "ssssSn", "sI", "sPbH3", "ssPbH2", "sssPbH", "ssssPb",
)  # fmt: skip


def _autocorrelation(name: str, properties: Sequence[str], first: int) -> tuple[str, ...]:
    return tuple(f"{name}{lag}{weight}" for weight in properties for lag in range(first, 9))


def _matrix(suffix: str, *, with_trace: bool) -> tuple[str, ...]:
    return tuple(f"{name}_{suffix}" for name in _MATRIX if with_trace or name != "SM1")


def _chi() -> Iterator[str]:
    for kind, first, last in (("ch", 3, 7), ("c", 3, 6), ("pc", 4, 6)):
        for delta in ("d", "dv"):
            yield from (f"X{kind}-{order}{delta}" for order in range(first, last + 1))
    for delta in ("d", "dv"):
        for prefix in ("Xp", "AXp"):
            yield from (f"{prefix}-{order}{delta}" for order in range(8))


def _rings() -> Iterator[str]:
    for fused in ("", "F"):
        for aromatic in ("", "a", "A"):
            for hetero in ("", "H"):
                kind = f"{fused}{aromatic}{hetero}"
                yield f"n{kind}Ring"
                yield from (f"n{size}{kind}Ring" for size in range(4 if fused else 3, 13))
                yield f"nG12{kind}Ring"


def _eta() -> Iterator[str]:
    yield from ("ETA_alpha", "AETA_alpha", "ETA_shape_p", "ETA_shape_y", "ETA_shape_x")
    for name in (
        "beta", "beta_s", "beta_ns", "beta_ns_d", "eta", "eta_L", "eta_R", "eta_RL", "eta_F", "eta_FL", "eta_B",
        "eta_BR",
    ):  # fmt: skip
        yield from (f"ETA_{name}", f"AETA_{name}")
    yield from ("ETA_dAlpha_A", "ETA_dAlpha_B")
    yield from (f"ETA_epsilon_{kind}" for kind in range(1, 6))
    yield from (f"ETA_dEpsilon_{kind}" for kind in "ABCD")
    yield from ("ETA_dBeta", "AETA_dBeta", "ETA_psi_1", "ETA_dPsi_A", "ETA_dPsi_B")


def _distance_edges() -> Iterator[str]:
    for element, highest in (("C", 4), ("O", 2), ("N", 3)):
        for first in range(1, highest + 1):
            yield from (f"MDE{element}-{first}{second}" for second in range(first, highest + 1))


@functools.cache
def blocks() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the blocks in column order: what the block is called, and the names of its columns."""
    valence = (*_VALENCE, *_ELEMENT)
    charged = (_CHARGE, *valence)
    surface = {"PEOE_VSA": 13, "SMR_VSA": 9, "SlogP_VSA": 11, "EState_VSA": 10, "VSA_EState": 9}
    orders = range(1, 11)
    return (
        ("connectivity", ("ABC", "ABCGG")),
        ("acid_base", ("nAcid", "nBase")),
        ("adjacency", _matrix("A", with_trace=False)),
        ("aromatic", ("nAromAtom", "nAromBond")),
        ("atom_count", _ATOM_COUNTS),
        ("ats", _autocorrelation("ATS", valence, 0)),
        ("aats", _autocorrelation("AATS", valence, 0)),
        ("atsc", _autocorrelation("ATSC", charged, 0)),
        ("aatsc", _autocorrelation("AATSC", charged, 0)),
        ("mats", _autocorrelation("MATS", charged, 1)),
        ("gats", _autocorrelation("GATS", charged, 1)),
        ("bcut", tuple(f"BCUT{weight}-1{end}" for weight in charged for end in "hl")),
        ("balaban_j", ("BalabanJ",)),
        ("barysz", tuple(name for weight in _ELEMENT for name in _matrix(f"Dz{weight}", with_trace=True))),
        ("bertz", ("BertzCT",)),
        ("bond_count", tuple(f"nBonds{kind}" for kind in ("", "O", "S", "D", "T", "A", "M", "KS", "KD"))),
        ("relative_charge", ("RNCG", "RPCG")),
        ("carbon_type", _CARBON_TYPES),
        ("chi", tuple(_chi())),
        ("constitutional_sum", tuple(f"S{weight}" for weight in _ELEMENT)),
        ("constitutional_mean", tuple(f"M{weight}" for weight in _ELEMENT)),
        ("detour", (*_matrix("Dt", with_trace=True), "DetourIndex")),
        ("distance", _matrix("D", with_trace=False)),
        ("estate", tuple(f"{kind}{name}" for kind in ("N", "S", "MAX", "MIN") for name in ESTATE_TYPES)),
        ("eccentric_connectivity", ("ECIndex",)),
        ("eta", tuple(_eta())),
        ("fragment_complexity", ("fragCpx",)),
        ("framework", ("fMF",)),
        ("hydrogen_bond", ("nHBAcc", "nHBDon")),
        (
            "information",
            tuple(f"{n}{order}" for n in ("IC", "TIC", "SIC", "BIC", "CIC", "MIC", "ZMIC") for order in range(6)),
        ),
        ("kappa", ("Kier1", "Kier2", "Kier3")),
        ("drug_rules", ("Lipinski", "GhoseFilter")),
        ("solubility", ("FilterItLogS",)),
        ("mcgowan", ("VMcGowan",)),
        ("surface", ("LabuteASA", *(f"{name}{k}" for name, n in surface.items() for k in range(1, n + 1)))),
        ("distance_edge", tuple(_distance_edges())),
        (
            "molecular_id",
            tuple(f"{mean}{kind}" for kind in ("", "_h", "_C", "_N", "_O", "_X") for mean in ("MID", "AMID")),
        ),
        (
            "path_count",
            (*(f"MPC{k}" for k in orders[1:]), "TMPC10", *(f"piPC{k}" for k in orders), "TpiPC10"),
        ),
        ("polarizability", ("apol", "bpol")),
        ("ring_count", tuple(_rings())),
        ("rotatable", ("nRot", "RotRatio")),
        ("crippen", ("SLogP", "SMR")),
        ("polar_surface", ("TopoPSA(NO)", "TopoPSA")),
        ("topological_charge", (*(f"GGI{k}" for k in orders), *(f"JGI{k}" for k in orders), "JGT10")),
        ("shape", ("Diameter", "Radius", "TopoShapeIndex", "PetitjeanIndex")),
        ("vdw_volume", ("Vabc",)),
        ("vertex_adjacency", ("VAdjMat",)),
        (
            "walk_count",
            (*(f"MWC{k:02d}" for k in orders), "TMWC10", *(f"SRW{k:02d}" for k in orders[1:]), "TSRW10"),
        ),
        ("weight", ("MW", "AMW")),
        ("wiener", ("WPath", "WPol")),
        ("zagreb", ("Zagreb1", "Zagreb2", "mZagreb1", "mZagreb2")),
    )


@functools.cache
def column_names() -> tuple[str, ...]:
    """Return the names of the 1613 columns, in order."""
    return tuple(name for _, names in blocks() for name in names)


def assemble(values: Mapping[str, Sequence[float] | np.ndarray]) -> np.ndarray:
    """Join the blocks' values into one row.

    Parameters
    ----------
    values : Mapping
        Block name to its values, as many as it has columns.

    Returns
    -------
    numpy.ndarray
        float64 [1613].

    Raises
    ------
    ValueError
        If a block is absent or has the wrong length: a bug.
    """
    for block, names in blocks():
        if len(values[block]) != len(names):
            raise ValueError(f"block {block} has {len(values[block])} values for {len(names)} columns")
    return np.concatenate([np.asarray(values[block], dtype=np.float64) for block, _ in blocks()])
