"""Worker processes, as far as all who use them need the same."""

from __future__ import annotations

__all__ = ["end_worker_processes"]


def end_worker_processes() -> None:
    """End joblib's workers at once, whatever they do."""
    from joblib.externals.loky import get_reusable_executor

    # Without `reuse` it would compare settings, find others, and wait for all that is still to do before it lets go.
    get_reusable_executor(reuse=True).shutdown(wait=False, kill_workers=True)
