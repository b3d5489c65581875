"""vLLM's behaviour, one row each with its source; and what holds for all dialects."""

import json
from dataclasses import fields

import pytest
from providers.dialects.desk import Desk, body, part
from providers.sim.bench import play

from llmsim import errors as e
from llmsim.distributions import Constant
from llmsim.providers.dialects import DIALECTS, Accounts, ErrorRates, LimitHeaders, Limits
from llmsim.providers.sim.latency import Prefill, PromptCache
from llmsim.providers.sim.spec import SimProvider
from llmsim.units import RATE

PROTOCOL = "vllm-project/vllm vllm/entrypoints/openai/engine/protocol.py"
FAILURES = [
    (
        "server_error",
        PROTOCOL,
        e.ServerError,
        500,
        {"error": {"type": "InternalServerError", "param": None, "code": 500}},
    ),
    (
        "context_too_long",
        "vllm-project/vllm#37011: no word of its own",
        e.ContextTooLong,
        400,
        {
            "error": {
                "type": "BadRequestError",
                "code": 400,
                "message": "…maximum context length is 8192 tokens. However, you requested 9000 tokens "
                "(9000 in the messages, 0 in the completion).",
            }
        },
    ),
    ("auth", "vllm-project/vllm: --api-key", e.AuthError, 401, {"error": "Unauthorized"}),
    ("overloaded", "a proxy before it, not confirmed", e.Overloaded, 503, {"error": {"code": 503}}),
    ("slow_down", "a proxy before it, not confirmed", e.Overloaded, 503, {"error": {"code": 503}}),
    ("quota", "a proxy before it, not confirmed", e.QuotaExhausted, 402, {"error": {"code": 402}}),
]


@pytest.mark.parametrize(("kind", "source", "error", "status", "fields"), FAILURES, ids=[row[0] for row in FAILURES])
def test_failures(kind, source, error, status, fields):
    answer = Desk("vllm").failure(kind, input_tokens=9000, context_tokens=8192)
    assert (answer.kind, answer.status, dict(answer.headers), answer.retry_after_s) == (error, status, {}, None)
    assert part(body(answer), fields), answer.body


def test_the_error_after_the_200_is_a_data_event():
    """vllm/entrypoints/openai/chat_completion/serving.py: data: {"error": …}, then [DONE]."""
    answer = Desk("vllm").failure("in_stream")
    assert answer.sse().startswith('data: {"error": {"message": ')
    assert (answer.status, answer.stands_for, answer.kind) == (200, 500, e.ServerError)


def test_nobody_is_refused_and_no_header_speaks_of_limits():
    desk = Desk("vllm")
    assert desk.letters([(0.0, 10**9, 10**9)] * 50) == "o" * 50
    assert desk.headers(0.0) == {}
    with pytest.raises(ValueError, match="vllm does not know requests; it knows no limits at all"):
        Desk("vllm", requests=1.0)


def _server(**more):
    """Two sequences at a time, 1 s to the first token, 0.1 s a token."""
    words = {"concurrency": 2, "ttft": Constant(1.0), "inter_token": Constant(0.1), **more}
    return SimProvider(dialect="vllm", **words)


