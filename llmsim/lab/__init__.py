"""The lab in a notebook: runs in the background, sliders beside live plots, progress with a cancel button.

ipywidgets and matplotlib load with the first widget or figure that is shown.
"""

from __future__ import annotations

from llmsim.lab.handle import RunHandle, start, start_live

__all__ = ["RunHandle", "start", "start_live"]
