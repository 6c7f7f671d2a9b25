"""The command line: one parser, one place where errors become messages and exit codes.

Exit codes: 0 done, 1 a scene, model or sound device is wrong (the message says what), 2 the command line itself is
wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import pathlib
import sys
import urllib.parse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ambient import __version__
from ambient.errors import AmbientError, SceneError
from ambient.logs import STYLES, set_up

if TYPE_CHECKING:
    from ambient.sinks.icecast import PushTarget

__all__ = ["main"]

# One block's arithmetic is too small to share out: a second BLAS thread only fights the generator for its core.
# This must stand before numpy is imported, here and in the worker processes that inherit it.
for _name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

EPILOG = """\
examples:
  ambient play forest                        play a bundled scene on the sound card, for ever
  ambient serve forest cafe --port 8765      stream two scenes, with a page on http://127.0.0.1:8765/
  ambient render shore --seconds 600 --out shore.flac
  ambient render cave --seconds 60 --loop --out cave.wav
  ambient clip "light rain on a tent" --seconds 10 --seed 1 --out tent.wav
  ambient new "a rainy harbour at night"     a first scene to change while it plays
  ambient check my_scene.yaml                every mistake at once, with its line
  ambient simulate forest --hours 24         what would happen, without sound
  ambient graph my_scene.yaml --out states.svg
  ambient schema --out ambient.json          completion and help in your editor
  ambient listen http://127.0.0.1:8765/#cafe --out cafe.flac
