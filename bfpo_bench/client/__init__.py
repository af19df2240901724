"""Talking to an HTTP server that speaks the OpenAI protocol: keys, retries, many at a time.

Used by the `openai` engine, and by whatever else asks a server (judges, annotators). httpx2 speaks
HTTP; ours are the threads that hand out paid answers as they come, the rules for asking again, and
keys that are never shown.
"""

from bfpo_bench.client.caller import Caller, GaveUp, Malformed, Refused
from bfpo_bench.client.pool import ask, ask_all
from bfpo_bench.client.server import Secret, Server

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
