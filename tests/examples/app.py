# app.py: a gateway that was tuned in the lab, in production. Start it with: python app.py
from contextlib import asynccontextmanager

import uvicorn

import llmsim as ls
from llmsim.production import ChatApp, OpenTelemetry, live_providers

scenario = ls.load("scenario.yaml")  # its gateway is what was tuned: the same policies, unchanged


def describe(request, headers):  # what only the headers of a call say
    return request._replace(tenant=headers.get("x-tenant", ""), session=headers.get("x-session", ""))


@asynccontextmanager
async def gateway():
    async with (
        OpenTelemetry.otlp("http://127.0.0.1:4318", service_name="my-gateway") as telemetry,  # your collector
        live_providers("live.yaml", scenario) as providers,
        scenario.gateway.open(providers, telemetry=telemetry) as running,
    ):
        yield running  # until the server has been told to stop and the last request has ended


app = ChatApp(gateway, routes=[part.route for part in scenario.traffic.mix], describe=describe)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=8000, timeout_graceful_shutdown=30, access_log=False)
