"""Every stage of tools/train runs on a few synthetic recordings, and what it exports can be played."""

from __future__ import annotations

import csv
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import psutil
import pytest
import soundfile as sf
import torch

from ambient.generate.bundled import WEIGHTS, BundledBackend
from ambient.messages import Clip, ClipKey, ClipRequest, PromptMix, Tail

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # tools/ is no part of the package

from tools.training.adopt import load_half  # noqa: E402
from tools.training.cli import main, settings_of  # noqa: E402


def train(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Runs one stage in this process (a process each would mostly import torch) and returns what it said."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 0
    return capsys.readouterr().out


def recordings(folder: pathlib.Path) -> pathlib.Path:
    """Rain-like noise, a hum and chirps, four seconds each, with their manifest."""
    rng = np.random.default_rng(0)
    t = np.arange(4 * 48_000) / 48_000
    sounds = {
        "rain": rng.standard_normal((len(t), 2)) * 0.1,
        "electric hum": np.repeat(np.sin(2 * np.pi * 100 * t)[:, None] * 0.2, 2, 1)
        + rng.standard_normal((len(t), 2)) * 0.01,
        "owl": (np.sin(2 * np.pi * 440 * t) * (np.sin(2 * np.pi * t) > 0.6))[:, None] * 0.3 * np.ones(2),
    }
    with (folder / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "label", "caption", "licence", "author", "source"])
        for label, sound in sounds.items():
            sf.write(folder / f"{label}.wav", sound.astype(np.float32), 48_000)
            rows.writerow([f"{label}.wav", label, f"The sound of {label}.", "CC0", "nobody", "made here"])
    return folder / "manifest.csv"


