"""What a scenario says about what people ask, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from llmsim.distributions import DurationDistribution
from llmsim.traffic.prompt_words import check_prompts
from llmsim.units import RATIO, BadValue, PositiveCount, Ratio, Unit

__all__ = ["AnswersChange", "Topics", "TrapKinds", "TrapWords", "Traps", "Zipf"]

FORBID = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Zipf:
    """Popularity of the k-th most popular of `unique` topics is proportional to ``1 / k**s``."""

    __pydantic_config__: ClassVar = FORBID

    s: Annotated[float, Unit("an exponent", ("1.0",), lambda text: None, bare=True, high=10.0)] = 1.0
    unique: PositiveCount = 1000


@dataclass(frozen=True, kw_only=True)
class TrapKinds:
    """Shares of the kinds of traps; they need not add up to 1, and a kind that is not named has none."""

    __pydantic_config__: ClassVar = FORBID

    negation: Ratio = 0.0
    number: Ratio = 0.0
    entity: Ratio = 0.0
    scope: Ratio = 0.0

    def __post_init__(self) -> None:
        if sum(self.shares) <= 0:
            raise BadValue("there is no kind of trap; write a share above 0%, as in {negation: 100%}, or traps: 0%")

    @property
    def shares(self) -> tuple[float, ...]:
        """In the order of `llmsim.traffic.similarity.TRAP_KINDS`."""
        return self.negation, self.number, self.entity, self.scope


@dataclass(frozen=True, kw_only=True)
class Traps:
    """Requests that look like a question and are not.

    Parameters
    ----------
    share
        Of all requests.
    kinds
        A negation, another number (or date), another name, another scope. The default is that of the pairs their
        similarities were measured on: as many of each.
    """

    __pydantic_config__: ClassVar = FORBID

    share: Ratio
    kinds: TrapKinds = TrapKinds(negation=0.25, number=0.25, entity=0.25, scope=0.25)


class _ShareOrMapping:
    """Makes errors speak of the word or mapping that was written, not of both."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def validate(value: Any, inner: Any, info: Any) -> Any:
            if isinstance(value, dict | Traps):
                return inner(value)
            return RATIO.parse(value, si=bool(info.context and info.context.get("si")))

        return core_schema.with_info_wrap_validator_function(validate, handler.generate_schema(Traps))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [RATIO.__get_pydantic_json_schema__(schema, handler), handler(schema)]}


TrapWords = Annotated[Ratio | Traps, _ShareOrMapping()]


@dataclass(frozen=True, kw_only=True)
class AnswersChange:
    """How long an answer stays right.

    Parameters
    ----------
    every
        Time from one change of the right answer to the next. A constant one (``6h``) begins anywhere for each meaning;
        changes of different meanings are independent of each other.
    """

    __pydantic_config__: ClassVar = FORBID

    every: DurationDistribution

    def __post_init__(self) -> None:
        if self.every.mean <= 0:
            raise BadValue("answers would change all the time; write every: 6h, or remove it", "every")


@dataclass(frozen=True, kw_only=True)
class Topics:
    """What people ask about, which decides what a cache can hit, and how often it would be wrong.

    Parameters
    ----------
    zipf
        Popularity of questions.
    meanings
        How many different answers there are to these questions (intents, in an intent corpus). Each question gets its
        meaning by chance, some meanings more questions than others as in the corpus. Without it each question has an
        answer of its own.
    paraphrases
        Share of requests that ask in words of their own, and so miss an exact-match cache.
    phrasings
        How many other wordings each question has, which those requests use, all equally often. Without it they use
        words that were never said before.
    traps
        Share of requests that look like one of the questions and are not (a negation, another number, another name):
        an answer to it would be wrong. Or a mapping that says of which kinds they are (`Traps`). Each is asked once.
    similarity
        Where the similarities of phrases are from: ``banking77`` (default; questions to one bank, narrow and hard to
        tell apart), ``clinc150`` (questions to an assistant), or a file that ``llmsim cache fit`` made of prompts,
        relative to the scenario.
    answers_change
        The right answers change after a time: an older one is wrong if it is served. Without it they hold.
    prompts
        A CSV or JSONL file of real prompts, relative to the scenario file, that are asked word for word in place of
        made-up topics (columns: `llmsim.traffic.prompts.read_prompts`). A semantic cache then compares their real
        vectors (extra ``embeddings``), and an answer is wrong if it was made for another intent; without intents in the
        file nobody knows. Paraphrases and traps are what the file has of them.
    order
        Of prompts. ``zipf``: by the popularity in `zipf`, whose ranks are dealt out by chance in each replication;
        ``unique`` is the number of prompts then. ``count``: each as often as the file says, by a column or by
        repeating it. ``file``: in turn (by ``time_s``, if there is one), and the first again after the last; a
        ``tenant`` of the file replaces that of the route.

    Notes
    -----
    The later steps of a session or an agent depend on what was said before: they match nothing but themselves.
    """

    __pydantic_config__: ClassVar = FORBID

    zipf: Zipf = Zipf()
    meanings: PositiveCount | None = None
    paraphrases: Ratio = 0.3
    phrasings: PositiveCount | None = None
    traps: TrapWords = 0.0
    similarity: str = "banking77"
    answers_change: AnswersChange | None = None
    prompts: str | None = None
    order: Literal["zipf", "count", "file"] = "zipf"

    def __post_init__(self) -> None:
        if self.prompts is not None:
            check_prompts(self, self.prompts)
        elif self.order != "zipf":
            raise BadValue(f"order: {self.order} is of prompts, and there are none; write prompts: FILE", "order")
        if self.meanings is not None and self.meanings > self.zipf.unique:
            raise BadValue(
                f"{self.zipf.unique:,} questions cannot have {self.meanings:,} answers; write a smaller number, or "
                "a larger zipf: {unique: …}",
                "meanings",
            )
        if not self.similarity.strip():
            raise BadValue("the name of the file is empty; write similarity: banking77", "similarity")

    @property
    def trap_share(self) -> float:
        """Share of requests that are traps."""
        return self.traps.share if isinstance(self.traps, Traps) else self.traps

    @property
    def trap_mix(self) -> tuple[float, ...]:
        """Shares of the kinds of traps among them, in the order of `llmsim.traffic.similarity.TRAP_KINDS`."""
        shares = (self.traps if isinstance(self.traps, Traps) else Traps(share=self.traps)).kinds.shares
        return tuple(share / sum(shares) for share in shares)
