"""Whole answers: looked at before the caller gets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from llmsim.algorithms.json_text import find_json
from llmsim.errors import BadRequest

__all__ = ["REFUSED", "JsonAnswer", "SchemaCheck", "json_answer", "schema_check"]

#: Finish reasons of an answer that says no.
REFUSED = ("refusal", "content_filter")

SchemaCheck = Callable[[Any], str]


class JsonAnswer(NamedTuple):
    """What became of an answer that should be JSON."""

    text: str  #: strict JSON that fits the schema; meaningless with an error
    repaired: str = ""  #: what was wrong with it before it was repaired
    error: str = ""  #: why it cannot be used
    lost: bool = False  #: the answer was cut at max_tokens, so the same call would be cut again


@lru_cache(maxsize=256)
def schema_check(schema: str) -> SchemaCheck:
    """Test for values against a JSON Schema (given as text): what is wrong with one, or nothing.

    Raises
    ------
    BadRequest
        If it is no JSON Schema.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, best_match
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        parsed = json.loads(schema)
        Draft202012Validator.check_schema(parsed)
    except (ValueError, SchemaError) as error:
        message = str(getattr(error, "message", error))
        raise BadRequest(f"response_schema is no JSON Schema: {message}; send it as JSON text") from None
    # An empty registry: a caller's schema must not make the gateway fetch an address.
    validator = Draft202012Validator(parsed, registry=Registry())

    def check(value: Any) -> str:
        try:
            found = best_match(validator.iter_errors(value))
        except Unresolvable as error:
            raise BadRequest(f"response_schema refers to {error}, which is not part of it") from None
        except RecursionError:
            return "it is nested too deeply"
        return "" if found is None else f"{found.json_path}: {found.message}"

    return check


def json_answer(text: str, finish_reason: str, check: SchemaCheck, *, repair: bool) -> JsonAnswer:
    """Parse an answer strictly; where that fails, repair what can be repaired without making anything up.

    Parameters
    ----------
    text, finish_reason
        The answer.
    check
        Of its value.
    repair
        Whether to try.
    """
    value, problem = _parsed(text)
    if not problem:
        wrong = check(value)
        return JsonAnswer(text, error=wrong and f"it does not fit the schema ({wrong})")
    if finish_reason in REFUSED:
        return JsonAnswer(text, error=f"the model refused ({finish_reason})")
    ending, found = find_json(text)
    cut = finish_reason == "length" and ending != "whole"
    if cut or ending == "cut":
        where = "at max_tokens" if cut else "in the middle"
        return JsonAnswer(text, error=f"it stops {where}: {problem}", lost=cut)
    if not repair or ending == "none":
        return JsonAnswer(text, error=problem)
    repaired, still = _repaired(found, check)
    return JsonAnswer(text, error=still) if still else JsonAnswer(repaired, repaired=problem)


def _parsed(text: str) -> tuple[Any, str]:
    try:
        return json.loads(text), ""
    except (ValueError, RecursionError) as error:
        return None, f"it is no JSON ({error})"


def _repaired(found: str, check: SchemaCheck) -> tuple[str, str]:
    """Strict JSON, or what is still wrong with it."""
    value, problem = _parsed(found)
    if problem:
        # Only where nothing less will do: json-repair changes values too (it drops a string of white space).
        from json_repair import repair_json

        try:
            value = repair_json(found, return_objects=True, skip_json_loads=True)
            found = json.dumps(value, ensure_ascii=False)
        except (ValueError, RecursionError) as error:
            return "", f"it cannot be repaired ({error})"
    wrong = check(value)
    return found, wrong and f"repaired, it does not fit the schema ({wrong})"
