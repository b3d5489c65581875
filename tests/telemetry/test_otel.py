"""Exports: read by the parsers of others, equal to the tables, under names that exist, the same bytes every time."""

import base64
import json
import math
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from report.results import result, scenario
from telemetry.recorded import attempt, event, replication, request

from llmsim.errors import LlmsimError
from llmsim.report.result import Result
from llmsim.telemetry.measurements import histogram, measurements
from llmsim.telemetry.otel import ATTRIBUTES, METRICS
from llmsim.telemetry.otlp import EPOCH_NS
from llmsim.telemetry.prometheus import prometheus_name


@pytest.fixture(scope="module")
def day():
    return result(2, rate=4.0)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def as_protobuf(page):
    """A page with hex ids in base64, which is where OTLP's JSON differs from protobuf's."""
    if isinstance(page, dict):
        ids = ("traceId", "spanId", "parentSpanId")
        return {k: base64.b64encode(bytes.fromhex(v)).decode() if k in ids else as_protobuf(v) for k, v in page.items()}
    return [as_protobuf(one) for one in page] if isinstance(page, list) else page


def test_the_names_are_those_of_the_conventions():
    # As listed in gen-ai-metrics.md, gen-ai-token-metrics.md and gen-ai-spans.md; what is not there is ours.
    published = {
        "gen_ai.client.operation.duration", "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.client.inference.usage.input_tokens", "gen_ai.client.inference.usage.output_tokens",
        "gen_ai.client.inference.usage.cache_read.input_tokens", "gen_ai.client.inference.operation.input_tokens",
        "gen_ai.client.inference.operation.output_tokens", "gen_ai.client.token.usage",
        "gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token",
    }  # fmt: skip
    assert {one.name for one in METRICS.values() if not one.name.startswith("llmsim.")} == published
    attributes = {
        "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model",
        "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.response.time_to_first_chunk", "gen_ai.token.type", "gen_ai.token.modality", "gen_ai.conversation.id",
        "error.type", "http.response.status_code", "user.id", "gen_ai.request.max_tokens", "gen_ai.request.temperature",
        "gen_ai.response.finish_reasons", "gen_ai.input.messages", "gen_ai.output.messages",
    }  # fmt: skip
    assert {name for name in ATTRIBUTES.values() if not name.startswith("llmsim.")} == attributes
    assert len(set(ATTRIBUTES.values())) == len(ATTRIBUTES)
    assert METRICS["token_usage"].bounds[:3] == (1, 4, 16)
    assert METRICS["token_usage"].bounds[-1] == 67_108_864
    for one in METRICS.values():
        assert bool(one.bounds) == (one.kind == "histogram")
        assert list(one.bounds) == sorted(set(one.bounds))


@pytest.mark.slow
def test_metrics_parse_as_otlp_and_count_what_happened(day, tmp_path):
    from google.protobuf import json_format
    from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

    path, _ = day.to_otlp(tmp_path / "run.jsonl")
    assert path == tmp_path / "run.metrics.jsonl"
    seen = {}
    for page in lines(path):
        data = json_format.ParseDict(as_protobuf(page), MetricsData())
        (about,) = data.resource_metrics
        (metric,) = about.scope_metrics[0].metrics
        number = next(a.value.int_value for a in about.resource.attributes if a.key == "llmsim.replication")
        seen[number, metric.name] = metric
        kind = metric.WhichOneof("data")
        points = getattr(metric, kind).data_points
        assert getattr(metric, kind).aggregation_temporality == 2
        assert kind == "histogram" or metric.sum.is_monotonic
        by_series = {}
        for point in points:
            by_series.setdefault(tuple((a.key, a.value.string_value) for a in point.attributes), []).append(point)
        for same in by_series.values():
            ends = [point.time_unix_nano for point in same]
            assert ends == sorted(set(ends))
            assert all(b - a == 10**10 for a, b in pairwise(ends))
            if kind == "histogram":
                assert all(sum(point.bucket_counts) == point.count for point in same)
                assert all(len(point.bucket_counts) == len(point.explicit_bounds) + 1 for point in same)
                assert [p.count for p in same] == sorted(p.count for p in same)
                assert all(p.min * p.count <= p.sum * (1 + 1e-9) <= p.max * p.count * (1 + 2e-9) for p in same)
    attempts = day.attempts.filter((pl.col("replication") == 1) & (pl.col("window") == "measured"))
    last = max(p.time_unix_nano for p in seen[1, "gen_ai.client.operation.duration"].histogram.data_points)
    at_end = [p for p in seen[1, "gen_ai.client.operation.duration"].histogram.data_points if p.time_unix_nano == last]
    assert sum(p.count for p in at_end) == attempts.height
    assert math.isclose(sum(p.sum for p in at_end), (attempts["end_s"] - attempts["start_s"]).sum())
    tokens = seen[1, "gen_ai.client.inference.usage.input_tokens"].sum.data_points
    assert sum(p.as_double for p in tokens if p.time_unix_nano == last) == attempts["input_tokens"].sum()


