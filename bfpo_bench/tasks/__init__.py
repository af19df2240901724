"""The benchmarks: a YAML that lm-eval reads and a module of source, prompts and gold answers each.

What a model is asked is made of them in `requests`.

lm-eval's ``--include_path`` takes this folder. See docs/tasks.md.
"""
