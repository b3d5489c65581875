"""What the page draws, against the tables it is drawn from."""

import math
import re
from functools import cache
from xml.etree import ElementTree as ET

import pytest
from report.results import result as made
from report.results import scenario, spike
from telemetry.recorded import attempt, event, replication, request

from llmsim.report.page_gantt import gantt, gantt_key
from llmsim.report.page_panels import cost, elsewhere, latency
from llmsim.report.page_svg import Drawing, patterns
from llmsim.report.page_timeline import LEFT, RIGHT, timeline
from llmsim.report.page_worst import worst_requests
from llmsim.report.result import Result

SVG = "{http://www.w3.org/2000/svg}"


@cache  # nobody changes it
def result():
    return made(2)


def drawn(svg):
    """As a browser would read it; XML, so that nothing is left open and everything is escaped."""
    return ET.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def texts(svg):
    return [one.text for one in drawn(svg).iter(f"{SVG}text")]


def boxes(svg, look):
    found = [one for one in drawn(svg).iter(f"{SVG}rect") if one.get("class") == look]
    return [(float(one.get("x")), float(one.get("width"))) for one in found]


def test_every_drawing_says_what_it_shows():
    for svg in (timeline(result()), elsewhere(result()), cost(result()), gantt(result(), "1/0/0", 0, "one")):
        root = drawn(svg)
        title, told = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert root.get("role") == "img"
        assert root.get("aria-labelledby").split() == [title.get("id"), told.get("id")]
        assert len(title.text) > 5 and len(told.text) > 10


def test_every_hatch_that_is_used_is_there():
    defined = {one.get("id") for one in drawn(patterns()).iter(f"{SVG}pattern")}
    used = set()
    for svg in (timeline(result()), latency(result()), cost(result()), gantt_key(result())):
        used |= set(re.findall(r"url\(#([^)]+)\)", svg))
    assert used and used <= defined


def test_what_people_named_is_text():
    drawing = Drawing("x", 10, 10, "<b>", "a & b")
    drawing.text(1, 1, "</svg><script>")
    assert texts(drawing.svg()) == ["</svg><script>"]


class TestTimeline:
    def test_faults_stand_where_they_were(self):
        svg = timeline(result())
        bars = boxes(svg, "fault")
        each = (RIGHT - LEFT) / 100
        assert bars == [
            pytest.approx((LEFT + 20 * each, 30 * each), abs=0.1),
            pytest.approx((LEFT + 40 * each, 20 * each), abs=0.1),
        ]
        assert len(boxes(svg, "shade")) == 3 * 2  # each fault in each of the three panels
        assert "brown-out (openai: abort) 0:20–0:50" in texts(svg)

    def test_a_fault_that_fades_is_drawn_as_it_does(self):
        fades = {"at": "20s", "ramp_up": "10s", "duration": "10s", "ramp_down": "20s"}
        fault = {"name": "slow", "provider": "openai", **fades, "abort": {"status": 529}}
        svg = timeline(Result(scenario(faults=[fault]), [spike()]))
        assert "slow (openai: abort) 0:20–1:00 (grows until 0:30, fades from 0:40)" in texts(svg)
        shades = [one.get("d") for one in drawn(svg).iter(f"{SVG}path") if one.get("class") == "shade"]
        each = (RIGHT - LEFT) / 100
        assert len(shades) == 3 and not boxes(svg, "shade")
        for shade in shades:
            x, y = zip(*(map(float, point.split()) for point in re.findall(r"[\d.]+ [\d.]+", shade)), strict=True)
            assert x == pytest.approx([LEFT + at * each for at in (20, 20, 30, 40, 60, 60)], abs=0.1)
            assert (y[0], y[2], y[4]) == (y[1], y[3], y[5]) and y[0] == y[4] > y[2]

    def test_it_names_what_there_was_and_nothing_else(self):
        told = texts(timeline(result()))
        assert any(text.startswith("rate limited ") for text in told)
        assert not any(text.startswith("timed out") for text in told)
        assert "never" in told and "SLO p90 < 2s" in told
        calm = texts(timeline(Result(scenario(faults=[]), [spike(failing=0.0)])))
        assert "never" not in calm and "Faults" not in calm

    def test_nothing_at_all(self):
        empty = Result(scenario(), [replication([], [], [], simulated_s=110.0)])
        assert "No requests." in timeline(empty)


