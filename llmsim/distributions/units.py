"""Annotations for the fields of specs: a distribution whose values carry a unit."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

from llmsim.distributions.parse import PERCENTILE, families, optional, parse_distribution
from llmsim.distributions.plain import Distribution
from llmsim.units import COUNT, DURATION, MULTIPLIER, RATIO, Unit

__all__ = [
    "CountDistribution",
    "DurationDistribution",
    "MultiplierDistribution",
    "NumberDistribution",
    "written_once",
]

#: A schema of hundreds of distributions takes here what each kind looks like, by its name, and has the name alone
#: (``{"$distribution": …}``) in each place: pydantic compares all definitions again and again, in all their length.
written_once: ContextVar[dict[str, dict[str, Any]] | None] = ContextVar("written_once", default=None)


@dataclass(frozen=True)
class _Of:
    """``Annotated`` marker: a distribution whose values carry this unit."""

    unit: Unit

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def validate(value: Any, info: Any) -> Distribution:
            return parse_distribution(value, self.unit, si=bool(info.context and info.context.get("si")))

        return core_schema.with_info_plain_validator_function(validate)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        name = f"distribution of {self.unit.name}"
        kinds = written_once.get()
        if kinds is None:
            return {"anyOf": self._alternatives(schema, handler), "description": f"a {name}"}
        if name not in kinds:
            kinds[name] = {"anyOf": self._alternatives(schema, handler)}
        return {"$distribution": name, "description": f"a {name}"}

    def _alternatives(self, schema: Any, handler: Any) -> list[dict[str, Any]]:
        one = self.unit.__get_pydantic_json_schema__(schema, handler)
        share = RATIO.__get_pydantic_json_schema__(schema, handler)
        plain = _plain(one, families(self.unit))
        parts = [_object({"weight": share, **alternative["properties"]}) for alternative in plain]
        mixture = _object({"mixture": {"type": "array", "minItems": 1, "items": {"anyOf": parts}}})
        base = {"anyOf": [one, *plain, mixture]}
        contention = _object({"contention": _object({"base": base, "probability": share, "extra": one})})
        return [one, *plain, mixture, contention]


def _plain(one: dict[str, Any], known: dict[str, type[Any]]) -> list[dict[str, Any]]:
    """Every family that holds no other, as an object with one key."""
    found = []
    for family, cls in known.items():
        names = [f.name for f in fields(cls)]
        values = {name: {"type": "number"} if name in cls.dimensionless else one for name in names}
        whole: dict[str, Any] = _object(values, optional(cls))
        found.append(_object({family: whole if len(names) > 1 else {"anyOf": [one, whole]}}))
    quantiles = {
        "type": "object",
        "patternProperties": {f"^{PERCENTILE.pattern}$": one},
        "additionalProperties": False,
        "minProperties": 1,
    }
    values = {"values": {"type": "array", "items": one, "minItems": 1}}
    return [*found, _object({"empirical": {"anyOf": [quantiles, _object(values)]}})]


def _object(properties: dict[str, Any], left_out: frozenset[str] = frozenset()) -> dict[str, Any]:
    required = [name for name in properties if name not in left_out]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


# The bound keeps a slip of the finger out of 32-bit columns; no model takes or gives this much.
_TOKENS = replace(COUNT, name="a number of tokens", examples=("900", "8k"), whole=False, high=1e8)
# Of turns, steps, documents; whoever draws one says what is too few or too many.
_NUMBER = replace(COUNT, name="a number", examples=("5", "10"), whole=False, high=1e4)

DurationDistribution = Annotated[Distribution, _Of(DURATION)]
CountDistribution = Annotated[Distribution, _Of(_TOKENS)]
MultiplierDistribution = Annotated[Distribution, _Of(MULTIPLIER)]
NumberDistribution = Annotated[Distribution, _Of(_NUMBER)]
