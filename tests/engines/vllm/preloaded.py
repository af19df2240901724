"""What the engines of these tests are forked from; they fork their workers in turn."""

from tests.engines.vllm.forked import fork_engine

fork_engine()
