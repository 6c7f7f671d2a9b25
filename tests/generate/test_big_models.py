"""The big families, on tiny checkpoints made with the real classes: recipes, tails, mixes, batches, memory."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ambient.errors import BackendError
from ambient.generate.catalogue import describe
from ambient.generate.diffusion import DiffusionBackend
from ambient.generate.loading import load_backend
from ambient.messages import Clip, ClipFailure, ClipKey, ClipRequest, PromptMix, Tail
from ambient.scene import part_of

FAMILIES = ("audioldm", "audioldm2", "stable-audio", "stable-audio-3")
Folder = Callable[[str], pathlib.Path]
pytestmark = pytest.mark.filterwarnings("ignore")

_loaded: dict[str, DiffusionBackend] = {}


def backend_of(checkpoint: Folder, family: str) -> DiffusionBackend:
    if family not in _loaded:
        made = load_backend(describe(str(checkpoint(family))), device="cpu", threads=1)
        assert isinstance(made, DiffusionBackend)
        _loaded[family] = made
    return _loaded[family]


def request(
    text: str = "rain on leaves", *, frames: int = 24, index: int = 0, steps: int = 3, **more: Any
) -> ClipRequest:
    made = ClipRequest(ClipKey("layer", index), 0, frames, 0, 77 + index, 3, PromptMix.of(text), steps, 2.0)
    return replace(made, **more)


def clip(backend: DiffusionBackend, wanted: ClipRequest) -> Clip:
    (answer,) = backend.generate([wanted])
    assert isinstance(answer, Clip), answer.message
    return answer


def apart(one: Clip, other: Clip) -> float:
    """Root mean square difference of latents, relative to their size."""
    a, b = one.latents.astype(np.float64), other.latents.astype(np.float64)
    return float(np.sqrt(np.mean((a - b) ** 2) / np.mean(a**2)))


@pytest.mark.parametrize("family", FAMILIES)
def test_shape_rate_and_sound(checkpoint: Folder, family: str) -> None:
    backend = backend_of(checkpoint, family)
    made = clip(backend, request())
    info = backend.info
    assert made.audio.shape == (24 * info.frames_per_latent, 2) and made.audio.dtype == np.float32
    assert made.latents.shape == (info.latent_channels, 24) and made.latents.dtype == np.float16
    assert np.isfinite(made.audio).all() and made.audio.std() > 1e-4
    assert np.any(made.audio[:, 0] != made.audio[:, 1])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_recipe_is_the_pipelines_own(checkpoint: Folder, family: str) -> None:
    """Without a tail, our loop must give what diffusers' pipeline gives from the same noise."""
    backend = backend_of(checkpoint, family)
    pipeline = backend._pipeline
    pipeline.set_progress_bar_config(disable=True)
    frames = 16
    wanted = request("rain", frames=frames, prompt=PromptMix.of("rain", avoid="" if family.endswith("3") else "snow"))
    guidance = 1.0 if family == "stable-audio-3" else 2.0
    ours = clip(backend, replace(wanted, guidance=guidance)).latents.astype(np.float32)
    noise = torch.randn(backend.info.latent_channels, frames, generator=torch.Generator().manual_seed(wanted.seed))[
        None
    ]
    on_the_way = torch.Generator().manual_seed(wanted.seed ^ 0x5DEECE66D)
    given: dict[str, Any] = {"prompt": "rain", "latents": backend._to_model(noise), "generator": [on_the_way]}
    if family == "stable-audio-3":
        seconds = frames * 4096 / 44_100
        pipeline_latents = _stable_audio_3(pipeline, given, seconds)
    elif family == "stable-audio":
        longest = 1024 * 2048 / 44_100
        theirs = pipeline(
            **given, negative_prompt="snow", num_inference_steps=3, guidance_scale=2.0, audio_end_in_s=longest - 1e-3,
            output_type="latent",
        ).audios  # fmt: skip
        pipeline_latents = theirs.numpy()
        np.testing.assert_allclose(ours, pipeline_latents[0], atol=0.02)
        return
    else:
        kept: list[torch.Tensor] = []
        pipeline(
            **given, negative_prompt="snow", num_inference_steps=3, guidance_scale=2.0,
            audio_length_in_s=frames * 640 / 16_000, callback=lambda _i, _t, x: kept.append(x.clone()),
        )  # fmt: skip
        pipeline_latents = backend._from_model(kept[-1]).numpy()
    np.testing.assert_allclose(ours, pipeline_latents[0], rtol=2e-3, atol=0.02)


