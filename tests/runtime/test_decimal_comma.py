"""Which texts are numbers with a decimal comma."""

import pytest

from periogt_ray.runtime.decimal_comma import decimal_comma_hint


@pytest.mark.parametrize(("text", "point"), [("0,5", "0.5"), (" -1,25e-3", "-1.25e-3"), ("1.234,5", "1234.5")])
def test_the_number_is_written_with_a_point(text: str, point: str) -> None:
    assert f"write {point}," in decimal_comma_hint(text)


@pytest.mark.parametrize("text", ["", "0.5", "0.25,0.5", "1,2,3", "a,b", ",", "12.34,5"])
def test_other_texts_get_no_hint(text: str) -> None:
    assert decimal_comma_hint(text) == ""
