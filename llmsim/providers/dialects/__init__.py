"""How the vendors count, refuse and fail: one dialect each, over one mechanism.

The contract
------------
``DIALECTS[name]`` is a `Dialect`: stateless. It makes an `Account` from `Limits` (the table there says which dialect
reads which word) and renders every answer that is not a success as an `Answer`: status, headers and body as on the
wire, and with ``answer.error(upstream)`` the error of the tree that `llmsim.providers.live.errors` makes of the same
bytes.

An `Account` is sans-IO; providers that share a `quota_group` share one (`Accounts`). For every call::

    ticket = account.admit(input_tokens, max_tokens, cached_tokens, now)
    if type(ticket) is Refused:
        raise dialect.refusal(account, ticket, model=model).error(upstream)
    response.headers = dialect.success(account, ticket)  # a Mapping that is written out when somebody looks
    ...
    account.settle(ticket, usage, now)  # when the call ends, however it ends; or:
    account.failed(ticket, now)  # when it fails on the provider's side

Failures that have nothing to do with limits: ``ErrorRates(...).pick(u)`` says which, from one addressed uniform,
``account.failed(None, now)`` counts it where failures count, and ``dialect.failure(kind)`` is the answer. ``in_stream``
is an answer too: a 200, and ``answer.error(upstream, tokens_delivered)`` when the stream breaks.

``account.rescale(multiplier, now)`` cuts all limits and ``rescale(1, now)`` restores them; ``account.snapshot(now)`` is
what every limit has left.
"""

from llmsim.providers.dialects.account import Account, LimitHeaders, Refused, Ticket
from llmsim.providers.dialects.answers import Answer
from llmsim.providers.dialects.dialect import Dialect
from llmsim.providers.dialects.limits import FAILURES, ErrorRates, Failure, Limits, Ramp
from llmsim.providers.dialects.registry import DIALECTS, Accounts

__all__ = [
    "DIALECTS",
    "FAILURES",
    "Account",
    "Accounts",
    "Answer",
    "Dialect",
    "ErrorRates",
    "Failure",
    "LimitHeaders",
    "Limits",
    "Ramp",
    "Refused",
    "Ticket",
]
