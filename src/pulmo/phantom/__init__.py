"""Drawn chest radiographs with known truth, alone and in each data set's real layout."""

from pulmo.phantom.anatomy import Anatomy
from pulmo.phantom.drawing import Phantom, draw
from pulmo.phantom.folder import write_folder
from pulmo.phantom.kermany import write_kermany
from pulmo.phantom.lateral import draw_lateral
from pulmo.phantom.padchest import write_padchest, write_padchest_simple
from pulmo.phantom.rsna import write_rsna
from pulmo.phantom.sample import write_all

__all__ = [
    "Anatomy",
    "Phantom",
    "draw",
    "draw_lateral",
    "write_all",
    "write_folder",
    "write_kermany",
    "write_padchest",
    "write_padchest_simple",
    "write_rsna",
]
