"""From measurements to distributions, and from calls to a provider's profile."""

from llmsim.calibrate.calls import Calls, calls_of
from llmsim.calibrate.choice import Choice, Judged, Split, bands_of, choose, judge
from llmsim.calibrate.fit import FAMILIES, Fit, fit, ks_distance
from llmsim.calibrate.logs import Log, read_log
from llmsim.calibrate.profile_file import profile_document, write_profile
from llmsim.calibrate.upstream import Fitted, fit_upstream

__all__ = [
    "FAMILIES",
    "Calls",
    "Choice",
    "Fit",
    "Fitted",
    "Judged",
    "Log",
    "Split",
    "bands_of",
    "calls_of",
    "choose",
    "fit",
    "fit_upstream",
    "judge",
    "ks_distance",
    "profile_document",
    "read_log",
    "write_profile",
]
