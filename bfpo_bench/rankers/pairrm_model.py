"""PairRM's network: DeBERTa-v2 and a head that compares the states of three marks."""

from __future__ import annotations

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2Model

from bfpo_bench.common.errors import BadInput
from bfpo_bench.models.checkpoint import ModelFiles


class PairRMModel(nn.Module):
    """The network under the checkpoint's own names of weights; for inference alone."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__()
        size = config.hidden_size
        self.pretrained_model = DebertaV2Model(config)
        # The places of the dropouts count in the names of the weights.
        self.head_layer = nn.Sequential(
            nn.Identity(),
            nn.Linear(2 * size, size),
            nn.Tanh(),
            nn.Identity(),
            nn.Linear(size, config.n_tasks),
        )

    def forward(self, ids: Tensor, mask: Tensor, places: Tensor) -> Tensor:
        """Score of the first response minus that of the second.

        Args:
            ids: tokens, ``[batch, width]``.
            mask: 1 for tokens, 0 for padding, ``[batch, width]``.
            places: positions of the prompt's and the two responses' marks, ``[batch, 3]``.

        Returns:
            ``[batch]``
        """
        states = self.pretrained_model(input_ids=ids, attention_mask=mask).last_hidden_state
        rows = torch.arange(len(ids), device=ids.device)
        source, first, second = (states[rows, places[:, k]] for k in range(3))
        left, right = (self.head_layer(torch.cat([source, one], dim=-1)) for one in (first, second))
        difference: Tensor = (left - right).mean(dim=-1)
        return difference


def load_pairrm(files: ModelFiles) -> PairRMModel:
    """The network with all its weights, on the CPU.

    Raises:
        BadInput: weights are missing, too many, or of another shape.
    """
    config = DebertaV2Config.from_pretrained(str(files.folder))
    model = PairRMModel(config)
    weights = {name: tensor for file in files.weights for name, tensor in load_file(file).items()}
    # Older versions of transformers saved this table of 0, 1, 2, … with the weights.
    weights = {n: t for n, t in weights.items() if not n.endswith("embeddings.position_ids")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[1:2] or [str(error)]
        raise BadInput(
            f"the weights in {files.folder} are not PairRM's ({first[0].strip().rstrip('.')}); "
            "download or save it again."
        ) from error
    return model
