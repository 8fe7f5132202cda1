// The functions between the halves of a gated MLP.
#pragma once
#include "device.cuh"

__device__ inline float activate(int activation, float x) {
    switch (activation) {
        case 0: return x / (1.f + expf(-x));
        case 1: return 0.5f * x * (1.f + erff(x * 0.70710678f));
        case 2: return 0.5f * x * (1.f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
        default: return fmaxf(x, 0.f);
    }
}
