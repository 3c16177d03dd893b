"""Drawings of repeat units already drawn, bounded in memory."""

from collections import OrderedDict

from periogt_ray.polymer.drawing import Theme
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["DrawingCache"]


class DrawingCache:
    """Least recently used drawings, within a number of bytes.

    Parameters
    ----------
    max_bytes : int
        Memory for the drawings; 0 keeps nothing.

    Attributes
    ----------
    used_bytes : int
        Memory of the drawings held now.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[tuple[str, Theme], str] = OrderedDict()
        self.used_bytes = 0

    def get(self, unit: RepeatUnit, theme: Theme) -> str | None:
        """Return a drawing that is held."""
        key = (unit.smiles, theme)
        if key not in self._held:
            return None
        self._held.move_to_end(key)
        return self._held[key]

    def put(self, unit: RepeatUnit, theme: Theme, drawing: str) -> None:
        """Hold a drawing; the least recently used ones are dropped."""
        key = (unit.smiles, theme)
        self.used_bytes += len(drawing) - len(self._held.pop(key, ""))
        self._held[key] = drawing
        while self.used_bytes > self._max_bytes:
            _, dropped = self._held.popitem(last=False)
            self.used_bytes -= len(dropped)
