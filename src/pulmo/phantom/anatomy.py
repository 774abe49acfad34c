"""A patient's anatomy, and the outlines that follow from it, in the unit frame of `film`.

Two images of one patient share the anatomy, down to the branching of the vessels. Proportions are those of a
frontal radiograph on inspiration: nine to ten posterior ribs over the lungs, heart 40 to 50 % as wide as the
thorax (more in a child and in AP views), right hemidiaphragm the higher, left lung the narrower.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pulmo.phantom.film import Points, spline

Sex = Literal["M", "F"]

RIGHT, LEFT = -1, 1  # the patient's sides, as signs of x

_CHEST_WALL = ((0.0, 0.50), (0.2, 0.86), (0.42, 0.97), (0.66, 1.0), (1.0, 1.0))  # height in the lung, half-width


@dataclass(frozen=True)
class Anatomy:
    """What stays the same between two images of a patient. Lengths are in the unit frame of `film`."""

    sex: Sex
    age: int  # years
    half_width: float  # midline to the right lung's lateral edge
    left_ratio: float  # left lung's width by the right lung's
    apex: float  # y of the lung's upper end
    angle: float  # y of the right costophrenic angle
    dome: float  # how high the diaphragm arches into the lung, as a share of the lung's height
    drop: float  # how much lower the left hemidiaphragm lies
    heart_ratio: float  # cardiothoracic ratio in a PA view
    knob: float  # how far the aortic knob juts out
    rib_spacing: float
    rib_slope: float
    rib_width: float
    bone: float  # density, 1 in a healthy adult
    habitus: float  # thickness of soft tissue, 1 on average
    clavicle_tilt: float
    spine_curve: float
    seed: int  # of the vessels' branching and the bones' irregularities

    @classmethod
    def sample(cls, rng: np.random.Generator, *, child: bool = False) -> "Anatomy":
        """Draw a patient: an adult, or a `child` of one to five years with a wide heart and level ribs."""
        sex: Sex = "M" if rng.random() < 0.55 else "F"
        age = int(rng.integers(1, 6)) if child else int(np.clip(rng.normal(48, 17), 18, 92))
        habitus = float(np.clip(rng.normal(0.95 if child else 1.0, 0.14), 0.7, 1.4))
        return cls(
            sex=sex,
            age=age,
            half_width=float(rng.uniform(0.58, 0.70) if child else rng.uniform(0.64, 0.76)),
            left_ratio=float(rng.uniform(0.92, 0.99)),
            apex=float(rng.uniform(-0.66, -0.54) if child else rng.uniform(-0.78, -0.66)),
            angle=float(rng.uniform(0.48, 0.62) if child else rng.uniform(0.52, 0.74)),
            dome=float(rng.uniform(0.12, 0.20)),
            drop=float(rng.uniform(0.0, 0.06)),
            heart_ratio=float(rng.uniform(0.46, 0.54) if child else rng.uniform(0.40, 0.50)),
            knob=float(rng.uniform(0.0, 0.02) if child else rng.uniform(0.01, 0.02 + 0.0008 * age)),
            rib_spacing=float(rng.uniform(0.112, 0.132)),
            rib_slope=float(rng.uniform(0.05, 0.12) if child else rng.uniform(0.10, 0.22)),
            rib_width=float(rng.uniform(0.036, 0.046)),
            bone=float(rng.uniform(0.6, 0.85) if child else rng.uniform(0.8, 1.2) - 0.003 * max(0, age - 60)),
            habitus=habitus,
            clavicle_tilt=float(rng.uniform(-0.03, 0.12)),
            spine_curve=float(rng.normal(0, 0.012)),
            seed=int(rng.integers(2**31)),
        )

    @property
    def child(self) -> bool:
        """Whether this is a child: arms raised, wide heart."""
        return self.age < 12

    def width(self, side: int) -> float:
        """Midline to the lung's lateral edge on `side`."""
        return self.half_width * (self.left_ratio if side == LEFT else 1.0)

    def y(self, t: float, side: int = RIGHT) -> float:
        """The y of height `t` in the lung: 0 at the apex, 1 at the costophrenic angle."""
        return self.apex + t * (self.angle + (self.drop if side == LEFT else 0.0) - self.apex)

    def wall(self, y: float, side: int) -> float:
        """How far from the midline the inner chest wall lies at `y`."""
        t = (y - self.apex) / (self.y(1.0, side) - self.apex)
        heights, halves = zip(*_CHEST_WALL, strict=True)
        return self.width(side) * float(np.interp(t, heights, halves))

    def lung(self, side: int) -> Points:
        """The outline of a whole lung, the part behind the heart included."""
        d = self.dome
        lateral = [(0.40, 0.0), (0.62, 0.05), (0.82, 0.18), (0.94, 0.40), (0.99, 0.64), (1.0, 0.88), (0.99, 0.985)]
        below = [(0.975, 1.0), (0.94, 1 - 0.22 * d), (0.80, 1 - 0.70 * d), (0.56, 1 - d), (0.30, 1 - 0.97 * d)]
        medial = [(0.08, 1 - 0.7 * d), (0.05, 0.6), (0.05, 0.3), (0.11, 0.10), (0.24, 0.02)]
        if self.child:
            lateral[:4] = [(0.40, 0.0), (0.66, 0.07), (0.86, 0.22), (0.96, 0.45)]
        w = self.width(side)
        rough = np.random.default_rng(self.seed + side).normal(0, 0.006, (len(lateral + below + medial), 2))
        points = [(side * w * x, self.y(t, side)) for x, t in lateral + below + medial]
        return spline([(x + dx, y + dy) for (x, y), (dx, dy) in zip(points, rough.tolist(), strict=True)], closed=True)

    def heart(self, enlarged: float) -> Points:
        """The outline of the heart, its width multiplied by `enlarged`."""
        whole = self.heart_ratio * enlarged * (self.width(RIGHT) + self.width(LEFT))
        r, left = -0.31 * whole, 0.69 * whole
        right = [(-0.11, 0.40), (0.8 * r, 0.52), (r, 0.68), (0.93 * r, 0.80), (0.6 * r, 0.90), (0.0, 0.96)]
        apex = [(0.7 * left, 0.97), (0.97 * left, 0.90), (left, 0.83), (0.92 * left, 0.72)]
        waist = [(0.66 * left, 0.57), (0.42 * left, 0.46), (0.28 * left, 0.36)]
        return spline([(x, self.y(t)) for x, t in right + apex + waist], closed=True)

    def mediastinum(self) -> Points:
        """Great vessels, trachea's sheath and spine's soft tissue, from the neck to the diaphragm."""
        w = self.half_width / 0.72 * (1.25 if self.child else 1.0)
        right = [(-0.11, -0.30), (-0.105, -0.05), (-0.115, 0.12), (-0.135, 0.28), (-0.125, 0.42), (-0.12, 1.0)]
        left = [(0.12, 1.0), (0.13, 0.46), (0.125, 0.41), (0.14 + self.knob, 0.355), (0.155 + self.knob, 0.30)]
        neck = [(0.125 + self.knob / 2, 0.235), (0.105, 0.16), (0.095, -0.05), (0.11, -0.30)]
        return spline([(x * w, self.y(t)) for x, t in right + left + neck], closed=True)

    def trunk(self) -> Points:
        """Neck, shoulders and chest wall; its lower end lies below the film."""
        wall = self.half_width + 0.05 + 0.09 * self.habitus
        neck, top = 0.17 + 0.05 * self.habitus, self.apex
        half = [(neck, -1.7), (neck, top - 0.22), (neck + 0.07, top - 0.13), (0.70 * wall, top - 0.06)]
        half += [(1.12 * wall, top + 0.02), (1.24 * wall, top + 0.16), (1.10 * wall, self.y(0.30))]
        half += [(wall, self.y(0.44)), (wall, self.y(0.85)), (0.99 * wall, 1.0), (wall, 1.7)]
        return spline(half + [(-x, y) for x, y in reversed(half)], closed=True)

    def arm(self, side: int) -> Points:
        """The line through the upper arm: hanging in an adult, raised in a child."""
        reach = self.half_width + 0.18
        line = [(reach, self.y(0.12)), (reach + 0.22, self.y(0.38)), (reach + 0.30, 0.7)]
        if self.child:
            line = [(reach - 0.06, self.y(0.15)), (reach + 0.42, self.apex - 0.02), (reach + 0.95, self.apex - 0.12)]
        return spline([(side * x, y) for x, y in line], closed=False)
