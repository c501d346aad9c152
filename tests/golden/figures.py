"""What `everything.yaml` gives in 4 s at seed 11: counts, CPU seconds, and seconds from due to each hop in order."""

from pathlib import Path

EVERYTHING = Path(__file__).parent / "everything.yaml"
FIGURES = {
    "frames": 2178.0,
    "polls": 2126.0,
    "cpu_s": 3.5834948825240955,
    "median hop 0": -0.0009094670892866308,
    "median hop 1": 0.006611920824197259,
    "median hop 2": 0.00791382100869864,
    "median hop 3": 0.008421118785156306,
    "median hop 4": 0.008878682514446956,
    "median hop 5": 0.009317564121250177,
    "median hop 6": 0.009167243779519794,
    "median hop 7": 0.009240754033003729,
    "median hop 8": 0.009580740894791384,
    "median hop 9": 0.09255829759115741,
    "worst hop 0": 0.004629677163063839,
    "worst hop 1": 0.012023625739409294,
    "worst hop 2": 0.014106844344155434,
    "worst hop 3": 0.014849448678628363,
    "worst hop 4": 0.01690112825102963,
    "worst hop 5": 0.017321128251029716,
    "worst hop 6": 0.017161128251029556,
    "worst hop 7": 0.01722612825102976,
    "worst hop 8": 0.017562128251030096,
    "worst hop 9": 0.1719463721668264,
}
