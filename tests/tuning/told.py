"""A tuning with two goals as it could have come out, to be shown."""

import math

from tuning.spaces import shop

from llmsim.tuning.objective import goals_of, limits_of
from llmsim.tuning.tuned import Account, Change, Held, LimitHeld, Sensitive, Trial, Tuned

SHOP = shop()
DIAL, OTHER = "gateway.retry.max_attempts", "upstream.circuit_breaker.failure_rate"


def held(settings, tuning, held_out, changes, verdict="PASS"):
    (line,) = limits_of(SHOP, None)
    return Held(settings, tuning, held_out, changes, (LimitHeld(line, "shop", 0.1, verdict),), 10, 10)


NOTHING = Change(0.0, (0.0, 0.0), 0.0)
NOW = held({}, (0.0030, 0.20), (0.0032, 0.22), (NOTHING, NOTHING), "FAIL")
BEST = held(
    {DIAL: 3, OTHER: 0.5},
    (0.0020, 0.10),
    (0.0022, 0.12),
    (Change(-0.001, (-0.0012, -0.0008), -0.31), Change(-0.1, (-0.12, -0.05), -0.45)),
)
CHEAP = held(
    {DIAL: 1, OTHER: 0.5},
    (0.0010, 0.15),
    (0.0012, 0.16),
    (Change(-0.002, (-0.0022, -0.0018), -0.62), Change(-0.06, None, -0.27)),
)


def tuned(**changes):
    trial = [
        Trial({DIAL: 1, OTHER: 0.5}, (0.0010, 0.15), (0.4,), 2, "infeasible", "FAIL"),
        Trial({DIAL: 2, OTHER: 0.5}, (0.0025, 0.20), (-0.1,), 8, "", "PASS"),
        Trial({DIAL: 4, OTHER: 0.5}, (0.0040, 0.20), (-0.1,), 2, "worse", "UNDECIDED"),
        Trial({DIAL: 4, OTHER: 0.9}, (0.0015, math.inf), (0.1,), 8, "", "UNDECIDED"),
        Trial({DIAL: 3, OTHER: 0.5}, (0.0020, 0.10), (-0.1,), 8, "", "PASS"),
    ]
    around = [
        Sensitive(DIAL, 2, Change(0.0005, (0.0004, 0.0006), 0.23), ()),
        Sensitive(DIAL, 4, Change(-0.0002, (-0.0003, -0.0001), -0.09), ("error_rate value < 20%",)),
        Sensitive(OTHER, 0.6, Change(0.0, (-0.0001, 0.0001), 0.0), ()),
        Sensitive(OTHER, 0.4, Change(math.inf, None, math.inf), ()),
    ]
    return Tuned(**{
        "scenarios": (SHOP,), "space": (f"{DIAL}: 1,2,3,4", f"{OTHER}: 0.1..0.9"), "now": {DIAL: "2", OTHER: "0.5"},
        "goals": goals_of(SHOP, ["cost_per_ok", "error_rate"], ()), "trials": tuple(trial), "best": BEST,
        "current": NOW, "front": (CHEAP, BEST), "differences": (), "sensitivity": tuple(around),
        "account": Account(5, 22, 40, 0, 20, 20), "most": 8, "held_out": 10, "seed": 3, "held_seed": 4,
    } | changes)  # fmt: skip