class TestCost:
    def test_bars_follow_each_other_and_end_at_the_total(self):
        one = result()
        costs = one.metrics["cost_usd"]
        bars = [
            (float(box.get("x")), float(box.get("width")))
            for box in drawn(cost(one)).iter(f"{SVG}rect")
            if box.get("fill")
        ]
        assert len(bars) == 1  # nothing was wasted: work of use, and the total
        ((_, total),) = boxes(cost(one), "total")
        assert sum(width for _, width in bars) == pytest.approx(total, abs=0.2)
        ((_, saved),) = boxes(cost(one), "saved")
        assert saved / total == pytest.approx(one.bill.saved_usd / costs["total"], rel=0.01)

    def test_what_costs_nothing_is_not_drawn(self):
        free = Result(scenario(), [replication([request(arrival_s=1.0)], [], [], simulated_s=110.0)])
        assert cost(free) == ""


def storm():
    """A request that was refused, waited, fell back, and was answered; and one that nobody waited for."""
    first = {"session": 0, "arrival_s": 5.0}
    attempts = [
        attempt(**first, attempt=1, start_s=5.0, end_s=5.5, outcome="rate_limited", status=429),
        attempt(**first, attempt=2, cause="retry", start_s=7.5, end_s=8.0, outcome="ttft_timeout"),
        attempt(**first, attempt=3, cause="fallback", upstream="anthropic", start_s=8.0, first_s=9.0, end_s=15.0,
                queue_s=0.5),
    ]  # fmt: skip
    events = [
        event(time_s=5.5, request_id="0/0/0", detail='{"attempt": 2, "delay_s": 2.0}'),
        event(time_s=8.0, kind="fallback", policy="fallback", request_id="0/0/0"),
        event(time_s=6.0, kind="deadline", policy="deadline", request_id="0/0/0"),
    ]
    requests = [
        request(session=0, arrival_s=5.0, e2e_s=10.0, ttft_s=4.0, attempts=3, fallbacks=1, served_by="anthropic"),
        request(session=1, arrival_s=6.0, e2e_s=0.1, ttft_s=0.1, attempts=0, served_by="cache", served_from="cache",
                cache_match="semantic", similarity=0.9, false_hit=True, false_hit_reason="other"),
    ]  # fmt: skip
    return Result(scenario(faults=[]), [replication(requests, attempts, events, simulated_s=110.0)])


