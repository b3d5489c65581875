"""Pieces of work in parallel, in one place: processes of this machine, or the workers of a Dask cluster.

What comes back does not depend on where it was made, nor on who was killed meanwhile. `in_order` and `as_they_come` are
what everything that runs many replications calls; `Workers` is what they are told: a number of processes, or a
`Cluster`.

**What a cluster gets.** The scenario as Python objects, once a worker (hacker-news-spike: 21 kB), and 1.3 kB a task;
the code of gateways and policies that are not installed there (those of a notebook, and of modules beside the
scenario), the files that it names (a trace, prompts, similarities) up to `SHIPPED_BYTES` each; larger ones have to be
there, under the same path and with the same content, which is checked. Nothing else: no environment, no folder, no live
providers and no keys. Code that carries the value of an environment variable that is called a key, token, secret or
password is not sent. What a gateway reads besides (a file of its own, a library) has to be there.

**Bit for bit.** A worker says which versions it has, and which instructions numpy uses there; where they differ from
those here, nothing runs.

**Not Ray** (2.60). Its backend for joblib hands back all results at the end, so that nothing could be kept, shown or
stopped on the way. Its own tasks come one by one, but its servers listen on every interface and do what anybody asks of
them, unless a token is set up: nothing to begin on a laptop with, while a Dask scheduler stays on 127.0.0.1 when told.
"""

from llmsim.parallel.work import as_they_come, in_order
from llmsim.parallel.workers import Cluster, Workers, alone, workers_of

__all__ = ["Cluster", "Workers", "alone", "as_they_come", "in_order", "workers_of"]
