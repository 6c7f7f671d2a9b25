"""Ambient: endless generated soundscapes from YAML scenes."""

__version__ = "0.1.0"
