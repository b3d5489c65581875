"""Execute notebooks and bring them into the form they are committed in.

``python tests/notebook_tools.py notebooks/*.ipynb`` runs each in a fresh kernel and writes it back: with outputs and
pictures, without widget state, timestamps, empty outputs and what only this machine knows. Whoever imports this
need not have `nbformat`, which takes a second to import.
"""

from __future__ import annotations

import base64
import re
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

__all__ = ["executed", "prune", "texts"]

TIMEOUT_S = 300

#: What differs between two runs of the same notebook.
_WALL_TIME = re.compile(r"(?<= simulated) in (?:\d[\d.]*(?:h|ms|m|s|us))+")


def executed(path: Path) -> Any:
    """The notebook at `path` after a run of all its cells, with its folder as the current one."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
    )
    client.execute()
    return prune(notebook)


def prune(notebook: Any) -> Any:
    """Leave what a reader sees, and nothing of the machine it was made on."""
    from nbformat import from_dict

    notebook.metadata = from_dict({
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    })  # fmt: skip
    for cell in notebook.cells:
        cell.metadata = from_dict({name: cell.metadata[name] for name in ("tags",) if name in cell.metadata})
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _empty(output)]
            for output in cell.outputs:
                # A live widget is nothing without its kernel: what it shows besides stays.
                data = output.get("data", {})
                data.pop("application/vnd.jupyter.widget-view+json", None)
                if "image/png" in data:
                    data["image/png"] = _smaller(data["image/png"])
                if "metadata" in output:
                    output.metadata = from_dict({})
    return notebook


def _smaller(png: str) -> str:
    """The same picture with 256 colours: a third of the size, and no plot has more that one could tell."""
    from PIL import Image

    image = Image.open(BytesIO(base64.b64decode(png))).convert("RGBA")
    few = BytesIO()
    image.quantize(256, method=Image.Quantize.FASTOCTREE).save(few, format="PNG", optimize=True)
    shorter = base64.b64encode(few.getvalue()).decode()
    return min(png, shorter, key=len)


def _empty(output: Any) -> bool:
    """What a progress display leaves behind."""
    data = output.get("data")
    return data is not None and not any("".join(content).strip() for content in data.values())


def texts(notebook: Any) -> list[str]:
    """What each code cell shows as text, without what differs from run to run."""
    shown = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            parts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
            shown.append(_WALL_TIME.sub("", "\n".join("".join(part) for part in parts)))
    return shown


def main() -> None:
    """Execute the notebooks named on the command line in place."""
    import nbformat

    for name in sys.argv[1:]:
        path = Path(name)
        notebook = executed(path)
        nbformat.write(notebook, path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
