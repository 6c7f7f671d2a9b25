"""Checkpoints from the model hub: which ones are known to fit, what is in its cache, and fetching them.

Only :func:`fetch` touches the network. huggingface_hub is imported when needed.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ambient.errors import BackendError, ModelNotFound

__all__ = ["KNOWN", "KnownModel", "all_cached", "cached", "fetch", "licence_of", "repository_of", "wanted_files"]


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A published checkpoint of a family that can be played, as its publisher describes it."""

    repository: str
    family: str
    rate: int
    channels: int
    licence: str
    gated: bool = False
    """Whether its licence must be accepted on the hub first."""
    gigabytes: float | None = None
    """Of its weights in full precision, counted from its published dimensions."""
    converted: bool = False
    """Whether it is not published in the layout of diffusers and must be converted with diffusers' own script."""

    @property
    def name(self) -> str:
        """The repository without its owner."""
        return self.repository.split("/")[1]


_STABILITY = "Stability AI Community"
KNOWN: tuple[KnownModel, ...] = (
    KnownModel("cvssp/audioldm-s-full-v2", "audioldm", 16_000, 1, "CC-BY-NC-SA-4.0"),
    KnownModel("cvssp/audioldm-m-full", "audioldm", 16_000, 1, "CC-BY-NC-SA-4.0"),
    KnownModel("cvssp/audioldm-l-full", "audioldm", 16_000, 1, "CC-BY-NC-SA-4.0"),
    KnownModel("cvssp/audioldm2", "audioldm2", 16_000, 1, "CC-BY-NC-SA-4.0"),
    KnownModel("cvssp/audioldm2-large", "audioldm2", 16_000, 1, "CC-BY-NC-SA-4.0"),
    KnownModel("cvssp/audioldm2-music", "audioldm2", 16_000, 1, "CC-BY-NC-SA-4.0"),
    KnownModel("anhnct/audioldm2_gigaspeech", "audioldm2", 16_000, 1, "CreativeML OpenRAIL-M"),
    KnownModel("stabilityai/stable-audio-open-1.0", "stable-audio", 44_100, 2, _STABILITY, gated=True),
    KnownModel(
        "stabilityai/stable-audio-3-small-sfx", "stable-audio-3", 44_100, 2, _STABILITY, gated=True, converted=True
    ),
    KnownModel(
        "stabilityai/stable-audio-3-medium", "stable-audio-3", 44_100, 2, _STABILITY, gated=True, converted=True
    ),
)
_VARIANT = re.compile(r"\.(fp16|bf16|non_ema|ema_only)(-\d+-of-\d+)?\.|\.index\.fp16\.|openvino|onnx|flax|tf_model")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def repository_of(name: str) -> str | None:
    """The hub's name of a model, ``owner/name``; the owner of a known one may be left out. None for what is none."""
    for known in KNOWN:
        if name in (known.name, known.repository):
            return known.repository
    return name if _REPOSITORY.fullmatch(name) else None


def cached(repository: str) -> pathlib.Path | None:
    """The folder of a fetched checkpoint, whole or not; None when nothing of it is there."""
    from huggingface_hub import constants

    base = pathlib.Path(constants.HF_HUB_CACHE) / ("models--" + repository.replace("/", "--"))
    try:
        commit = (base / "refs" / "main").read_text().strip()
    except OSError:
        return None
    folder = base / "snapshots" / commit
    return folder if folder.is_dir() else None


def all_cached() -> Iterator[tuple[str, pathlib.Path]]:
    """Name and folder of everything in the hub's cache that is laid out as a diffusers pipeline, by name."""
    from huggingface_hub import constants

    for base in sorted(pathlib.Path(constants.HF_HUB_CACHE).glob("models--*--*")):
        repository = base.name.removeprefix("models--").replace("--", "/", 1)
        folder = cached(repository)
        if folder is not None and (folder / "model_index.json").is_file():
            yield repository, folder


