"""A scenario under six settings, by hand: two choices, three waits, one of the pairs never answers."""

import math

import polars as pl

from llmsim.report.varied import Across, Shown

__all__ = ["ERRORS", "KIND", "TTFT", "WAIT", "varied"]

WAIT = Across("wait_s", "timeout.wait", "s", {1.0: "1s", 2.0: "2s", 8.0: "8s"}, log=True)
KIND = Across("kind", "cache", "", {"off": "off", "{size: 5}": "{size: 5}"}, numeric=False)
ERRORS = Shown("error_rate", "error_rate", "ratio")
TTFT = Shown("ttft_p95_s", "ttft p(95)", "s")


def varied():
    """A row for each setting."""
    rows = []
    for kind, factor in (("off", 2.0), ("{size: 5}", 1.0)):
        for wait, verdict in ((1.0, "FAIL"), (2.0, "UNDECIDED"), (8.0, "PASS")):
            rate, slow = 0.04 * factor / wait, math.inf if (kind, wait) == ("off", 1.0) else wait / 2
            rows.append({"wait_s": wait, "kind": kind, "verdict": verdict, "error_rate": rate,
                         "error_rate_low": rate * 0.9, "error_rate_high": rate * 1.2, "ttft_p95_s": slow,
                         "ttft_p95_s_low": None, "ttft_p95_s_high": None})  # fmt: skip
    return pl.DataFrame(rows)
