"""Notebooks and scenarios that come with llmsim, wherever it is installed."""

from __future__ import annotations

from pathlib import Path

from llmsim.errors import LlmsimError

__all__ = ["shipped"]


def shipped(name: str) -> Path:
    """The folder ``notebooks`` or ``scenarios`` that this llmsim came with.

    In a clone it is the one at the top; a wheel carries a copy within the package (``pyproject.toml`` says so).

    Raises
    ------
    LlmsimError
        If there is neither, as where somebody has copied the package alone.
    """
    import llmsim

    package = Path(llmsim.__file__).parent
    top = package.parent
    places = [package / "_shipped" / name]
    if (top / "pyproject.toml").is_file():  # beside an installed package, a folder of that name is somebody else's
        places.append(top / name)
    for place in places:
        if place.is_dir():
            return place
    raise LlmsimError(
        f"this installation of llmsim has no {name}; install it again with: pip install --force-reinstall llmsim"
    )
