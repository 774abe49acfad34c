"""From attenuation to the displayed radiograph: scatter, noise, window, collimation, the side marker."""

import cv2
import numpy as np

from pulmo.phantom.anatomy import LEFT, RIGHT
from pulmo.phantom.film import Film, Layer, Mask


def expose(rng: np.random.Generator, film: Film, attenuation: Layer, lungs: Mask, *, noisy: bool) -> Layer:
    """The displayed image: scatter, photon noise, a display window and its curve, collimation, a marker."""
    image = 0.90 * attenuation + 0.10 * film.blur(attenuation, 0.12)
    dose = float(rng.uniform(0.010, 0.020)) * (1.5 if noisy else 1.0)
    grain = rng.standard_normal(film.shape, dtype=np.float32)
    image += dose * cv2.GaussianBlur(grain, (0, 0), 0.6) * np.exp(0.9 * image)  # fewer photons get through bone
    low, high = np.percentile(image[::7, ::7], (1.0, 99.0))
    low += float(rng.normal(0, 0.03)) - 0.02
    high += float(rng.normal(0, 0.04)) + 0.05
    image = np.clip((image - low) / (high - low), 0, 1) ** np.float32(np.exp(rng.normal(0.0, 0.16)))
    image = _collimate(rng, film, image, lungs)
    return np.clip(_mark(rng, film, image), 0, 1).astype(np.float32)


def _collimate(rng: np.random.Generator, film: Film, image: Layer, lungs: Mask) -> Layer:
    """Shutters that leave part of the film unexposed, never over the lungs; on about half of the films."""
    if rng.random() < 0.5:
        return image
    x, y, width, height = cv2.boundingRect(lungs)
    margin = np.array([x, film.width - x - width, y, film.height - y - height])
    left, right, top, bottom = np.maximum(margin * rng.uniform(0.0, 0.7, 4) * (rng.random(4) < 0.6), 0)
    corners = np.array([(left, top), (film.width - right, top), (film.width - right, film.height - bottom)])
    corners = np.concatenate([corners, [(left, film.height - bottom)]]) + rng.normal(0, 0.004 * film.height, (4, 2))
    corners += np.sign(corners - [film.width / 2, film.height / 2]) * 0.01 * film.height
    opening = np.zeros(film.shape, dtype=np.uint8)
    cv2.fillPoly(opening, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    open_ = opening * np.float32(1 / 255)
    return np.asarray(image * open_ + np.float32(rng.uniform(0, 0.05)) * (1 - open_), dtype=np.float32)


def _mark(rng: np.random.Generator, film: Film, image: Layer) -> Layer:
    """A lead letter for the patient's side, of random place, size and brightness, whatever the finding."""
    if rng.random() < 0.15:
        return image
    side = int(rng.choice((RIGHT, LEFT)))
    letter = "R" if side == RIGHT else "L"
    scale = film.height / 512 * float(rng.uniform(0.7, 1.3))
    x = film.width * (0.5 + side * float(rng.uniform(0.40, 0.45))) - 10 * scale
    y = film.height * float(rng.uniform(0.07, 0.2))
    sheet = np.zeros(film.shape, dtype=np.uint8)
    at = (int(x), int(y))
    cv2.putText(sheet, letter, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, max(1, round(2.5 * scale)), cv2.LINE_AA)
    lead = cv2.GaussianBlur(sheet.astype(np.float32) / 255, (0, 0), 0.7)
    bright = np.float32(rng.uniform(0.75, 1.0))
    return np.asarray(np.maximum(image, lead * bright), dtype=np.float32)
