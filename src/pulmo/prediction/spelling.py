"""Paths as they are told and as they are known: one spelling in tables, one number in memory."""

import os

SUFFIXES = frozenset({".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})


def shown(path: str) -> str:
    """A path as a table has it: a name that is no UTF-8 with its bytes as \\udc… escapes."""
    return path.encode("utf-8", "backslashreplace").decode()


def known(path: str) -> int:
    """A number for a path, however it is spelt from here: eight bytes, where a million paths would fill the memory.

    That two of as many agree is a matter of 1 in 10^7. `..` leads up from where a link leads to, as for the system.
    """
    if ".." in path.split(os.sep):
        folder, name = os.path.split(path)
        path = os.path.join(os.path.realpath(folder), name) if name != ".." else os.path.realpath(path)
    return hash(shown(os.path.abspath(path)))


def without_suffix(path: str) -> str:
    """The path without an image's suffix; the last part of a DICOM's number, as in 1.2.840.7, is none."""
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in SUFFIXES else path
