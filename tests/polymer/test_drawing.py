"""Drawings: what is marked, that they are bounded, and that they hold nothing that runs."""

import xml.etree.ElementTree as ElementTree

import pytest

from periogt_ray.errors import DrawingUnavailableError, ValidationError
from periogt_ray.polymer.drawing import draw, drawing_problem
from periogt_ray.polymer.limits import MAX_DRAWN_ATOMS
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.settings import EXAMPLES

STYRENE = RepeatUnit.parse("*CC(*)c1ccccc1")
ALLOWED = {"svg", "path", "ellipse", "circle", "rect", "text", "tspan", "g"}


def elements(drawing: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(drawing).iter())


def marks(drawing: str) -> list[tuple[float, float]]:
    found = [one for one in elements(drawing) if one.tag.endswith(("ellipse", "circle"))]
    return [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in found]


@pytest.mark.parametrize("smiles", [line.rpartition(",")[2] for line in EXAMPLES.read_text().splitlines()[1:]])
def test_connection_points_are_marked_left_and_right(smiles: str) -> None:
    first, second = marks(draw(RepeatUnit.parse(smiles)))
    assert abs(first[0] - second[0]) > 20
    assert first[1] == pytest.approx(second[1], abs=0.5)


def test_a_drawing_is_lines_and_letters() -> None:
    found = elements(draw(STYRENE))
    assert {one.tag.rpartition("}")[2] for one in found} <= ALLOWED
    assert not [name for one in found for name in one.attrib if name.startswith("on") or "href" in name]
    assert float(found[0].attrib["width"].removesuffix("px")) < 400


def test_themes_differ_and_equal_polymers_do_not() -> None:
    assert draw(STYRENE, theme="dark") != draw(STYRENE)
    assert draw(RepeatUnit.parse("C(*)C(c1ccccc1)*")) == draw(STYRENE)


def test_what_is_drawn_is_bounded() -> None:
    largest = RepeatUnit.parse(f"*{'C' * (MAX_DRAWN_ATOMS - 2)}*")
    assert len(draw(largest)) < 150_000
    with pytest.raises(ValidationError, match=f"201 atoms; at most {MAX_DRAWN_ATOMS} are drawn"):
        draw(RepeatUnit.parse(f"*{'C' * (MAX_DRAWN_ATOMS - 1)}*"))


@pytest.mark.usefixtures("cannot_draw")
def test_a_machine_that_cannot_draw_says_what_to_install() -> None:
    problem = drawing_problem()
    assert problem is not None
    assert str(problem).startswith("Drawings are off: ")
    assert "libxrender1" in problem.remedy
    with pytest.raises(DrawingUnavailableError, match="periogt doctor"):
        draw(STYRENE)


def test_a_machine_that_can_draw_has_no_problem() -> None:
    assert drawing_problem() is None
