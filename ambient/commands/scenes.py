"""``ambient check`` and ``ambient simulate``: scenes without sound."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from ambient.errors import Problem, SceneError
from ambient.generate.recording import fault_of
from ambient.scene import check_scene, find_scene, load_scene, simulate

__all__ = ["run"]


def run(given: argparse.Namespace) -> int:
    """Runs the command that was given."""
    return _check(given) if given.command == "check" else _simulate(given)


def _check(given: argparse.Namespace) -> int:
    problems: list[Problem] = []
    clean: list[str] = []
    for name in given.scenes:
        try:
            found = check_scene(find_scene(name), fault_of)
        except SceneError as error:
            found = list(error.problems)
        problems += found
        if not found:
            clean.append(name)
    errors = sum(p.severity == "error" for p in problems)
    document: dict[str, object] = {"problems": [asdict(p) for p in problems], "errors": errors}
    if given.json and not (given.listen and not errors):
        print(json.dumps(document, indent=1))
    elif not given.json:
        for problem in problems:
            print(problem)
        for name in clean:
            print(f"{name}: nothing wrong")
    if given.listen and not errors:
        from ambient.commands import audition

        heard = {name: audition.listen(load_scene(find_scene(name)), given) for name in given.scenes}
        if given.json:
            print(json.dumps(document | {"heard": heard}, indent=1))
    return 1 if errors else 0


def _simulate(given: argparse.Namespace) -> int:
    from ambient.commands.weather import weather_by_clock

    scene = load_scene(find_scene(given.scene))
    inputs = weather_by_clock(given, scene)
    result = simulate(scene, given.hours, seed=given.seed, inputs=inputs)
    if given.png is not None:
        from ambient.commands import timeline

        timeline.draw(scene, given.hours, given.seed, given.png, inputs)
    if given.json:
        print(json.dumps(result, indent=1))
        return 0
    for row in result["transitions"]:
        whole = round(row["at_seconds"])
        clock = f"{whole // 3600:d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
        print(f"{clock:>9}  {row['from']} → {row['to']:<12}  {row['why']}")
    for part, title in (("states", "time in each state"), ("layers", "time that each layer is heard")):
        if result.get(part):
            shares = "  ".join(f"{name} {100 * share:.0f} %" for name, share in result[part].items())
            print(f"{title}: {shares}")
    return 0
