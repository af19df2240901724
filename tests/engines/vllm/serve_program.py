"""What stands for ``vllm serve`` in tests: a program that takes its options and answers like it.

SERVES says how: it answers, "toy" by the model's tokenizer, "dies" before the model is loaded,
"hangs" and never loads it, "ends" after so many requests ("ends 3"). "deaf" besides hears no
SIGTERM. It has a process of its own, as vLLM has, and notes both of them in the file NOTED.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tokenizers import Tokenizer

from tests.client.fake_server import FakeServer, Handler
from tests.engines.openai import toy_openai


def main() -> None:
    how = os.environ.get("SERVES", "")
    key = os.environ["VLLM_API_KEY"]
    options = argparse.ArgumentParser(allow_abbrev=False)
    options.add_argument("model")
    options.add_argument("--served-model-name")
    options.add_argument("--port", type=int)
    options.add_argument("--node-rank", type=int, default=0)
    options.add_argument("--headless", action="store_true")
    asked, _ = options.parse_known_args(sys.argv[2:])
    print("(APIServer pid=1) INFO loading", asked.model, flush=True)
    helper = subprocess.Popen(["sleep", "600"])
    with Path(os.environ["NOTED"]).open("a", encoding="utf-8") as noted:
        noted.write(f"{os.getpid()} {helper.pid}\n")
    if "deaf" in how:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "dies" in how:
        print(f"(EngineCore pid=2) ValueError: no room for the key {key} \x1b[31mon the GPU\x1b[0m")
        print("(EngineCore pid=2)\n(APIServer pid=1) Traceback:\n\n" + "  at some place\n" * 5)
        print("(APIServer pid=1) RuntimeError: Engine core initialization failed.", flush=True)
        sys.exit(1)
    if "hangs" in how or asked.headless:
        time.sleep(600)
    toy_openai.MODEL = asked.served_model_name
    toy = toy_openai.Toy(_Words(asked.model) if "toy" in how else None)
    left = int(how.partition("ends ")[2] or 1_000_000)

    def act(handler: Handler) -> None:
        nonlocal left
        if handler.path == "/health":
            handler.reply(b"")
        elif handler.headers.get("Authorization") != f"Bearer {key}":
            handler.reply({"error": {"message": "no key"}}, 401)
        else:
            left -= handler.path != "/v1/models"
            if left < 0:
                print("RuntimeError: the GPU has fallen off the bus", flush=True)
                os._exit(3)
            toy(handler)

    server = FakeServer(act, asked.port)
    server.serve_forever()


class _Words:
    """A tokenizer without the seconds that transformers takes."""

    def __init__(self, model: str) -> None:
        self._words = Tokenizer.from_file(f"{model}/tokenizer.json")

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": self._words.encode(text, add_special_tokens=False).ids}

    def decode(self, ids: list[int]) -> str:
        return str(self._words.decode(ids, skip_special_tokens=False))


if __name__ == "__main__":
    main()
