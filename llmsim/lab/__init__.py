"""The lab in a notebook: runs in the background, sliders beside live plots, progress with a cancel button.

ipywidgets and matplotlib load with the first widget or figure that is shown.
"""

from __future__ import annotations

from llmsim.lab.explorer import Explorer, explore
from llmsim.lab.handle import RunHandle, start, start_live
from llmsim.lab.policies import PolicyComparison, compare_policies
from llmsim.lab.settings import without
from llmsim.lab.watch import Watch, watch

__all__ = [
    "Explorer",
    "PolicyComparison",
    "RunHandle",
    "Watch",
    "compare_policies",
    "explore",
    "start",
    "start_live",
    "watch",
    "without",
]
