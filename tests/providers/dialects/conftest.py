"""The live provider's fixture is used here, too."""

from providers.live.conftest import live

__all__ = ["live"]
