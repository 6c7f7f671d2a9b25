"""``prepare --from MODEL``: a finished model is the start, so that training goes on, on its recordings or on others."""

from __future__ import annotations

import json
import pathlib
import shutil
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from ambient.generate.bundled import WEIGHTS
from ambient.generate.prompt import MAX_TOKENS, PromptEncoder
from tools.training.features import chance_of

__all__ = ["OwnEncoder", "adopt", "load_half", "read_encoder"]


def adopt(model: pathlib.Path, work: pathlib.Path, settings: dict[str, Any]) -> None:
    """Writes the parts of ``model`` into ``work`` as the stages would have: linear.npz, codec.pt, tones.pt, prompt.pt,
    tokenizer.json and diffusion.pt (without the optimiser's state, and with the learning rate at its beginning).

    ``settings``: those of the diffusion stage, whose sizes must be the model's. Raises SystemExit where a part is
    missing or another model's.
    """
    try:
        codec, transformer = load_half(model / "codec" / WEIGHTS), load_half(model / "transformer" / WEIGHTS)
        encoder = load_half(model / "prompt_encoder" / WEIGHTS)
        about = {n: json.loads((model / n / "config.json").read_text()) for n in ("codec", "prompt_encoder")}
        steps = json.loads((model / "model_index.json").read_text())["ambient"].get("trained_steps", 0)
        shutil.copyfile(model / "prompt_encoder" / "tokenizer.json", work / "tokenizer.json")
    except (OSError, ValueError, KeyError) as error:
        raise SystemExit(f"{model} is no model to go on from: {error}") from error
    linear = {"mean": codec["mean"].numpy(), "encode": codec["encoder"].numpy(), "decode": codec["decoder"].numpy()}
    np.savez(work / "linear.npz", **linear, chance=chance_of(linear))
    detail = {k.removeprefix("detail."): v for k, v in codec.items() if k.startswith("detail.")}
    (work / "codec.pt").unlink(missing_ok=True)
    if detail:
        sizes = {k: about["codec"][k] for k in ("latent_dim", "hidden")}
        torch.save({"model": detail, "ema": detail, "step": 0, "seconds": 0.0, "settings": sizes}, work / "codec.pt")
    else:
        print(f"the decoder of {model} is of an earlier version: run `tools/train codec {work}` before export")
    tonal = {k.removeprefix("tonal."): v for k, v in codec.items() if k.startswith("tonal.")}
    if tonal:
        state = {"now": tonal, "best": tonal, "best_loss": float("inf"), "step": 0}
        torch.save(state, work / "tones.pt")
    known = encoder.pop("prototypes", torch.zeros(0, encoder["positions"].shape[1]))
    np.save(work / "known.npy", known.numpy())
    captions = [encoder.pop(name, known[:0]) for name in ("names", "captions")]
    np.save(work / "known_captions.npy", torch.stack(captions).numpy())
    for name in ("bias", "painted", "told", "places"):  # they are of these weights, and of those recordings
        encoder.pop(name, None)
    own = {k: v for k, v in encoder.items() if not k.startswith("usual.")}
    # anew, by the stages behind
    fitted = ("kinds", "known_captions", "biased", "inverted", "known_places", "grounding", "sharpness")
    config = {k: v for k, v in about["prompt_encoder"].items() if not k.startswith("_") and k not in fitted}
    torch.save({"model": own, "config": config, "step": 0, "seconds": 0.0}, work / "prompt.pt")
    (work / "naming.pt").unlink(missing_ok=True)  # names that another model learned here
    torch.save(
        {"model": transformer, "ema": transformer, "step": steps, "seconds": 0.0, "settings": settings},
        work / "diffusion.pt",
    )
    print(f"goes on from {model}, after {steps} steps of diffusion training")


class OwnEncoder:
    """Sentence embeddings by the prompt encoder in a working folder: what the model will be asked with.

    ``part``: of which stage; otherwise of the last that has run.
    """

    def __init__(self, work: pathlib.Path, part: str | None = None) -> None:
        saved = read_encoder(work, part)
        self._encoder = PromptEncoder(**saved["config"]).eval()
        self._encoder.load_state_dict(saved["model"], strict=False)
        self._tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
        self._tokenizer.enable_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    @torch.inference_mode()
    def __call__(self, texts: list[str], batch: int = 256) -> np.ndarray:
        """Unit vectors, float32 ``(texts, dim)``."""
        order = np.argsort([len(t) for t in texts])
        found = np.zeros((len(texts), self._encoder.config.dim), np.float32)
        for start in range(0, len(texts), batch):
            pick = order[start : start + batch]
            encoded = self._tokenizer.encode_batch([texts[i].lower() for i in pick])
            ids, mask = torch.tensor([e.ids for e in encoded]), torch.tensor([e.attention_mask for e in encoded])
            found[pick] = self._encoder(ids, mask).numpy()
        return found


def read_encoder(work: pathlib.Path, part: str | None = None) -> dict[str, Any]:
    """The prompt encoder of a working folder, of the last stage that has run or of ``part``: ``config``, ``model``."""
    last = part or ("naming.pt" if (work / "naming.pt").exists() else "prompt.pt")
    found: dict[str, Any] = torch.load(work / last, weights_only=False, map_location="cpu")
    return found


def load_half(path: pathlib.Path) -> dict[str, torch.Tensor]:
    """Weights as exported, in single precision. Raises OSError."""
    return {k: v.float() for k, v in load_file(path).items()}
