"""Draws a scene's states and transitions as SVG, from the table that the machine runs."""

from __future__ import annotations

import math
from html import escape

from ambient.scene.model import Scene
from ambient.scene.report import transition_table

__all__ = ["draw_states"]

NODE_HEIGHT = 40
CHARACTER = 8.2
ACCENT = "#3f8f6b"


def draw_states(scene: Scene, current: str | None = None) -> str:
    """An SVG picture; the current state stands out. Colours follow the page (``currentColor``), light or dark.

    States lie on an ellipse in file order; each arrow bends to its right, so that a pair of ways there and back
    never meets. Hovering over an arrow tells its trigger. Ways from anywhere come in from outside, dashed.
    """
    names = list(scene.states)
    count = len(names)
    wide = max(len(n) for n in names) * CHARACTER + 32
    radius_x = max(wide * 1.15, 36.0 * count) if count > 1 else 0.0
    radius_y = max(95.0, 26.0 * count) if count > 1 else 0.0
    outside = 52 if scene.transitions else 18  # ways from anywhere come in from there
    margin_x, margin_y = wide / 2 + outside, NODE_HEIGHT / 2 + max(outside, 32)
    width, height = 2 * (radius_x + margin_x), 2 * (radius_y + margin_y)
    places = {
        name: (
            width / 2 + radius_x * math.sin(2 * math.pi * i / count),
            height / 2 - radius_y * math.cos(2 * math.pi * i / count),
        )
        for i, name in enumerate(names)
    }
    boxes = {name: len(name) * CHARACTER + 28 for name in names}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="States of {escape(scene.name or "the scene", quote=True)}" '
        'font-family="system-ui, sans-serif" font-size="14" fill="none" stroke="currentColor">',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="currentColor" stroke="none"/></marker></defs>',
    ]
    ways: dict[tuple[str, str], list[str]] = {}
    for row in transition_table(scene):
        ways.setdefault((row.origin, row.to), []).append(row.why)
    for (origin, to), reasons in ways.items():
        told = escape("; ".join(reasons))
        if to == "previous":
            x, y = places[origin]
            parts.append(_back(x, y, boxes[origin], width, height, f"{origin} → the state before: {told}"))
        elif origin == "*":
            x, y = places[to]
            parts.append(_outside(x, y, boxes[to], width, height, f"from anywhere → {to}: {told}"))
        else:
            parts.append(_arrow(places[origin], places[to], boxes[origin], boxes[to], f"{origin} → {to}: {told}"))
    for name in names:
        (x, y), box = places[name], boxes[name]
        here = name == current
        fill = f'fill="{ACCENT}" stroke="{ACCENT}"' if here else 'fill="currentColor" fill-opacity="0.07"'
        text = 'fill="#fff" font-weight="600"' if here else 'fill="currentColor"'
        ring = ""
        if name == scene.first:
            ring = (
                f'<rect x="{x - box / 2 - 4:.1f}" y="{y - NODE_HEIGHT / 2 - 4:.1f}" width="{box + 8:.1f}" '
                f'height="{NODE_HEIGHT + 8}" rx="24" stroke-opacity="0.35"/>'
            )
        parts.append(
            f'<g data-state="{escape(name, quote=True)}">{ring}'
            f'<rect x="{x - box / 2:.1f}" y="{y - NODE_HEIGHT / 2:.1f}" '
            f'width="{box:.1f}" height="{NODE_HEIGHT}" rx="20" {fill}/><text x="{x:.1f}" y="{y + 5:.1f}" {text} '
            f'stroke="none" text-anchor="middle">{escape(name)}</text></g>'
        )
    return "\n".join([*parts, "</svg>"])


def _arrow(a: tuple[float, float], b: tuple[float, float], box_a: float, box_b: float, told: str) -> str:
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = math.hypot(dx, dy) or 1.0
    bend = min(46.0, 0.16 * length + 8)
    cx, cy = (a[0] + b[0]) / 2 - dy / length * bend, (a[1] + b[1]) / 2 + dx / length * bend
    sx, sy = _edge(a, (cx, cy), box_a)
    ex, ey = _edge(b, (cx, cy), box_b)
    path = f"M{sx:.1f} {sy:.1f} Q{cx:.1f} {cy:.1f} {ex:.1f} {ey:.1f}"
    return (
        f'<g><path d="{path}" stroke-opacity="0.65" stroke-width="1.5" marker-end="url(#head)"/>'
        f'<path d="{path}" stroke-width="14" stroke-opacity="0" pointer-events="stroke">'
        f"<title>{told}</title></path></g>"
    )


def _outside(x: float, y: float, box: float, width: float, height: float, told: str) -> str:
    ux, uy = x - width / 2, y - height / 2
    length = math.hypot(ux, uy) or 1.0
    ux, uy = (ux / length, uy / length) if length > 1 else (0.0, -1.0)
    ex, ey = _edge((x, y), (x + ux * 100, y + uy * 100), box)
    return (
        f'<path d="M{ex + ux * 42:.1f} {ey + uy * 42:.1f} L{ex:.1f} {ey:.1f}" stroke-dasharray="4 4" '
        f'stroke-width="1.5" stroke-opacity="0.65" marker-end="url(#head)"><title>{told}</title></path>'
    )


def _back(x: float, y: float, box: float, width: float, height: float, told: str) -> str:
    up = -1 if y < height / 2 else 1
    sx, sy = x + box / 4, y + up * NODE_HEIGHT / 2
    return (
        f'<g><path d="M{sx:.1f} {sy:.1f} q14 {up * 26} 30 {up * 14}" stroke-dasharray="2 3" stroke-width="1.5" '
        f'stroke-opacity="0.65" marker-end="url(#head)"><title>{told}</title></path></g>'
    )


def _edge(centre: tuple[float, float], towards: tuple[float, float], box: float) -> tuple[float, float]:
    """Where the line from a box's centre leaves it, a little outside."""
    dx, dy = towards[0] - centre[0], towards[1] - centre[1]
    half_x, half_y = box / 2 + 5, NODE_HEIGHT / 2 + 5
    scale = min(half_x / abs(dx) if dx else math.inf, half_y / abs(dy) if dy else math.inf)
    return centre[0] + dx * scale, centre[1] + dy * scale
