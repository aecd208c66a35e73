"""A vision transformer with one query a finding, whose attention is the explanation.

Shu, Luo, Poellinger, Reyes: "Hybrid Explanation-Guided Learning for Transformer-Based Chest X-Ray Diagnosis" (arXiv 2510.12704): a
ViT-B/16 (Dosovitskiy et al., ICLR 2021, pre-norm, no class token) gives tokens, a query decoder (Zhang et al., "KAD", Nature
Communications 2023: 4 pre-norm layers, 4 heads, FFN 1024, dropout 0.1) asks them once a finding, one linear layer that all queries
share says absent or present. Attention map A_c: cross-attention of the last decoder layer, mean over the heads; it sums to 1.

Departures: the queries are learned (theirs are text vectors of a frozen medical encoder; ``text`` takes such a matrix); ``logits``
are the difference of present and absent, so their sigmoid is the softmax of the two. ``stem="lite0"`` is the hybrid form of the
ViT paper: tokens are made of a convolutional map instead of patches. Here that is the first eight blocks of EfficientNet-Lite0
with its ImageNet weights, never trained, which a thousand images can carry; a ViT from random weights cannot be trained on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.zoo.lite_cxr import LiteCxr

STRIDE = 16  # pixels of the image a token, on either side
LITE_CHANNELS = 80
#: ViT-B/16 and decoder as published, and the reduced-width twin that two CPU cores can train.
FULL: dict[str, Any] = {"width": 768, "layers": 12, "heads": 12, "mlp": 3072, "decoder_width": 1024, "stem": "patch"}
TWIN: dict[str, Any] = {"width": 64, "layers": 1, "heads": 4, "mlp": 128, "decoder_width": 128, "stem": "lite0"}


class Said(NamedTuple):
    """``logits``: (N, C), log-odds of present. ``embedding``: (N, width). ``attention``: (N, C, h, w), each map sums to 1."""

    logits: Tensor
    embedding: Tensor
    attention: Tensor


class LiteStem(nn.Module):
    """Stem and first eight blocks of EfficientNet-Lite0, frozen: ``image`` (N, 1, S, S) -> (N, 80, S/16, S/16)."""

    def __init__(self) -> None:
        super().__init__()
        lite = LiteCxr()
        self.stem, self.blocks = lite.stem, lite.blocks
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> LiteStem:
        """Stay in evaluation mode: the batch statistics are frozen, too."""
        return super().train(False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the feature map."""
        x = F.relu6(self.stem(image))  # (N, 32, S/2, S/2)
        for block in self.blocks:
            x = block(x)
        return x  # (N, 80, S/16, S/16)

    def start_from(self, imagenet: Mapping[str, Tensor]) -> None:
        """Load the published Lite0 weights."""
        lite = LiteCxr()
        lite.start_from(imagenet)
        self.stem.load_state_dict(lite.stem.state_dict())
        self.blocks.load_state_dict(lite.blocks.state_dict())


