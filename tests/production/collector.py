"""An OTLP/HTTP collector on loopback: it takes what a real one takes, and keeps what was told."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["Collector", "told"]

_SIGNALS = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}


class Collector:
    """``with Collector() as collector``: exporters send to `url`."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []  #: unzipped, of all signals
        self.headers: list[dict[str, str]] = []
        self.got: dict[str, list[Any]] = {path: [] for path in _SIGNALS}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.bodies.append(body)
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                collector.got[self.path].append(_SIGNALS[self.path].FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(poll_interval=0.02), daemon=True)

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def clear(self) -> None:
        """Forget all that was told."""
        self.bodies.clear()
        self.headers.clear()
        for pages in self.got.values():
            pages.clear()

    @property
    def resources(self) -> list[dict[str, Any]]:
        pages = [page for page in self.got["/v1/traces"] for page in page.resource_spans]
        return [told(one.resource.attributes) for one in pages]

    @property
    def spans(self) -> list[Any]:
        pages = [one for page in self.got["/v1/traces"] for one in page.resource_spans]
        return [span for one in pages for scope in one.scope_spans for span in scope.spans]

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Attributes and value (or the point itself, of a histogram) of the last export of a metric."""
        found: list[Any] = []
        for page in self.got["/v1/metrics"]:
            for resource in page.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        if metric.name == name:
                            kind = metric.WhichOneof("data")
                            points = getattr(metric, kind).data_points
                            found = [(told(one.attributes), _value(one, kind)) for one in points]
        return found

    @property
    def metrics(self) -> set[str]:
        return {
            metric.name
            for page in self.got["/v1/metrics"]
            for resource in page.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def _value(point: Any, kind: str) -> Any:
    return point if kind == "histogram" else getattr(point, point.WhichOneof("value"))


def told(attributes: Any) -> dict[str, Any]:
    """Attributes as a dict."""
    found = {}
    for one in attributes:
        kind = one.value.WhichOneof("value")
        value = getattr(one.value, kind)
        found[one.key] = [v.string_value for v in value.values] if kind == "array_value" else value
    return found
