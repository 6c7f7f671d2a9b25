"""The codec stage: that what it lessens is least when bands are drawn as they are distributed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ambient.generate.bands import BANDS, RATE, STACK, analyse
from ambient.generate.codec import FRAME, AmbienceCodec
from ambient.generate.detail import DRAWN, Detail, _textures
from tools.training.codec import Noise, parts, score

HOPS = 272


def noise(seed: int, depth: float = 1.0, stays: int = 1, together: float = 0.0) -> torch.Tensor:
    """Log band powers that move by chance, ``(4, 2, BANDS, HOPS)``."""
    draw = torch.Generator().manual_seed(seed)
    white = torch.randn(4, 2, BANDS, HOPS + stays - 1, generator=draw)
    common = torch.randn(4, 2, 1, HOPS + stays - 1, generator=draw)
    moves = (1 - together**2) ** 0.5 * white + together * common
    return depth * moves.unfold(3, stays, 1).mean(4) * stays**0.5 - 8


def missed(drawn: Callable[[int], torch.Tensor], recorded: Callable[[int], torch.Tensor]) -> float:
    return sum(float(score(drawn(3 * i), drawn(3 * i + 1), recorded(3 * i + 2))) for i in range(4)) / 4


@pytest.mark.parametrize(
    "wrong",
    [
        lambda i: noise(i, depth=0.0),  # the mean, and nothing that moves
        lambda i: noise(i, depth=0.7),
        lambda i: noise(i, depth=1.4),
        lambda i: noise(i, stays=4),
        lambda i: noise(i, together=0.7),
        lambda i: noise(i, together=0.1),  # the least flutter of all bands at once
        lambda i: noise(i) + 0.7,
        lambda i: noise(0),  # always the same
    ],
)
def test_bands_drawn_as_they_are_distributed_miss_least(wrong: Callable[[int], torch.Tensor]) -> None:
    assert missed(noise, noise) < missed(wrong, noise) - 0.1


def test_slow_bands_are_told_from_fast_ones_the_other_way_round() -> None:
    def slow(i: int) -> torch.Tensor:
        return noise(i, stays=4)

    assert missed(slow, slow) < missed(noise, slow) - 0.1


def test_pieces_are_vectors_of_every_item() -> None:
    for piece in parts(noise(1)):
        assert piece.ndim == 3 and piece.shape[0] == 4 and bool(torch.isfinite(piece).all())
    assert all(bool(torch.isfinite(p).all()) for p in parts(noise(1) + 100))  # nothing overflows


def test_textures_have_unit_variance_and_are_no_copies() -> None:
    white = torch.randn(2, 1, 4000, 2 * BANDS, generator=torch.Generator().manual_seed(1))
    made = torch.stack(_textures(*white))
    inside = made[:, :, 10:-10]
    assert inside.std((1, 2, 3)).tolist() == pytest.approx([1, 1], abs=0.03)
    assert abs(float(torch.corrcoef(inside.flatten(1))[0, 1])) < 0.02


def test_noise_is_known_as_it_is() -> None:
    codec = AmbienceCodec(latent_dim=4)
    noise = Noise(codec, 1)
    drawn = noise(8, 200, torch.Generator().manual_seed(1))
    assert drawn.shape == (8, 2, 200, BANDS)
    fresh = analyse(torch.randn(1, 60 * RATE, generator=torch.Generator().manual_seed(5)), codec.filters)[0]
    assert float((fresh.mean(0) - noise.usual).abs().max()) < 0.1
    assert float((drawn.std((0, 1, 2)) / fresh.std(0) - 1).abs().max()) < 0.15


@torch.inference_mode()
def test_an_untrained_network_leaves_noise_as_it_is() -> None:
    """Filtered by smooth bands, and no more: white noise comes out as the very noise that went in."""
    codec = AmbienceCodec(latent_dim=4)
    codec.detail.usual.copy_(Noise(codec, 1).usual)
    codec.detail.out.bias.view(4, -1)[2:] = -30.0  # nothing else is drawn
    noise = torch.randn(1, 2, 40 * FRAME, generator=torch.Generator().manual_seed(2))
    codec.mean.copy_(codec.detail.usual.repeat(2 * STACK))
    drawn = torch.zeros(1, 40 * STACK, DRAWN)
    sound = codec.synthesise(torch.zeros(1, 4, 40), noise, drawn)
    mid, inside = sound.mean(1), slice(2 * FRAME, -2 * FRAME)
    off = (mid - noise[:, 0])[:, inside].square().mean() / noise[:, 0, inside].square().mean()
    assert float(off) < 0.02


@torch.inference_mode()
def test_what_is_drawn_reaches_no_farther_than_it_should() -> None:
    """Other noise more than 20 hops away changes nothing here, nor do other latents."""
    torch.manual_seed(2)
    net = Detail(8, hidden=16)
    for parameter in net.parameters():
        parameter.normal_(0, 0.2)
    bands, z, drawn = torch.randn(1, 2 * BANDS, 96) - 8, torch.randn(1, 8, 6), torch.randn(1, 96, DRAWN)
    white = torch.randn(1, 2, 96, BANDS)
    before = net(bands, z, drawn, white)
    far, other = drawn.clone(), white.clone()
    far[:, 72:], other[:, :, 72:] = torch.randn(1, 24, DRAWN), torch.randn(1, 2, 24, BANDS)
    assert torch.allclose(net(bands, z, far, other)[:, :, :52], before[:, :, :52], atol=1e-5)
    assert not torch.allclose(net(bands, z, far, other)[:, :, 60:], before[:, :, 60:], atol=1e-2)
    away = z.clone()
    away[..., 5] += 1
    assert torch.allclose(net(bands, away, drawn, white)[:, :, :60], before[:, :, :60], atol=1e-5)
