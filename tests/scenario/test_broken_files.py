"""Every file in ``broken/`` is wrong in one way (``two-problems`` in six), and each says where and what to type."""

import time
from pathlib import Path

import pytest

from llmsim.errors import ScenarioError
from llmsim.scenario.load import load_scenario

BROKEN = Path(__file__).parent / "broken"

# line, column, path, beginning of the message, beginning of the hint
EXPECTED: dict[str, list[tuple[int, int, str, str, str]]] = {
    "at-sign": [(2, 7, "", "a value cannot begin with this", "Put it in quotes.")],
    "backoff-max": [
        (8, 15, "gateway.policies[0].retry.backoff", "backoff max 1s is below initial 2s", "Write max: 2s or more.")
    ],
    "bad-indentation": [(4, 2, "", "this line does not fit the lines", "Indent it like its neighbours")],
    "bare-duration": [(7, 13, "clock.duration", "300 is not a duration", "Write it like 250ms or 30s or 2m.")],
    "binary": [(2, 118, "", "this is not text in UTF-8", "Give a YAML file; save it as")],
    "bool-word": [
        (
            8,
            34,
            "gateway.policies[0].retry.honor_retry_after",
            "needs true or false, not 'maybe'",
            "Write true or false.",
        )
    ],
    "breaker-key": [
        (
            8,
            25,
            "gateway.upstream[0].circuit_breaker.failure_ratio",
            "unknown key 'failure_ratio'",
            "Did you mean 'failure_rate'?",
        )
    ],
    "cache-capacity": [
        (8, 25, "gateway.policies[0].cache.capacity", "0 is out of range", "A count must be at least 1.")
    ],
    "costs": [
        (5, 26, "costs.observability.price", "'$0.50/GB-month' is not a price per", "Write it like $0.50/GB."),
        (5, 61, "costs.observability.bytes_per_request", "2000 is not a size in bytes", "Write it like 2kB or"),
        (6, 27, "costs.vector_store.storage", "'$0.33/GB' is not a price of storage", "Write it like $0.33/GB-month."),
        (7, 3, "costs.embedings", "unknown key 'embedings'", "Did you mean 'embeddings'?"),
    ],
    "costs-nothing-logged": [
        (5, 26, "costs.observability.price", "observability has a price and logs", "Write bytes_per_request: 2kB.")
    ],
    "custom-tag": [(3, 14, "traffic.base_rate", "the tag !env is not allowed; a", "Remove the tag.")],
    "cyclic-alias": [(4, 9, "", "*t stands inside of &t, so it", "Write the value out.")],
    "date": [(7, 40, "faults[0].at", "2026-11-23 is a date, and no key", "Put it in quotes if it is text:")],
    "distribution-parameter": [
        (5, 12, "providers.openai.ttft.gamma", "gamma takes mean, cv", "Write it like {gamma: {mean:")
    ],
    "duplicate-key": [(5, 3, "traffic.base_rate", "'base_rate' stands here a second", "Remove one of them.")],
    "empty-mix": [(4, 3, "traffic.mix", "the mix is empty", "Write mix: [{route: chat}], or")],
    "empty": [(1, 1, "", "the file is empty", "Start with 'version: 1', then")],
    "error-word": [
        (8, 20, "gateway.policies[0].retry.on[0]", "unknown error word 'rate_limit'", "Did you mean 'rate_limited'?")
    ],
    "executor-without-stages": [
        (2, 1, "traffic.stages", "executor ramping-arrival-rate", "Write stages: [{duration: 2m,")
    ],
    "fallback-upstream": [
        (8, 7, "gateway.upstream[0].fallback", "fallback chooses between", "Move it to gateway.policies.")
    ],
    "fault-after-the-end": [
        (8, 40, "faults[0].at", "this fault starts at 3m, when the", "Choose an earlier at:, or a")
    ],
    "fault-missing-name": [(7, 5, "faults[0].name", "'name' is missing", "Add name: brown-out.")],
    "fault-ramp-endless": [
        (7, 55, "faults[0].ramp_down", "this fault keeps its full strength", "Add duration: 7m, how long it has")
    ],
    "fault-ramp-of-no-slots": [
        (7, 44, "faults[0].ramp_up", "provider 'openai' has no concurrency of which", "Give it concurrency: 32.")
    ],
    "fault-ramp-outage": [
        (7, 62, "faults[0].ramp_down", "outage is there or not, with no", "Remove ramp_down, or give outage a")
    ],
    "fault-sequence": [
        (7, 54, "faults[0].sequence[1]", "'fine' is not an error status", "Write it like 503 or 429, or 'ok'.")
    ],
    "fault-status": [(7, 50, "faults[0].abort.status", "200 is out of range", "An error status must be at least")],
    "fault-twice": [(8, 12, "faults[1].name", "two faults are called 'down':", "Rename one; reports go by the")],
    "fault-without-effect": [(7, 5, "faults[0]", "fault 'nothing' does nothing", "Give it latency, capacity,")],
    "gateway-entry": [(7, 3, "gateway.entry", "unknown key 'entry'", "Known: policies, upstream,")],
    "huge-number": [(7, 15, "replications", "9999999999999999999999999999999999", "A count must be finite.")],
    "infinite": [(4, 25, "providers.openai.concurrency", "inf is out of range", "A count must be finite.")],
    "latin-1": [(2, 8, "", "this is not text in UTF-8", "Give a YAML file; save it as")],
    "list-instead-of-mapping": [(1, 1, "", "the file holds a list", "Write keys: 'version: 1', then")],
    "missing-colon": [(4, 8, "", "a second colon stands in this", "Look for a missing colon above;")],
    "missing-providers": [(1, 1, "providers", "'providers' is missing", "Add providers: {openai: {ttft:")],
    "missing-traffic": [(1, 1, "traffic", "'traffic' is missing", "Add traffic: {base_rate: 4/s}.")],
    "missing-version": [(1, 1, "version", "'version' is missing", "Add version: 1.")],
    "name-number": [(1, 7, "name", "needs text, not 5", 'Put it in quotes: "5".')],
    "nan": [(7, 58, "faults[0].latency.multiplier", "nan is out of range", "A multiplier must be finite.")],
    "negative-rate": [(3, 14, "traffic.base_rate", "'-4/s' is not a rate", "Write it like 40/s or 5000/min.")],
    "no-providers": [(3, 1, "providers", "a scenario needs at least one", "Add one: providers: {openai:")],
    "nul": [(2, 8, "", "a control character ('\\x00')", "Give a YAML file; remove the")],
    "null-document": [(1, 1, "", "the file is empty", "Start with 'version: 1', then")],
    "null-providers": [(3, 1, "providers", "no value is given", "Write one, or remove the key.")],
    "number-as-key": [(4, 3, "providers", "the key 4 is not text", 'Put it in quotes: "4".')],
    "only-comments": [(1, 1, "", "the file is empty", "Start with 'version: 1', then")],
    "p99-below-p50": [
        (4, 14, "traffic.patience.lognormal", "lognormal: need 0 < p50 <= p99,", "Write the median as p50 and the")
    ],
    "percentage-150": [(5, 29, "traffic.mix[0].weight", "'150%' is out of range", "A ratio must be at least 0 and at")],
    "png": [(1, 1, "", "this is not text in UTF-8", "Give a YAML file; save it as")],
    "policies-mapping": [(7, 3, "gateway.policies", "needs a list, not a mapping", "Begin each item with '- '.")],
    "policy-jitter": [
        (8, 33, "gateway.policies[0].retry.backoff.jitter", "unknown jitter 'ful'", "Did you mean 'full'?")
    ],
    "policy-nested-key": [
        (8, 25, "gateway.policies[0].retry.backoff.jiter", "unknown key 'jiter'", "Did you mean 'jitter'?")
    ],
    "policy-twice": [
        (9, 7, "gateway.policies[1].retry", "two policies here are called", "Give one a name: retry: {name:")
    ],
    "policy-two-keys": [
        (8, 7, "gateway.policies[0]", "a policy is a single key, and", "Indent the settings below retry:,")
    ],
    "policy-zero-attempts": [
        (8, 29, "gateway.policies[0].retry.max_attempts", "0 is out of range", "A count must be at least 1.")
    ],
    "price-unknown-key": [(5, 13, "providers.openai.price.inputs", "unknown key 'inputs'", "Did you mean 'input'?")],
    "price-without-dollar": [
        (5, 20, "providers.openai.price.input", "'0.15/Mtok' is not a price per", "Write it like $3/Mtok or")
    ],
    "provider-called-cache": [(4, 3, "providers.cache", "'cache' is what tables call", "Choose another name.")],
    "providers-list": [(3, 1, "providers", "needs a mapping, not a list", "Write it like name: {…}.")],
    "python-tag": [(2, 10, "traffic", "the tag", "Remove the tag.")],
    "rate-limit-per-fortnight": [
        (5, 26, "providers.openai.rate_limit.tokens", "'4M/fortnight' is not a rate", "Write it like 40/s or 5000/min.")
    ],
    "seed-text": [(6, 7, "seed", "needs a whole number, not 'seven'", "Write it like 7.")],
    "several-documents": [(6, 1, "", "a second document starts here", "Remove the '---'; one file holds")],
    "single-value": [(1, 1, "", "the file holds a single value", "Write keys: 'version: 1', then")],
    "slo-metric": [(7, 3, "slo.ttfb", "unknown metric 'ttfb'", "Did you mean 'ttft'?")],
    "slo-not-a-list": [
        (7, 15, "slo.error_rate", "needs a list, not 'value < 1%'", "Write error_rate: ['value < 1%'].")
    ],
    "slo-operator": [(8, 7, "slo.error_rate[0]", "'==' in 'value == 1%' is no", "Use <, <=, > or >=.")],
    "slo-p95": [(7, 10, "slo.ttft[0]", "'p95' is no aggregate", "Write p(95).")],
    "slo-percentile-101": [(7, 10, "slo.ttft[0]", "p(101) is out of range: a", "Write it like p(95) or p(99.9).")],
    "slo-recovery-time": [
        (7, 3, "slo.recovery_time", "recovery_time needs to know what", "Add steady_state: {error_rate:")
    ],
    "slo-unknown-route": [(9, 3, "slo.ttft{route:caht}", "there is no route 'caht'", "Did you mean 'chat'?")],
    "slo-unknown-tag": [(7, 3, "slo.ttft{model:gpt-4o}", "unknown tag 'model' in", "Known tags: route, provider,")],
    "slo-wrong-unit": [(7, 24, "slo.ttft[1]", "the bound of 'p(99) < 8%': '8%'", 'Write it like "p(95) < 250ms";')],
    "stages-without-executor": [(4, 3, "traffic.stages", "executor constant-arrival-rate", "Write executor:")],
    "tab-indentation": [(3, 1, "", "a tab stands here, and YAML is", "Replace it by spaces.")],
    "timeout-nothing": [(7, 14, "gateway.policies[0]", "timeout limits nothing", "Write at least one of ttft: 5s,")],
    "two-colons": [(2, 19, "", "a second colon stands in this", "Look for a missing colon above;")],
    "two-problems": [
        (3, 14, "traffic.base_rate", "4 is not a rate", "Write it like 40/s or 5000/min."),
        (4, 10, "traffic.users", "'many' is not a count", "Write it like 3 or 50000 or 4M."),
        (
            10,
            34,
            "gateway.policies[0].fallback.order[1]",
            "there is no provider 'antropic'",
            "Did you mean 'anthropic'?",
        ),
        (11, 7, "gateway.policies[1]", "unknown policy 'retrry'", "Did you mean 'retry'?"),
        (13, 40, "faults[0].at", "this fault starts at 10m, when", "Choose an earlier at:, or a"),
        (15, 10, "slo.ttft[0]", "p(101) is out of range: a", "Write it like p(95) or p(99.9)."),
    ],
    "unclosed-bracket": [(3, 10, "", "the mapping opened in line 2 is", "Add , or }.")],
    "unclosed-list": [(6, 1, "", "the list opened in line 5 is not", "Add , or ].")],
    "unclosed-quote": [(7, 1, "", "the quote opened in line 2 is not", "Add the closing quote.")],
    "undefined-alias": [(3, 21, "", "there is no &trafic above", "Did you mean *traffic?")],
    "unknown-distribution": [
        (4, 14, "traffic.patience.lognorm", "unknown distribution 'lognorm'", "Did you mean 'lognormal'?")
    ],
    "unknown-executor": [(3, 13, "traffic.executor", "needs 'constant-arrival-rate',", "Did you mean")],
    "unknown-fallback-provider": [
        (8, 34, "gateway.policies[0].fallback.order[1]", "there is no provider 'antropic'", "Did you mean 'anthropic'?")
    ],
    "unknown-fault-provider": [
        (7, 28, "faults[0].provider", "there is no provider 'openia'", "Did you mean 'openai'?")
    ],
    "unknown-key": [(4, 3, "traffic.patiense", "unknown key 'patiense'", "Did you mean 'patience'?")],
    "unknown-policy": [(9, 7, "gateway.policies[1].retri", "unknown policy 'retri'", "Did you mean 'retry'?")],
    "unknown-top-level": [(6, 1, "fault", "unknown key 'fault'", "Did you mean 'faults'?")],
    "utf-16": [(1, 1, "", "this is not text in UTF-8", "Give a YAML file; save it as")],
    "version-text": [(1, 10, "version", "this llmsim does not read version", "Write version: 1.")],
    "version-true": [(1, 10, "version", "needs a whole number, not true", "Write version: 1.")],
    "very-deep": [(3, 51, "", "nested more than 40 levels deep", "Close the brackets before this")],
    "weights-zero": [(4, 3, "traffic.mix", "the weights of the mix add up to", "Write a weight above 0%, e.g.")],
    "wrong-unit": [(3, 14, "traffic.base_rate", "'4 per second' is not a rate", "Write it like 40/s or 5000/min.")],
    "wrong-version": [(1, 10, "version", "this llmsim does not read version", "Write version: 1.")],
    "yaml-bomb": [(10, 24, "", "more values than any scenario has", "Keep it below 50,000, aliases")],
    "zero-rate": [(3, 14, "traffic.base_rate", "executor constant-arrival-rate", "Write base_rate: 4/s.")],
}


