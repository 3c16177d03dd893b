"""What a service prints of Ray."""

import contextlib

import pytest

from periogt_ray.serve.run import _RayPrints


def test_what_ray_prints_ends_with_the_application(capsys: pytest.CaptureFixture[str]) -> None:
    prints = _RayPrints()
    with contextlib.redirect_stdout(prints):
        print("(raylet) a worker died")
        prints.is_over = True
        print("(raylet) Task ServeController.graceful_shutdown failed")
    assert capsys.readouterr() == ("", "(raylet) a worker died\n")
