"""Draws a lateral chest radiograph: what a frontal data set holds besides, and a reader must leave out."""

import numpy as np

from pulmo.phantom.anatomy import Anatomy
from pulmo.phantom.film import Film, Layer, Points, spline

# Unit frame as in `film`; the patient faces left.
_TRUNK = ((-0.18, -1.7), (-0.30, -0.85), (-0.62, -0.45), (-0.72, 0.1), (-0.74, 0.7), (-0.7, 1.7))
_BACK = ((0.72, 1.7), (0.68, 0.8), (0.80, 0.2), (0.78, -0.35), (0.52, -0.85), (0.30, -1.7))
_LUNG = ((-0.10, -0.72), (-0.35, -0.50), (-0.52, -0.20), (-0.57, 0.15), (-0.55, 0.38), (-0.30, 0.28), (0.0, 0.33))
_LUNG_BEHIND = ((0.30, 0.48), (0.55, 0.68), (0.66, 0.55), (0.70, 0.15), (0.66, -0.25), (0.45, -0.60), (0.15, -0.76))
_HEART = ((-0.50, 0.42), (-0.46, 0.20), (-0.28, -0.02), (-0.02, 0.0), (0.14, 0.22), (0.10, 0.42), (-0.2, 0.5))


def draw_lateral(rng: np.random.Generator, anatomy: Anatomy, *, size: int = 512) -> Layer:
    """A lateral view of the patient: (size, size) float32 in [0, 1], air dark. It shows no finding."""
    turn, shift = float(rng.normal(0, 2)), (float(rng.normal(0, 0.03)), float(rng.normal(0, 0.03)))
    film = Film(size, size, turn, float(rng.uniform(0.95, 1.1)), shift)
    deep = 0.9 + 0.15 * anatomy.habitus

    def outline(*parts: tuple[tuple[float, float], ...]) -> Points:
        return spline([(x * deep, y) for part in parts for x, y in part], closed=True)

    trunk = film.blur(film.fill(outline(_TRUNK, _BACK)), 0.02)
    air = film.blur(film.fill(outline(_LUNG, _LUNG_BEHIND)), 0.02)
    heart = film.blur(film.fill(outline(_HEART)), 0.04)
    body = 0.5 * trunk + 0.2 * film.blur(trunk, 0.15) + 0.12 * trunk * (1 - film.blur(air, 0.1))
    body *= 1 - air * (0.55 - 0.28 * heart)
    body += _bones(film, anatomy, deep, air) + 0.03 * air * film.clouds(rng, 0.06)
    # The upper arms are lifted across the apices.
    arms = spline([(-0.9, -0.95), (-0.3, -0.72), (0.25, -0.62)], closed=False)
    body += 0.12 * film.blur(film.stroke([arms], 0.34), 0.05)
    grain = rng.standard_normal(film.shape, dtype=np.float32)
    body += float(rng.uniform(0.008, 0.016)) * grain * np.exp(0.9 * body)
    low, high = np.percentile(body[::7, ::7], (1, 99))
    return np.asarray(np.clip((body - low) / (high - low), 0, 1), dtype=np.float32)


def _bones(film: Film, anatomy: Anatomy, deep: float, air: Layer) -> Layer:
    vertebrae, ribs = [], []
    for number in range(16):
        y = -0.9 + number * 0.125
        x = deep * (0.42 + 0.16 * np.cos(1.6 * (y - 0.05)))
        half, tall = 0.075, 0.05
        corners = [(x - half, y - tall), (x + half, y - tall), (x + half, y + tall), (x - half, y + tall)]
        vertebrae.append(np.array(corners))
        if number < 11:
            line = [(x + 0.1, y), (deep * 0.3, y + 0.10), (0.0, y + 0.27), (-0.45 * deep, y + 0.45)]
            ribs.append(spline(line, closed=False))
    bones = 0.10 * film.blur(film.fill(*vertebrae), 0.008)
    bones += 0.05 * film.blur(film.stroke(ribs, anatomy.rib_width, rim=0.3), 0.008) * (0.2 + 0.8 * air)
    return np.asarray(bones * anatomy.bone, dtype=np.float32)
