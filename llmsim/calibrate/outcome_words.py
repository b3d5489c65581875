"""What logs call the ways in which a call ends."""

from __future__ import annotations

from llmsim.calibrate.formulas import number_of

__all__ = ["outcome_of"]


def outcome_of(said: str) -> str:
    """An outcome word for what a log says.

    Examples
    --------
    >>> outcome_of("Success"), outcome_of("200"), outcome_of("429"), outcome_of("502")
    ('ok', 'ok', 'rate_limited', 'server_error')
    >>> outcome_of("1"), outcome_of("0")  # true and false, as databases have them; or no answer at all
    ('ok', 'error')
    """
    word = said.strip().lower()
    if word in ("ok", "success", "succeeded", "true"):
        return "ok"
    status = number_of(word)
    if status is None:
        return {"failure": "error", "failed": "error", "false": "error", "429": "rate_limited"}.get(word, word)
    if 200 <= status < 300 or status == 1:
        return "ok"
    if status == 0:
        return "error"
    if status == 429:
        return "rate_limited"
    if status in (503, 529):  # as `llmsim.providers.live.errors` takes them
        return "overloaded"
    return "server_error" if status >= 500 else "bad_request"
