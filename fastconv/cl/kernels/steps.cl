/* One step of an optimiser for one parameter, everything it updates in one pass.
 *
 *     SGD:   p, g, buffer    MOMENTUM, NESTEROV, FIRST (the buffer has no value yet)
 *     ADAM:  p, g, m, v      DECOUPLED
 *
 * _cy/kernels/optim.h has the same expressions: they round alike.
 */
#ifndef T
#define T float
#define INDEX int
#define ND 0
#define OPERANDS 3
#define SGD
#define MOMENTUM
#define GROUP_SIZE 256, 1, 1
#endif
#include "common.h"
#include "fma.h"
#include "strided.h"

#ifdef SGD
KERNEL void sgd_step(const layout_t layout, __global T *p, __global const T *g,
#ifdef MOMENTUM
                     __global T *buffer,
#endif
                     const T lr, const T momentum, const T weight_decay)
{
    ELEMENT_BEGIN
    const T value = p[AT(0)];
    T d = FC_FMA(weight_decay, value, g[AT(1)]);
#ifdef MOMENTUM
#ifdef FIRST
    const T b = d;
#else
    const T b = FC_FMA(momentum, buffer[AT(2)], d);
#endif
    buffer[AT(2)] = b;
#ifdef NESTEROV
    d = FC_FMA(momentum, b, d);
#else
    d = b;
#endif
#endif
    p[AT(0)] = FC_FMA(-lr, d, value);
    ELEMENT_END
}
#endif

#ifdef ADAM
/* rate = lr / (1 - beta1^step), correction = 1 / sqrt(1 - beta2^step), rest<k> = 1 - beta<k>,
 * shrink = lr * weight_decay */
KERNEL void adam_step(const layout_t layout, __global T *p, __global const T *g, __global T *m, __global T *v,
                      const T rate, const T correction, const T beta1, const T rest1, const T beta2, const T rest2,
                      const T eps, const T weight_decay, const T shrink)
{
    ELEMENT_BEGIN
    T value = p[AT(0)], d = g[AT(1)];
#ifdef DECOUPLED
    value = FC_FMA(-shrink, value, value);
#else
    d = FC_FMA(weight_decay, value, d);
#endif
    const T mean = FC_FMA(beta1, m[AT(2)], rest1 * d);
    const T square = FC_FMA(beta2, v[AT(3)], rest2 * d * d);
    m[AT(2)] = mean;
    v[AT(3)] = square;
    p[AT(0)] = value - rate * mean / FC_FMA(sqrt(square), correction, eps);
    ELEMENT_END
}
#endif
