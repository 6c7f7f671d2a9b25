"""What should be heard now: scene files, parameters, the state machine. No sound, no clocks, no threads."""

from ambient.scene.diagram import draw_states
from ambient.scene.draft import draft_scene
from ambient.scene.loader import bundled_scenes, check_scene, find_scene, load_scene, parse_scene
from ambient.scene.machine import Machine
from ambient.scene.memory import Memory
from ambient.scene.model import Scene
from ambient.scene.recordings import part_of, recordings_of
from ambient.scene.report import Inputs, TransitionRow, describe, simulate, transition_table
from ambient.scene.schema import scene_schema

__all__ = [
    "Inputs",
    "Machine",
    "Memory",
    "Scene",
    "TransitionRow",
    "bundled_scenes",
    "check_scene",
    "describe",
    "draft_scene",
    "draw_states",
    "find_scene",
    "load_scene",
    "parse_scene",
    "part_of",
    "recordings_of",
    "scene_schema",
    "simulate",
    "transition_table",
]