"""


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e7:
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return value


def _assignment(text: str) -> tuple[str, float]:
    name, sign, value = text.partition("=")
    try:
        if not sign or not name:
            raise ValueError
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=NUMBER, such as wind=0.8") from None


def _origin(text: str) -> str:
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise argparse.ArgumentTypeError(f"{text!r} is no origin, such as https://example.org")
    return text


def _push(text: str) -> PushTarget:
    from ambient.sinks.icecast import PushTarget

    try:
        return PushTarget.read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _timed_event(text: str) -> tuple[float, str]:
    at, sign, event = text.partition(":")
    try:
        if not sign or not event or float(at) < 0:
            raise ValueError
        return float(at), event
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not SECONDS:EVENT, such as 12.5:lightning") from None


def _model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        metavar="NAME|DIR",
        help="a model by name, on the hub or here, or a checkpoint folder (default: bundled)",
    )
    group.add_argument("--steps", type=int, metavar="N", help="denoising steps (default: the model's own)")
    group.add_argument(
        "--device", default="auto", help="where the model computes: auto, cpu, cuda, mps (default: auto)"
    )
    group.add_argument("--threads", type=int, metavar="N", help="processor threads for the model (default: measured)")


def _mute_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mute",
        action="append",
        default=[],
        metavar="NAME",
        help="leave out a layer, a family (geo, bio, anthro) or a role (keynote, signal, soundmark); may be repeated",
    )


def _weather_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weather",
        metavar="FILE|URL|open-meteo",
        help="what `from: weather.…` reads: a JSON file or a URL in Open-Meteo's shape; open-meteo asks there for the "
        "scene's place (default: nothing, and no network)",
    )


def _door_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("installations and homes")
    group.add_argument(
        "--osc",
        metavar="[HOST:]PORT",
        help="let OSC set parameters and fire events, on this UDP port (default host: this machine only)",
    )
    group.add_argument(
        "--mqtt",
        metavar="URL",
        help="connect to a broker, mqtt://[USER@]HOST[:PORT][/ROOT]; Home Assistant finds the streams by itself; a "
        "password goes into $AMBIENT_MQTT_PASSWORD",
    )


def _live_options(parser: argparse.ArgumentParser) -> None:
    _door_options(parser)
    _weather_option(parser)
    _mute_option(parser)
    parser.add_argument("--seed", type=int, metavar="S", help="seed of every random choice (default: the scene's)")
    parser.add_argument("--sound-device", metavar="NAME|N", help="sound card, as `ambient devices` lists them")
    parser.add_argument("--quiet", action="store_true", help="no status line")
    parser.add_argument(
        "--log", choices=STYLES, default="text", help="how to log: lines to read, or JSON, an object a line"
    )
    parser.add_argument(
        "--state",
        type=pathlib.Path,
        metavar="FILE",
        help="keep states and parameters there, and go on with them after a restart",
    )
    parser.add_argument(
        "--record",
        type=pathlib.Path,
        metavar="LOG",
        help="write what is done to the scene, and what depends on timing, so that `--replay` gives the same night "
        "again; with several scenes a folder, one log each",
    )
    parser.add_argument(
        "--no-reload", dest="reload", action="store_false", help="do not listen for changes of the scene files"
    )
    _model_options(parser)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, as a parser."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="ambient",
        description="Endless generated soundscapes from YAML scenes.",
        epilog=EPILOG,
        formatter_class=shape,
    )
    parser.add_argument("--version", action="version", version=f"ambient {__version__}")
    parser.add_argument("--traceback", action="store_true", help="on an error, show where in the program it arose")
    parser.add_argument("--verbose", "-v", action="store_true", help="log more")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, module: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", formatter_class=shape)
        sub.set_defaults(module=module)
        return sub

    play = add("play", "live", "play a scene on the sound card, for ever")
    play.add_argument("scene", nargs="?", help="a scene file, or the name of a bundled scene")
    play.add_argument("--replay", type=pathlib.Path, metavar="LOG", help="a recorded session instead of a scene")
    _live_options(play)

    serve = add("serve", "live", "stream scenes: a page, WebSockets and HTTP audio; and the sound card if there is one")
    serve.add_argument(
        "scenes",
        nargs="*",
        metavar="SCENE",
        help="scene files, names, or folders of scenes; the first is heard here too",
    )
    serve.add_argument("--default-scene", metavar="SCENE", default="forest", help="when no SCENE is given")
    serve.add_argument("--port", type=int, default=8765, metavar="P")
    serve.add_argument(
        "--host", default="127.0.0.1", metavar="H", help="address to listen on (default: this machine only)"
    )
    serve.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="URL",
        dest="origins",
        type=_origin,
        help="a site, such as https://example.org, whose pages may connect; may be repeated",
    )
    serve.add_argument(
        "--tokens",
        type=pathlib.Path,
        metavar="FILE",
        help="who may listen and steer: lines `listen TOKEN` and `control TOKEN` (default: AMBIENT_LISTEN_TOKEN and "
        "AMBIENT_CONTROL_TOKEN, or else everybody)",
    )
    serve.add_argument(
        "--push",
        action="append",
        default=[],
        metavar="[STREAM=]URL",
        dest="pushes",
        type=_push,
        help="send a stream to Icecast too: icecast://source@host:8000/forest.ogg (.ogg, .opus, .mp3, .aac), the "
        "password in AMBIENT_ICECAST_PASSWORD; may be repeated",
    )
    serve.add_argument("--max-listeners", type=int, default=5000, metavar="N", help="at once (default: %(default)s)")
    serve.add_argument("--no-sound-card", action="store_true", help="streams only")
    serve.add_argument(
        "--rest-after",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="a stream that nobody has listened to for so long rests, and is back at once; 0: never (default: 60)",
    )
    _live_options(serve)

    render = add("render", "render", "render a scene to a file, faster than real time")
    render.add_argument("scene", nargs="?", help="a scene file, or the name of a bundled scene")
    render.add_argument("--seconds", type=_seconds, metavar="N", help="length, kept exactly")
    render.add_argument(
        "--replay", type=pathlib.Path, metavar="LOG", help="a session that `--record` wrote, instead of a scene"
    )
    render.add_argument("--out", required=True, metavar="FILE", help=".wav, .flac, .opus, .ogg or .mp3")
    render.add_argument("--seed", type=int, metavar="S", help="seed of every random choice (default: the scene's)")
    render.add_argument("--joins", metavar="FILE.json", help="write where clips were joined")
    render.add_argument(
        "--stems",
        type=pathlib.Path,
        metavar="DIR",
        help="write each layer to a file of its own too, before programme loudness and limiter",
    )
    render.add_argument(
        "--loop",
        action="store_true",
        help="an ending that leads back into the beginning, for games that want a file; the length is rounded to "
        "whole latent frames",
    )
    render.add_argument("--state", metavar="NAME", help="begin in this state and stay there")
    render.add_argument("--solo", metavar="LAYER", help="only this layer")
    render.add_argument(
        "--set",
        type=_assignment,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="assignments",
        help="set a parameter at the start; may be repeated",
    )
    render.add_argument(
        "--at",
        type=_timed_event,
        action="append",
        default=[],
        metavar="SECONDS:EVENT",
        dest="timed",
        help="fire an event; may be repeated",
    )
    _weather_option(render)
    _mute_option(render)
    render.add_argument("--json", action="store_true", help="report as JSON")
    _model_options(render)

    clip = add("clip", "render", "generate single clips from prompts")
    clip.add_argument("prompts", nargs="*", metavar="PROMPT")
    clip.add_argument(
        "--like", type=pathlib.Path, metavar="FILE", help="more of what is in a recording; with prompts, half of each"
    )
    clip.add_argument("--seconds", type=_seconds, default=10.0, metavar="N", help="length (default: 10)")
    clip.add_argument("--seed", type=int, default=0, metavar="S")
    clip.add_argument("--out", required=True, metavar="FILE|DIR", help="a sound file for one prompt, else a folder")
    clip.add_argument("--avoid", default="", metavar="PROMPT", help="what to keep away from")
    clip.add_argument("--guidance", type=float, metavar="X", help="prompt strength (default: the model's own)")
    clip.add_argument("--one-shot", action="store_true", help="a single event instead of a continuous sound")
    clip.add_argument("--json", action="store_true", help="report as JSON")
    _model_options(clip)

    check = add("check", "scenes", "check scenes: every mistake at once, as file:line:column")
    check.add_argument("scenes", nargs="+", metavar="SCENE")
    check.add_argument("--json", action="store_true", help="for editors")
    check.add_argument(
        "--listen", action="store_true", help="render each state briefly: level, width, joins, a spectrogram"
    )
    check.add_argument(
        "--seconds", type=_seconds, default=20.0, metavar="N", help="length of each state with --listen (default: 20)"
    )
    check.add_argument("--out", type=pathlib.Path, metavar="DIR", help="pictures of --listen (default: SCENE-listen)")

    simulate = add("simulate", "scenes", "run a scene without sound and tell what happens when")
    simulate.add_argument("scene", help="a scene file, or the name of a bundled scene")
    simulate.add_argument("--hours", type=_seconds, default=24.0, metavar="N", help="listening time (default: 24)")
    simulate.add_argument("--seed", type=int, metavar="S")
    _weather_option(simulate)
    simulate.add_argument("--json", action="store_true")
    simulate.add_argument("--png", type=pathlib.Path, metavar="FILE", help="draw states, parameters and levels too")

    new = add("new", "authoring", "write a first scene from a description")
    new.add_argument("description", help='such as "a rainy harbour at night"')
    new.add_argument("--states", type=int, default=3, metavar="N", help="how many phases (default: 3)")
    new.add_argument("--out", type=pathlib.Path, metavar="FILE", help="default: named after the description")
    new.add_argument("--force", action="store_true", help="write over a file that is there")

    graph = add("graph", "authoring", "draw a scene's states and transitions")
    graph.add_argument("scene", help="a scene file, or the name of a bundled scene")
    graph.add_argument("--out", type=pathlib.Path, metavar="FILE", help=".svg or .png (default: SCENE-states.svg)")

    schema = add("schema", "authoring", "print the scene language as JSON Schema, for editors")
    schema.add_argument("--out", type=pathlib.Path, metavar="FILE", help="write it there instead")

    explain = add("explain", "authoring", "ask a running server why each layer sounds as it does now")
    explain.add_argument("stream", nargs="?", help="a stream's name (default: the first)")
    explain.add_argument("--url", default="http://127.0.0.1:8765", help="the server (default: %(default)s)")
    explain.add_argument("--json", action="store_true")

    listen = add("listen", "listen", "listen to a running server: on the sound card, or into a file")
    listen.add_argument("url", help="the server or one of its streams, such as http://192.168.1.5:8765/#forest")
    listen.add_argument("--out", type=pathlib.Path, metavar="FILE", help=".wav, .flac, .opus, .ogg or .mp3")
    listen.add_argument("--seconds", type=_seconds, metavar="N", help="how long (default: until it is interrupted)")
    listen.add_argument(
        "--codec",
        choices=("opus", "flac", "s16le", "f32le"),
        help="how the sound travels: about 0.13, 0.8, 1.5 or 3 Mbit/s (default: for a file flac from another machine, "
        "else opus; from this one s16le)",
    )
    listen.add_argument("--token", metavar="T", help="where the server asks for one (default: $AMBIENT_TOKEN)")
    listen.add_argument("--sound-device", metavar="NAME|N", help="sound card, as `ambient devices` lists them")

    models = add("models", "models", "list the models that are at hand, fetch another, measure one")
    models.add_argument("--json", action="store_true")
    models.set_defaults(action="list")
    actions = models.add_subparsers(dest="action", metavar="ACTION")
    fetch = actions.add_parser("fetch", help="download a checkpoint from the hub, with progress")
    fetch.add_argument("name", metavar="NAME", help="as `ambient models` lists them, or OWNER/NAME on the hub")
    fetch.add_argument("--json", action="store_true")
    bench = actions.add_parser(
        "bench", help="find steps, clip length and batch that keep real time here; play and serve use them from then on"
    )
    bench.add_argument("name", metavar="NAME", help="as `ambient models` lists them, or a checkpoint folder")
    bench.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    bench.add_argument("--threads", type=int, metavar="N", help="processor threads for the model (default: measured)")
    bench.add_argument("--seconds", type=float, default=120.0, help="measure for about so long (default: 120)")
    bench.add_argument("--json", action="store_true")

    devices = add("devices", "about", "list the sound cards")
    devices.add_argument("--json", action="store_true")
    return parser


def _say(style: str, message: str) -> None:
    """Why the command ends: as a line of the log where something else reads that."""
    if style == "json":
        logging.getLogger("ambient").critical(message)
    else:
        print(message, file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    parser = build_parser()
    given = parser.parse_args(arguments)
    style = getattr(given, "log", "text")
    set_up(style, given.verbose)
    try:
        module = importlib.import_module(f"ambient.commands.{given.module}")
        return int(module.run(given))
    except SceneError as error:
        if given.traceback:
            raise
        _say(style, str(error))
        return 1
    except AmbientError as error:
        if given.traceback:
            raise
        _say(style, f"ambient {given.command}: {error}")
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `ambient simulate … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
