"""What attention sees: capturing gates, replacing them, and Grad-CAM. (The course tests what a map is worth.)"""

from gamlib.explain.gates import capture_gates, list_gates, replace_gates
from gamlib.explain.gradcam import grad_cam

__all__ = ["capture_gates", "grad_cam", "list_gates", "replace_gates"]
