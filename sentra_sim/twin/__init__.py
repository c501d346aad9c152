"""The twin: calibrated on measured runs, validated on held-out ones."""

from sentra_sim.twin.calibrate import calibrate
from sentra_sim.twin.model import Twin, apply_twin, load_twin, save_twin, twin_hash
from sentra_sim.twin.observe import run_hash
from sentra_sim.twin.predict import Prediction, predict
from sentra_sim.twin.validate import LoadPoint, Row, Validation, load_validation, save_validation, validate

__all__ = [
    "LoadPoint",
    "Prediction",
    "Row",
    "Twin",
    "Validation",
    "apply_twin",
    "calibrate",
    "load_twin",
    "load_validation",
    "predict",
    "run_hash",
    "save_twin",
    "save_validation",
    "twin_hash",
    "validate",
]