def test_who_finds_all_sequences_taken_waits_first_come_first_served():
    """vllm-project/vllm: max_num_seqs sequences run, the rest wait (policy fcfs); there is no 429 and no 503."""
    seen = play(_server(), lambda bench: [bench.go(n, at=n / 100, tokens=11) for n in range(20)])
    assert {visit.word for visit in seen} == {"ok"}
    assert [round(visit.first_s - (1 + 2 * (n // 2)), 6) for n, visit in enumerate(seen)] == [0, 0.01] * 10


@pytest.mark.parametrize(("leave_at", "tokens"), [(1.55, 6), (0.5, 0)])
def test_whoever_hangs_up_is_aborted_and_the_next_moves_up(leave_at, tokens):
    """A client that disconnects aborts its request (vllm-project/vllm#9289), before the first token too (#32442)."""
    spec = _server(concurrency=1)
    seen = play(spec, lambda bench: [bench.go(0, tokens=100, leave_at=leave_at), bench.go(1, at=0.1, tokens=1)])
    assert (seen[0].word, seen[0].usage.output_tokens) == ("left", tokens)
    assert seen[1].first_s == pytest.approx(leave_at + 1.0)


def test_prompt_and_max_tokens_must_fit_together():
    """vllm-project/vllm#20409: 112946 in the messages and 10000 in the completion do not fit into 16384."""

    async def ask(bench, max_tokens):
        request = bench.request(0, tokens=5, input_tokens=900)._replace(max_tokens=max_tokens)
        return await (await bench.provider.send(request)).read()

    assert play(_server(context_window=1000), lambda bench: ask(bench, 100))
    with pytest.raises(e.ContextTooLong, match=r"requested 1001 tokens \(900 in the messages, 101 in the completion\)"):
        play(_server(context_window=1000), lambda bench: ask(bench, 101))


def test_without_max_tokens_an_answer_may_fill_the_window_and_no_more():
    """vllm/entrypoints/utils.py get_max_tokens: what the prompt leaves of max_model_len is the default."""
    spec = _server(context_window=1000)
    seen = play(
        spec, lambda bench: [bench.go(0, input_tokens=900, tokens=500), bench.go(1, input_tokens=10, tokens=500)]
    )
    assert [(visit.usage.output_tokens, visit.response.finish_reason) for visit in seen] == [
        (100, "length"),
        (500, "stop"),
    ]


def test_a_prefix_that_was_read_before_is_not_read_again_and_is_told_in_the_usage():
    """docs.vllm.ai automatic prefix caching (blocks of 16 tokens); --enable-prompt-tokens-details: cached_tokens."""
    cache = PromptCache(share=0.9, min_tokens=16, increment=16)
    spec = _server(ttft=Constant(0.01), prefill=Prefill(per_1k=1.0), prompt_cache=cache)
    seen = play(spec, lambda bench: [bench.go(n, at=10.0 * n, input_tokens=2000) for n in range(2)])
    assert [visit.usage.cached_input_tokens for visit in seen] == [0, 1792]  # 112 blocks of 1800
    assert [visit.first_s - visit.start_s for visit in seen] == pytest.approx([2.01, 0.01 + 0.208])


def test_a_failed_call_is_charged_nothing_and_tells_no_time_to_come_back():
    """It keeps no accounts: a 500 or a 400 has no Retry-After (vllm/entrypoints/openai/engine/protocol.py)."""
    spec = _server(errors=ErrorRates(server_error=1.0))
    (seen,) = play(spec, lambda bench: bench.go(0))
    assert (seen.word, seen.error.retry_after_s, seen.usage) == ("server_error", None, None)


@pytest.mark.parametrize("name", DIALECTS)
def test_words_without_effect_are_refused(name):
    values = {
        "requests": 1.0, "tokens": 1.0, "input_tokens": 1.0, "output_tokens": 1.0, "requests_per_day": 9,
        "tokens_per_day": 9, "window": 60.0, "burst": 1.0, "retry_after": False, "failed_requests": "free",
        "max_output_tokens": 9, "reserve_output": True, "count_cached": True, "output_weight": 5.0,
        "count_tokens": "sum",
    }  # fmt: skip
    for word, value in values.items():
        if word in DIALECTS[name].reads:
            beside = {"requests": 1.0} if word == "burst" else {}
            DIALECTS[name].check(Limits(**{word: value}, **beside))
        else:
            with pytest.raises(ValueError, match=f"the dialect {name} does not know {word}; it knows "):
                DIALECTS[name].account(Limits(**{word: value}))


@pytest.mark.parametrize("name", ["openai", "azure", "anthropic"])
def test_a_burst_of_no_requests_is_refused(name):
    with pytest.raises(ValueError, match="write requests: 500/min beside it"):
        DIALECTS[name].account(Limits(burst=1.0, **({"input_tokens": 9.0} if name == "anthropic" else {"tokens": 9.0})))


def test_the_table_in_the_docstring_says_what_is_read():
    rows = [line for line in Limits.__doc__.splitlines() if line.startswith("    ")]
    header = next(line for line in rows if line.strip().startswith("word"))
    places = {
        name: header.index(f" {name}") + 1
        for name in ("generic", "openai", "azure", "anthropic", "gemini", "bedrock", "groq")
    }
    for word in (field.name for field in fields(Limits)):
        row = next(line for line in rows if line.split()[:1] == [word] and " x" in line).ljust(90)
        assert {name for name, place in places.items() if row[place] == "x"} == {
            name for name, dialect in DIALECTS.items() if word in dialect.reads
        }, word


def test_limits_come_from_yaml_words():
    """The dataclass is what pydantic reads a scenario into."""
    from pydantic import TypeAdapter, ValidationError

    read = TypeAdapter(Limits).validate_python
    words = {
        "requests": "500/min",
        "tokens": "30k/min",
        "requests_per_day": "10k",
        "ramp": {"growth": "30%"},
        "output_weight": "5x",
    }
    limits = read(words)
    assert (limits.requests, limits.tokens, limits.requests_per_day) == (RATE.parse("500/min"), 500.0, 10_000)
    assert (limits.ramp.growth, limits.output_weight, limits.words()[-1]) == (0.3, 5.0, "ramp")
    with pytest.raises(ValidationError):
        read({"requests_per_minute": 5})
    with pytest.raises(ValidationError, match="more than 100%"):
        TypeAdapter(ErrorRates).validate_python({"server_error": "60%", "overloaded": "50%"})


def test_one_draw_decides_among_all_failures():
    rates = ErrorRates(server_error=0.1, overloaded=0.2, in_stream=0.3)
    drawn = [rates.pick((n + 0.5) / 1000) for n in range(1000)]
    assert [drawn.count(kind) for kind in ("server_error", "overloaded", "in_stream", None)] == [100, 200, 300, 400]
    without = [ErrorRates(server_error=0.1).pick((n + 0.5) / 1000) for n in range(1000)]
    assert [n for n in range(1000) if without[n]] == [n for n in range(1000) if drawn[n] == "server_error"]


def test_success_headers_are_written_when_looked_at_and_as_of_the_call():
    desk = Desk("openai", requests=1.0)
    ticket = desk.ask(0.0)
    headers = desk.dialect.success(desk.account, ticket)
    assert type(headers) is LimitHeaders
    for _ in range(20):
        desk.ask(1.0)
    assert headers["x-ratelimit-remaining-requests"] == "59"
    assert (len(headers), set(headers)) == (3, set(dict(headers)))
    assert headers.get("x-ratelimit-limit-tokens") is None
    assert json.loads(json.dumps(dict(headers))) == dict(headers)


def test_a_group_shares_one_account():
    accounts = Accounts()
    limits = Limits(requests=2 / 60)
    one, two = (accounts.get(name, "anthropic", limits, group="org") for name in ("opus", "sonnet"))
    assert [type(account.admit(1, 1, 0, 0.0)).__name__ for account in (one, two, one)] == ["tuple", "tuple", "Refused"]
    alone = accounts.get("haiku", "anthropic", limits)
    assert type(alone.admit(1, 1, 0, 0.0)) is tuple
    with pytest.raises(ValueError, match="opus and haiku share the quota_group 'org', but not dialect and rate_limit"):
        accounts.get("haiku", "anthropic", Limits(requests=1.0), group="org")
    with pytest.raises(ValueError, match="share the quota_group"):
        accounts.get("gpt", "openai", limits, group="org")
