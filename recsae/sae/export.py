"""An autoencoder in the files of two other libraries, with centre and scale folded into weights.

Both compute z = TopK(ReLU(W_enc (v - b_dec) + b_enc)) and v_hat = z W_dec + b_dec on vectors as the
recommender has them, so latents and reconstructions stay the same; rows of W_dec are then as long
as ``scale`` instead of 1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from recsae.errors import UsageError
from recsae.sae.model import SAE
from recsae.saving import replacing


@torch.no_grad()
def export(sae: SAE, folder: Path, layout: str) -> None:
    """Write ``cfg.json`` and the weights into ``folder`` (made where missing).

    ``layout`` is ``sparsify`` (eai-sparsify: SparseCoder.load_from_disk) or ``sae-lens``
    (SAE.load_from_disk); UsageError for another one.
    """
    encoder, decoder = sae.W_enc / sae.scale, sae.W_dec * sae.scale
    b_enc, b_dec = sae.b_enc, sae.restore(sae.b_dec)
    sizes: dict[str, Any] = {"k": sae.k, "d_in": sae.d}
    if layout == "sparsify":
        name = "sae.safetensors"
        weights = {"encoder.weight": encoder, "encoder.bias": b_enc, "W_dec": decoder}
        config = sizes | {"activation": "topk", "num_latents": sae.h, "normalize_decoder": False}
    elif layout == "sae-lens":
        name = "sae_weights.safetensors"
        weights = {"W_enc": encoder.T, "b_enc": b_enc, "W_dec": decoder}
        config = sizes | {
            "architecture": "topk",
            "d_sae": sae.h,
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": True,
            "normalize_activations": "none",
            "reshape_activations": "none",
            "rescale_acts_by_decoder_norm": False,
            "metadata": {},
        }
    else:
        raise UsageError(f"layout is {layout!r}, but it must be sparsify or sae-lens")
    folder.mkdir(parents=True, exist_ok=True)
    weights["b_dec"] = b_dec
    with replacing(folder / name) as file:
        save_file({key: tensor.detach().contiguous() for key, tensor in weights.items()}, file)
    (folder / "cfg.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
