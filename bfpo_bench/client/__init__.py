"""Talking to an HTTP server that speaks the OpenAI protocol: keys, retries, many at a time.

Used by the `openai` engine, and by whatever else asks a server (judges, annotators). The standard
library's HTTP client in threads is enough for that: which of the third-party clients is installed
depends on the version of huggingface_hub, and a thread that waits costs next to nothing.
"""

from bfpo_bench.client.caller import Caller, GaveUp, Malformed, Refused
from bfpo_bench.client.pool import ask, ask_all
from bfpo_bench.client.secret import Secret
from bfpo_bench.client.server import Server

__all__ = [
    "Caller",
    "GaveUp",
    "Malformed",
    "Refused",
    "Secret",
    "Server",
    "ask",
    "ask_all",
]
