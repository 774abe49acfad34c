"""Predictions as a run writes them, of drawn scores."""

import numpy as np
import pandas as pd


def predicted(seed: int, images: int = 300, sharpness: float = 1.0) -> pd.DataFrame:
    """Two images of a patient; with a `sharpness` above 1 the scores are too sure."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, images)
    logit = sharpness * (rng.normal(0, 1.2, images) + 1.6 * label - 0.8)
    return pd.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(images)],
            "patient_id": [f"p{k // 2}" for k in range(images)],
            "label": label,
            "score": 1 / (1 + np.exp(-logit)),
            "prediction": (logit > 0).astype(int),
            "sex": np.where(np.arange(images) % 3 == 0, "F", "M"),
            "age": rng.integers(1, 95, images).astype(str),
        }
    )
