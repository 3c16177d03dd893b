import pytest

from periogt_ray.errors import SettingsError, ValidationError
from periogt_ray.tables.parts import Part
from periogt_ray.tables.shares import TableShare

PARTS = [Part(number, 10 * number, 10, 0, number, 1) for number in range(17)]


def array(number: int, first: int, last: int, n: int) -> dict[str, str]:
    values = {"ID": number, "MIN": first, "MAX": last, "COUNT": n}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize("n", [1, 2, 5, 17, 30])
def test_every_part_is_in_one_share_and_shares_are_equal(n: int) -> None:
    shares = [TableShare(number, n).of(PARTS) for number in range(1, n + 1)]
    assert sorted(part for share in shares for part in share) == PARTS
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/", "/4", "1/0", "-1/4", "1/2/3", "a/b", "1 / 2", ""])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="expected K/N"):
        TableShare.parse(text)


@pytest.mark.parametrize(
    ("env", "share"),
    [
        ({}, (1, 1)),
        (array(3, 1, 8, 8), (3, 8)),
        (array(0, 0, 3, 4), (1, 4)),
        (array(15, 5, 25, 3), (2, 3)),
        (array(7, 7, 7, 1), (1, 1)),
    ],
)
def test_the_share_of_an_array_task(env: dict[str, str], share: tuple[int, int]) -> None:
    assert TableShare.of_array_task(env) == share


@pytest.mark.parametrize("env", [array(3, 1, 7, 3), array(2, 1, 9, 5), {"SLURM_ARRAY_TASK_ID": "1"}])
def test_an_array_with_gaps_says_what_to_give(env: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="--share K/N"):
        TableShare.of_array_task(env)
