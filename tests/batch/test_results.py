from periogt_ray.batch.results import FinishedPart, PartRow
from periogt_ray.tables.predictions import Prediction, RowFailure


def test_a_part_comes_back_from_its_file_as_it_was() -> None:
    failure = RowFailure("validation_error", "no *, \u2026")
    part = FinishedPart(
        7,
        [
            PartRow("a", "[*]CC[*]", "*CC*", ("an isotope was cleared",), ("300", "")),
            PartRow("b", "bad\ud800", failure),
            PartRow("c", "*OC*", "*CO*"),
        ],
        {"*CC*": [Prediction(0.1, "K", ("far",)), failure], "*CO*": [Prediction(-1e-12, ""), Prediction(2.0, "K")]},
    )
    assert FinishedPart.from_json(part.to_json().encode()) == part


def test_a_row_of_another_part_s_polymer_is_not_counted_as_failed() -> None:
    failure = RowFailure("internal_error", "a bug")
    rows = [PartRow("0", "bad", failure), PartRow("1", "*CC*", "*CC*"), PartRow("2", "*CO*", "*CO*")]
    assert FinishedPart(0, rows, {"*CC*": [Prediction(1.0, ""), failure]}).n_failed == 2
