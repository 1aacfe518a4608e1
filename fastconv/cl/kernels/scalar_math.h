/* The functions of scalar_ops.h in OpenCL: those of float from float_math.h, those of double built in. */
#include "fma.h"

#define FC_FUNCTION static inline
#define FC_TO_BITS as_int
#define FC_FROM_BITS as_float
#include "float_math.h"

#ifdef HAS_DOUBLE
static inline double fc_logistic(double x) { return 1 / (1 + exp(-x)); }
static inline double fc_log1p_exp(double x) { return (x > 0 || x != x ? x : 0) + log1p(exp(-fabs(x))); }
#endif

/* The names that scalar_ops.h and the recurrent steps use, by T. */
#define FC_EXP JOIN(FC_EXP_, T)
#define FC_LOG JOIN(FC_LOG_, T)
#define FC_TANH JOIN(FC_TANH_, T)
#define FC_ERF JOIN(FC_ERF_, T)
#define FC_SIGMOID JOIN(FC_SIGMOID_, T)
#define FC_SOFTPLUS JOIN(FC_SOFTPLUS_, T)
#define FC_SQRT sqrt
#define FC_FLOOR floor
#define FC_CEIL ceil
#define FC_RINT rint
#define FC_SIN sin
#define FC_COS cos
#define FC_TAN tan
#define FC_ASIN asin
#define FC_ACOS acos
#define FC_ATAN atan
#define FC_SINH sinh
#define FC_COSH cosh
#define FC_ASINH asinh
#define FC_ACOSH acosh
#define FC_ATANH atanh
#define FC_EXP_float fc_expf
#define FC_LOG_float fc_logf
#define FC_TANH_float fc_tanhf
#define FC_ERF_float fc_erff
#define FC_SIGMOID_float fc_sigmoidf
#define FC_SOFTPLUS_float fc_softplusf
#define FC_EXP_double exp
#define FC_LOG_double log
#define FC_TANH_double tanh
#define FC_ERF_double erf
#define FC_SIGMOID_double fc_logistic
#define FC_SOFTPLUS_double fc_log1p_exp
