"""Writes golden.bin: random blocks of every weight type and the f32 that gguf-py (pip install gguf) makes
of them. For each type: ggml id, number of bytes, the bytes, number of weights, the weights (little endian)."""

import struct
import sys

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

# Where the f16 scales lie in a block.
SCALES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
}

rng = np.random.default_rng(7)
with open(sys.argv[1], "wb") as out:
    for t, scales in SCALES.items():
        elements, size = GGML_QUANT_SIZES[t]
        blocks = max(2, 64 // elements)
        data = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
        for at in scales:
            data[:, at : at + 2] = rng.normal(0, 0.01, (blocks, 1)).astype("<f2").view(np.uint8)
        weights = dequantize(data, t).astype("<f4").reshape(-1)
        raw = data.tobytes()
        out.write(struct.pack("<II", int(t), len(raw)) + raw)
        out.write(struct.pack("<I", len(weights)) + weights.tobytes())
