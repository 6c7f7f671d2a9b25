"""Tiny checkpoints with random weights of each big family, made with the real classes and their ``save_pretrained``.

Their geometry (rates, samples in a latent frame, widths of the latents) is that of the published models, so that what
is planned for them is planned as for the real ones; everything else is as small as it goes. They make noise.
"""

from __future__ import annotations

import json
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AudioLDM2Pipeline,
    AudioLDM2ProjectionModel,
    AudioLDM2UNet2DConditionModel,
    AudioLDMPipeline,
    AutoencoderKL,
    AutoencoderOobleck,
    AutoencoderSAME,
    CosineDPMSolverMultistepScheduler,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableAudio3DiTModel,
    StableAudio3InpaintPipeline,
    StableAudioDiTModel,
    StableAudioPipeline,
    StableAudioProjectionModel,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_audio_3.modeling_stable_audio_3 import StableAudio3DurationEmbedder
from tokenizers import pre_tokenizers
from transformers import (
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    ClapTextModelWithProjection,
    GemmaTokenizer,
    GPT2Config,
    GPT2Model,
    RobertaTokenizer,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    T5Config,
    T5EncoderModel,
    T5GemmaConfig,
    T5GemmaEncoderModel,
    T5Tokenizer,
    VitsConfig,
    VitsModel,
    VitsTokenizer,
)

__all__ = ["MAKERS", "make"]

_LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]


def _roberta() -> RobertaTokenizer:
    vocabulary = {word: i for i, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    return RobertaTokenizer(vocab=vocabulary, merges=[], model_max_length=32)


def _t5_tokenizer(length: int) -> T5Tokenizer:
    words = ["<pad>", "</s>", "<unk>", "▁", *_LETTERS]
    return T5Tokenizer(vocab=[(w, -1.0) for w in words], extra_ids=0, model_max_length=length)


def _scheduler(**more: Any) -> DDIMScheduler:
    given = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195, "clip_sample": False}
    return DDIMScheduler(**(given | {"steps_offset": 1, "set_alpha_to_one": False} | more))


def _mel_vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=8,
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        layers_per_block=1,
    )


def _vocoder() -> SpeechT5HifiGan:
    made = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=64,
            sampling_rate=16_000,
            upsample_initial_channel=16,
            upsample_rates=[5, 4, 4, 2],
            upsample_kernel_sizes=[16, 16, 8, 4],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3]],
            normalize_before=False,
        )
    )
    with torch.no_grad():  # as initialised it whispers at −180 dB
        for name, weight in made.named_parameters():
            if name.endswith("weight"):
                weight.mul_(12.0)
    return made


def _clap_text() -> dict[str, Any]:
    return {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "vocab_size": 300,
        "projection_dim": 16,
        "max_position_embeddings": 64,
    }


def _t5(dim: int) -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=64, d_model=dim, d_kv=8, d_ff=16, num_layers=1, num_heads=2))


def audioldm() -> AudioLDMPipeline:
    """As AudioLDM: CLAP text → UNet → mel VAE → vocoder; 16 kHz mono."""
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=(8, 16),
        attention_head_dim=4,
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=16,
        class_embeddings_concat=True,
    )
    return AudioLDMPipeline(
        vae=_mel_vae(),
        text_encoder=ClapTextModelWithProjection(ClapTextConfig(**_clap_text())),
        tokenizer=_roberta(),
        unet=unet,
        scheduler=_scheduler(),
        vocoder=_vocoder(),
    )


def _audioldm2(second: Any, tokenizer_2: Any, dim: int, **projection: Any) -> AudioLDM2Pipeline:
    unet = AudioLDM2UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=([None, 16, dim], [None, 16, dim]),
        attention_head_dim=4,
    )
    audio = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "patch_embeds_hidden_size": 8,
        "projection_dim": 16,
        "spec_size": 64,
        "num_mel_bins": 16,
        "window_size": 4,
    }
    clap = ClapModel(ClapConfig(text_config=_clap_text(), audio_config=audio, projection_dim=16))
    return AudioLDM2Pipeline(
        vae=_mel_vae(),
        text_encoder=clap,
        text_encoder_2=second,
        projection_model=AudioLDM2ProjectionModel(16, dim, 16, **projection),
        # the published checkpoints say GPT2Model, which transformers 5 no longer generates with
        language_model=GPT2Model(GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=128, vocab_size=32)),
        tokenizer=_roberta(),
        tokenizer_2=tokenizer_2,
        feature_extractor=ClapFeatureExtractor(feature_size=16, max_length_s=2),
        unet=unet,
        scheduler=_scheduler(),
        vocoder=_vocoder(),
    )


def audioldm2() -> AudioLDM2Pipeline:
    """As AudioLDM 2 for sounds and for music: CLAP and T5 → GPT-2 → UNet."""
    made = _audioldm2(_t5(12), _t5_tokenizer(32), 12)
    made.language_model.config.max_new_tokens = 8
    return made


