"""``periogt models``: the user's own finetuned properties."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from periogt_ray.commands.output import OnceCommand, as_json_option, print_json, resolved_settings, wants_json
from periogt_ray.errors import ValidationError

if TYPE_CHECKING:
    from periogt_ray.artifacts.packages import Package

__all__ = ["models"]

logger = logging.getLogger(__name__)


class _Group(click.Group):
    command_class = OnceCommand


@click.group(cls=_Group)
def models() -> None:
    """List, remove, export and import finetuned properties (PERIOGT_MODELS)."""


@models.command("list")
@as_json_option
def list_models(as_json: bool | None) -> None:
    """List finetuned properties; for one that is not served, give the reason."""
    from periogt_ray.artifacts.directory import ArtifactDirectory

    settings = resolved_settings()
    artifacts = ArtifactDirectory.of_settings(settings)
    found = [
        {
            "id": package.id,
            "label": package.label,
            "units": package.units,
            "n_networks": len(package.members),
            "encoder": package.encoder_name,
            "served": artifacts.properties[package.id].supported,
            "reason": artifacts.properties[package.id].reason,
            "test": package.summary.get("test"),
            "directory": str(package.root),
        }
        for package in artifacts.packages.values()
    ]
    if wants_json(as_json):
        print_json({"models": found})
        return
    if not found:
        click.echo(f"No finetuned properties in {settings.models_dir}; `periogt finetune` makes one.")
    for entry in found:
        state = "served" if entry["served"] else f"not served: {entry['reason']}"
        click.echo(f"{entry['id']}  {entry['label']}  {entry['units']}  {entry['n_networks']} networks  {state}")


@models.command()
@click.argument("property_id")
def remove(property_id: str) -> None:
    """Remove a finetuned property."""
    from periogt_ray.artifacts.package_archive import remove_package

    package = _package(property_id)
    remove_package(package)
    logger.info("removed %s", package.root)


@models.command("export")
@click.argument("property_id")
@click.option("--output", type=click.Path(path_type=Path), help="File to write.  [default: <id>.periogt.zip]")
@click.option("--with-rows", is_flag=True, help="Include the tables of your training data.")
def export_model(property_id: str, output: Path | None, with_rows: bool) -> None:
    """Write a finetuned property to one file, without your rows."""
    from periogt_ray.artifacts.package_archive import export_package

    target = output or Path(f"{property_id}.periogt.zip")
    export_package(_package(property_id), target, has_rows=with_rows)
    print_json({"id": property_id, "file": str(target), "bytes": target.stat().st_size})


@models.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--shared", "is_shared", is_flag=True, help="Let everybody who can enter PERIOGT_MODELS read it.")
def import_model(file: Path, is_shared: bool) -> None:
    """Check every byte of a file that `periogt models export` wrote, and install it.

    Only you can read what is installed, unless you give --shared.
    """
    from periogt_ray.artifacts.directory import ArtifactDirectory
    from periogt_ray.artifacts.package_archive import import_package

    settings = resolved_settings()
    taken = ArtifactDirectory.open(settings.checkpoint_dir).properties
    models_dir = settings.models_dir or settings.base_dir / "models"
    package = import_package(file, models_dir, taken=taken, is_shared=is_shared)
    info = ArtifactDirectory.of_settings(settings).properties.get(package.id)
    is_served = info is not None and package.id in ArtifactDirectory.of_settings(settings).packages and info.supported
    print_json({"id": package.id, "directory": str(package.root), "served": is_served, "reason": info and info.reason})


def _package(property_id: str) -> "Package":
    from periogt_ray.artifacts.packages import find_packages

    directory = resolved_settings().models_dir
    found = {package.id: package for package in find_packages(directory)}
    if property_id not in found:
        raise ValidationError(
            f"There is no finetuned property {property_id!r} in {directory}; found {', '.join(found) or 'none'}."
        )
    return found[property_id]
