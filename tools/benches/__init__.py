"""Parts of tools/bench.py that need more than a function."""