def _stable_audio_3(pipeline: Any, given: dict[str, Any], seconds: float) -> Any:
    """Of the text pipeline's loop, with the duration that we give: a bed's clip is from a longer piece."""
    embeds, mask = pipeline.encode_prompt(["rain"], torch.device("cpu"), 1)
    length = pipeline.encode_duration(4 * 16 * 4458 / 48_000, torch.device("cpu"), 1, 1)
    context, context_mask = pipeline.prepare_cross_attention(embeds, mask, length)
    from diffusers.pipelines.stable_audio_3.pipeline_stable_audio_3_inpaint import logsnr_sigma_schedule

    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(sigmas=logsnr_sigma_schedule(3, -6.2, 2.0))
    x = given["latents"]
    nothing = torch.zeros(1, 257, x.shape[2])
    with torch.inference_mode():
        for t in scheduler.timesteps:
            flow = pipeline.transformer(
                x, t.expand(1), encoder_hidden_states=context, global_hidden_states=length,
                encoder_attention_mask=context_mask, local_add_cond=nothing, return_dict=False,
            )[0]  # fmt: skip
            x = scheduler.step(flow, t, x, generator=given["generator"]).prev_sample
    return x.numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_same_request_same_samples_and_each_seed_its_own(checkpoint: Folder, family: str) -> None:
    backend = backend_of(checkpoint, family)
    one = clip(backend, request())
    np.testing.assert_array_equal(one.audio, clip(backend, request()).audio)
    assert apart(one, clip(backend, request(seed=5))) > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_company_in_a_batch_does_not_matter(checkpoint: Folder, family: str) -> None:
    backend = backend_of(checkpoint, family)
    tail = Tail(clip(backend, request(index=9)).latents[:, -6:])
    batch = [
        request(),
        request("wind in the pines and a far away stream", index=1, frames=12),
        request("owl", index=2, one_shot=True, prompt=PromptMix.of("owl", avoid="rain")),
        request(index=3, tail=tail, guidance=1.0),
    ]
    for wanted, answer in zip(batch, backend.generate(batch), strict=True):
        assert isinstance(answer, Clip) and answer.request is wanted
        assert apart(answer, clip(backend, wanted)) < 0.003


@pytest.mark.parametrize("family", FAMILIES)
def test_what_to_avoid_guidance_and_mixes_matter(checkpoint: Folder, family: str) -> None:
    backend = backend_of(checkpoint, family)
    plain = clip(backend, request(guidance=3.0))
    assert apart(plain, clip(backend, request(guidance=1.0))) > 1e-3
    assert apart(plain, clip(backend, request(guidance=3.0, prompt=PromptMix.of("rain on leaves", "music")))) > 1e-3
    ends = [clip(backend, request(text, guidance=1.0)) for text in ("rain", "a violent gust of wind")]
    mixed = [
        clip(backend, request(guidance=1.0, prompt=PromptMix.of({"rain": 1 - w, "a violent gust of wind": w})))
        for w in (0.02, 0.5, 0.98)
    ]
    assert apart(mixed[0], ends[0]) < apart(mixed[1], ends[0]) < apart(mixed[2], ends[0])
    assert apart(mixed[2], ends[1]) < apart(mixed[1], ends[1]) < apart(mixed[0], ends[1])


