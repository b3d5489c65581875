"""What a scenario says about a simulated provider, as frozen values."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Literal

from llmsim.distributions import Constant, DurationDistribution, MultiplierDistribution
from llmsim.pricing import FREE, TokenPriceOrModel
from llmsim.providers.dialects import DIALECTS, ErrorRates, Limits
from llmsim.providers.sim.congestion_spec import Congestion
from llmsim.providers.sim.incidents_spec import Incidents
from llmsim.providers.sim.latency import Load, Prefill, PromptCache, StreamStall
from llmsim.providers.sim.outputs import Output
from llmsim.providers.sim.serving_spec import Serving
from llmsim.units import BadValue, Count, PositiveCount, Ratio

__all__ = ["OWN_TIMING", "Queue", "SimProvider"]

FORBID: dict[str, Any] = {"extra": "forbid"}

#: What a serving engine has no use for.
OWN_TIMING = ("ttft", "inter_token", "concurrency", "prefill", "load", "pace", "flush", "stall", "congestion")


@dataclass(frozen=True, kw_only=True)
class Queue:
    """The waiting room before the slots; a call that finds it full gets a 503.

    Parameters
    ----------
    limit
        Calls that may wait; None: any number.
    """

    __pydantic_config__: ClassVar = FORBID

    limit: Count | None = None


@dataclass(frozen=True, kw_only=True)
class SimProvider:
    """A provider as a queueing system with an LLM's timing.

    Parameters
    ----------
    profile
        Name of a profile, or file of one, relative to the scenario (``llmsim calibrate`` writes such): its figures hold
        where no key is given.
    tier
        Which of the profile's rate limits hold.
    model
        Name of its model.
    network
        On the way there and back, all of it before the server is at work; load does not change it.
    ttft
        From getting a slot to the first token, but for what the length of the prompt adds.
    prefill
        What the length of the prompt adds to `ttft`.
    load
        How much slower it is when busy.
    inter_token
        Gaps between the tokens of an answer of usual pace.
    pace
        Multiplier of all gaps of an answer: some answers come faster than others.
    flush
        Share of answers whose tokens all come with the first one.
    stall
        Silences in the middle of an answer.
    prompt_cache
        Prompts that begin alike are read faster and cost less.
    serving
        The steps of a self-hosted engine, in place of `ttft`, `inter_token` and `concurrency`.
    congestion
        Slower and faster times that all providers of its `incident_group` share.
    incidents
        Outages and brown-outs that come by chance.
    incident_group
        Providers of one vendor: they share congestion and incidents. Default: each has its own.
    concurrency
        Slots; None: unlimited. A slot is held from the start of prefill to the last token.
    queue
        Waiting room before the slots; unlimited unless it has a `limit`.
    dialect
        How limits are counted, and which headers and bodies it answers with: a vendor's (`llmsim.providers.dialects`)
        or ``generic``.
    rate_limit
        Limits answered with 429.
    quota_group
        Providers that name the same group share one account with its limits.
    context_window
        Tokens that prompt and answer may have together. A prompt that leaves no room is answered as the dialect does,
        an answer that needs more is cut (finish reason ``length``). None: no limit.
    output
        How long its answers are, how they end, and how its JSON goes wrong.
    errors
        Shares of calls that fail whatever the load, by kind.
    answer_time
        How long an answer without any tokens (429, 5xx) takes.
    on_cancel
        What the slot does when the caller goes away: ``free`` at once, ``finish_prefill``, or ``continue`` to the end.
    price
        Per token: ``{input: $3/Mtok, output: $15/Mtok}``, or looked up for a model and a date,
        ``{model: openai/gpt-4o-mini, date: 2026-05-01, batch: false}``.
    """

    __pydantic_config__: ClassVar = FORBID

    profile: str = ""
    tier: str = ""
    model: str = ""
    network: DurationDistribution = Constant(0.0)
    ttft: DurationDistribution = Constant(0.5)
    prefill: Prefill = Prefill()
    load: Load | None = None
    inter_token: DurationDistribution = Constant(0.02)
    pace: MultiplierDistribution = Constant(1.0)
    flush: Ratio = 0.0
    stall: StreamStall | None = None
    prompt_cache: PromptCache | None = None
    serving: Serving | None = None
    congestion: Congestion | None = None
    incidents: Incidents | None = None
    incident_group: str = ""
    concurrency: PositiveCount | None = None
    queue: Queue = Queue()
    dialect: Literal["generic", "openai", "azure", "anthropic", "gemini", "bedrock", "groq", "vllm"] = "generic"
    rate_limit: Limits | None = None
    quota_group: str | None = None
    context_window: PositiveCount | None = None
    output: Output = Output()
    errors: ErrorRates = ErrorRates()
    answer_time: DurationDistribution = Constant(0.03)
    on_cancel: Literal["free", "finish_prefill", "continue"] = "free"
    price: TokenPriceOrModel = FREE

    def __post_init__(self) -> None:
        if self.load is not None and self.load.of == "slots" and self.concurrency is None:
            raise ValueError("load of slots needs slots; write concurrency: 32, or load: {of: requests, …}")
        if self.serving is not None:
            given = [key for key in OWN_TIMING if getattr(self, key) != _DEFAULTS[key]]
            if given:
                raise BadValue(f"a serving engine has its own timing; remove {', '.join(given)}", "serving")
        windows = self.incidents.maintenance if self.incidents is not None else ()
        if self.concurrency is None and self.serving is None:
            for number, window in enumerate(windows):
                if window.effect == "reduced":
                    message = "it has no slots to be reduced; write concurrency: 32 beside incidents, or effect: slow"
                    raise BadValue(message, "incidents", "maintenance", number, "effect")
        if self.rate_limit is not None:
            self._check_limits(self.rate_limit)

    def _check_limits(self, limits: Limits) -> None:
        try:
            limited = DIALECTS[self.dialect].account(limits).meters
        except ValueError as error:
            raise BadValue(str(error), "rate_limit") from None
        if not limited:
            raise BadValue(
                "it limits nothing; write at least one limit, as in rate_limit: {requests: 500/min}", "rate_limit"
            )


_DEFAULTS = {field.name: field.default for field in fields(SimProvider) if field.default is not MISSING}
