/* The kernels for any machine of the target architecture (SSE2 on x86-64, NEON on AArch64). */
#define FC_ISA baseline
#define FC_VECTOR_BYTES 16
#define FC_TILE_ROWS 6
#include "isa_body.h"
