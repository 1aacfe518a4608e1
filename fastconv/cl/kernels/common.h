/* What every kernel file starts with. The host puts the defines before it:
 *
 *     T           element type           INDEX    int, or long when an extent needs it
 *     GROUP_SIZE  the work-group, three numbers
 */
#ifdef HAS_DOUBLE
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif

#define KERNEL __kernel __attribute__((reqd_work_group_size(GROUP_SIZE)))
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

/* Vectors of V elements; with V = 1 the same text is scalar code. */
#if !defined(V) || V == 1
#define VECTOR(type) type
#define LOAD(p) (*(p))
#define STORE(v, p) (*(p) = (v))
#define CONVERT(type, v) ((type)(v))
#else
#define VECTOR(type) JOIN(type, V)
#define LOAD(p) JOIN(vload, V)(0, p)
#define STORE(v, p) JOIN(vstore, V)(v, 0, p)
#define CONVERT(type, v) JOIN(convert_, JOIN(type, V))(v)
#endif

/* The offset of element i of some dimensions, last one fastest. */
#define OFFSET(offset, i, nd, shape, strides) do { \
    INDEX rest_ = (i); \
    for (int d_ = (nd) - 1; d_ > 0; d_--) { \
        (offset) += rest_ % (shape)[d_] * (strides)[d_]; \
        rest_ /= (shape)[d_]; \
    } \
    (offset) += rest_ * (strides)[0]; } while (0)
