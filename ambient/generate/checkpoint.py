"""From a checkpoint folder to a diffusers pipeline in memory, with every fault of the files named."""

from __future__ import annotations

import pathlib
import warnings
import zipfile
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from ambient.errors import BackendError, OutOfMemory
from ambient.generate.batches import is_out_of_memory
from ambient.generate.families import Family, advice_for, check_files, family_of, read_index, scheduler_of

__all__ = ["load_pipeline"]


def load_pipeline(folder: pathlib.Path) -> tuple[Family, Any]:
    """The family and the diffusers pipeline of a checkpoint, in float32, on the CPU. Never touches the network.

    Raises BackendError, which names the file and says what to do; OutOfMemory.
    """
    index = read_index(folder)
    family = family_of(folder, index)
    check_files(folder, family, index)
    kind, _ = scheduler_of(folder, family)
    _check_weights(folder, family)
    import diffusers
    import transformers

    for module in ("torch", "torchsde", "diffusers", "transformers"):  # what concerns their authors, not listeners
        warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    more: dict[str, Any] = {}
    try:
        if kind == "CosineDPMSolverMultistepScheduler":
            import torchsde  # noqa: F401  # the scheduler cannot be loaded without
        if family.name == "audioldm2":
            # published as GPT2Model, which transformers 5 cannot generate with any more; the weights are the same
            more["language_model"] = transformers.GPT2LMHeadModel.from_pretrained(
                folder / "language_model", local_files_only=True
            )
        pipeline = getattr(diffusers, family.pipelines[0]).from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, **more
        )
    except ModuleNotFoundError as error:
        extra = f"pip install 'ambient-engine[models]' brings what {family.name} needs"
        raise BackendError(f"{folder}: {error.name} is not installed; {extra}") from error
    except Exception as error:  # whatever the two libraries raise
        if is_out_of_memory(error):
            raise OutOfMemory(f"{folder}: there is not enough memory to load it; take a smaller model") from error
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BackendError(f"{folder} cannot be loaded: {first}; {advice_for(folder)}") from error
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module) and not all(bool(torch.isfinite(w).all()) for w in part.parameters()):
            raise BackendError(f"{folder / name} holds weights that are not finite; {advice_for(folder)}")
    return family, pipeline


def _check_weights(folder: pathlib.Path, family: Family) -> None:
    """Looks whether each weight file is whole, by its own table of contents. Raises BackendError."""
    for part in family.parts:
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
