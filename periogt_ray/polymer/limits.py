"""Every bound on a polymer, each with the reason of its number.

Cost is bounded by size and by counted steps, never by time, so that the same polymer is accepted on every machine.
The polymers of the literature are those of the published data sets.
"""

__all__ = [
    "MAX_ATOMS",
    "MAX_DRAWN_ATOMS",
    "MAX_EXPLAINED_ATOMS",
    "MAX_FRAGMENT_STEPS",
    "MAX_MATCH_STEPS",
    "MAX_PATH_STEPS",
    "MAX_SMILES_LENGTH",
    "MOST_PASSES",
]

# Characters. Five for each of the 400 atoms that a repeat unit may have with the embedded model.
MAX_SMILES_LENGTH = 2000

# Atoms of an oligomer, hydrogens left out. Time grows with the third power (eigenvalues of ten dense matrices): the
# three oligomers of the largest repeat unit that fits, of 133 atoms, take 3 to 4 seconds and 0.2 GiB; see
# scripts/bench_descriptors.py.
MAX_ATOMS = 1200

# Atoms of a repeat unit. Layout grows faster than quadratically: 200 atoms take up to a tenth of a second, 2000 take
# 15 s.
MAX_DRAWN_ATOMS = 200

# Atoms of a repeat unit whose prediction is explained. Passes grow with atoms, and the cost of each pass, too: of the
# embedded model 100 atoms take 400 passes, about 2 minutes on one core.
MAX_EXPLAINED_ATOMS = 100

# Subsets of a polymer's parts that one explanation computes. Errors shrink with the square root of their number; so
# many take minutes with the embedded model.
MOST_PASSES = 20_000

# Steps of the search for one prompt graph in the chain, about a quarter of a second. The most that any of 3804
# polymers of the literature needs is 4560; a steroid within an alkyl chain, whose atoms all look alike, takes 58
# thousand, a sheet of 25 fused cyclobutanes more than a million.
MAX_MATCH_STEPS = 1_000_000

# Steps of the search for the longest paths of one ring system, about a tenth of a second. The most that any of 3415
# polymers of the literature needs is 160 thousand (8 fused rings); of six-rings fused in a row 14 pass and 15 do not.
MAX_PATH_STEPS = 20_000_000

# Steps of one enumeration of paths or subgraphs, about 1 second; none of 3415 polymers of the literature needs a
# hundredth of it.
MAX_FRAGMENT_STEPS = 100_000_000
