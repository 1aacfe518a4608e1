/* One optimiser step over n elements of a parameter and its state, each with its own stride.
 * data and stride: p, g, buf for SGD; p, g, m, v for Adam. cl/kernels/steps.cl has the same
 * expressions: they round alike. */
#define FC_DEFINE_OPTIM(dtype, T) \
    FC_INLINE void sgd_loop_##dtype(const fc_sgd *step, int64_t n, T *p, const T *g, T *b, int64_t sp, int64_t sg, \
                                    int64_t sb) { \
        const T lr = (T)step->lr, momentum = (T)step->momentum, decay = (T)step->weight_decay; \
        const T keep = step->first ? 0 : momentum; \
        const int nesterov = step->nesterov, first = step->first; \
        if (!b) { \
            FC_SIMD for (int64_t i = 0; i < n; i++) \
                p[i * sp] = FC_FMA(-lr, FC_FMA(decay, p[i * sp], g[i * sg]), p[i * sp]); \
            return; \
        } \
        FC_SIMD for (int64_t i = 0; i < n; i++) { \
            const T d = FC_FMA(decay, p[i * sp], g[i * sg]); \
            const T buf = first ? d : FC_FMA(keep, b[i * sb], d); \
            b[i * sb] = buf; \
            p[i * sp] = FC_FMA(-lr, nesterov ? FC_FMA(momentum, buf, d) : buf, p[i * sp]); \
        } \
    } \
    static void sgd_##dtype(const fc_sgd *step, int64_t n, void *const *data, const int64_t *stride) { \
        T *p = data[0], *b = data[2]; \
        const T *g = data[1]; \
        if (stride[0] == 1 && stride[1] == 1 && (!b || stride[2] == 1)) \
            sgd_loop_##dtype(step, n, p, g, b, 1, 1, 1); \
        else \
            sgd_loop_##dtype(step, n, p, g, b, stride[0], stride[1], stride[2]); \
    } \
    FC_INLINE void adam_loop_##dtype(const fc_adam *step, int64_t n, T *p, const T *g, T *m, T *v, int64_t sp, \
                                     int64_t sg, int64_t sm, int64_t sv) { \
        const T beta1 = (T)step->beta1, beta2 = (T)step->beta2, eps = (T)step->eps; \
        const T new1 = (T)(1 - step->beta1), new2 = (T)(1 - step->beta2), decay = (T)step->weight_decay; \
        const T shrink = (T)step->shrink, rate = (T)step->rate, correction = (T)step->correction; \
        FC_SIMD for (int64_t i = 0; i < n; i++) { \
            const T q = FC_FMA(-shrink, p[i * sp], p[i * sp]); \
            const T d = FC_FMA(decay, q, g[i * sg]); \
            const T mean = FC_FMA(beta1, m[i * sm], new1 * d); \
            const T square = FC_FMA(beta2, v[i * sv], new2 * d * d); \
            m[i * sm] = mean; \
            v[i * sv] = square; \
            p[i * sp] = q - rate * mean / FC_FMA(FC_SQRT(square), correction, eps); \
        } \
    } \
    static void adam_##dtype(const fc_adam *step, int64_t n, void *const *data, const int64_t *stride) { \
        T *p = data[0], *m = data[2], *v = data[3]; \
        const T *g = data[1]; \
        if (stride[0] == 1 && stride[1] == 1 && stride[2] == 1 && stride[3] == 1) \
            adam_loop_##dtype(step, n, p, g, m, v, 1, 1, 1, 1); \
        else \
            adam_loop_##dtype(step, n, p, g, m, v, stride[0], stride[1], stride[2], stride[3]); \
    }
FC_DEFINE_OPTIM(f32, float)
FC_DEFINE_OPTIM(f64, double)
