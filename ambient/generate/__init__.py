"""The models and where they run: backends, worker processes, the clip cache. The only room that knows torch."""
