"""What `everything.yaml` gives in 4 s at seed 11: counts, CPU seconds, and seconds from due to each hop in order."""

from pathlib import Path

EVERYTHING = Path(__file__).parent / "everything.yaml"
FIGURES = {
    "frames": 2121.0,
    "polls": 2082.0,
    "cpu_s": 3.577451589795446,
    "median hop 0": -0.001070080722485156,
    "median hop 1": 0.006770314511766176,
    "median hop 2": 0.008014249576044019,
    "median hop 3": 0.008533688708317222,
    "median hop 4": 0.00898527761723808,
    "median hop 5": 0.009418500750608683,
    "median hop 6": 0.009276835192330968,
    "median hop 7": 0.009553444851984172,
    "median hop 8": 0.00989384179976538,
    "median hop 9": 0.09341291517673622,
    "worst hop 0": 0.004869897641303744,
    "worst hop 1": 0.014088873248808614,
    "worst hop 2": 0.01534828094229615,
    "worst hop 3": 0.015762501296152615,
    "worst hop 4": 0.01652527735834207,
    "worst hop 5": 0.01698927735834207,
    "worst hop 6": 0.016829277358342068,
    "worst hop 7": 0.017214333554767924,
    "worst hop 8": 0.01755913355476793,
    "worst hop 9": 0.17199402687677878,
}
