"""What a scenario says about its users, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from llmsim.distributions import Constant, CountDistribution, DurationDistribution
from llmsim.traffic.burstiness import ArrivalWords
from llmsim.traffic.replay import TraceReplay
from llmsim.traffic.seasons import Diurnal, FlashCrowd, Weekly
from llmsim.traffic.sessions import Agent, Disconnects, Documents, PatienceWords, Session
from llmsim.traffic.topics import Topics, Zipf
from llmsim.units import COUNT, BadValue, Count, Growth, Multiplier, PositiveCount, PositiveDuration, Rate, Ratio, Unit

__all__ = ["Client", "Clients", "Route", "Stage", "Topics", "Traffic", "UserRetry", "Zipf"]

FORBID = {"extra": "forbid"}

_MOST_CLIENTS = 10_000


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Move in a straight line to `target` times the base rate within `duration` (as in k6)."""

    __pydantic_config__: ClassVar = FORBID

    duration: PositiveDuration
    target: Multiplier


@dataclass(frozen=True, kw_only=True)
class Route:
    """One kind of request in the mix.

    Parameters
    ----------
    route
        Its name, by which SLOs can select it (``ttft{route:chat}``).
    weight
        Its share of arrivals; the weights of a mix need not add up to 1.
    input_tokens, output_tokens
        Distributions of prompt and answer length, in tokens. Where the route has documents, a session or an agent, the
        first is the length of the question (the new message, the task), to which the rest is added.
    system_tokens
        Length of the system prompt, which every request of the route begins with. Providers with a prompt cache can
        have it there.
    documents
        What is looked up and added to the prompt.
    session
        Every arrival begins a conversation of several turns.
    agent
        Every arrival begins a chain of calls by a program.
    prompt_drift
        What is put into prompts (all but the model's own answers) grows by this much a day, compounding: after *t* days
        it is ``(1 + prompt_drift) ** t`` times what the other words say. 0 is the scenario's time 0; a session keeps
        the lengths of the moment it began.
    patience
        Its users' own, ``endless`` for programs that wait for as long as it takes; without it that of the traffic. An
        agent's is endless unless said otherwise here.
    disconnects
        Who goes away in the middle of an answer.
    max_tokens
        Sent with the request, and the longest answer it can get.
    expects
        ``json`` marks a route whose answers must parse: an answer that does not is a failure (``bad_output``).
    prompt_style
        How its prompt asks for JSON; providers may go wrong at another rate for each style.
    stream
        Whether the caller asks for a stream.
    tenant, feature, priority
        Copied into the request.
    """

    __pydantic_config__: ClassVar = FORBID

    route: str = "default"
    weight: Ratio = 1.0
    input_tokens: CountDistribution = Constant(500)
    output_tokens: CountDistribution = Constant(100)
    system_tokens: Count = 0
    documents: Documents | None = None
    session: Session | None = None
    agent: Agent | None = None
    prompt_drift: Growth = 0.0
    patience: PatienceWords | None = None
    disconnects: Disconnects | None = None
    max_tokens: PositiveCount | None = None
    expects: Literal["text", "json"] = "text"
    prompt_style: str = ""
    stream: bool = True
    tenant: str = ""
    feature: str = ""
    priority: int = 0

    def __post_init__(self) -> None:
        if self.session is not None and self.agent is not None:
            raise BadValue(
                "a route is a person's conversation or a program's chain of calls, not both; remove session or agent, "
                "or make two routes",
                "agent",
            )

        if self.disconnects is not None and not self.stream:
            raise BadValue(
                "nobody is in the middle of an answer that comes whole; remove disconnects, or stream: false (who "
                "does not wait for it is a matter of patience)",
                "disconnects",
            )

    @property
    def ongoing(self) -> Session | Agent | None:
        """What its arrivals begin that can have more than one request."""
        return self.session or self.agent

    @property
    def mean_steps(self) -> float:
        """Requests an arrival, about (numbers of steps are rounded), if nothing ends its session before.

        Examples
        --------
        >>> agent = Agent(steps=Constant(5.0), growth=Constant(100.0), runaway=0.01, runaway_steps=205)
        >>> Route().mean_steps, Route(session=Session()).mean_steps, round(Route(agent=agent).mean_steps, 6)
        (1.0, 3.5, 7.0)
        """
        if self.session is not None:
            return max(self.session.turns.mean, 1.0)
        if self.agent is None:
            return 1.0
        usual, loops = max(self.agent.steps.mean, 1.0), self.agent.runaway
        return (1 - loops) * usual + loops * max(usual, self.agent.runaway_steps)


