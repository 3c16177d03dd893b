"""What the page knows of the bounds of the service."""

import re

from periogt_ray.polymer.limits import MAX_SMILES_LENGTH
from periogt_ray.schemas import MAX_ITEMS
from periogt_ray.serve.http.page import WEB


def test_the_page_has_the_bounds_of_the_service_and_each_of_them_once() -> None:
    found = [
        (name, int(number))
        for path in sorted(WEB.glob("*.js"))
        for name, number in re.findall(r"const (MOST_(?:ITEMS|CHARACTERS)) = (\d+)", path.read_text(encoding="utf-8"))
    ]
    assert sorted(found) == [("MOST_CHARACTERS", MAX_SMILES_LENGTH), ("MOST_ITEMS", MAX_ITEMS)]
