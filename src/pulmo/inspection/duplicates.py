"""Images that show the same film: identical ones, and copies that were changed."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from pulmo.data.loaders import cores
from pulmo.errors import UnreadableImageError
from pulmo.inspection.aligning import alike_closely
from pulmo.inspection.hashing import DETAIL_PIXELS, SIDE, Pair, Thumbs, pairs
from pulmo.inspection.looking import Look, whole_pixels

KINDS = ("identical", "near", "mirrored", "inverted")
COLUMNS = ["group", "kind", "correlation", "image_id", "patient_id", "split", "label", "path"]


def duplicates(table: pd.DataFrame, looks: Sequence[Look], thumbs: Thumbs) -> pd.DataFrame:
    """One row an image that shows a film of which there is another, with `COLUMNS`; those of a film share a `group`.

    `kind` is how far the copies of a film differ at most, "identical" being each pixel; `correlation` that of the fine
    detail of an image and another of its group, the lowest where there are several. Rows of `table`, `looks` and
    `thumbs` are the same images; those without a picture take no part.
    """
    digests = pd.Series(_confirmed(table["path"].tolist(), looks))
    first = digests[digests != ""].drop_duplicates()  # one of identical images stands for all
    stands = pd.Series(first.index, index=first.to_numpy())
    root = np.arange(len(table))
    read = np.flatnonzero((digests != "").to_numpy())
    root[read] = stands[digests.iloc[read]].to_numpy()
    kind = np.where(pd.Series(root).duplicated(keep=False), 0, -1)
    correlation = np.ones(len(table))
    rows = first.index.to_numpy()
    found = _close(list(pairs(thumbs[rows])), table["path"].iloc[rows].tolist())
    for pair in found:
        for row in (rows[pair.one], rows[pair.other]):
            kind[row] = max(kind[row], KINDS.index(pair.kind))
            correlation[row] = min(correlation[row], pair.correlation)
    root = _joined(root, ((rows[pair.one], rows[pair.other]) for pair in found))
    frame = table.assign(group=root, kind=kind, correlation=correlation)
    frame = frame[frame.groupby("group")["group"].transform("size") > 1]
    frame["kind"] = [KINDS[number] for number in frame.groupby("group")["kind"].transform("max")]
    frame["group"] = frame["group"].rank(method="dense").astype(int)
    return frame.sort_values(["group", "split", "image_id"], kind="stable")[COLUMNS].reset_index(drop=True)


def _confirmed(paths: Sequence[str], looks: Sequence[Look]) -> list[str]:
    """Digest of each picture, "" where there is none; of those that look identical when decoded small, of the whole."""
    frame = pd.DataFrame({"content": [look.content for look in looks], "pixels": [look.pixels for look in looks]})
    several = frame[frame["pixels"] != ""].groupby("pixels")["content"].nunique()
    unsure = np.flatnonzero(frame["pixels"].isin(several.index[several > 1]))
    digests = frame["pixels"].tolist()

    def whole(row: int) -> str:
        try:
            return whole_pixels(paths[row])
        except UnreadableImageError:
            return looks[row].content

    with ThreadPoolExecutor(cores()) as pool:
        for row, digest in zip(unsure, pool.map(whole, unsure), strict=True):
            digests[row] = digest
    return digests


def _close(found: Sequence[Pair], paths: Sequence[str]) -> list[Pair]:
    """Without pairs that had to be laid over each other and are not alike when their files are looked at closely."""

    def kept(pair: Pair) -> bool:
        if pair.warp is None:
            return True
        try:
            return alike_closely(paths[pair.one], paths[pair.other], pair.warp, SIDE, pair.kind, DETAIL_PIXELS)
        except UnreadableImageError:
            return False

    with ThreadPoolExecutor(cores()) as pool:
        return [pair for pair, keep in zip(found, pool.map(kept, found), strict=True) if keep]


def _joined(root: np.ndarray, links: Iterable[tuple[int, int]]) -> np.ndarray:
    """The lowest row that each row is linked with, over any number of links; `root` is what it begins with."""

    def top(row: int) -> int:
        while root[row] != row:
            row = root[row]
        return row

    for one, other in links:
        low, high = sorted((top(one), top(other)))
        root[high] = low
    return np.array([top(row) for row in range(len(root))])


def by_kind(found: pd.DataFrame) -> pd.DataFrame:
    """Of each kind: `films`, `images`, and how many films stand `across_splits`, `across_patients`, in two `labels`."""
    groups = found.groupby("group")
    films = pd.DataFrame(
        {
            "kind": groups["kind"].first(),
            "images": groups.size(),
            "across_splits": groups["split"].nunique() > 1,
            "across_patients": groups["patient_id"].nunique() > 1,
            "labels": groups["label"].nunique() > 1,
        }
    )
    counted = films.groupby("kind")[["images", "across_splits", "across_patients", "labels"]].sum()
    counted.insert(0, "films", films.groupby("kind").size())
    return counted.reindex([kind for kind in KINDS if kind in counted.index]).astype(int)
