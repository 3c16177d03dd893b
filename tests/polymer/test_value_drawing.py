import re
from xml.etree import ElementTree

import pytest

from periogt_ray.errors import DrawingUnavailableError, ValidationError
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.value_drawing import colour_of, draw_values

SVG = "{http://www.w3.org/2000/svg}"
STYRENE = RepeatUnit.parse("*CC(*)c1ccccc1")


def drawn(atoms: dict[int, float], bonds: dict[int, float], **given: str) -> str:
    texts = {"title": "Band gap: 2.7 eV", "subtitle": "baseline 5.4 bonds -2.7", "units": "eV", **given}
    return draw_values(STYRENE, atoms, bonds, **texts)


def test_the_scale_is_symmetrical_and_white_at_0() -> None:
    assert colour_of(0.0, 1.0) == colour_of(0.0, 0.0) == (1.0, 1.0, 1.0)
    blue, orange = colour_of(-2.0, 2.0), colour_of(2.0, 2.0)
    assert blue[2] > blue[0]
    assert orange[0] > orange[2]
    assert colour_of(9.0, 2.0) == orange
    for value in (0.5, 1.0, 1.5):
        for end, part in ((orange, value), (blue, -value)):
            expected = [1 - value / 2 * (1 - one) for one in end]
            assert colour_of(part, 2.0) == pytest.approx(expected, abs=1e-3)


def test_atoms_and_bonds_have_the_colours_of_their_values() -> None:
    text = drawn({1: -1.0, 2: 0.5}, {1: 0.25, 4: -0.5})
    root = ElementTree.fromstring(text)
    found = {style.upper() for style in re.findall(r"fill:(#[0-9A-Fa-f]{6})", text)}
    for value in (-1.0, 0.5, 0.25, -0.5):
        expected = tuple(round(255 * part) for part in colour_of(value, 1.0))
        # RDKit cuts where others round.
        assert any(
            all(abs(int(colour[i : i + 2], 16) - part) <= 1 for i, part in zip((1, 3, 5), expected, strict=True))
            for colour in found
        )
    labels = [element.text for element in root.iter(f"{SVG}text")]
    assert labels == ["Band gap: 2.7 eV", "baseline 5.4 bonds -2.7", "-1", "0", "+1", "added to the prediction, eV"]


def test_the_drawing_is_one_safe_element_with_its_own_background() -> None:
    text = drawn({1: 1.0}, {}, title="a <b> & 'c'", units="")
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert root.get("aria-label", "").startswith("a <b> & 'c'")
    background = root.find(f"{SVG}rect")
    assert background is not None
    assert (background.get("fill"), background.get("width")) == ("#fff", root.get("width", "").removesuffix("px"))
    assert not re.search(r"<script|href|url\(", text)


def test_values_of_0_are_drawn() -> None:
    assert "added to the prediction" in drawn({1: 0.0}, {1: 0.0})


@pytest.mark.usefixtures("cannot_draw")
def test_what_cannot_be_drawn_is_an_error() -> None:
    with pytest.raises(DrawingUnavailableError):
        drawn({}, {})


def test_too_large_a_repeat_unit_is_refused() -> None:
    with pytest.raises(ValidationError, match="at most 200 are drawn"):
        draw_values(RepeatUnit.parse(f"*{'C' * 300}*"), {}, {}, title="", subtitle="", units="")
