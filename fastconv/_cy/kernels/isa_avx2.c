/* The kernels for x86-64-v3: AVX2 and FMA. */
#define FC_ISA avx2
#define FC_VECTOR_BYTES 32
#define FC_TILE_ROWS 6
#include "isa_body.h"