@dataclass(frozen=True, kw_only=True)
class UserRetry:
    """What users do who lost patience or got an error.

    Parameters
    ----------
    share
        Share of them that presses retry.
    after
        Time until they do.
    limit
        Most times one user does so for one question.
    """

    __pydantic_config__: ClassVar = FORBID

    share: Ratio = 0.0
    after: DurationDistribution = Constant(2.0)
    limit: Count = 1


@dataclass(frozen=True, kw_only=True)
class Client:
    """One client that is worth a name: a batch job, the biggest customer.

    A batch job that sends some 500 requests every hour, at a ``base_rate`` of 1/s::

        - client: nightly-reports
          share: 13.9%                                              # 500 of 3,600
          tenant: reports
          arrivals: {on_off: {burst: 20s, pause: 59m40s}}           # all within 20 s, every hour
          mix: [{route: report, stream: false, priority: -1, patience: endless}]

    Parameters
    ----------
    client
        Its name.
    share
        Of all arrivals.
    arrivals
        Its own burstiness; without it, that of the traffic.
    tenant
        Replaces the tenant of the routes.
    mix
        What it asks for, if not the same as the others.
    """

    __pydantic_config__: ClassVar = FORBID

    client: str
    share: Ratio
    arrivals: ArrivalWords | None = None
    tenant: str = ""
    mix: tuple[Route, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Who the arrivals come from. Each client is an arrival process of its own, independent of the others.

    In production few clients send most: the largest 16 to 52 %, the ten largest 63 to 93 % (ServeGen, arXiv 2505.09999,
    43 to 162 clients a model).

    Parameters
    ----------
    named
        Clients with a share, and perhaps burstiness and a mix, of their own.
    count
        How many more there are; they share what the named ones leave.
    zipf
        The share of the k-th of these is proportional to ``1 / k**zipf``.
    """

    __pydantic_config__: ClassVar = FORBID

    named: tuple[Client, ...] = ()
    count: Count = 0
    zipf: Annotated[float, Unit("an exponent", ("1.0",), lambda text: None, bare=True, high=10.0)] = 1.0

    def __post_init__(self) -> None:
        total = sum(client.share for client in self.named)
        if not self.named and not self.count:
            raise BadValue("there are no clients; write {count: 100, zipf: 1.2}, or name some")
        if self.count > _MOST_CLIENTS:
            raise BadValue(
                f"{self.count:,} clients would each be simulated; write at most {_MOST_CLIENTS:,}, the rest is Poisson "
                "anyway",
                "count",
            )
        if self.count and total >= 1:
            raise BadValue(f"the named clients leave nothing for {self.count} others; lower their shares", "named")
        if not self.count and abs(total - 1) > 1e-6:
            raise BadValue(
                f"the shares of the named clients add up to {total:.6g}; make that 100%, or add count: for the others",
                "named",
            )
        names = [client.client for client in self.named]
        if len(set(names)) < len(names):
            raise BadValue("two clients have one name; rename one", "named")


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Who sends what, and when.

    Parameters
    ----------
    executor
        ``constant-arrival-rate`` and ``ramping-arrival-rate`` are open loops: arrivals do not wait for answers.
        ``constant-vus`` is closed: `vus` virtual users send, wait for the end, think, and send again. ``trace``
        replays what was recorded.
    base_rate
        Arrivals per second at a target of 1x, on average over the day and the week (open loops).
    arrivals
        ``poisson`` or ``constant`` spacing, or a mapping (`Burstiness`) for arrivals that come in bursts or at a
        wandering rate. None of them changes the mean.
    stages
        Shape of the load from the end of warm-up on; after the last stage its target holds. Warm-up runs at 1x.
    diurnal, weekly
        Shape of the day and the week; ``clock.start`` says when the scenario begins. Multiplies the stages.
    flash_crowds
        Crowds that come at once and go slowly. They multiply the rest.
    clients
        Who the arrivals come from; without it, one source.
    trace
        What executor ``trace`` replays.
    vus, think_time
        Closed loop: how many users, and how long each thinks after an answer (or a failure it does not retry); of a
        route with a session or an agent, after the whole of it. An iteration takes 1 ms at least, also where everything
        is refused at once and nobody thinks.
    patience
        How long a user waits for the first chunk (the whole answer, if not streamed) before leaving.
    user_retry
        What those who left or got an error do next (agents: see `Agent.on_error`).
    users
        Number of distinct users that requests are attributed to.
    mix
        Routes by weight.
    topics
        Popularity of questions; without it every question is new.
    """

    __pydantic_config__: ClassVar = FORBID

    executor: Literal["constant-arrival-rate", "ramping-arrival-rate", "constant-vus", "trace"] = (
        "constant-arrival-rate"
    )
    base_rate: Rate = 0.0
    arrivals: ArrivalWords = "poisson"
    stages: tuple[Stage, ...] = ()
    diurnal: Diurnal | None = None
    weekly: Weekly | None = None
    flash_crowds: tuple[FlashCrowd, ...] = ()
    clients: Clients | None = None
    trace: TraceReplay | None = None
    vus: Annotated[int, COUNT] = 0
    think_time: DurationDistribution = Constant(0.0)
    patience: DurationDistribution | None = None
    user_retry: UserRetry = UserRetry()
    users: PositiveCount = 1000
    mix: tuple[Route, ...] = (Route(),)
    topics: Topics | None = None

    def __post_init__(self) -> None:
        self._check_executor()
        if self.executor == "ramping-arrival-rate" and not self.stages:
            raise BadValue(
                "executor ramping-arrival-rate needs stages; write stages: [{duration: 2m, target: 1x}, …]", "stages"
            )
        if self.executor != "ramping-arrival-rate" and self.stages:
            raise BadValue(
                f"executor {self.executor} has no stages; write executor: ramping-arrival-rate, or remove them",
                "stages",
            )
        if not self.mix:
            raise BadValue("the mix is empty; write mix: [{route: chat}], or remove it", "mix")
        if sum(route.weight for route in self.mix) <= 0:
            raise BadValue("the weights of the mix add up to nothing; write a weight above 0%, e.g. weight: 80%", "mix")

    def _check_executor(self) -> None:
        """What an executor needs, and what it has no use for."""
        paced = self.executor in ("constant-arrival-rate", "ramping-arrival-rate")
        if self.executor == "constant-vus" and self.vus < 1:
            raise BadValue("executor constant-vus needs virtual users; write vus: 50", "vus")
        if self.executor == "trace" and self.trace is None:
            raise BadValue("executor trace needs a file; write trace: {file: requests.csv}", "trace")
        if paced and self.base_rate <= 0:
            raise BadValue(f"executor {self.executor} needs a base_rate above zero; write base_rate: 4/s", "base_rate")
        if self.vus and self.executor != "constant-vus":
            raise BadValue(f"executor {self.executor} has no vus; write executor: constant-vus, or remove them", "vus")
        if self.trace is not None and self.executor != "trace":
            raise BadValue(f"executor {self.executor} replays nothing; write executor: trace, or remove it", "trace")
        if paced:
            return
        pace = "its users set the pace" if self.executor == "constant-vus" else "its file sets the pace"
        for key in ("base_rate", "diurnal", "weekly", "flash_crowds", "clients"):
            if getattr(self, key):
                raise BadValue(f"{self.executor} has no {key}: {pace}; remove it", key)
        if self.arrivals != "poisson":
            raise BadValue(f"{self.executor} has no arrivals: {pace}; remove it", "arrivals")
        for number, route in enumerate(self.mix if self.executor == "trace" else ()):
            if route.ongoing is not None:
                key = "session" if route.session is not None else "agent"
                raise BadValue(
                    f"trace has no {key}: what belongs together stands in its file; remove it", "mix", number, key
                )