def licence_of(folder: pathlib.Path) -> str | None:
    """The licence that a checkpoint's model card names, if there is one."""
    try:
        found = re.search(r"^license(?:_name)?:\s*['\"]?([\w.-]+)", (folder / "README.md").read_text("utf-8"), re.M)
    except (OSError, ValueError):
        return None
    return found.group(1) if found else None


def wanted_files(sizes: Mapping[str, int]) -> dict[str, int]:
    """What of a repository's files a pipeline is loaded from: of each part the weights once, in full precision, as
    safetensors where they are there; never the same weights for other frameworks."""
    parts = {path.split("/")[0] for path in sizes if path.count("/") == 1 and path.endswith(".json")}
    wanted = {path: size for path, size in sizes.items() if path in ("model_index.json", "README.md")}
    for part in parts:
        inside = {p: n for p, n in sizes.items() if p.startswith(f"{part}/") and p.count("/") == 1}
        weights = {p for p in inside if p.endswith((".safetensors", ".bin")) and not _VARIANT.search(p)}
        safe = {p for p in weights if p.endswith(".safetensors")}
        small = {p for p in inside if p.endswith((".json", ".txt", ".model")) and not _VARIANT.search(p)}
        wanted |= {p: inside[p] for p in small | (safe or weights)}
    return wanted


def fetch(name: str) -> pathlib.Path:
    """Downloads a checkpoint into the hub's cache, showing its progress; goes on where it was broken off.

    Returns its folder. Raises ModelNotFound or BackendError: no such name, a licence to be accepted first, no
    network, no room, not a layout that can be played.
    """
    repository = repository_of(name)
    if repository is None:
        raise ModelNotFound(f"{name!r} is no name of a model; `ambient models` lists those that are known")
    from huggingface_hub import HfApi, constants, snapshot_download

    with _explained(repository, name):
        found = HfApi().model_info(repository, files_metadata=True)
        sizes = {f.rfilename: f.size or 0 for f in found.siblings or []}
    if "model_index.json" not in sizes:
        raise BackendError(
            f"{repository} is not published in the layout of diffusers: convert it with the script that comes with "
            "diffusers' sources, and give the folder that it writes as --model"
        )
    files = wanted_files(sizes)
    cache = pathlib.Path(constants.HF_HUB_CACHE)
    there = cached(repository)
    missing = sum(n for path, n in files.items() if there is None or not (there / path).exists())
    nearest = next(p for p in (cache, *cache.parents) if p.exists())
    if missing > (free := shutil.disk_usage(nearest).free):
        raise BackendError(
            f"{repository} needs {missing / 1e9:.1f} GB more, but {nearest} has {free / 1e9:.1f} GB left: make room, "
            "or name another place with HF_HOME"
        )
    with _explained(repository, name):
        return pathlib.Path(snapshot_download(repository, allow_patterns=sorted(files)))


@contextlib.contextmanager
def _explained(repository: str, name: str) -> Iterator[None]:
    """Turns what the hub's client raises into what to do about it."""
    from huggingface_hub import constants, errors

    transport: type[Exception] = vars(errors)["HTTPError"]  # of whichever HTTP library the client is built on
    again = f"`ambient models fetch {name}`"
    try:
        yield
    except errors.GatedRepoError as error:
        raise BackendError(
            f"{repository} is gated: accept its licence at {constants.ENDPOINT}/{repository}, log in once with "
            f"`hf auth login`, then {again}"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"{repository} is not on the hub, or is private; if it is yours, log in with `hf auth login`, then {again}"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise BackendError(f"{repository} cannot be fetched: HF_HUB_OFFLINE is set; unset it, then {again}") from error
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", "an error")
        raise BackendError(f"{repository} cannot be fetched: the hub answers {status}; try later: {again}") from error
    except (transport, errors.LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        raise BackendError(
            f"{repository} cannot be fetched: no network, or {constants.ENDPOINT} cannot be reached; with a network, "
            f"{again} goes on where it stopped"
        ) from error
    except OSError as error:
        raise BackendError(f"{repository} cannot be fetched: {error}; mend that, then {again}") from error
