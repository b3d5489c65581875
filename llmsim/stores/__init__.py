"""Where caches keep answers, and what tells how near two questions are in meaning."""

from llmsim.stores.live import LiveStores

__all__ = ["LiveStores"]
