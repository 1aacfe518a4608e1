/* What the machine does at best, for bench/ to hold kernels against: chains of multiply-adds that wait
 * for nothing else, and a plain read of memory. (Copying is memcpy's business.)
 */
#define FC_CHAINS (FC_VECTOR_BYTES == 64 ? 24 : 12)     /* enough for the latency, within the registers */
#define FC_FMA_FLOPS (2 * FC_CHAINS * (FC_VECTOR_BYTES / 4))

typedef float machine_vec __attribute__((vector_size(FC_VECTOR_BYTES), aligned(4), may_alias));

/* `steps` times FC_FMA_FLOPS operations; returns something that depends on all of them. */
static float fma_chains(int64_t steps) {
    machine_vec acc[FC_CHAINS], a, b;
    FC_UNROLL for (int i = 0; i < (int)(FC_VECTOR_BYTES / 4); i++) {
        a[i] = 0.999f;
        b[i] = 0.001f;
    }
    FC_UNROLL for (int c = 0; c < FC_CHAINS; c++)
        acc[c] = b * (float)c;
    for (int64_t s = 0; s < steps; s++)
        FC_UNROLL for (int c = 0; c < FC_CHAINS; c++)
            acc[c] = acc[c] * a + b;
    for (int c = 1; c < FC_CHAINS; c++)
        acc[0] += acc[c];
    return acc[0][0];
}

/* Read n floats, a multiple of eight vectors; returns something that depends on all of them. */
static float read_memory(const float *x, int64_t n) {
    const int64_t lanes = FC_VECTOR_BYTES / 4;
    machine_vec acc[8] = {{0}};
    for (int64_t i = 0; i < n; i += 8 * lanes)
        FC_UNROLL for (int v = 0; v < 8; v++)
            acc[v] += *(const machine_vec *)(x + i + v * lanes);
    for (int v = 1; v < 8; v++)
        acc[0] += acc[v];
    return acc[0][0];
}
