"""Runs the rooms on one sample clock."""

from ambient.engine.clocks import RealClock
from ambient.engine.core import Engine
from ambient.engine.live import LiveStream
from ambient.engine.offline import render
from ambient.engine.options import Options

__all__ = ["Engine", "LiveStream", "Options", "RealClock", "render"]
