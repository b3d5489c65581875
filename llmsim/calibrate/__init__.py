"""From measurements to distributions."""

from llmsim.calibrate.choice import Choice, Judged, Split, bands_of, choose, judge
from llmsim.calibrate.fit import FAMILIES, Fit, fit, ks_distance

__all__ = ["FAMILIES", "Choice", "Fit", "Judged", "Split", "bands_of", "choose", "fit", "judge", "ks_distance"]