class TestGantt:
    def test_a_lane_for_each_attempt_and_what_it_waited_for(self):
        svg = gantt(storm(), "0/0/0", 0, "one")
        told = texts(svg)
        assert [text for text in told if " · " in text] == [
            "1 · first · openai", "2 · retry · openai", "3 · fallback · anthropic",
        ]  # fmt: skip
        assert "backoff 2s" in told
        assert "rate_limited 429 after 500ms" in told and "ok 200: queue 500ms, ttft 500ms, stream 6s" in told
        # 600 px for 10 s: half a second in the queue, half a second to the first token, six seconds of stream.
        ((at, queue),) = boxes(svg, "queue")
        assert (at, queue) == pytest.approx((210 + 180, 30), abs=0.2)
        assert boxes(svg, "waiting")[-1] == pytest.approx((210 + 210, 30), abs=0.2)
        stream = [one for one in drawn(svg).iter(f"{SVG}rect") if (one.get("fill") or "").startswith("url")]
        widths = [float(one.get("width")) for one in stream]
        assert [width for width in widths if width > 0] == pytest.approx([360], abs=0.2)

    def test_marks_say_how_an_attempt_ended(self):
        root = drawn(gantt(storm(), "0/0/0", 0, "one"))
        hints = [one.text for one in root.iter(f"{SVG}title")]
        for meaning in ("429, rate limited", "timed out", "answered", "fallback to anthropic"):
            assert hints.count(meaning) == 1, meaning
        assert "deadline at +1s" in hints

    def test_a_wrong_answer_from_the_cache(self):
        told = texts(gantt(storm(), "1/0/0", 0, "one"))
        assert "ok from the cache after 100ms, WRONG" in told
        hints = [one.text for one in drawn(gantt(storm(), "1/0/0", 0, "one")).iter(f"{SVG}title")]
        assert "from the cache" in hints

    def test_the_key_wraps_instead_of_running_out_of_the_page(self):
        providers = {f"provider-number-{n}": {} for n in range(12)}
        root = drawn(gantt_key(Result(scenario(providers=providers, faults=[], slo={}, steady_state={}), [])))
        told = [(one.text, float(one.get("x"))) for one in root.iter(f"{SVG}text")]
        assert len(told) == 12 + 3 + 10
        assert all(x + Drawing.width_of(text) <= 1120 for text, x in told)

    def test_of_very_many_attempts_the_first_and_the_last_are_shown(self):
        many = [
            attempt(session=0, attempt=n + 1, cause="retry" if n else "first", start_s=float(n), end_s=n + 0.1,
                    outcome="rate_limited", status=429)
            for n in range(100)
        ]  # fmt: skip
        one = request(session=0, e2e_s=100.0, attempts=100, outcome="rate_limited")
        told = texts(gantt(Result(scenario(), [replication([one], many, [])]), "0/0/0", 0, "one"))
        assert "… 70 attempts more …" in told
        assert "1 · first · openai" in told and "100 · retry · openai" in told
        assert len([text for text in told if " · " in text]) == 30

    def test_every_outcome_has_a_mark(self):
        for outcome in ("bad_output", "stream_broken", "cancelled", "my_own_error", "connection_failed"):
            rows = [attempt(session=0, outcome=outcome, start_s=0.0, end_s=1.0)]
            one = request(session=0, e2e_s=1.0, outcome="bad_output")
            root = drawn(gantt(Result(scenario(), [replication([one], rows, [])]), "0/0/0", 0, "one"))
            assert any(shape.get("class") in ("mark", "cross") for shape in root.iter(f"{SVG}path")), outcome


class TestWorst:
    def test_of_each_way_to_fail_the_worst(self):
        tried = (1, 3, 2)
        rows = [
            request(session=n, arrival_s=float(n), outcome="rate_limited", attempts=tried[n], e2e_s=1.0)
            for n in range(3)
        ]
        rows.append(request(session=3, arrival_s=3.0, outcome="rejected", attempts=0, e2e_s=0.0))
        rows += [request(session=4 + n, arrival_s=4.0 + n, e2e_s=1.0 + n % 3, attempts=1) for n in range(6)]
        rows.append(request(session=10, arrival_s=20.0, e2e_s=0.1, attempts=0, served_from="cache", false_hit=True))
        found = worst_requests(Result(scenario(), [replication(rows, [], [], simulated_s=110.0)]))
        assert [one.request_id for one in found] == ["1/0/0", "3/0/0", "10/0/0", "6/0/0"]
        assert found[0].why.startswith("3 of 11 requests (27.3 %) ended so")

    def test_nobody_failed_and_nobody_came(self):
        calm = Result(scenario(), [spike(failing=0.0)])
        assert [one.why for one in worst_requests(calm)] == ["The answer that took the longest."]
        assert worst_requests(Result(scenario(), [replication([], [], [], simulated_s=110.0)])) == []


def test_numbers_in_a_drawing_are_numbers():
    for svg in (timeline(result()), elsewhere(result()), cost(result())):
        for path in re.findall(r' d="([^"]+)"', svg):
            assert all(math.isfinite(float(one)) for one in re.findall(r"-?[\w.]+", re.sub(r"[MLZHVA]", " ", path)))