def test_traces_parse_as_otlp_and_are_trees(day, tmp_path):
    from google.protobuf import json_format
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    _, path = day.to_otlp(tmp_path / "run", replication=1)
    assert path == tmp_path / "run.traces.jsonl"
    assert max(map(len, path.read_text(encoding="utf-8").splitlines())) < 2**20
    spans = []
    for page in lines(path):
        data = json_format.ParseDict(as_protobuf(page), TracesData())
        spans += data.resource_spans[0].scope_spans[0].spans
    roots = {span.trace_id: span for span in spans if not span.parent_span_id}
    children = [span for span in spans if span.parent_span_id]
    measured = (pl.col("window") == "measured") & (pl.col("replication") == 1)
    assert len(roots) == day.requests.filter(measured).height
    assert len(children) == day.attempts.filter(measured).height
    assert len({(span.trace_id, span.span_id) for span in spans}) == len(spans)
    for child in children:
        root = roots[child.trace_id]
        assert child.parent_span_id == root.span_id
        assert root.start_time_unix_nano <= child.start_time_unix_nano <= child.end_time_unix_nano
    assert all(len(span.trace_id) == 16 and len(span.span_id) == 8 for span in spans)
    failed = [span for span in roots.values() if span.status.code == 2]
    assert len(failed) == day.requests.filter(measured & (pl.col("outcome") != "ok")).height
    words = {a.key: a.value.string_value for a in failed[0].attributes}
    assert words["error.type"] == words["llmsim.outcome"] == "rate_limited"


def test_one_span_by_hand(tmp_path):
    rows = [request(arrival_s=2.0, ttft_s=1.5, e2e_s=2.5, attempts=2, user="ü")]
    tries = [
        attempt(arrival_s=2.0, start_s=2.0, end_s=2.25, outcome="rate_limited", status=429),
        attempt(arrival_s=2.0, attempt=2, cause="retry", start_s=3.0, first_s=3.5, end_s=4.5, cost_usd=0.25),
    ]
    told = [event(time_s=2.25, request_id="0/0/0", detail='{"delay_s": 0.75}')]
    _, path = Result(scenario(), [replication(rows, tries, told)]).to_otlp(tmp_path / "one")
    ((root, refused, answered),) = [page["resourceSpans"][0]["scopeSpans"][0]["spans"] for page in lines(path)]
    assert root["startTimeUnixNano"] == str(EPOCH_NS + 2 * 10**9)
    assert root["endTimeUnixNano"] == str(EPOCH_NS + 4_500_000_000)
    assert (root["kind"], refused["kind"], root["name"], answered["name"]) == (2, 3, "chat chat", "chat m")
    assert root["events"][0]["name"] == "retry"
    assert refused["status"] == {"code": 2, "message": "rate_limited"}
    values = {one["key"]: one["value"] for one in answered["attributes"]}
    assert values["gen_ai.response.time_to_first_chunk"] == {"doubleValue": 0.5}
    assert values["gen_ai.usage.output_tokens"] == {"intValue": "11"}
    assert values["http.response.status_code"] == {"intValue": "200"}
    assert values["llmsim.cost"] == {"doubleValue": 0.25}
    assert "http.response.status_code" in {one["key"] for one in refused["attributes"]}
    assert "status" not in answered


