"""The widgets of an explorer, without what they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmsim.lab.cells import close_all
from llmsim.lab.controls import Control
from llmsim.lab.live_image import live_image
from llmsim.lab.picture import DPI, SIZE

__all__ = ["Panel"]

_WIDE, _LABEL = "410px", "235px"


class Panel:
    """Controls in as many columns as fit, and what can be done; below, picture and numbers.

    Attributes
    ----------
    turned
        The widget of each control, by path.
    image, numbers, status, text, judge, cancel, reset, as_yaml, as_python, root
        The other parts.
    """

    def __init__(self, controls: Sequence[Control]) -> None:
        import ipywidgets as w

        self.turned: dict[str, Any] = {one.path: _widget(one) for one in controls}
        width, height = (f"{side * DPI:.0f}px" for side in SIZE)
        self.image = live_image(width=width, height=height, flex="0 0 auto")
        self.numbers = w.HTML()
        self.status = w.HTML(layout=w.Layout(min_height="2.2em"))
        self.text = w.Textarea(layout=w.Layout(width="auto", height="14em", display="none"))
        self.text.description_allow_html = False
        self.judge = _button("Judge", "Run all replications of the scenario for a verdict", "success")
        self.cancel = _button("Cancel", "Stop the run that is going on")
        self.cancel.disabled = True
        self.reset = _button("Reset", "All controls back to the scenario as it is")
        self.as_yaml = _button("Copy as YAML", "Show the scenario with these settings, to copy")
        self.as_python = _button("Copy as Python", "Show the code that makes these settings, to copy")
        buttons = w.HBox([self.judge, self.cancel, self.reset, self.as_yaml, self.as_python])
        buttons.layout.flex_flow = "row wrap"
        rows = {
            kind: w.HBox(
                [self.turned[one.path] for one in controls if (one.kind == "switch") == (kind == "switches")],
                layout=w.Layout(flex_flow="row wrap", width="100%"),
            )
            for kind in ("sliders", "switches")
        }
        below = w.HBox([self.image, self.numbers], layout=w.Layout(flex_flow="row wrap"))
        top = w.VBox([*rows.values(), buttons, self.status, below])
        self.root = w.VBox([top, self.text])
        self.root.add_class("llmsim-explorer")

    @property
    def buttons(self) -> list[Any]:
        """Those that can be clicked."""
        return [self.judge, self.cancel, self.reset, self.as_yaml, self.as_python]

    def close(self) -> None:
        """Take all of it out of the kernel and the page."""
        close_all(self.root)


def _button(label: str, tip: str, style: str = "") -> Any:
    import ipywidgets as w

    return w.Button(description=label, tooltip=tip, button_style=style, layout=w.Layout(width="auto"))


def _widget(control: Control) -> Any:
    import ipywidgets as w

    label = control.label if control.policy is None else f"{control.label} on"
    common: dict[str, Any] = {"description": label, "tooltip": ", ".join(control.paths)}
    if control.kind == "switch":
        narrow = w.Layout(width="auto", min_width="180px", margin="2px 14px 2px 0")
        return w.Checkbox(value=bool(control.value), indent=False, layout=narrow, **common)
    common |= {"style": {"description_width": _LABEL}, "layout": w.Layout(width=_WIDE)}
    if control.kind == "choice":
        return w.Dropdown(options=control.options, value=control.value, **common)
    # Once for each key press and at the end of each drag, not all along it.
    return w.SelectionSlider(options=control.options, value=control.value, continuous_update=False, **common)
