"""What `everything.yaml` gives in 4 s at seed 11: counts, CPU seconds, and seconds from due to each hop in order."""

from pathlib import Path

EVERYTHING = Path(__file__).parent / "everything.yaml"
FIGURES = {
    "frames": 2117.0,
    "polls": 2072.0,
    "cpu_s": 3.378253431915665,
    "median hop 0": -0.001072214272164973,
    "median hop 1": 0.006793530736319692,
    "median hop 2": 0.008027752835544133,
    "median hop 3": 0.008531553356686428,
    "median hop 4": 0.00900285734728734,
    "median hop 5": 0.00943628235883949,
    "median hop 6": 0.009295688441071204,
    "median hop 7": 0.009571938653263667,
    "median hop 8": 0.009911044181506568,
    "median hop 9": 0.09346264411512362,
    "worst hop 0": 0.004869897641303744,
    "worst hop 1": 0.014088873248808614,
    "worst hop 2": 0.01534828094229615,
    "worst hop 3": 0.015769127051507514,
    "worst hop 4": 0.016436648603595103,
    "worst hop 5": 0.016900648603595102,
    "worst hop 6": 0.0167406486035951,
    "worst hop 7": 0.017125704800020958,
    "worst hop 8": 0.017470504800020957,
    "worst hop 9": 0.1719247182381185,
}
