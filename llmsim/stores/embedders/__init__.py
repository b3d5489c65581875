"""What makes vectors of texts: a model in this process, a function of one's own, and a cache on disk before either."""

from llmsim.stores.embedders.base import TextEmbedder
from llmsim.stores.embedders.disk import DiskCache, embed_texts
from llmsim.stores.embedders.function import FunctionEmbedder
from llmsim.stores.embedders.minilm import MiniLm

__all__ = ["DiskCache", "FunctionEmbedder", "MiniLm", "TextEmbedder", "embed_texts"]
