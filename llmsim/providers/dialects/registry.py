"""All dialects by name, and the accounts of a run."""

from __future__ import annotations

from llmsim.providers.dialects.account import Account
from llmsim.providers.dialects.anthropic import Anthropic
from llmsim.providers.dialects.azure import Azure
from llmsim.providers.dialects.bedrock import Bedrock
from llmsim.providers.dialects.dialect import Dialect, Generic
from llmsim.providers.dialects.gemini import Gemini
from llmsim.providers.dialects.groq import Groq
from llmsim.providers.dialects.limits import Limits
from llmsim.providers.dialects.openai import OpenAI
from llmsim.providers.dialects.vllm import Vllm

__all__ = ["DIALECTS", "Accounts"]

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (Generic(), OpenAI(), Azure(), Anthropic(), Gemini(), Bedrock(), Groq(), Vllm())
}


class Accounts:
    """The accounts of one run. Providers that name the same `quota_group` get the same one.

    Parameters
    ----------
    epoch_s
        POSIX seconds at loop time 0.

    Examples
    --------
    >>> accounts = Accounts()
    >>> limits = Limits(requests=1.0)
    >>> fast = accounts.get("gpt", "openai", limits, group="team-a")
    >>> (
    ...     fast is accounts.get("gpt-mini", "openai", limits, group="team-a"),
    ...     fast is accounts.get("spare", "openai", limits),
    ... )
    (True, False)
    """

    def __init__(self, epoch_s: float = 0.0) -> None:
        self._epoch_s = epoch_s
        self._groups: dict[str, tuple[str, str, Account]] = {}

    def get(self, provider: str, dialect: str, limits: Limits, *, group: str | None = None) -> Account:
        """The account of a provider.

        Raises
        ------
        ValueError
            The group's first provider has other limits or another dialect: which of the two should hold?
        """
        if group is None:
            return DIALECTS[dialect].account(limits, epoch_s=self._epoch_s)
        known = self._groups.get(group)
        if known is None:
            account = DIALECTS[dialect].account(limits, epoch_s=self._epoch_s)
            self._groups[group] = (provider, dialect, account)
            return account
        first, its_dialect, account = known
        if its_dialect != dialect or account.limits != limits:
            raise ValueError(
                f"{first} and {provider} share the quota_group {group!r}, but not dialect and rate_limit; "
                "write the same for both"
            )
        return account