def audioldm2_speech() -> AudioLDM2Pipeline:
    """As AudioLDM 2 for speech: a VITS text encoder in the place of T5."""
    config = VitsConfig(
        vocab_size=200,  # the pipeline ends a text with token 182
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=16,
        spectrogram_bins=8,
        upsample_initial_channel=16,
        flow_size=12,
        prior_encoder_num_flows=1,
        prior_encoder_num_wavenet_layers=1,
        posterior_encoder_num_wavenet_layers=1,
        duration_predictor_num_flows=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        words = pathlib.Path(folder) / "vocab.json"
        words.write_text(json.dumps({w: i for i, w in enumerate(["_", *_LETTERS, " "])}))
        tokenizer = VitsTokenizer(
            str(words), pad_token="_", unk_token="_", phonemize=False, add_blank=False, model_max_length=16
        )
    made = _audioldm2(VitsModel(config), tokenizer, 12, use_learned_position_embedding=True, max_seq_length=16)
    made.language_model.config.max_new_tokens = 8
    return made


def stable_audio() -> StableAudioPipeline:
    """As Stable Audio Open: T5 → DiT → Oobleck; 44.1 kHz stereo, 2,048 samples a latent frame."""
    vae = AutoencoderOobleck(
        encoder_hidden_size=128,
        downsampling_ratios=[2, 4, 4, 8, 8],
        channel_multiples=[1, 1, 1, 1, 1],
        decoder_channels=4,
        decoder_input_channels=64,
    )
    with torch.no_grad():  # as initialised its sound is mostly a constant, and far too loud
        last = vae.decoder.conv2.weight_v
        last.sub_(last.mean(2, keepdim=True))
        vae.decoder.conv2.weight_g.mul_(0.1)
    return StableAudioPipeline(
        vae=vae,
        text_encoder=_t5(12),
        projection_model=StableAudioProjectionModel(
            text_encoder_dim=12, conditioning_dim=12, min_value=0, max_value=512
        ),
        tokenizer=_t5_tokenizer(16),
        transformer=StableAudioDiTModel(
            sample_size=1024,
            in_channels=64,
            out_channels=64,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            num_key_value_attention_heads=1,
            cross_attention_dim=12,
            cross_attention_input_dim=12,
            global_states_input_dim=24,
            time_proj_dim=8,
        ),
        scheduler=CosineDPMSolverMultistepScheduler(
            sigma_min=0.3, sigma_max=500, sigma_data=1.0, prediction_type="v_prediction", sigma_schedule="exponential"
        ),
    )


def stable_audio_3() -> StableAudio3InpaintPipeline:
    """As Stable Audio 3: T5Gemma → DiT with trained inpainting → SAME; 44.1 kHz stereo, 4,096 samples a frame."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", *_LETTERS]
    gemma = {
        "vocab_size": 64,
        "hidden_size": 12,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
    }
    transformer = StableAudio3DiTModel(
        io_channels=256,
        embed_dim=32,
        depth=1,
        num_heads=2,
        cond_token_dim=12,
        global_cond_dim=12,
        local_add_cond_dim=257,
        timestep_features_dim=8,
        num_memory_tokens=2,
    )
    with torch.no_grad():  # the way of the kept latents begins at zero: an untrained model would not see them
        for block in transformer.transformer_blocks:
            block.to_local_embed[-1].weight.normal_(std=0.05)
    vae = AutoencoderSAME(
        encoder_channels=8,
        encoder_c_mults=[2],
        encoder_strides=[16],
        encoder_transformer_depths=[1],
        dim_heads=8,
        latent_dim=256,
        ff_mult=1,
    )
    with torch.no_grad():  # as initialised it gives the same latents for every sound
        for weight in vae.encoder.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return StableAudio3InpaintPipeline(
        vae=vae,
        text_encoder=T5GemmaEncoderModel(T5GemmaConfig(encoder=gemma, decoder=gemma, is_encoder_decoder=False)),
        tokenizer=GemmaTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[], model_max_length=16),
        duration_embedder=StableAudio3DurationEmbedder(output_dim=12, fourier_dim=8),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, stochastic_sampling=True),
    )


MAKERS: dict[str, Callable[[], Any]] = {
    "audioldm": audioldm,
    "audioldm2": audioldm2,
    "audioldm2-speech": audioldm2_speech,
    "stable-audio": stable_audio,
    "stable-audio-3": stable_audio_3,
}
"""By family; the speech variant of AudioLDM 2 beside it."""


def make(family: str, folder: pathlib.Path) -> pathlib.Path:
    """A checkpoint of that family in a folder; the same weights every time."""
    torch.manual_seed(7)
    MAKERS[family]().save_pretrained(folder)
    return folder
