"""The JSON Schema of scenario files, made once for all tests that ask it: it takes half a second."""

from functools import cache

from jsonschema import Draft202012Validator

from llmsim.scenario.jsonschema import json_schema


@cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(json_schema())
