"""``export``: the trained parts, in half precision, in the layout of a diffusers checkpoint."""

from __future__ import annotations

import itertools
import json
import pathlib
import shutil
import tempfile
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from safetensors.torch import save_file
from torch import nn

from ambient.generate.bundled import WEIGHTS, BundledBackend
from ambient.generate.codec import EDGE_LATENTS, AmbienceCodec
from ambient.generate.prompt import Known, PromptEncoder
from ambient.messages import ClipKey, ClipRequest, PromptMix
from tools.training.adopt import OwnEncoder, load_half, read_encoder
from tools.training.captions import PHRASES, PLACES
from tools.training.codec import linear, trained_detail
from tools.training.diffusion import TEXT_DIM, Kind, Sampler, build
from tools.training.evaluate import knows_kinds
from tools.training.inversion import kinds_of, learn
from tools.training.painted import leave
from tools.training.procedural import FIRST
from tools.training.texture import GroupSampler
from tools.training.tones import knows_calls

ALIKE = 0.99
"""Cosine from which two readings are of the same text."""
PLACE_FRAMES = 128
"""Latent frames of a stretch that tells where recordings lie: those of a clip."""
OF_PLACES = 0.95
"""Length of the name of a place beside that of a sound: "waves at the harbour" are waves."""


def export(work: pathlib.Path, out: pathlib.Path, settings: dict[str, Any]) -> int:
    """Writes the model into ``out``; ``settings``: ``shift`` and what planners must know. Returns its size in bytes."""
    not_its = ("shift", "anchor_clips", "bias_clips", "places", "caption_clips", "caption_sets", "distilled")
    about = {k: v for k, v in settings.items() if k not in not_its}
    clips = settings["anchor_clips"]
    trained = torch.load(work / "diffusion.pt", weights_only=False, map_location="cpu")
    transformer = build(trained["settings"])
    transformer.load_state_dict(trained["ema"])
    for stage, counted in (("distil.pt", "distilled_steps"), ("texture.pt", "texture_steps")):
        if settings["distilled"] and (work / stage).exists():
            few = torch.load(work / stage, weights_only=False, map_location="cpu")
            transformer.load_state_dict(few["ema"])
            steps = few["settings"]["steps"]
            about |= {"steps": steps, "min_steps": min(steps, about["min_steps"]), "guidance": 1.0}
            about[counted] = few["step"]
    detail = trained_detail(work)
    if not detail:
        raise SystemExit(f"{work} has no trained decoder: run `tools/train codec {work}` first")
    tonal = {}
    if (work / "tones.pt").exists():
        tonal = torch.load(work / "tones.pt", weights_only=False, map_location="cpu")["best"]
    codec = AmbienceCodec(
        latent_dim=detail["settings"]["latent_dim"],
        hidden=detail["settings"]["hidden"],
        tones=bool(tonal),
        calls=bool(tonal) and knows_calls(tonal),
    )
    linear(codec, work)
    codec.detail.load_state_dict(detail["ema"])
    if codec.tonal is not None:
        codec.tonal.load_state_dict(tonal)
    usual = usual_latents(work, trained["settings"], clips)
    read = read_encoder(work)
    config = {k: v for k, v in read["config"].items() if not k.startswith("_")}
    prototypes = torch.from_numpy(np.load(work / "prototypes.npy"))
    names, captions = known_captions(work)
    learned = trained["settings"]
    encoder = PromptEncoder(
        **config
        | {
            "latent_dim": learned["latent_dim"],
            "kinds": len(prototypes),
            "known_captions": len(captions),
            "biased": True,
        }
        | {k: learned[k] for k in ("grounding", "sharpness")}
    )
    fitted = {"prototypes": prototypes, "names": names, "captions": captions} | {
        f"usual.{k}": v for k, v in usual.items()
    }
    none = torch.zeros(len(prototypes), learned["latent_dim"])
    encoder.load_state_dict(read["model"] | fitted | {"bias": none, "painted": none})
    out.mkdir(parents=True, exist_ok=True)
    for name, part in (("transformer", transformer), ("codec", codec), ("prompt_encoder", encoder)):
        _write(part, out / name)
    shutil.copyfile(work / "tokenizer.json", out / "prompt_encoder" / "tokenizer.json")
    FlowMatchEulerDiscreteScheduler(shift=settings["shift"]).save_config(out / "scheduler")
    index = {
        "_class_name": "AmbiencePipeline",
        "transformer": ["diffusers", "StableAudio3DiTModel"],
        "codec": ["ambient.generate.codec", "AmbienceCodec"],
        "prompt_encoder": ["ambient.generate.prompt", "PromptEncoder"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "ambient": about | {"edge_latents": EDGE_LATENTS, "trained_steps": trained["step"]},
    }
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    for known, measured in zip(
        (encoder.bias, encoder.painted),
        bias_of(out, work, trained["settings"], settings["bias_clips"]),
        strict=True,
    ):
        known.copy_(measured)
    _write(encoder, out / "prompt_encoder")
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    print(f"export: {size / 1e6:.1f} MB in {out}, after {trained['step']} steps of diffusion training")
    return size


def rename(work: pathlib.Path, model: pathlib.Path, out: pathlib.Path) -> int:
    """Writes ``model`` into ``out`` with the prompt encoder of ``work``, which began with the model's own and learned
    names since (``naming``). What captions mean to the transformer stays, and how they are read is as the encoder now
    reads them; all else is the model's, bit for bit. Returns the size in bytes.

    Raises SystemExit where the working folder has learned no names, or the captions there are not the model's.
    """
    encoder = _encoder_of(model)
    if not (work / "naming.pt").exists():
        raise SystemExit(f"{work} has learned no names: run `tools/train naming {work} --dictionary …` first")
    stands = _stands(work)
    begun, now = (torch.from_numpy(OwnEncoder(work, part)(list(stands))) for part in ("prompt.pt", "naming.pt"))
    now *= torch.from_numpy(_lengths(stands))
    alike, row = (nn.functional.normalize(encoder.names, dim=-1) @ begun.T).max(1)
    if float(alike.min()) < ALIKE:
        raise SystemExit(
            f"{model} knows captions that {work} does not have: prepare it with the recordings of the model, "
            f"--from {model}"
        )
    names = now[row]
    learned = {k: v for k, v in read_encoder(work)["model"].items() if not k.startswith("usual.")}
    encoder.load_state_dict(encoder.state_dict() | learned | {"names": names})
    return _with_encoder(model, encoder, out, f"with the names of {work}")


def well_painted(work: pathlib.Path, model: pathlib.Path, out: pathlib.Path, settings: dict[str, Any]) -> int:
    """Writes ``model`` into ``out`` with the captions that it paints badly left to better ones of their kind (see
    ``painted``), by the recordings of ``work``; all else is the model's, bit for bit. Returns the size in bytes.

    ``settings``: ``caption_clips`` and ``caption_sets``. Raises SystemExit where the transformer is not that of the
    working folder in size, or the model knows no captions.
    """
    encoder = _encoder_of(model)
    try:
        trained = torch.load(work / "diffusion.pt", weights_only=False, map_location="cpu")["settings"]
        captions = leave(model, work, trained, clips=settings["caption_clips"], sets=settings["caption_sets"])
    except (OSError, RuntimeError) as error:
        raise SystemExit(f"{model} cannot be judged by {work}, prepare it --from {model}: {error}") from error
    encoder.captions.copy_(captions)
    return _with_encoder(model, encoder, out, "with captions left to better ones")


def well_placed(work: pathlib.Path, model: pathlib.Path, out: pathlib.Path, settings: dict[str, Any]) -> int:
    """Writes ``model`` into ``out`` with where recordings of ``work`` lie (see :func:`places_of`); all else is the
    model's, bit for bit. Returns the size in bytes.

    Raises SystemExit where the folder's kinds of sound are not the model's, or no places are asked for."""
    if settings["places"] < 1:
        raise SystemExit(f"places is {settings['places']}: at least one stretch of each kind is needed")
    encoder = _encoder_of(model)
    try:
        trained = torch.load(work / "diffusion.pt", weights_only=False, map_location="cpu")["settings"]
        if not knows_kinds(encoder.prototypes, work):
            raise RuntimeError("it knows other kinds of sound")
        places = places_of(work, trained, settings["places"])
    except (OSError, RuntimeError) as error:
        raise SystemExit(f"{work} is not of {model}, prepare it --from {model}: {error}") from error
    return _with_encoder(model, _placed(encoder, places), out, f"with places of {len(places)} kinds")


def inverted(
    work: pathlib.Path, model: pathlib.Path, out: pathlib.Path, settings: dict[str, Any], seconds: float | None = None
) -> int:
    """Writes ``model`` into ``out`` with what ``inversion`` learns by the recordings of ``work``, and the colour of
    what that changes as it then is; all else is the model's, bit for bit. Returns the size in bytes.

    Raises SystemExit."""
    learned = learn(work, model, settings, seconds=seconds)
    before = _encoder_of(model)
    config = {k: v for k, v in before.config.items() if not k.startswith("_")}
    encoder = PromptEncoder(**config | {"inverted": True})
    none = {name: torch.zeros_like(getattr(before, name)) for name in ("bias", "painted")}
    encoder.load_state_dict(before.state_dict() | none | {"told": before.told})
    rows = {label: row for row, label in enumerate(kinds_of(work))}
    for label, moved in learned.items():
        encoder.told[rows[label]] = moved
    trained = torch.load(work / "diffusion.pt", weights_only=False, map_location="cpu")["settings"]
    with tempfile.TemporaryDirectory() as folder:
        plain = pathlib.Path(folder)
        shutil.copytree(model, plain, dirs_exist_ok=True)
        _write(_placed(encoder, None), plain / "prompt_encoder")  # it would paint there, not where it does by itself
        measured = bias_of(plain, work, trained, settings["bias_clips"], only=learned)
    for name, found in zip(none, measured, strict=True):
        known = getattr(encoder, name).copy_(getattr(before, name))
        for label in learned:
            known[rows[label]] = found[rows[label]]
    return _with_encoder(model, encoder, out, f"with {len(learned)} kinds nearer to recordings")


def _encoder_of(model: pathlib.Path) -> PromptEncoder:
    """The prompt encoder of a finished model, in single precision. Raises SystemExit."""
    try:
        about = json.loads((model / "prompt_encoder" / "config.json").read_text())
        encoder = PromptEncoder(**{k: v for k, v in about.items() if not k.startswith("_")})
        encoder.load_state_dict(load_half(model / "prompt_encoder" / WEIGHTS))
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise SystemExit(f"{model} has no prompt encoder that can be read: {error}") from error
    if not len(encoder.names):
        raise SystemExit(f"{model} knows no captions, by which names are read: export it whole")
    return encoder


def _placed(encoder: PromptEncoder, places: torch.Tensor | None) -> PromptEncoder:
    """The same prompt encoder, that knows these places ``(kinds, places, 2, latent_dim)``, or none."""
    config = {k: v for k, v in encoder.config.items() if not k.startswith("_")}
    placed = PromptEncoder(**config | {"known_places": 0 if places is None else places.shape[1]})
    known = {k: v for k, v in encoder.state_dict().items() if k != "places"}
    placed.load_state_dict(known if places is None or not places.numel() else known | {"places": places})
    return placed


def _with_encoder(model: pathlib.Path, encoder: PromptEncoder, out: pathlib.Path, how: str) -> int:
    """Writes ``model`` into ``out`` with another prompt encoder; its size in bytes, and says so."""
    if out.resolve() != model.resolve():
        shutil.copytree(model, out, dirs_exist_ok=True)
    _write(encoder, out / "prompt_encoder")
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    print(f"export: {size / 1e6:.1f} MB in {out}, {model} {how}")
    return size


def _lengths(stands: dict[str, str]) -> np.ndarray:
    """How long names are: those of places less than 1, ``(names, 1)``."""
    return np.array([[1.0 if name == text else OF_PLACES] for name, text in stands.items()], np.float32)


def _stands(work: pathlib.Path) -> dict[str, str]:
    """Captions of the labels of a working folder, and places where such is heard → the captions that they stand for:
    phrases that were varied in training, of labels that have none their recordings' captions."""
    said = dict.fromkeys(
        text
        for entry in json.loads((work / "index.json").read_text())
        for text in PHRASES.get(entry["label"], [entry["label"], entry["caption"].rstrip(".")])
        if text.strip()
    )
    return {place: text for place, text in PLACES.items() if text in said} | {text: text for text in said}


def known_captions(work: pathlib.Path) -> Known:
    """What the labels of a working folder are called, and places (see :func:`_stands`), as the prompt encoder reads it.
    What a finished model knew that was the start stays."""
    stands = _stands(work)
    embed = OwnEncoder(work)
    found = np.stack([embed(list(stands)), embed(list(stands.values()))])
    found[0] *= _lengths(stands)
    if (work / "known_captions.npy").exists():
        known = np.load(work / "known_captions.npy")
        found = np.concatenate([found, known[:, (known[1] @ found[1].T).max(1) < ALIKE]], 1)
    names, captions = torch.from_numpy(found.astype(np.float32))
    return names, captions


def usual_latents(work: pathlib.Path, settings: dict[str, Any], clips: int) -> dict[str, torch.Tensor]:
    """Ridge regression from meaning to the mean latents of a clip, and to the half-width of their usual range."""
    sampler = Sampler(work, settings | {"drop_text": 0.0, "one_shot_odds": 0.0}, seed=1)
    drawn = [sampler.one(96) for _ in range(clips)]
    x = np.stack([c[1][:-1] for c in drawn]) / TEXT_DIM**0.5
    y = np.stack([c[0].mean(1) for c in drawn])

    def ridge(goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        centre, offset = x.mean(0), goal.mean(0)
        weight = np.linalg.solve(
            (x - centre).T @ (x - centre) + 2.0 * np.eye(x.shape[1]), (x - centre).T @ (goal - offset)
        )
        return weight, offset - centre @ weight

    mean, bias = ridge(y)
    spread = np.abs(y - x @ mean - bias).mean(0)
    weight = np.concatenate([mean, np.zeros_like(mean)], 1).T
    found = {"weight": weight, "bias": np.concatenate([bias, spread])}
    return {k: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for k, v in found.items()}


def places_of(work: pathlib.Path, settings: dict[str, Any], count: int) -> torch.Tensor:
    """Where recordings of each kind lie and how much they move: mean and standard deviation over time of the latents of
    ``count`` stretches as long as a clip, ``(kinds, count, 2, latent_dim)``. Of sounds made by rule only where there
    are no recordings, or where these are not what is meant."""
    sampler = GroupSampler(work, settings | {"drop_text": 0.0}, seed=21)
    for label, entries in sampler.by_label.items():
        if label not in FIRST:
            sampler.by_label[label] = [e for e in entries if not e["procedural"]] or entries
    kinds = kinds_of(work)
    found = torch.zeros(len(kinds), count, 2, settings["latent_dim"])
    for row, label in enumerate(kinds):
        if label in sampler.by_label:
            drawn = [torch.from_numpy(sampler.clip(Kind((label,)), PLACE_FRAMES)[0]) for _ in range(count)]
            found[row] = torch.stack([torch.stack([x.mean(1), x.std(1)]) for x in drawn])
    return found


@torch.inference_mode()
def bias_of(
    model: pathlib.Path, work: pathlib.Path, settings: dict[str, Any], clips: int, only: Collection[str] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """How far from training recordings a model paints each kind on average, ``(kinds, latent_dim)``: mean latents of
    ``clips`` of its labels' phrases, and of twice as many stretches of recordings. In colour and width, not in power,
    which is the scene's. And how far from the usual place of its phrases it paints each, of the same shape. Zeros for
    kinds that the folder has no sounds of, and those not among ``only``. The model is to have none of this yet."""
    backend = BundledBackend(str(model), threads=torch.get_num_threads())
    encoder, info, step = backend._encoder, backend.info, backend._codec.power_step()
    found, painted = (torch.zeros(len(encoder.prototypes), info.latent_channels) for _ in range(2))
    sampler = GroupSampler(work, settings | {"drop_text": 0.0}, seed=2)
    labels = kinds_of(work)
    for row, label in enumerate(labels):
        if label not in sampler.by_label or not clips or (only is not None and label not in only):
            continue
        said = PHRASES.get(label, [label])
        asked = [
            ClipRequest(
                ClipKey(label, i),
                0,
                info.max_latent_frames,
                0,
                10**6 + i,
                1 + i,
                PromptMix.of(text),
                info.steps,
                info.guidance,
            )
            for i, text in enumerate(itertools.islice(itertools.cycle(said), clips))
        ]
        plain = [backend._sample([r], info.steps) - backend._manner(r.prompt)[:, None] for r in asked]
        made = torch.cat(plain)
        real = [sampler.clip(Kind((label,)), info.max_latent_frames)[0] for _ in range(2 * clips)]
        away = torch.from_numpy(np.stack(real)).mean((0, 2)) - made.mean((0, 2))
        louder = backend._codec.log_power(made + away[:, None]) - backend._codec.log_power(made)
        found[row] = away - louder.mean() * step
        usual = torch.stack([backend._reader.usual(backend._meaning(r.prompt))[0] for r in asked])
        painted[row] = made.mean((0, 2)) - usual.mean(0)
        if (row + 1) % 20 == 0 or row + 1 == len(labels):
            print(f"export: the colour of {row + 1} of {len(labels)} kinds", flush=True)
    return found, painted


def _write(part: nn.Module, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    part.save_config(folder)  # type: ignore[operator]  # of diffusers' ConfigMixin
    save_file({k: v.detach().half().contiguous() for k, v in part.state_dict().items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone
