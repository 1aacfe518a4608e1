/* What the products share: a work-item computes TM rows by TN vectors of V columns, GN neighbouring
 * items take the columns of one panel, interleaved so that they read next to each other. A group is
 * GN x GM items; groups are numbered in one dimension (some drivers end the others at 65535), those
 * with the same panel and neighbouring rows one after another.
 */
#define PANEL (GN * TN * V)
#define VT VECTOR(T)

/* Rounded once, as on the CPU, so that the devices' sums agree to the last bit; `mad` may round as it
 * likes, and is for devices whose fma would be a routine. */
#include "fma.h"
#ifdef FUSED
#define FMA fma
#else
#define FMA mad
#endif
