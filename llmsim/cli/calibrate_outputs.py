"""What ``llmsim calibrate`` shows and writes."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from llmsim.cli.terminal import put
from llmsim.errors import LlmsimError
from llmsim.units import counted

if TYPE_CHECKING:
    from llmsim.calibrate.calls import Calls
    from llmsim.calibrate.probe import Probed
    from llmsim.calibrate.upstream import Fitted

__all__ = ["CallsFile", "check_places", "finish", "seconds_text"]


class CallsFile:
    """The calls of a probe, each written as soon as it has ended; made with the first of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._file: IO[str] | None = None
        self._writer: Any = None

    def add(self, row: Probed) -> None:
        """Write one."""
        if self._file is None:
            try:
                self._file = self.path.open("w", encoding="utf-8", newline="")
            except OSError as error:
                raise LlmsimError(f"{self.path}: cannot be written: {error.strerror or error}") from error
            self._writer = csv.DictWriter(self._file, row._fields)
            self._writer.writeheader()
        self._writer.writerow(row._asdict())
        self._file.flush()
        self.rows += 1

    def told(self) -> str:
        """What a person can do with it."""
        if not self.rows:
            return "no call had ended"
        return f"{self.rows} calls are in {self.path}; llmsim calibrate log {self.path} fits what there is"

    def close(self) -> None:
        """No more will come."""
        if self._file is not None:
            self._file.close()


def check_places(out: Path, plot: Path | None) -> None:
    """Refuse names under which nothing could be written, before anything is measured.

    Raises
    ------
    LlmsimError
        With the name to write instead.
    """
    if out.suffix not in (".yaml", ".yml"):
        raise LlmsimError(f"--out {out}: a profile is YAML; name it {out.with_suffix('.yaml')}")
    if plot is not None and plot.suffix != ".png":
        raise LlmsimError(f"--plot {plot}: pictures are drawn as PNG; name it {plot.with_suffix('.png')}")
    for option, path in (("--out", out), ("--plot", plot)):
        if path is not None and not path.parent.is_dir():
            raise LlmsimError(f"{option} {path}: there is no directory {path.parent}")


def seconds_text(calls: Calls) -> str:
    """How long the calls took together, from the first to the last."""
    return f"{counted(len(calls.sent_s), 'call')} in {float(calls.sent_s[-1] - calls.sent_s[0]):.0f} s"


def finish(fitted: Fitted, *, out: Path, plot: Path | None, date: str, of: str, notes: Sequence[str]) -> None:
    """Show the fit, write the profile, draw the picture.

    Raises
    ------
    LlmsimError
        Something cannot be written.
    """
    from llmsim.calibrate.fit_text import fit_text
    from llmsim.calibrate.profile_file import profile_document, write_profile

    put(fit_text(fitted))
    for note in notes:
        put(f"  Note: {note}")
    document = profile_document(fitted, name=out.stem, date=date, of=of)
    document["notes"] = [*notes, *document["notes"]]
    try:
        write_profile(document, out)
        put(f"\nwrote {out}; in a scenario: providers: {{{fitted.upstream}: {{profile: {out}}}}}")
        if plot is not None:
            _draw(fitted, plot)
            put(f"wrote {plot}")
    except OSError as error:
        raise LlmsimError(f"{error.filename or out}: cannot be written: {error.strerror or error}") from error


def _draw(fitted: Fitted, path: Path) -> None:
    from llmsim.report.plots.calibration import Compared, calibration_picture

    found, busy = fitted.held_out, fitted.timed.busy
    title = f"{fitted.upstream}: {len(found.ttft_s)} held-out calls, {fitted.chosen} model"
    compared = [
        Compared("time to first token", found.ttft_s, found.predicted_ttft_s, busy),
        Compared("time to the end", found.e2e_s, found.predicted_e2e_s, busy),
    ]
    path.write_bytes(calibration_picture(title, compared).png())
