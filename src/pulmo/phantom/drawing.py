"""Draws a frontal chest radiograph whose truth is known: label, lungs, opacities and boxes.

The picture is a sum of attenuations, as in an X-ray beam, put through scatter, photon noise and a display curve.
It teaches pipelines, not medicine: nothing that is learnt from phantoms holds for patients.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pulmo.phantom import skeleton
from pulmo.phantom.anatomy import LEFT, RIGHT, Anatomy, Sex
from pulmo.phantom.exposure import expose
from pulmo.phantom.film import Film, Layer, Mask
from pulmo.phantom.findings import (
    Distractor,
    Finding,
    boxes,
    choose_distractors,
    distractors,
    opacities,
)

View = Literal["PA", "AP"]


@dataclass(frozen=True)
class Phantom:
    """A drawn radiograph and all that is true of it."""

    image: Layer  # (H, W) float32 in [0, 1], air dark, bone bright
    lungs: Mask  # (H, W) uint8 {0, 1}: the lung fields beside heart and mediastinum
    opacities: Mask  # (H, W) uint8 {0, 1}, inside the lungs
    boxes: NDArray[np.float32]  # (N, 4) xyxy in pixels, tight around each opacity; N 0 to 3
    finding: Finding
    distractors: tuple[Distractor, ...]  # what else is to be seen
    sex: Sex
    age: int  # years
    view: View

    @property
    def label(self) -> int:
        """1 if this is pneumonia, else 0."""
        return int(self.finding in ("bacteria", "virus"))


def draw(
    rng: np.random.Generator,
    anatomy: Anatomy,
    finding: Finding,
    *,
    size: int = 512,
    aspect: float = 1.0,
    view: View | None = None,
) -> Phantom:
    """One radiograph of the patient with `anatomy`, `size` pixels high and `size` x `aspect` wide.

    The same generator state gives the same patient position, exposure and noise whatever the finding, so that a
    phantom can be compared with its healthy twin. `view` is drawn if not given, independent of the finding.
    """
    position, lesion, side_show, exposure = (np.random.default_rng(s) for s in rng.integers(2**63, size=4))
    chosen_view: View = view or ("AP" if position.random() < 0.4 else "PA")
    film = Film(
        height=size,
        width=round(size * aspect),
        turn_degrees=float(np.clip(position.normal(0, 2.0), -5, 5)),
        scale=float(position.uniform(1.04, 1.18)) * (1.12 if anatomy.child else 1.0),
        shift=(float(position.normal(0, 0.02)), float(position.normal(0, 0.02))),
    )
    chosen = choose_distractors(side_show, finding)
    enlarged = 1.08 if chosen_view == "AP" else 1.0  # the heart is magnified when it is far from the detector
    if "large heart" in chosen:
        enlarged *= float(side_show.uniform(1.22, 1.4))
    centre, lungs = _lungs(film, anatomy, enlarged)
    attenuation = _soft_tissue(position, film, anatomy, lungs, centre)
    attenuation += _bones(film, anatomy, lungs, chosen_view)
    attenuation += _vessels(film, anatomy, lungs)
    attenuation += distractors(side_show, film, anatomy, lungs, chosen)
    added, truths = opacities(lesion, film, lungs, finding)
    attenuation += added
    image = expose(exposure, film, attenuation, lungs, noisy=chosen_view == "AP")
    union = np.clip(np.sum(truths, axis=0), 0, 1).astype(np.uint8) if truths else np.zeros_like(lungs)
    return Phantom(image, lungs, union, boxes(truths), finding, chosen, anatomy.sex, anatomy.age, chosen_view)


def _lungs(film: Film, anatomy: Anatomy, enlarged: float) -> tuple[Layer, Mask]:
    """The shadow of heart and mediastinum, and the lung fields beside it."""
    centre = film.fill(anatomy.heart(enlarged), anatomy.mediastinum())
    both = film.fill(anatomy.lung(RIGHT), anatomy.lung(LEFT))
    lungs = ((both > 0.5) & (centre < 0.5)).astype(np.uint8)
    return centre, lungs


def _soft_tissue(rng: np.random.Generator, film: Film, anatomy: Anatomy, lungs: Mask, centre: Layer) -> Layer:
    """Trunk, arms, heart and abdomen, with the air of the lungs and of the airways taken out."""
    trunk = film.blur(film.fill(anatomy.trunk()), 0.012)
    arms = film.blur(film.stroke([anatomy.arm(s) for s in (RIGHT, LEFT)], 0.30), 0.02)
    midline = film.enlarge(film.fill(np.array([(-0.3, -1.4), (0.3, -1.4), (0.3, 1.6), (-0.3, 1.6)]), reduce=4))
    body = 0.50 * np.maximum(trunk, 0.85 * arms) + 0.13 * film.blur(trunk, 0.09) + 0.10 * film.blur(midline, 0.16)
    body *= 1 + 0.35 * (anatomy.habitus - 1)
    body += 0.03 * trunk * film.clouds(rng, 0.5)

    level = anatomy.y(1 - 0.8 * anatomy.dome)
    below = film.fill(np.array([(-2.0, level), (2.0, level + anatomy.drop), (2.0, 2.0), (-2.0, 2.0)]), reduce=4)
    belly = film.enlarge(film.blur(below, 0.10))
    body += 0.13 * belly * trunk + 0.08 * film.blur(centre, 0.012) * (1 - belly)
    if anatomy.sex == "F" and not anatomy.child:
        body += _breasts(film, anatomy)

    inside = lungs.astype(np.float32)
    air = film.blur(inside, 0.008)
    depth = film.blur(inside, 0.10)  # the lung is deepest away from its edges
    body *= 1 - air * np.clip(0.46 + 0.34 * depth, 0, 0.76)
    body -= 0.08 * film.blur(film.stroke(skeleton.airways(anatomy), 0.07), 0.010)
    angles = np.linspace(0, 2 * np.pi, 20)
    x, y = 0.45 * anatomy.half_width, anatomy.y(1 - 0.55 * anatomy.dome, LEFT) + 0.06
    bubble = np.stack([x + 0.13 * np.cos(angles), y + 0.06 * np.sin(angles)], axis=1)
    body -= float(rng.uniform(0, 0.18)) * film.blur(film.fill(bubble), 0.02) * (1 - air)
    return np.asarray(body, dtype=np.float32)


def _breasts(film: Film, anatomy: Anatomy) -> Layer:
    angles = np.linspace(0, 2 * np.pi, 24)
    outlines = []
    for side in (RIGHT, LEFT):
        x, y, r = side * 0.62 * anatomy.half_width, anatomy.y(0.70), 0.26 + 0.12 * (anatomy.habitus - 0.8)
        outlines.append(np.stack([x + r * np.cos(angles), y + 0.9 * r * np.sin(angles)], axis=1))
    return np.float32(0.10 * anatomy.habitus) * film.blur(film.fill(*outlines), 0.035)


def _bones(film: Film, anatomy: Anatomy, lungs: Mask, view: View) -> Layer:
    behind, before = skeleton.ribs(anatomy)
    width = anatomy.rib_width
    ribs = 0.095 * film.blur(film.stroke(behind, width, rim=0.35), 0.005)
    ribs += 0.055 * film.blur(film.stroke(before, 1.25 * width, rim=0.3), 0.008)
    ribs *= 0.35 + 0.65 * film.blur(lungs.astype(np.float32), 0.02)  # drowned by the abdomen's scatter
    collar = skeleton.clavicles(anatomy, 0.05 if view == "AP" else 0.0)
    bones = ribs + 0.13 * film.blur(film.stroke(collar, 0.055, rim=0.35), 0.005)
    blades = film.fill(*skeleton.scapulae(anatomy, 0.10 if view == "AP" else 0.0))
    bones += 0.07 * film.blur(blades, 0.008)
    bodies, pedicles, processes = skeleton.vertebrae(anatomy)
    bones += 0.055 * film.blur(film.fill(*bodies), 0.008) + 0.035 * film.blur(film.fill(*pedicles, *processes), 0.005)
    bones += 0.16 * film.blur(film.stroke([anatomy.arm(s) for s in (RIGHT, LEFT)], 0.10, rim=0.4), 0.006)
    return np.asarray(bones * anatomy.bone, dtype=np.float32)


def _vessels(film: Film, anatomy: Anatomy, lungs: Mask) -> Layer:
    layer: Layer = np.zeros(film.shape, dtype=np.float32)
    for curves, width, density in zip(
        skeleton.vessels(anatomy), (0.026, 0.015, 0.009), (0.07, 0.05, 0.04), strict=True
    ):
        layer += np.float32(density) * film.stroke(curves, width)
    roots = [skeleton.hilum(anatomy, side) for side in (RIGHT, LEFT)]
    hila = [np.array([(x, y - 0.06), (x, y + 0.08)]) for x, y in roots]
    layer = film.blur(layer, 0.005) + 0.16 * film.blur(film.stroke(hila, 0.13), 0.035)
    return np.asarray(layer * film.blur(lungs.astype(np.float32), 0.006), dtype=np.float32)
