"""What attention sees: capturing gates, replacing them, Grad-CAM, and tests of what a map is worth."""

from gamlib.explain.faithfulness import (
    area,
    deletion,
    gate_map,
    insertion,
    random_maps,
    randomised,
    rank_correlation,
    shuffled_maps,
)
from gamlib.explain.gates import capture_gates, list_gates, replace_gates
from gamlib.explain.gradcam import grad_cam
from gamlib.explain.plots import draw_curves, draw_gates, draw_maps

__all__ = [
    "area",
    "capture_gates",
    "deletion",
    "draw_curves",
    "draw_gates",
    "draw_maps",
    "gate_map",
    "grad_cam",
    "insertion",
    "list_gates",
    "random_maps",
    "randomised",
    "rank_correlation",
    "replace_gates",
    "shuffled_maps",
]
