"""Upstreams: simulated, live, or either with faults in front. All look like `llmsim.gateway.contract.Provider`."""
