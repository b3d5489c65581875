"""Live providers: the same `Provider` contract over real sockets. The only home of httpx.

`OpenAIChat` speaks the chat completions protocol of OpenAI and of everything that copies it (Azure's v1 API, vLLM,
llama.cpp, Groq, Together, OpenRouter, LiteLLM's proxy, …). `OpenAIEmbeddings` asks the same servers for vectors, which
a semantic cache compares questions by.
"""

from llmsim.providers.live.embeddings import OpenAIEmbeddings
from llmsim.providers.live.openai_chat import OpenAIChat

__all__ = ["OpenAIChat", "OpenAIEmbeddings"]