class Attention(nn.Module):
    """Multi-head attention that also returns its weights, mean over the heads."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, width), (N, T, width) -> (N, C, width) and weights (N, C, T), which sum to 1 over T."""
        q, k, v = self._split(self.query(queries)), self._split(self.key(tokens)), self._split(self.value(tokens))
        weights = torch.softmax(torch.matmul(q, k.transpose(2, 3)) * q.shape[-1] ** -0.5, -1)  # (N, heads, C, T)
        mixed = torch.matmul(self.dropout(weights), v).transpose(1, 2).flatten(2)  # (N, C, width)
        return self.out(mixed), weights.mean(1)

    def mix(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Do the same without weights to show and without dropout: half the time of an encoder on a CPU."""
        q, k, v = self._split(self.query(queries)), self._split(self.key(tokens)), self._split(self.value(tokens))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (N, heads, T, width / heads)


class EncoderLayer(nn.Module):
    """Pre-norm: tokens among themselves, feed forward. Dropout is the decoder's alone: on every token it costs a CPU too much."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm_self, self.norm_ffn = nn.LayerNorm(width), nn.LayerNorm(width)
        self.among = Attention(width, heads, 0.0)
        self.ffn = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, width) -> (N, T, width)."""
        asked = self.norm_self(tokens)
        tokens = tokens + self.among.mix(asked, asked)
        return tokens + self.ffn(self.norm_ffn(tokens))


class DecoderLayer(nn.Module):
    """Pre-norm: queries among themselves, queries to tokens, feed forward."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm_self, self.norm_cross, self.norm_ffn = (nn.LayerNorm(width) for _ in range(3))
        self.among, self.cross = Attention(width, heads, dropout), Attention(width, heads, dropout)
        self.ffn = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, width), (N, T, width) -> queries and the weights of the cross-attention (N, C, T)."""
        asked = self.norm_self(queries)
        queries = queries + self.dropout(self.among(asked, asked)[0])
        heard, weights = self.cross(self.norm_cross(queries), tokens)
        queries = queries + self.dropout(heard)
        return queries + self.dropout(self.ffn(self.norm_ffn(queries))), weights


class HeglVit(nn.Module):
    """``image`` float32 (N, 1, size, size), normalised -> logits (N, C); ``size`` a multiple of 16."""

    def __init__(
        self,
        classes: int,
        size: int = 224,
        width: int = TWIN["width"],
        layers: int = TWIN["layers"],
        heads: int = TWIN["heads"],
        mlp: int = TWIN["mlp"],
        decoder_layers: int = 4,
        decoder_heads: int = 4,
        decoder_width: int = TWIN["decoder_width"],
        stem: str = TWIN["stem"],
        dropout: float = 0.1,
        text: Tensor | None = None,
    ) -> None:
        super().__init__()
        side = size // STRIDE
        hybrid = stem == "lite0"
        self.stem: nn.Module = LiteStem() if hybrid else nn.Identity()
        #: the stem's channels differ in scale by tens; a head on them learns several times faster once they do not
        self.norm_maps: nn.Module = nn.BatchNorm2d(LITE_CHANNELS, affine=False) if hybrid else nn.Identity()
        patch = 1 if hybrid else STRIDE
        self.patches = nn.Conv2d(LITE_CHANNELS if hybrid else 1, width, patch, patch)
        self.positions = nn.Parameter(torch.randn(1, side * side, width) * 0.02)
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, mlp) for _ in range(layers))
        self.side = side
        learned = torch.randn(classes, width) * width**-0.5 if text is None else text.clone()
        self.queries = nn.Parameter(learned, requires_grad=text is None)
        self.norm_queries, self.norm_tokens, self.norm_out = (nn.LayerNorm(width) for _ in range(3))
        self.decoder = nn.ModuleList(DecoderLayer(width, decoder_heads, decoder_width, dropout) for _ in range(decoder_layers))
        self.head = nn.Linear(width, 2)

    def features(self, image: Tensor) -> Tensor:
        """Return what the encoder reads: the stem's map, or the image itself. Nothing in it is trained."""
        return self.stem(image)

    def read(self, maps: Tensor) -> Said:
        """Return what the network says of ``features``."""
        tokens = self.patches(self.norm_maps(maps)).flatten(2).transpose(1, 2) + self.positions  # (N, T, width)
        for block in self.encoder:
            tokens = block(tokens)
        tokens = self.norm_tokens(tokens)
        queries = self.norm_queries(self.queries).expand(tokens.shape[0], -1, -1)  # (N, C, width)
        weights = tokens.new_zeros(0)
        for layer in self.decoder:
            queries, weights = layer(queries, tokens)
        scores = self.head(self.norm_out(queries))  # (N, C, 2)
        attention = weights.unflatten(2, (self.side, self.side))  # (N, C, h, w)
        return Said(scores[..., 1] - scores[..., 0], tokens.mean(1), attention)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        return self.read(self.features(image)).logits  # (N, C)

    def shared(self) -> list[Tensor]:
        """Return the weights on which the losses' gradients are compared: the last decoder layer's."""
        return list(self.decoder[-1].parameters())


class HeglGraph(nn.Module):
    """All outputs of one forward pass: logits, probabilities, embedding, attention."""

    def __init__(self, net: HeglVit) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 1, S, S) -> (N, C), (N, C), (N, width), (N, C, h, w)."""
        said = self.net.read(self.net.features(image))
        return said.logits, torch.sigmoid(said.logits), said.embedding, said.attention
