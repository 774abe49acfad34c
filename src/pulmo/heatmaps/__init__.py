"""Where a network looks: class-activation maps and feature maps, from a task and images."""

from pulmo.heatmaps.layers import FeatureMap, feature_maps
from pulmo.heatmaps.maps import METHODS, HeatMaps

__all__ = ["METHODS", "FeatureMap", "HeatMaps", "feature_maps"]
