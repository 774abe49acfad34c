"""What can be found on a phantom: opacities of pneumonia with their truth, and what only distracts from them."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pulmo.phantom.anatomy import LEFT, RIGHT, Anatomy
from pulmo.phantom.film import Film, Layer, Mask, spline
from pulmo.phantom.skeleton import hilum

Finding = Literal["normal", "distractor", "bacteria", "virus"]

Distractor = Literal["nodule", "large heart", "effusion", "band", "devices"]

DISTRACTORS: tuple[Distractor, ...] = ("nodule", "large heart", "effusion", "band", "devices")
_SEPARATION = 0.03  # unit-frame lengths between two opacities, so that each keeps a box of its own


@dataclass(frozen=True)
class Pattern:
    """How one kind of pneumonia looks. Pairs are ranges, drawn from uniformly."""

    number: tuple[int, ...]  # of opacities, each entry equally likely
    radius: tuple[float, float]  # unit-frame lengths
    density: tuple[float, float]  # attenuation added, where a lung has 0.2 and the heart 0.75
    edge: tuple[float, float]  # blur of the border, unit-frame lengths
    patchiness: float  # 0 even, 1 in flecks
    bilateral: bool


PATTERNS: dict[Finding, Pattern] = {
    "bacteria": Pattern((1, 1, 1, 2, 2, 3), (0.14, 0.32), (0.10, 0.27), (0.02, 0.05), 0.30, False),
    "virus": Pattern((2, 2, 3), (0.22, 0.38), (0.06, 0.14), (0.04, 0.08), 0.6, True),
}


def opacities(rng: np.random.Generator, film: Film, lungs: Mask, finding: Finding) -> tuple[Layer, list[Mask]]:
    """The attenuation that pneumonia adds, and each opacity's truth: one connected (H, W) mask inside the lungs.

    The border of the truth lies where the added density has fallen to about half.
    """
    added: Layer = np.zeros(film.shape, dtype=np.float32)
    truths: list[Mask] = []
    if finding not in PATTERNS:
        return added, truths
    pattern = PATTERNS[finding]
    first = int(rng.choice((RIGHT, LEFT)))
    number = int(rng.choice(pattern.number))
    for index in range(number):
        side = first if index % 2 == 0 else -first
        if not pattern.bilateral and number == 2 and rng.random() < 0.5:
            side = first
        truth = _opacity(rng, film, _free(film, lungs, truths, side), rng.uniform(*pattern.radius))
        if truth is None:  # no room left beside the others
            continue
        truths.append(truth)
        soft = film.blur(truth.astype(np.float32), rng.uniform(*pattern.edge))
        flecks = 0.7 * film.clouds(rng, 0.05) + 0.8 * film.clouds(rng, 0.16)
        added += soft * np.float32(rng.uniform(*pattern.density)) * np.clip(1 + pattern.patchiness * flecks, 0.1, 2.2)
    return added, truths


def _free(film: Film, lungs: Mask, taken: list[Mask], side: int) -> Mask:
    """The lung on `side`, less what lies on or next to the opacities already drawn."""
    free = lungs.copy()
    half = round(film.place(np.zeros((1, 2)))[0, 0])
    if side == RIGHT:
        free[:, half:] = 0
    else:
        free[:, :half] = 0
    reach = 2 * max(1, round(_SEPARATION * film.height / 2)) + 1
    for truth in taken:
        free[cv2.dilate(truth, np.ones((reach, reach), np.uint8)) > 0] = 0
    return free


def _opacity(rng: np.random.Generator, film: Film, free: Mask, radius: float) -> Mask | None:
    """An irregular blob of about `radius` in the `free` lung: the largest of three tries; None if none fits."""
    best: Mask | None = None
    # A centre well inside: a blob on the rim would be mostly cut away.
    depth = cv2.distanceTransform(free, cv2.DIST_L2, 3)
    rows, columns = np.nonzero(depth > 0.5 * float(depth.max()))
    if len(rows) == 0 or depth.max() < 1.5:
        return None
    for _ in range(3):
        at = int(rng.integers(len(rows)))
        blob = _blob(rng, film.shape, (float(columns[at]), float(rows[at])), radius * film.scale * film.height / 2)
        blob &= free
        if best is None or np.count_nonzero(blob) > np.count_nonzero(best):
            best = blob
    return None if best is None else _largest_piece(best)


def _blob(rng: np.random.Generator, shape: tuple[int, int], centre: tuple[float, float], radius: float) -> Mask:
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = sum(rng.normal(0, 0.22 / k) * np.cos(k * angles + rng.uniform(0, 6.3)) for k in range(2, 7))
    r = radius * np.clip(1 + waves, 0.45, 1.7)
    tall = rng.uniform(0.9, 1.5)  # lobes are taller than wide
    points = np.stack([centre[0] + r * np.cos(angles), centre[1] + tall * r * np.sin(angles)], axis=1)
    blob = np.zeros(shape, dtype=np.uint8)
    cv2.fillPoly(blob, [np.round(points * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    return blob


def _largest_piece(mask: Mask) -> Mask:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count <= 2:
        return mask
    largest: NDArray[np.bool_] = labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return largest.astype(np.uint8)


def boxes(truths: list[Mask]) -> NDArray[np.float32]:
    """The tight box of each mask: (N, 4) float32 xyxy in pixels, x2 and y2 just past the last pixel."""
    corners = []
    for truth in truths:
        x, y, width, height = cv2.boundingRect(truth)
        corners.append((x, y, x + width, y + height))
    return np.asarray(corners, dtype=np.float32).reshape(-1, 4)


def choose_distractors(rng: np.random.Generator, finding: Finding) -> tuple[Distractor, ...]:
    """What else lies on the film: one or two things if they are the finding, at times one beside anything else."""
    if finding == "distractor":
        number = int(rng.integers(1, 3))
        return tuple(DISTRACTORS[i] for i in sorted(rng.choice(len(DISTRACTORS), number, replace=False)))
    if finding == "normal":
        # The healthy wear leads at times, and the sick below: a device must prove neither.
        return ("devices",) if rng.random() < 0.06 else ()
    return (DISTRACTORS[int(rng.integers(len(DISTRACTORS)))],) if rng.random() < 0.25 else ()


def distractors(
    rng: np.random.Generator, film: Film, anatomy: Anatomy, lungs: Mask, chosen: tuple[Distractor, ...]
) -> Layer:
    """The attenuation that the `chosen` distractors add; a large heart is drawn with the anatomy instead."""
    added: Layer = np.zeros(film.shape, dtype=np.float32)
    side = int(rng.choice((RIGHT, LEFT)))
    w = anatomy.width(side)
    if "nodule" in chosen:
        x, y, r = side * w * rng.uniform(0.4, 0.85), anatomy.y(rng.uniform(0.2, 0.8)), rng.uniform(0.025, 0.05)
        angles = np.linspace(0, 2 * np.pi, 24)
        nodule = film.fill(np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], axis=1))
        added += film.blur(nodule, 0.006) * np.float32(rng.uniform(0.14, 0.3)) * lungs
    if "effusion" in chosen:
        level = rng.uniform(0.66, 0.84)
        meniscus = [
            (0.1, 1.1),
            (0.25, level + 0.16),
            (0.6, level + 0.11),
            (0.88, level),
            (1.1, level - 0.12),
            (1.1, 1.1),
        ]
        fluid = film.fill(spline([(side * w * x, anatomy.y(t, side)) for x, t in meniscus], closed=True))
        soft = film.blur(fluid, 0.015) * film.blur(lungs.astype(np.float32), 0.008)
        added += soft * np.float32(rng.uniform(0.28, 0.4))
    if "band" in chosen:
        x, y = side * w * 0.35, anatomy.y(rng.uniform(0.55, 0.8), side)
        line = spline([(x, y), (x + side * 0.2, y + rng.normal(0, 0.03)), (x + side * 0.38, y - 0.02)], closed=False)
        added += film.blur(film.stroke([line], rng.uniform(0.010, 0.022)), 0.005) * np.float32(0.16) * lungs
    if "devices" in chosen:
        added += _devices(rng, film, anatomy, side)
    return added


def _devices(rng: np.random.Generator, film: Film, anatomy: Anatomy, side: int) -> Layer:
    """Leads with their electrodes, and one of: a pacemaker, a central line, a tube in the trachea."""
    added: Layer = np.zeros(film.shape, dtype=np.float32)
    for _ in range(int(rng.integers(1, 4))):
        points = [(rng.uniform(-1, 1), -1.1), *rng.uniform(-0.7, 0.7, (2, 2)).tolist()]
        wire = spline([(float(x), float(y)) for x, y in points], closed=False, steps=16)
        added += 0.35 * film.stroke([wire], 0.008) + 0.3 * film.stroke([wire[-2:]], 0.05)
    kind = int(rng.integers(1 if anatomy.child else 0, 3))
    _, y0 = hilum(anatomy, side)
    if kind == 0:
        x, y = side * 0.78 * anatomy.half_width, anatomy.y(0.1)
        box = spline([(x - 0.1, y - 0.08), (x + 0.1, y - 0.08), (x + 0.1, y + 0.08), (x - 0.1, y + 0.08)], closed=True)
        lead = spline([(x, y), (side * 0.2, anatomy.y(0.1)), (side * 0.1, y0), (0.12, anatomy.y(0.85))], closed=False)
        added += 0.5 * film.fill(box) + 0.35 * film.stroke([lead], 0.011)
    elif kind == 1:
        line = spline([(side * 0.2, -1.1), (side * 0.12, anatomy.y(0.1)), (-0.11, y0), (-0.1, y0 + 0.08)], closed=False)
        added += 0.3 * film.stroke([line], 0.012)
    else:
        tube = np.array([(0.0, -1.2), (-0.005, anatomy.y(0.3))])
        added += 0.22 * film.stroke([tube], 0.03, rim=0.7)
    return film.blur(added, 0.003)
