import pytest

from periogt_ray.tables.parts import PartSize, fitting_size


def test_parts_fit_the_length_of_the_input() -> None:
    assert [fitting_size(n, n).n_new for n in (0, 1, 100, 1024, 10**6)] == [1, 1, 7, 64, 64]
    assert [fitting_size(n, n).n_new for n in (4 * 10**6, 10**7)] == [200, 256]


def test_parts_for_a_gpu_are_longer_where_there_are_many() -> None:
    assert [fitting_size(n, n, for_gpu=True).n_new for n in (1, 100, 1024, 2400, 10_000, 10**7)] == [
        *(1, 7, 64, 150, 256, 256)
    ]


@pytest.mark.parametrize(
    ("n_new", "n_rows", "expected"),
    [(50, 200_000, (4, 4096)), (50, 160, (4, 10)), (1, 1, (1, 1)), (10**6, 10**6, (64, 4096)), (1000, 1000, (63, 63))],
)
def test_rows_that_are_not_new_make_long_parts(n_new: int, n_rows: int, expected: tuple[int, int]) -> None:
    assert fitting_size(n_new, n_rows) == PartSize(*expected)