def test_the_table_and_the_folder_agree() -> None:
    assert sorted(path.stem for path in BROKEN.glob("*.yaml")) == sorted(EXPECTED)
    assert len(EXPECTED) >= 30


@pytest.mark.matrix
@pytest.mark.parametrize("name", EXPECTED)
def test_says_where_and_what_to_type(name: str) -> None:
    path = BROKEN / f"{name}.yaml"
    started = time.process_time()
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert time.process_time() - started < 1.0
    problems = caught.value.problems
    assert [(p.line, p.column, p.path) for p in problems] == [row[:3] for row in EXPECTED[name]]
    for problem, (*_, message, hint) in zip(problems, EXPECTED[name], strict=True):
        assert problem.message.startswith(message)
        assert problem.hint.startswith(hint)
        assert problem.hint, "every problem says what to type instead"
    for line, (row, column, *_) in zip(str(caught.value).splitlines(), EXPECTED[name], strict=True):
        assert line.startswith(f"{path}:{row}:{column}: ")
        for jargon in ("Traceback", "pydantic", "https://", "type=", "Input should", "Value error", "ruamel"):
            assert jargon not in line
    assert caught.value.__suppress_context__ or caught.value.__context__ is None  # no chain in a traceback either


def test_independent_problems_are_all_reported() -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(BROKEN / "two-problems.yaml")
    assert len(caught.value.problems) == 6
