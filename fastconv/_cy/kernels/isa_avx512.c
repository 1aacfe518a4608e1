/* The kernels for x86-64-v4: AVX-512 F, BW, CD, DQ, VL. */
#define FC_ISA avx512
#define FC_VECTOR_BYTES 64
#define FC_TILE_ROWS 14
#include "isa_body.h"
