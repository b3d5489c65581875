"""Prices: by hand, from the list, cached and batch."""

from datetime import datetime

import pytest
from schema import validator

from llmsim.errors import ScenarioError
from llmsim.pricing import TokenPrice, list_price
from llmsim.scenario.load import parse_scenario, read_document
from llmsim.scenario.values import from_values, to_values
from llmsim.types import Usage

MTOK = 1e6


def test_a_hand_computed_bill_with_cached_input():
    """10,000 in, of which 4,000 cached, and 1,000 out on gpt-4o-mini: 6 x .15 + 4 x .075 + .60 thousandths = $.0018."""
    price = list_price("openai/gpt-4o-mini", "2026-05-01").price
    usage = Usage(input_tokens=10_000, output_tokens=1_000, cached_input_tokens=4_000)
    assert price.cost(usage) == pytest.approx(0.0018, rel=1e-12)


@pytest.mark.parametrize(
    ("model", "date", "usage"),
    [
        ("openai/gpt-4o", "2026-05-01", Usage(1000, 500, 200)),
        ("anthropic/claude-3-5-sonnet", "2025-01-01", Usage(7, 1, 0)),
        ("groq/llama3-70b-8192", "2024-05-03", Usage(123_456, 789, 0)),
        ("aws/meta.llama3-70b-instruct-v1:0", "2024-05-03", Usage(1, 1, 0)),
    ],
)
def test_the_list_and_we_bill_the_same(model, date, usage):
    import genai_prices
    from genai_prices.types import Usage as TheirUsage

    provider, _, name = model.partition("/")
    theirs = genai_prices.calc_price(
        TheirUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_input_tokens,
        ),
        name,
        provider_id=provider,
        genai_request_timestamp=datetime.fromisoformat(date + "T12:00:00+00:00"),
    )
    assert list_price(model, date).price.cost(usage) == pytest.approx(float(theirs.total_price), rel=1e-9)


def test_a_price_has_a_date():
    """OpenAI cut o3 from $10 to $2 on 10 June 2025."""
    days = {day: list_price("openai/o3", day).price.input * MTOK for day in ("2025-06-09", "2025-06-10")}
    assert days == pytest.approx({"2025-06-09": 10, "2025-06-10": 2})
    assert list_price("openai/o3").price.input * MTOK == pytest.approx(2)
    assert (list_price("openai/o3").date, list_price("openai/o3", "2025-06-09").date) == ("latest", "2025-06-09")


def test_batches():
    """litellm 1.106.2: gpt-4o-mini $.075 / $.30 and gpt-4o $1.25 / $5 per Mtok. Google does not halve cached input."""
    for model, expected in (("openai/gpt-4o-mini", (0.075, 0.30)), ("openai/gpt-4o", (1.25, 5))):
        price = list_price(model, "2026-05-01", batch=True).price
        assert (price.input * MTOK, price.output * MTOK) == pytest.approx(expected)
    plain, batch = (list_price("google/gemini-2.5-flash", "2026-05-01", batch=b).price for b in (False, True))
    assert (batch.input, batch.cached_input) == pytest.approx((plain.input / 2, plain.cached_input))


def test_tiers_are_not_hidden():
    assert list_price("anthropic/claude-sonnet-4-6", "2026-03-01").tier_above_tokens == 200_000
    assert list_price("openai/gpt-4o").tier_above_tokens is None


TEXT = """\
version: 1
traffic: {base_rate: 1/s}
providers:
  a: {price: {model: openai/gpt-4o-mini, date: 2026-05-01, batch: false}}
"""


def test_a_scenario_names_a_model_and_a_date():
    scenario = parse_scenario(TEXT)
    price = scenario.providers["a"].price
    assert price == list_price("openai/gpt-4o-mini", "2026-05-01").price
    assert price == TokenPrice(
        input=pytest.approx(0.15e-6), output=pytest.approx(0.6e-6), cached_input=pytest.approx(0.075e-6)
    )
    assert from_values(to_values(scenario)) == scenario
    assert validator().is_valid(read_document(TEXT)[0].data)
    assert not validator().is_valid(read_document(TEXT.replace("batch:", "btch:"))[0].data)


@pytest.mark.parametrize(
    ("right", "wrong", "path", "says"),
    [
        ("gpt-4o-mini", "gpt-4o-mni", "model", "Did you mean openai/gpt-4o-mini"),
        ("openai/", "opnai/", "model", "Did you mean openai/gpt-4o-mini?"),
        ("openai/", "", "model", "Write it like openai/gpt-4o-mini."),
        ("2026-05-01", "2026-13-01", "date", "Write it like 2026-05-01."),
        ("2026-05-01", "2026", "date", "Write it like 2026-05-01."),
        ("batch: false", "input: $3/Mtok", "input", "It takes model, date, batch."),
        ("batch: false", "batch: maybe", "batch", "Write batch: true."),
        ("openai/gpt-4o-mini, date: 2026-05-01, batch: false", "groq/llama3-70b-8192, batch: true", "batch", "input"),
        ("model: openai/gpt-4o-mini, ", "", "model", "Write it like model: openai/gpt-4o-mini."),
    ],
)
def test_what_cannot_be_looked_up_says_what_is_near(right, wrong, path, says):
    assert right in TEXT
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(TEXT.replace(right, wrong))
    (problem,) = caught.value.problems
    assert problem.path == f"providers.a.price.{path}"
    assert says in problem.hint and problem.line == 4
