"""From a checkpoint folder to a diffusers pipeline in memory, with every fault of the files named."""

from __future__ import annotations

import importlib
import json
import pathlib
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from ambient.errors import BackendError, OutOfMemory
from ambient.generate.batches import is_out_of_memory
from ambient.generate.families import Family, advice_for, check_files, family_of, read_index, scheduler_of

__all__ = ["load_pipeline"]

_LIBRARIES = ("diffusers", "transformers", "diffusers.pipelines.stable_audio", "diffusers.pipelines.stable_audio_3")
_SPOKEN_WITH = {"GPT2Model": "GPT2LMHeadModel"}
"""Published as the first, which transformers 5 cannot generate with any more; the weights are the same."""
_USED_OF = {"VitsModel": "text_encoder."}
"""What a pipeline uses of a part, where that is not all of it."""


def load_pipeline(folder: pathlib.Path) -> tuple[Family, Any]:
    """The family and the diffusers pipeline of a checkpoint, in float32, on the CPU. Never touches the network.

    Raises BackendError, which names the file and says what to do; OutOfMemory.
    """
    index = read_index(folder)
    family = family_of(folder, index)
    check_files(folder, family, index)
    kind, _ = scheduler_of(folder, family)
    _check_whole(folder, family)
    import diffusers
    import transformers

    for module in ("torch", "torchsde", "diffusers", "transformers"):  # what concerns their authors, not listeners
        warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    try:
        if kind == "CosineDPMSolverMultistepScheduler":
            import torchsde  # noqa: F401  # the scheduler cannot be loaded without
        parts = _load_parts(folder, family, index)
        pipeline = getattr(diffusers, family.pipelines[0]).from_pretrained(folder, local_files_only=True, **parts)
    except BackendError:
        raise
    except ModuleNotFoundError as error:
        extra = f"pip install 'ambient-engine[models]' brings what {family.name} needs"
        raise BackendError(f"{folder}: {error.name} is not installed; {extra}") from error
    except Exception as error:  # whatever the two libraries raise
        if is_out_of_memory(error):
            raise OutOfMemory(f"{folder}: there is not enough memory to load it; take a smaller model") from error
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BackendError(f"{folder} cannot be loaded: {first}; {advice_for(folder)}") from error
    return family, pipeline


def _load_parts(folder: pathlib.Path, family: Family, index: Mapping[str, Any]) -> dict[str, nn.Module]:
    """The networks of a checkpoint, by the names of their folders, in float32.

    Both libraries fill weights that a file lacks with random ones, and only log it. Raises BackendError instead.
    """
    libraries = [importlib.import_module(name) for name in _LIBRARIES]
    parts: dict[str, nn.Module] = {}
    for part in family.parts:
        if part.startswith(("tokenizer", "feature_extractor")):
            continue
        kind = str(index[part][1])
        found = next(library for library in libraries if hasattr(library, kind))
        try:
            network, told = getattr(found, _SPOKEN_WITH.get(kind, kind)).from_pretrained(
                folder / part, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
        except RuntimeError as error:
            if "mismatch" not in str(error):
                raise
            raise BackendError(
                f"{folder / part}: its weights have not the shapes that its config.json says; {advice_for(folder)}"
            ) from error
        used = _USED_OF.get(kind, "")
        lacking = sorted(n for n, _ in network.named_parameters() if n in told["missing_keys"] and n.startswith(used))
        if lacking:
            raise BackendError(
                f"{folder / part} lacks {len(lacking)} of the weights of a {kind}, {lacking[0]} among them; "
                f"{advice_for(folder)}"
            )
        numbers = (w for n, w in network.state_dict().items() if n.startswith(used) and w.is_floating_point())
        if not all(bool(torch.isfinite(w).all()) for w in numbers):
            raise BackendError(f"{folder / part} holds weights that are not finite; {advice_for(folder)}")
        parts[part] = network
    return parts


def _check_whole(folder: pathlib.Path, family: Family) -> None:
    """Looks whether each weight file is whole, by its own table of contents, and what is JSON. Raises BackendError."""
    for part in family.parts:
        for path in (folder / part).glob("*.json"):
            try:
                json.loads(path.read_text("utf-8"))
            except (OSError, ValueError) as error:
                raise BackendError(f"{path} cannot be read: {error}; {advice_for(folder)}") from error
        for path in (folder / part).glob("*.safetensors"):
            try:
                with safe_open(path, "pt"):
                    pass
            except (SafetensorError, OSError) as error:
                raise BackendError(f"{path} cannot be read: {error}; {advice_for(folder)}") from error
        if not [*(folder / part).glob("*.safetensors")]:
            for path in (folder / part).glob("*.bin"):
                if not zipfile.is_zipfile(path):
                    raise BackendError(f"{path} cannot be read: it is no archive of weights; {advice_for(folder)}")
