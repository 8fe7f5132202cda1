// What CUDA device code needs, for g++: kernels (*.cu) include it instead of the CUDA headers when OSTRO_EMULATED
// is defined, and then run on the CPU, one fibre a thread. Parts: fibre.h (threads and barriers), language.h
// (keywords, vector types, warp functions), arithmetic.h (intrinsics), half.h (16-bit floats), tensor.h (the wrapped
// inline assembly of device.cuh), hopper.h (that of wgmma.cuh).
#pragma once
#include "fibre.h"
#include "language.h"
#include "arithmetic.h"
#include "half.h"
#include "tensor.h"
#include "hopper.h"
