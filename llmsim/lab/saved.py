"""What the file of a notebook keeps of something that is shown before it is done."""

from __future__ import annotations

from typing import Any

__all__ = ["Saved"]


class Saved:
    """Shows something in the cell that executes, and replaces what the notebook keeps of it once there is more.

    Widgets live as long as their kernel; a file has what was sent when they were shown. Only what is displayed under an
    id of its own can be sent again later (Jupyter's messaging protocol, ``update_display_data``), which the value of a
    cell is not.
    """

    def __init__(self) -> None:
        self._shown: list[Any] = []

    def show(self, bundle: dict[str, Any], *, final: bool) -> None:
        """Display a bundle; `final`: there will be nothing better to keep."""
        from IPython.display import display

        handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        if not final and handle is not None:
            self._shown.append(handle)

    @property
    def waits(self) -> bool:
        """Whether something was shown that was not final."""
        return bool(self._shown)

    def replace(self, bundle: dict[str, Any]) -> None:
        """Keep this instead, everywhere; nothing comes after it."""
        for handle in self._shown:
            handle.update(bundle, raw=True)
        self._shown.clear()
