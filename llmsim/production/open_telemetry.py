"""OpenTelemetry from gateways in production: what ``gateway.open(..., telemetry=...)`` takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from llmsim.gateway.contract import Provider
from llmsim.gateway.exchange import Attempt
from llmsim.gateway.pipeline import Gateway, RunningGateway
from llmsim.pricing import FREE
from llmsim.production.signals import Instruments
from llmsim.production.watched import Watch, WatchedGateway, WatchedProvider
from llmsim.telemetry.otel import SCHEMA_URL

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from llmsim.gateway.caching import StoreOpener

__all__ = ["OpenTelemetry"]


class OpenTelemetry:
    """GenAI spans and metrics of every request, by the OpenTelemetry SDK (``pip install 'llmsim[otel]'``).

    A request is a span with what policies report as its events; each call to an upstream is a span below it, made in
    the context of the caller. Names are those of the GenAI conventions, and ``llmsim.`` where these have none
    (`llmsim.telemetry.otel`). Error messages, bodies and headers are never told, only the word of an error.

    Parameters
    ----------
    tracer_provider, meter_provider
        Default: those of the process, as ``opentelemetry-instrument`` or your own set-up made them. Without a set-up,
        nothing is exported.
    capture_content
        Whether spans hold what was asked and answered (``gen_ai.input.messages``, ``gen_ai.output.messages``).

    Examples
    --------
    ::

        async with (
            OpenTelemetry.otlp("http://127.0.0.1:4318", service_name="shop") as telemetry,
            gateway.open(providers, telemetry=telemetry) as running,
        ):
            response = await running.send(request)
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        capture_content: bool = False,
    ) -> None:
        import llmsim

        try:
            from opentelemetry import metrics, trace
        except ImportError:
            raise ImportError("telemetry needs OpenTelemetry; pip install 'llmsim[otel]'") from None
        self._tracer = trace.get_tracer("llmsim", llmsim.__version__, tracer_provider, schema_url=SCHEMA_URL)
        meter = metrics.get_meter("llmsim", llmsim.__version__, meter_provider, schema_url=SCHEMA_URL)
        self._instruments = Instruments(meter)
        self._capture_content = capture_content
        self._own: tuple[Any, ...] = ()

    @classmethod
    def otlp(
        cls,
        endpoint: str = "",
        *,
        service_name: str = "",
        attributes: Mapping[str, str] | None = None,
        capture_content: bool = False,
    ) -> Self:
        """One with an SDK of its own that exports to a collector by OTLP over HTTP; closed by `aclose`.

        Parameters
        ----------
        endpoint
            Of the collector, without the paths of the signals. Default: ``OTEL_EXPORTER_OTLP_ENDPOINT``, else
            ``http://localhost:4318``. All other variables of the SDK count as well; credentials of a collector belong
            into ``OTEL_EXPORTER_OTLP_HEADERS``.
        service_name
            Default: ``OTEL_SERVICE_NAME``, else ``llmsim``.
        attributes
            Further attributes of the resource: ``{"deployment.environment.name": "staging"}``.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise ImportError("exporting by OTLP needs the SDK; pip install 'llmsim[otel]'") from None

        def to(signal: str) -> str | None:
            return f"{endpoint.rstrip('/')}/v1/{signal}" if endpoint else None

        named = {"service.name": service_name} if service_name else {}
        resource = Resource.create({**(attributes or {}), **named})
        if str(resource.attributes["service.name"]).startswith("unknown_service"):  # the SDK's own default
            resource = resource.merge(Resource({"service.name": "llmsim"}))
        tracers = TracerProvider(resource=resource)
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(to("traces"))))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(to("metrics")))
        meters = MeterProvider(metric_readers=[reader], resource=resource)
        made = cls(tracer_provider=tracers, meter_provider=meters, capture_content=capture_content)
        made._own = (tracers, meters)
        return made

    def open(
        self,
        gateway: Gateway,
        providers: Sequence[Provider],
        *,
        on_event: Callable[[str, dict[str, Any]], object] | None = None,
        on_attempt: Callable[[Attempt], object] | None = None,
        seed: int | None = None,
        stores: StoreOpener | None = None,
    ) -> RunningGateway:
        """What ``gateway.open(providers, telemetry=self, ...)`` does."""
        watch = Watch(self._tracer, self._instruments, capture_content=self._capture_content)
        watch.prices = {provider.name: getattr(provider, "price", FREE) for provider in providers}

        def event(kind: str, fields: dict[str, Any]) -> None:
            watch.event(kind, fields)
            if on_event is not None:
                on_event(kind, fields)

        def attempt(one: Attempt) -> None:
            watch.attempt(one)
            if on_attempt is not None:
                on_attempt(one)

        watched = [WatchedProvider(provider, watch) for provider in providers]
        running = gateway.open(watched, on_event=event, on_attempt=attempt, seed=seed, stores=stores)
        return WatchedGateway(running, watch)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Export what is left, and stop. A set-up that is not its own is left alone."""
        own, self._own = self._own, ()
        await asyncio.gather(*(asyncio.to_thread(provider.shutdown) for provider in own))