SCHEDULERS = [
    ("audioldm", "DDIMScheduler", {}),
    ("audioldm", "DPMSolverMultistepScheduler", {}),
    ("audioldm2", "DDIMScheduler", {}),
    ("audioldm2", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ("stable-audio", "CosineDPMSolverMultistepScheduler", {}),
    ("stable-audio-3", "FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}),
    ("stable-audio-3", "FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": False}),
]


@pytest.mark.parametrize(("family", "scheduler", "more"), SCHEDULERS)
def test_the_tail_is_kept_exactly_by_each_scheduler(
    checkpoint: Folder, family: str, scheduler: str, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers

    backend = backend_of(checkpoint, family)
    chosen = getattr(diffusers, scheduler).from_config(backend._pipeline.scheduler.config, **more)
    monkeypatch.setattr(backend._pipeline, "scheduler", chosen)
    before = clip(backend, request())
    tail = Tail(before.latents[:, -8:])
    seen: list[torch.Tensor] = []
    predict = backend._predict
    monkeypatch.setattr(backend, "_predict", lambda x, *rest: (seen.append(x.clone()), predict(x, *rest))[1])
    after = clip(backend, request(index=1, tail=tail, steps=5))
    np.testing.assert_array_equal(after.latents[:, :8], tail.latents)
    towards = clip(backend, request(index=1, tail=tail, head=Tail(before.latents[:, :4]), steps=3))
    np.testing.assert_array_equal(towards.latents[:, :8], tail.latents)
    np.testing.assert_array_equal(towards.latents[:, -4:], before.latents[:, :4])
    seen.clear()
    after = clip(backend, request(index=1, tail=tail, steps=5))
    free = clip(backend, request(index=1, steps=5))
    assert apart(free, after) > 1e-3
    # at every step the network sees the tail and not something else under the noise: less and less noise
    if hasattr(chosen, "sigmas") and "Flow" in scheduler:
        known = torch.from_numpy(tail.latents.astype(np.float32))
        rest = [
            float((x[0, :, :8] - (1 - s) * known).std() / s)
            for x, s in zip(seen, chosen_sigmas(backend, 5), strict=False)
        ]
        assert all(0.9 < r < 1.1 for r in rest)


def chosen_sigmas(backend: DiffusionBackend, steps: int) -> list[float]:
    scheduler = type(backend._pipeline.scheduler).from_config(backend._pipeline.scheduler.config)
    backend._set_steps(scheduler, steps)
    return [float(s) for s in scheduler.sigmas[:-1]]


@pytest.mark.parametrize("family", FAMILIES)
def test_chained_clips_agree_where_they_overlap(checkpoint: Folder, family: str) -> None:
    """Two decodes of the same latents must be one sound away from the clips' ends, so that a crossfade is not heard."""
    backend = backend_of(checkpoint, family)
    per = backend.info.frames_per_latent
    before = clip(backend, request(frames=48))
    after = clip(backend, request(frames=48, index=1, tail=Tail(before.latents[:, -24:]), start_frame=24 * per))
    old, new = before.audio[34 * per : 38 * per], after.audio[10 * per : 14 * per]
    # AudioLDM's VAE normalises over the whole clip, so its two decodes agree in shape rather than in each sample
    likeness = np.corrcoef(old[:, 0], new[:, 0])[0, 1]
    assert likeness > (0.8 if family.startswith("audioldm") else 0.9999)


def test_the_speech_variant_of_audioldm2_loads_and_speaks(checkpoint: Folder) -> None:
    backend = backend_of(checkpoint, "audioldm2-speech")
    assert clip(backend, request("good morning")).audio.std() > 1e-4


@pytest.mark.parametrize(
    "bad",
    [
        request(frames=100_000),
        request(frames=0),
        request(start_frame=7),
        request(tail=Tail(np.zeros((3, 4), np.float16))),
    ],
)
def test_a_bad_request_is_answered_beside_good_ones(checkpoint: Folder, bad: ClipRequest) -> None:
    first, second = backend_of(checkpoint, "stable-audio-3").generate([bad, request()])
    assert isinstance(first, ClipFailure) and first.kind == "error"
    assert isinstance(second, Clip)


def test_a_batch_ends_between_two_steps(checkpoint: Folder) -> None:
    backend = backend_of(checkpoint, "audioldm")

    class Stop(BaseException):
        pass

    steps = iter(range(3))

    def look() -> None:
        if next(steps) == 2:
            raise Stop

    backend.on_step = look
    try:
        with pytest.raises(Stop):
            backend.generate([request(steps=9)])
    finally:
        backend.on_step = lambda: None


def test_memory_ends_by_degrees(checkpoint: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """First smaller batches, then parts set aside, then a failure that says what to do."""
    backend = backend_of(checkpoint, "audioldm")
    sample, sizes, room, asides = backend._sample, [], 2, []

    def tight(batch: list[ClipRequest], steps: int) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return sample(batch, steps)

    def set_aside() -> bool:
        nonlocal room
        asides.append(1)
        room = 1 if len(asides) == 1 else 0
        return len(asides) == 1

    monkeypatch.setattr(backend, "_sample", tight)
    monkeypatch.setattr(backend, "_save_memory", set_aside)
    batch = [request(index=i) for i in range(4)]
    assert all(isinstance(a, Clip) for a in backend.generate(batch))
    assert sizes == [4, 2, 2] and not asides
    room = 0
    assert isinstance(backend.generate([batch[0]])[0], Clip) and len(asides) == 1
    room = 0
    (answer,) = backend.generate([batch[0]])
    assert isinstance(answer, ClipFailure) and answer.kind == "out_of_memory"
    assert "smaller model" in answer.message


def test_half_precision_that_overflows_goes_on_in_full(checkpoint: Folder) -> None:
    backend = load_backend(describe(str(checkpoint("stable-audio-3"))), device="cpu", threads=1)
    assert isinstance(backend, DiffusionBackend)
    backend._dtype = torch.float16
    backend._denoiser.half()
    backend._parts["transformer"].register_forward_hook(
        lambda _module, _given, out: (out[0] * torch.inf,) if out[0].dtype == torch.float16 else out
    )
    made = clip(backend, request(guidance=1.0))
    assert np.isfinite(made.audio).all() and backend._dtype == torch.float32


def test_a_saved_and_reloaded_checkpoint_makes_the_same_clip(checkpoint: Folder, tmp_path: pathlib.Path) -> None:
    backend = backend_of(checkpoint, "audioldm2")
    backend._pipeline.save_pretrained(tmp_path / "again")
    again = load_backend(describe(str(tmp_path / "again")), device="cpu", threads=1)
    assert isinstance(again, DiffusionBackend)
    np.testing.assert_array_equal(clip(again, request()).audio, clip(backend, request()).audio)


def test_the_undistilled_stable_audio_3_takes_more_steps(copied: Folder) -> None:
    folder = copied("stable-audio-3")
    assert describe(str(folder)).steps == 8
    config = folder / "scheduler/scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"stochastic_sampling": False}))
    assert describe(str(folder)).steps == 50


@pytest.fixture
def two_sounds(tmp_path: pathlib.Path) -> list[str]:
    """A quiet hiss and a louder rumble, as parts of mixes."""
    import soundfile as sf

    rng = np.random.default_rng(0)
    parts = []
    for i in range(2):
        sound = rng.standard_normal((2 * 48_000, 2)) * (0.05 + 0.2 * i)
        sf.write(tmp_path / f"{i}.wav", np.cumsum(sound, 0) / 50 if i else sound, 48_000)
        parts.append(part_of(tmp_path / f"{i}.wav"))
    return parts


@pytest.fixture
def listening(checkpoint: Folder, tmp_path: pathlib.Path) -> pathlib.Path:
    """AudioLDM with both halves of CLAP."""
    from transformers import ClapAudioModelWithProjection

    folder = pathlib.Path(shutil.copytree(checkpoint("audioldm"), tmp_path / "listening"))
    whole = backend_of(checkpoint, "audioldm2")._pipeline
    ear = ClapAudioModelWithProjection(whole.text_encoder.config.audio_config)
    ear.save_pretrained(folder / "audio_encoder")
    whole.feature_extractor.save_pretrained(folder / "feature_extractor")
    return folder


@pytest.mark.parametrize("family", ["audioldm", "audioldm2"])
def test_a_model_with_an_ear_hears_recordings(
    checkpoint: Folder, family: str, two_sounds: list[str], listening: pathlib.Path
) -> None:
    backend = backend_of(checkpoint, family)
    if family == "audioldm":
        made = load_backend(describe(str(listening)), device="cpu", threads=1)
        assert isinstance(made, DiffusionBackend)
        backend = made
    one, other = (clip(backend, request(prompt=PromptMix.of(p))) for p in two_sounds)
    assert apart(one, other) > 1e-3 and apart(one, clip(backend, request(""))) > 1e-3
    mixed = clip(backend, request(prompt=PromptMix.of({two_sounds[0]: 0.5, "rain": 0.5})))
    assert apart(mixed, one) > 1e-4
    clip(backend, request(prompt=PromptMix.of(two_sounds[0]), one_shot=True))
    said = clip(backend, request("rain"))  # the text encoder reads again afterwards
    np.testing.assert_array_equal(said.latents, clip(backend, request("rain")).latents)
    if family == "audioldm":
        vectors = [backend._meaning(part)["unit"] for part in (*two_sounds, "rain")]
        assert all(v.shape == vectors[0].shape and float(v.norm()) == pytest.approx(1, abs=1e-4) for v in vectors)


def test_an_ear_that_is_broken_is_told(listening: pathlib.Path) -> None:
    path = next(listening.glob("audio_encoder/*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(BackendError, match="audio_encoder cannot be loaded"):
        load_backend(describe(str(listening)), device="cpu")


@pytest.mark.parametrize("family", ["audioldm", "stable-audio", "stable-audio-3"])
def test_a_model_without_an_ear_goes_on_from_the_recording(
    checkpoint: Folder, family: str, two_sounds: list[str]
) -> None:
    backend = backend_of(checkpoint, family)
    low, rumble = (clip(backend, request(prompt=PromptMix.of(p))) for p in two_sounds)
    for made, part in ((low, two_sounds[0]), (rumble, two_sounds[1])):
        stretch = backend._stretch(part)
        kept = min(stretch.shape[1], 12)
        np.testing.assert_array_equal(made.latents[:, :kept], stretch[:, :kept])
        assert made.request.tail is None  # the answer is to what was asked
    assert apart(low, rumble) > 1e-3
    # with words, they lead on; a clip that has a tail goes on from that, and a single event needs words
    mixed = PromptMix.of({two_sounds[0]: 0.5, "rain": 0.5})
    worded = clip(backend, request(prompt=mixed))
    np.testing.assert_array_equal(worded.latents[:, :6], low.latents[:, :6])
    tail = Tail(rumble.latents[:, -8:])
    after = clip(backend, request(prompt=PromptMix.of(two_sounds[0]), tail=tail))
    np.testing.assert_array_equal(after.latents[:, :8], tail.latents)
    (answer,) = backend.generate([request(prompt=PromptMix.of(two_sounds[0]), one_shot=True)])
    assert isinstance(answer, ClipFailure) and "has no ear" in answer.message
    clip(backend, request(prompt=mixed, one_shot=True))


def test_the_mel_spectrogram_is_that_of_hifigan() -> None:
    """Against the same made with torch, as AudioLDM's own code makes it."""
    from ambient.generate.mel import log_mel

    rng = np.random.default_rng(1)
    sound = (0.1 * rng.standard_normal(16_000)).astype(np.float32)
    found = log_mel(sound, 16_000, 64)
    assert found.shape == (100, 64)
    x = torch.nn.functional.pad(torch.from_numpy(sound)[None, None], (512, 512), mode="reflect")[0, 0]
    magnitude = torch.stft(x, 1024, 160, 1024, torch.hann_window(1024), center=False, return_complex=True).abs()
    from transformers.audio_utils import mel_filter_bank

    filters = torch.from_numpy(mel_filter_bank(513, 64, 0, 8000, 16_000, norm="slaney", mel_scale="slaney")).float()
    theirs = (filters.T @ magnitude).clamp_min(1e-5).log().T[:100]
    np.testing.assert_allclose(found, theirs.numpy(), atol=1e-3)
