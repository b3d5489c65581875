"""Not everybody at once: how an upstream that is back gets its traffic back."""

from __future__ import annotations

__all__ = ["RAMP_FLOOR", "ramp_delay_s", "ramp_share"]

#: Share of calls let through from the first moment on. Envoy's slow start has the same shape and the same floor
#: (``min_weight_percent``, 10 %; weight × max(floor, time since start / window), ``aggression`` 1).
RAMP_FLOOR = 0.1


def ramp_share(elapsed_s: float, ramp_s: float) -> float:
    """Share of calls let through `elapsed_s` after a recovery: from 10 % in a straight line to all.

    Parameters
    ----------
    elapsed_s
        Seconds since the recovery; negative: it has not come yet.
    ramp_s
        Seconds until everything goes through; 0: at once.

    Examples
    --------
    >>> [ramp_share(elapsed_s, 30.0) for elapsed_s in (-1.0, 0.0, 15.0, 30.0)]
    [0.0, 0.1, 0.5, 1.0]
    """
    if elapsed_s < 0:
        return 0.0
    if elapsed_s >= ramp_s:
        return 1.0
    return max(RAMP_FLOOR, elapsed_s / ramp_s)


def ramp_delay_s(luck: float, ramp_s: float) -> float:
    """Seconds after the recovery from which a call with this luck is let through.

    The other side of `ramp_share`: with luck spread evenly over (0, 1), the calls whose delay is over are that share.
    Since a request's luck stays what it is, one that is let through would also be let through a moment later, and
    whoever is refused can be told when.

    Parameters
    ----------
    luck
        The request's number in (0, 1).
    ramp_s
        Seconds until everything goes through.

    Examples
    --------
    >>> [ramp_delay_s(luck, 30.0) for luck in (0.05, 0.5, 0.9)]
    [0.0, 15.0, 27.0]
    """
    return 0.0 if luck < RAMP_FLOOR else luck * ramp_s
