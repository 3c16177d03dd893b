import threading
from collections.abc import Iterator
from itertools import islice

import pytest
import torch

from periogt_ray.model.passes import made_ahead


def test_as_many_as_asked_are_made_ahead_in_order() -> None:
    made: list[int] = []
    third_is_made = threading.Event()

    def make(item: int) -> int:
        made.append(item)
        if item == 2:
            third_is_made.set()
        return item

    found: Iterator[int] = made_ahead(make, range(10), n_ahead=2)
    assert next(found) == 0
    assert third_is_made.wait(10)
    assert made == [0, 1, 2], "no more are made before they are asked for"
    assert list(found) == list(range(1, 10))


def test_one_that_cannot_be_made_raises_in_its_place() -> None:
    def make(item: int) -> int:
        if item == 3:
            raise ValueError("the fourth")
        return item

    found = made_ahead(make, range(10), n_ahead=2)
    assert list(islice(found, 3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(found)


def test_left_early_it_leaves_no_thread() -> None:
    found = made_ahead(str, range(100), n_ahead=2)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("periogt-collate")]


def test_without_a_card_nothing_is_made_ahead() -> None:
    threads: set[str] = set()
    list(made_ahead(lambda _: threads.add(threading.current_thread().name), range(3), n_ahead=0))
    assert threads == {threading.current_thread().name}
    assert torch.get_num_threads() == 1
