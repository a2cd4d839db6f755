"""Benchmarks are a program of their own, `python tests/bench`: no test run looks at them."""

collect_ignore_glob = ["*.py", "peers/*.py"]