def test_prometheus_text_parses_and_counts_what_happened(day, tmp_path):
    from prometheus_client.parser import text_string_to_metric_families

    text = day.to_prometheus(tmp_path / "run.prom").read_text(encoding="utf-8")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    wanted = {prometheus_name(one).removesuffix("_total") for one in METRICS.values()}
    assert families.keys() <= wanted
    assert {"gen_ai_client_operation_duration_seconds", "llmsim_requests", "llmsim_cost_USD"} <= families.keys()
    measured = pl.col("window") == "measured"
    asked = families["llmsim_requests"]
    assert asked.type == "counter"
    by_outcome = {}
    for sample in asked.samples:
        by_outcome[sample.labels["llmsim_outcome"]] = by_outcome.get(sample.labels["llmsim_outcome"], 0) + sample.value
    counted = day.requests.filter(measured)["outcome"].cast(pl.String).value_counts()
    assert by_outcome == dict(counted.rows())
    duration = families["gen_ai_client_operation_duration_seconds"]
    series = {}
    for sample in duration.samples:
        key = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
        series.setdefault(key, {})[sample.labels.get("le", sample.name.rsplit("_", 1)[-1])] = sample.value
    for buckets in series.values():
        bounds = [float(le) for le in buckets if le not in ("sum", "count")]
        heights = [buckets[le] for le in buckets if le not in ("sum", "count")]
        assert heights == sorted(heights)
        assert bounds[-1] == math.inf
        assert heights[-1] == buckets["count"]
    assert sum(buckets["count"] for buckets in series.values()) == day.attempts.filter(measured).height


def test_labels_of_any_text_survive(tmp_path):
    from prometheus_client.parser import text_string_to_metric_families

    odd = 'a"b\\c\nd é'
    one = Result(scenario(), [replication([request(route=odd)], [attempt()])])
    text = one.to_prometheus(tmp_path / "odd.prom").read_text(encoding="utf-8")
    routes = {
        sample.labels.get("llmsim_route")
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert odd in routes
    metrics, traces = one.to_otlp(tmp_path / "odd")
    assert lines(metrics)
    assert lines(traces)


def test_a_value_on_a_bound_is_in_the_bucket_below_it():
    rows = [attempt(session=n, end_s=took, first_s=took / 2) for n, took in enumerate((0.01, 0.0100001, 0.02, 100.0))]
    from llmsim.report.tables import frame

    run = replication([], rows)
    told = measurements(frame([run], "requests"), frame([run], "attempts"))
    (series,) = [one for one in told if one.instrument == "duration"]
    counts = histogram(series, np.array([np.inf]))[-1]
    assert counts[:2].tolist() == [1, 2]  # Prometheus' le and OTLP's explicit bounds are both inclusive above
    assert counts[-1] == 1


@pytest.mark.slow
def test_equal_results_give_equal_bytes(day, tmp_path):
    again = result(2, rate=4.0)
    for name in ("to_otlp", "to_prometheus"):
        first, second = getattr(day, name)(tmp_path / "a"), getattr(again, name)(tmp_path / "b")
        pairs = zip(*((one,) if name == "to_prometheus" else one for one in (first, second)), strict=True)
        assert all(a.read_bytes() == b.read_bytes() for a, b in pairs)


def test_odd_results(tmp_path):
    for runs in ([], [replication()]):
        one = Result(scenario(), runs)
        metrics, traces = one.to_otlp(tmp_path / "odd", replication=None)
        assert metrics.read_bytes() == traces.read_bytes() == b""
        assert one.to_prometheus(tmp_path / "odd.prom").read_bytes() == b""
    with pytest.raises(LlmsimError, match="no replication 7; this result has 0 to 1"):
        result(2).to_otlp(tmp_path / "x", replication=7)
