"""Whether weights predict their own test rows, as `periogt calibrate` found, and whether they answer with intervals."""

from collections.abc import Iterator

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.verdicts import LOWEST_R2, read_verdicts
from periogt_ray.doctor.report import Check, Status
from periogt_ray.errors import ModelLoadError

__all__ = ["check_calibration"]


def check_calibration(artifacts: ArtifactDirectory) -> Iterator[Check]:
    """Report weights that do not predict their own test rows, and properties without intervals."""
    verdicts = {key: found for key, found in read_verdicts(artifacts.root).items() if key in artifacts.supported}
    for property_id, verdict in verdicts.items():
        if not verdict.is_recognised:
            yield Check(
                f"calibration {property_id}",
                Status.FAIL,
                f"these weights do not predict their own test set: R2 {verdict.r2:.3f} on {verdict.n} rows under the "
                f"best of {', '.join(verdict.schemes)}; expected at least {LOWEST_R2:g}",
                "Check that weights, descriptor scaler and label statistics come from one release: run `periogt setup` "
                "in a new directory, then `periogt calibrate`.",
            )
    for property_id in artifacts.supported:
        try:
            artifacts.calibration(property_id)
        except ModelLoadError as error:
            yield Check(f"calibration {property_id}", Status.FAIL, error.message, "The message names what to do.")
    without = [name for name in artifacts.supported if artifacts.calibration_file(name) is None]
    with_intervals = [name for name in artifacts.supported if name not in without]
    told = f"intervals for {', '.join(with_intervals)}" if with_intervals else "no property has intervals"
    if with_intervals and without:
        told += f"; none for {', '.join(without)}"
    yield Check("intervals", Status.PASS, f"{told}{'; `periogt calibrate` makes them' if without else ''}")
