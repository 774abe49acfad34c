"""Bones, airways and vessels of an `Anatomy`, as curves in the unit frame of `film`."""

import numpy as np

from pulmo.phantom.anatomy import LEFT, RIGHT, Anatomy
from pulmo.phantom.film import Points, spline

_POSTERIOR = ((0.10, 0.0), (0.30, -0.018), (0.55, 0.0), (0.78, 0.05), (0.93, 0.13), (1.02, 0.25))
_ANTERIOR = ((1.02, 0.0), (0.92, 0.11), (0.78, 0.19), (0.60, 0.27), (0.42, 0.31))


def ribs(anatomy: Anatomy) -> tuple[list[Points], list[Points]]:
    """The posterior ribs, then the anterior ones; the anterior end where cartilage begins."""
    rng = np.random.default_rng(anatomy.seed + 10)
    behind: list[Points] = []
    before: list[Points] = []
    for side in (RIGHT, LEFT):
        for number in range(10):
            y = anatomy.apex + 0.005 + number * anatomy.rib_spacing + float(rng.normal(0, 0.006))
            bend = 0.6 + anatomy.rib_slope * 3
            reach = anatomy.wall(y + 0.12, side)
            behind.append(_rib(_POSTERIOR, y, reach, side, bend))
            if 0 < number < 7:
                before.append(_rib(_ANTERIOR, y + 0.21 * bend, anatomy.wall(y + 0.21 * bend, side), side, bend))
    return behind, before


def _rib(shape: tuple[tuple[float, float], ...], y: float, reach: float, side: int, bend: float) -> Points:
    return spline([(side * x * reach, y + dy * bend) for x, dy in shape], closed=False)


def clavicles(anatomy: Anatomy, raised: float) -> list[Points]:
    """Both collar bones, their outer ends `raised` (AP views show them higher)."""
    curves = []
    for side in (RIGHT, LEFT):
        inner, w = anatomy.y(0.14), anatomy.half_width
        tilt = anatomy.clavicle_tilt + raised
        line = [(0.07, inner), (0.30 * w, inner - 0.01 - 0.3 * tilt), (0.62 * w, inner - 0.06 - 0.8 * tilt)]
        line += [(0.95 * w, inner - 0.06 - tilt), (1.15 * w, inner - 0.03 - tilt)]
        curves.append(spline([(side * x, y) for x, y in line], closed=False))
    return curves


def scapulae(anatomy: Anatomy, inward: float) -> list[Points]:
    """Both shoulder blades; `inward` moves them over the lungs, as in AP views."""
    outlines = []
    for side in (RIGHT, LEFT):
        x, top = anatomy.half_width * (1.02 - inward), anatomy.y(0.06)
        blade = [(x * 0.86, top + 0.02), (x * 1.15, top + 0.05), (x * 1.24, top + 0.16), (x * 1.12, top + 0.30)]
        blade += [(x * 1.03, top + 0.52), (x * 0.97, top + 0.54), (x * 0.93, top + 0.34)]
        outlines.append(spline([(side * px, py) for px, py in blade], closed=True))
    return outlines


def spine_x(anatomy: Anatomy, y: float) -> float:
    """Where the spine's middle lies at `y`."""
    return anatomy.spine_curve * float(np.sin(2.2 * y + 0.4))


def vertebrae(anatomy: Anatomy) -> tuple[list[Points], list[Points], list[Points]]:
    """The vertebral bodies, the pedicles, and the spinous processes, from the neck to the lumbar spine."""
    bodies: list[Points] = []
    pedicles: list[Points] = []
    processes: list[Points] = []
    pitch = anatomy.rib_spacing * 0.93
    for number in range(-4, 17):
        y = anatomy.apex + number * pitch
        half = 0.062 + 0.0016 * max(0, number)
        x, tall = spine_x(anatomy, y), pitch * 0.44
        waist = 0.88 * half
        box = [(-half, -tall), (half, -tall), (waist, 0.0), (half, tall), (-half, tall), (-waist, 0.0)]
        bodies.append(np.array([(x + px, y + py) for px, py in box]))
        pedicles += [_ring(x + s * half * 0.62, y - 0.2 * tall, 0.012, 0.016) for s in (-1, 1)]
        processes.append(_ring(x, y + 0.5 * tall, 0.011, 0.022))
    return bodies, pedicles, processes


def _ring(x: float, y: float, rx: float, ry: float) -> Points:
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def airways(anatomy: Anatomy) -> list[Points]:
    """Trachea and main bronchi."""
    carina = anatomy.y(0.40)
    trachea = spline([(0.0, -1.4), (-0.01, anatomy.y(0.0)), (-0.005, anatomy.y(0.25)), (0.0, carina)], closed=False)
    right = spline([(0.0, carina), (-0.06, carina + 0.07), (-0.12, carina + 0.15)], closed=False)
    left = spline([(0.0, carina), (0.08, carina + 0.07), (0.17, carina + 0.11)], closed=False)
    return [trachea, right, left]


def hilum(anatomy: Anatomy, side: int) -> tuple[float, float]:
    """Where vessels and bronchi enter the lung; the left one lies higher."""
    return side * 0.25 * anatomy.half_width, anatomy.y(0.44 if side == LEFT else 0.47)


def vessels(anatomy: Anatomy) -> list[list[Points]]:
    """Three generations of lung vessels, fanning out from the hila, the trunks first."""
    rng = np.random.default_rng(anatomy.seed + 20)
    starts, angles = [], []
    for side in (RIGHT, LEFT):
        fan = np.linspace(-1.35, 1.45, 9) + rng.normal(0, 0.1, 9)  # 0 points sideways, positive downward
        starts.append(np.tile(hilum(anatomy, side), (9, 1)) + rng.normal(0, 0.02, (9, 2)))
        angles.append(fan if side == LEFT else np.pi - fan)
    start, angle = np.concatenate(starts), np.concatenate(angles)
    generations: list[list[Points]] = []
    length = 0.24 * anatomy.half_width / 0.7
    for _ in range(3):
        reach = length * rng.uniform(0.7, 1.3, (len(start), 1))
        bend = np.cumsum(rng.normal(0, 0.17, (len(start), 5)), axis=1) + angle[:, None]
        steps = np.stack([np.cos(bend), np.sin(bend)], axis=2) * (reach / 5)[:, :, None]
        path = np.concatenate([start[:, None], start[:, None] + np.cumsum(steps, axis=1)], axis=1)
        generations.append(list(path))
        forks = [(3, 0.45), (5, -0.3), (5, 0.3)]
        start = np.concatenate([path[:, at] for at, _ in forks])
        angle = np.concatenate([bend[:, at - 1] + s for at, s in forks]) + rng.normal(0, 0.15, len(start))
        length *= 0.72
    return generations