def teacher(folder: pathlib.Path) -> pathlib.Path:
    """A tiny sentence transformer with random weights, in place of the real one."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    letters = "abcdefghijklmnopqrstuvwxyz0123456789,.'é"
    words = ["rain", "hum", "owl", "the", "sound", "night", "forest", "electric"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *letters, *(f"##{c}" for c in letters)]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = BertConfig(
        vocab_size=len(tokens), hidden_size=384, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(300)  # a busy core imports torch twice
def test_all_stages_and_the_model_they_make(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, master, work = recordings(tmp_path), teacher(tmp_path / "teacher"), tmp_path / "work"
    out = train(
        capsys,
        "prepare", manifest, "--work", work, "--teacher", master,
        "--set", "texts_per_label=8", "--set", "latent_dim=16", "--set", "procedural=0.05",
    )  # fmt: skip
    assert "prepare: 6 sounds" in out
    few = ["latent_dim=16", "hidden=8", "batch=2", "segment=12"]
    bands = ["codec", work, "--seconds", 1, *(x for s in few for x in ("--set", s))]
    train(capsys, *bands)
    saved = torch.load(work / "codec.pt", weights_only=False)
    torch.save(saved | {"step": 49}, work / "codec.pt")
    assert "'step': 50, 'loss'" in train(capsys, *bands)  # goes on where it stopped
    row = json.loads((work / "codec.jsonl").read_text().splitlines()[-1])
    assert np.isfinite(row["loss"]) and np.isfinite(row["held"])
    with pytest.raises(SystemExit, match="another size"):
        train(capsys, *bands, "--set", "hidden=16")
    small = ["latent_dim=16", "lessons=3", "held_each=1", "batch=1", "steps=2"]
    tones = ["tones", work, tmp_path, *(x for s in small for x in ("--set", s))]
    train(capsys, *tones)
    assert "'step': 3" in train(capsys, *tones[:-1], "steps=3")  # goes on where it stopped
    train(
        capsys,
        "prompt", work, "--teacher", master, "--seconds", 1,
        "--set", "texts=60", "--set", "layers=1", "--set", "from_layers=[0]",
        "--set", "table_dim=8", "--set", "batch=8",
    )  # fmt: skip
    small = [
        "embed_dim=32",
        "depth=1",
        "heads=1",
        "lengths=[24]",
        "length_odds=[1]",
        "batch=1",
        "bf16=false",
        "ahead=0",
    ]
    diffusion = ["diffusion", work, "--seconds", 1, *(x for s in ["latent_dim=16", *small] for x in ("--set", s))]
    train(capsys, *diffusion)
    assert "from step 0" not in train(capsys, *diffusion)  # goes on where it stopped
    few = ["anchor_clips=4", "bias_clips=1", "caption_clips=2", "caption_sets=2"]
    train(capsys, "export", work, tmp_path / "plain", *(x for s in few for x in ("--set", s)))
    plain = json.loads((tmp_path / "plain" / "model_index.json").read_text())
    assert plain["ambient"]["guidance"] > 1 and "distilled_steps" not in plain["ambient"]
    endless = [*diffusion, "--seconds", 600, "--set", "ahead=1", "--set", "batch=16"]  # more than a pipe holds
    command = [sys.executable, str(ROOT / "tools" / "train"), *map(str, endless)]
    trainer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert trainer.stdout is not None
    assert any(line.startswith("{'step'") for line in trainer.stdout)  # it is at work
    children = psutil.Process(trainer.pid).children()
    preparing = [p for p in children if "spawn_main" in " ".join(p.cmdline())]
    trainer.kill()
    trainer.wait()
    trainer.stdout.close()  # whoever is left behind has it open too
    assert preparing and not psutil.wait_procs(preparing, timeout=60)[1]  # nobody is left behind
    few = ["steps=2", "batch=1", "bf16=false", "ahead=0", "own=1.0"]
    distil = ["distil", work, "--seconds", 1, *(x for s in few for x in ("--set", s))]
    train(capsys, *distil)
    saved = torch.load(work / "distil.pt", weights_only=False)
    torch.save(saved | {"step": 49}, work / "distil.pt")
    resumed = train(capsys, *distil)
    assert "from step 49" in resumed and "'step': 50, 'error'" in resumed  # a row is due at once
    begun = tmp_path / "begun"  # what distillation changed is put to a teacher that has been trained on
    shutil.copytree(work, begun, ignore=shutil.ignore_patterns("distil.*"))
    taught = torch.load(begun / "diffusion.pt", weights_only=False)
    torch.save(taught | {"ema": {k: v + 1.0 for k, v in taught["ema"].items()}}, begun / "diffusion.pt")
    distil[1] = begun
    with pytest.raises(SystemExit, match="no distillation"):
        train(capsys, *distil, "--after", begun)
    train(capsys, *distil, "--after", work, "--seconds", 0)
    moved, there = (torch.load(x / "distil.pt", weights_only=False)["ema"] for x in (begun, work))
    assert all(torch.allclose(moved[k], there[k] + 1.0, atol=1e-4) for k in moved)
    few = ["steps=2", "groups=1", "clips=2", "lengths=[24]", "length_odds=[1]", "bf16=false", "ahead=0", "own=1.0"]
    texture = ["texture", work, "--seconds", 1, *(x for s in few for x in ("--set", s))]
    train(capsys, *texture)
    saved = torch.load(work / "texture.pt", weights_only=False)
    torch.save(saved | {"step": 49}, work / "texture.pt")
    assert "'step': 50, 'distance'" in train(capsys, *texture)
    few = ["anchor_clips=4", "bias_clips=1", "caption_clips=2", "caption_sets=2"]
    export = ["export", work, tmp_path / "model", *(x for s in few for x in ("--set", s))]
    train(capsys, *export)
    said = train(capsys, *export, "--captions-for", tmp_path / "model")
    assert len((work / "captions.jsonl").read_text().splitlines()) >= 1
    assert "captions are left to others of their kind" in said
    unplaced = load_half(tmp_path / "model" / "prompt_encoder" / WEIGHTS)
    with pytest.raises(SystemExit, match="places is 0"):
        train(capsys, *export, "--places-for", tmp_path / "model", "--set", "places=0")
    assert "with places of" in train(capsys, *export, "--places-for", tmp_path / "model", "--set", "places=3")
    placed = load_half(tmp_path / "model" / "prompt_encoder" / WEIGHTS)
    places = placed.pop("places")
    assert places.shape[1:] == (3, 2, 16) and bool(places.any()) and "places" not in unplaced
    assert placed.keys() == unplaced.keys() and all(
        torch.equal(placed[k], v) for k, v in unplaced.items()
    )  # all else is the model's, bit for bit
    few = ["clips=2", "steps=1", "sets=2", "beyond=-9.0", "bias_clips=1"]
    inversion = ["inversion", work, tmp_path / "model", tmp_path / "model", *(x for s in few for x in ("--set", s))]
    assert "stopped before" in train(capsys, *inversion, "--seconds", 0)
    train(capsys, *inversion)
    rows = [json.loads(line) for line in (work / "inversion.jsonl").read_text().splitlines()]
    assert len(rows) == len({r["kind"] for r in rows}) >= 3 and all(np.isfinite(r["now"]) for r in rows)
    assert "inversion: {" not in train(capsys, *inversion)  # all is done
    card = json.loads((tmp_path / "model" / "model_index.json").read_text())
    assert card["_class_name"] == "AmbiencePipeline"
    assert (card["ambient"]["steps"], card["ambient"]["min_steps"], card["ambient"]["guidance"]) == (2, 2, 1.0)
    assert card["ambient"]["texture_steps"] >= 50
    weights = load_half(tmp_path / "model" / "transformer" / WEIGHTS)  # those of the last stage
    last = torch.load(work / "texture.pt", weights_only=False)["ema"]
    assert all(torch.allclose(weights[k], v.half().float()) for k, v in last.items())
    about = json.loads((tmp_path / "model" / "codec" / "config.json").read_text())
    assert about["tones"] and about["calls"]
    decoder = load_half(tmp_path / "model" / "codec" / WEIGHTS)
    drawn = torch.load(work / "codec.pt", weights_only=False)["ema"]
    assert all(torch.allclose(decoder[f"detail.{k}"], v.half().float()) for k, v in drawn.items())
    assert bool(drawn["usual"].any())
    backend = BundledBackend(str(tmp_path / "model"), threads=1)
    tail = Tail(np.zeros((16, 3), np.float16))
    request = ClipRequest(ClipKey("a", 0), 0, 12, 0, 1, 1, PromptMix.of("rain"), 2, 2.0, tail)
    (clip,) = backend.generate([request])
    assert isinstance(clip, Clip) and clip.audio.shape == (12 * 3840, 2)
    encoder = backend._reader._encoder  # it knows the labels, and draws meanings towards them
    assert encoder.prototypes.shape[0] >= 3 and encoder.config.grounding > 0
    assert len(encoder.captions) >= 3 and bool(encoder.bias.any())
    assert bool(encoder.places.any())
    assert encoder.config.inverted and bool(encoder.told.any()) == any(r["kept"] for r in rows)
    # the finished model is a start for other recordings, without the teacher
    more = tmp_path / "more"
    settings = ["--set", "texts_per_label=8", "--set", "procedural=0"]
    out = train(capsys, "prepare", manifest, "--work", more, "--from", tmp_path / "model", *settings)
    assert "goes on from" in out and "prepare: 3 sounds" in out
    np.testing.assert_allclose(np.load(more / "linear.npz")["mean"], np.load(work / "linear.npz")["mean"], atol=0.01)
    bands[1] = more
    assert "codec: from step 0" in train(capsys, *bands)
    diffusion[1] = more
    assert f"from step {card['ambient']['trained_steps']}" in train(capsys, *diffusion)
    export[1:3] = [more, tmp_path / "another"]
    train(capsys, *export)  # what was known of places is of the recordings before
    another = BundledBackend(str(tmp_path / "another"), threads=1)._reader
    assert encoder.places.numel() and not another._encoder.places.numel()
    with pytest.raises(SystemExit, match="knows other kinds"):
        train(capsys, "export", work, tmp_path / "no", "--places-for", tmp_path / "another")
    with pytest.raises(SystemExit, match="no model to go on from"):
        train(capsys, "prepare", manifest, "--work", more, "--from", tmp_path)


def test_help_and_unknown_settings() -> None:
    script = ROOT / "tools" / "train"
    shown = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, check=True).stdout
    assert all(name in shown for name in ("prepare", "codec", "prompt", "diffusion", "export", "evaluate"))
    with pytest.raises(SystemExit, match="NAME one of"):
        settings_of("diffusion", None, ["nosuch=1"])
    assert settings_of("diffusion", None, ["depth=3"])["depth"] == 3
    assert settings_of("diffusion", None, ["learning_rate=3e-4", "lengths=[24]"])["learning_rate"] == 3e-4
    wrong = "depth=deep depth=2.5 depth= depth=[ learning_rate=fast learning_rate=true lengths=24 bf16=3"
    for item in wrong.split():
        with pytest.raises(SystemExit, match="is expected, as in"):
            settings_of("diffusion", None, [item])
