"""Live providers: the same `Provider` contract over real sockets. The only home of httpx.

`OpenAIChat` speaks the chat completions protocol of OpenAI and of everything that copies it (Azure's v1 API, vLLM,
llama.cpp, Groq, Together, OpenRouter, LiteLLM's proxy, …).
"""

from llmsim.providers.live.openai_chat import OpenAIChat

__all__ = ["OpenAIChat"]
