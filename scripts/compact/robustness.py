"""Well-known polymers outside the question of test scores: a network must not answer absurdly on them."""

__all__ = ["WELL_KNOWN"]

# Name -> repeat unit.
WELL_KNOWN = {
    "polyethylene": "*CC*",
    "polypropylene": "*CC(*)C",
    "polystyrene": "*CC(*)c1ccccc1",
    "poly(methyl methacrylate)": "*CC(*)(C)C(=O)OC",
    "poly(vinyl chloride)": "*CC(*)Cl",
    "polytetrafluoroethylene": "*C(F)(F)C(*)(F)F",
    "poly(ethylene terephthalate)": "*OCCOC(=O)c1ccc(cc1)C(*)=O",
    "polyamide 6": "*NCCCCCC(*)=O",
    "polydimethylsiloxane": "*O[Si](*)(C)C",
    "polythiophene": "*c1ccc(*)s1",
    "polyacrylonitrile": "*CC(*)C#N",
    "poly(4,4'-oxydiphenylene pyromellitimide)": "*c1ccc(cc1)Oc1ccc(cc1)N1C(=O)c2cc3c(cc2C1=O)C(=O)N(*)C3=O",
}
