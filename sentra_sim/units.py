"""Units at the boundary: seconds inside, nanoseconds in recordings, milliseconds on axes."""

NS_PER_S = 1_000_000_000
MS_PER_S = 1_000.0
US_PER_S = 1_000_000.0


def format_duration(seconds: float) -> str:
    """Returns a duration as a person writes it, with three significant digits.

    >>> format_duration(0.0123)
    '12.3 ms'
    >>> format_duration(95.0)
    '95 s'
    """
    if abs(seconds) >= 1.0:
        return f"{seconds:.3g} s"
    if abs(seconds) >= 1e-3:
        return f"{seconds * MS_PER_S:.3g} ms"
    return f"{seconds * US_PER_S:.3g} µs"
