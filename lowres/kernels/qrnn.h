/* QRNN fo-pooling (Bradbury et al. 2017, eq. 4), time first:
 *
 *   z = tanh(gates_z)   f = sigmoid(gates_f)   o = sigmoid(gates_o)
 *   c_t = f * c_{t-1} + (1 - f) * z            h_t = o * c_t
 *
 * gates, acts, d_gates: (time, batch, 3 hidden); out, states: (time, batch, hidden), all h_t and, for the backward pass,
 * all c_t; state: (batch, hidden), c_0 at first and c_T at last. The state is carried on in `state`, so that `states` may
 * be rounded to bfloat16, as z is, without an effect on the forward pass.
 * Zoneout (Krueger et al. 2017) keeps a state: f becomes f + u (1 - f), where u is 0 or 1 from `zoned` (time, batch,
 * hidden) in training, or the constant `zoneout` everywhere; acts hold the f that was used.
 *
 * A thread walks all time steps over its own share of the batch * hidden chains, so a result does not depend on the
 * number of threads. Rows lie end to end in memory, and the state of a share (200 kB at 32 x 1552) stays in the cache. */

void NAME(qrnn_forward)(const REAL *gates, REAL *acts, WIDE *state, const uint8_t *zoned, double zoneout,
                        REAL *states, REAL *out, int64_t time, int64_t batch, int64_t hidden, int64_t threads) {
  const int64_t chains = batch * hidden;
  PARALLEL(threads)
  for (int64_t share = 0; share < threads; share++) {
    const int64_t first = chains * share / threads, end = chains * (share + 1) / threads;
    for (int64_t t = 0; t < time; t++) {
      for (int64_t i = first, width; i < end; i += width) {
        const int64_t b = i / hidden, j0 = i % hidden, row = (t * batch + b) * hidden + j0;
        width = hidden - j0 < end - i ? hidden - j0 : end - i;
        const REAL *gate = gates + (t * batch + b) * 3 * hidden + j0;
        REAL *act = acts + (gate - gates);
        WIDE *carried = state + i;
        REAL *kept = states + row, *h = out + row;
        SIMD
        for (int64_t j = 0; j < width; j++) {
          const WIDE z = TANH(WIDEN(gate[j]));
          const WIDE o = SIGMOID(WIDEN(gate[j + 2 * hidden]));
          WIDE f = SIGMOID(WIDEN(gate[j + hidden]));
          const WIDE u = zoned ? (WIDE)zoned[row + j] : (WIDE)zoneout;
          f = f + u * (1 - f);
          const WIDE c = z + f * (carried[j] - z);
          act[j] = NARROW(z);
          act[j + hidden] = NARROW(f);
          act[j + 2 * hidden] = NARROW(o);
          carried[j] = c;
          kept[j] = NARROW(c);
          h[j] = NARROW(o * c);
        }
      }
    }
  }
}

/* From d_out = dL/dh_t and d_c = dL/dc_T (overwritten with dL/dc_0), backwards in time; c0: c_0 as REAL:
 *
 *   d_c += d_h o   d_o = d_h c_t   d_f = d_c (c_{t-1} - z)   d_z = d_c (1 - f)   d_c = d_c f
 *
 * each times the slope of its gate. A state that was kept has f = 1, so its gates get no gradient.
 * d_bias: (batch, 3 hidden), zero at first; gets the sum of d_gates over time before they are rounded. */
void NAME(qrnn_backward)(const REAL *acts, const REAL *c0, const REAL *states, const REAL *d_out, double zoneout,
                         WIDE *d_c, REAL *d_gates, WIDE *d_bias, int64_t time, int64_t batch, int64_t hidden,
                         int64_t threads) {
  const int64_t chains = batch * hidden;
  const WIDE u = (WIDE)zoneout, stretch = 1 / (1 - u);
  PARALLEL(threads)
  for (int64_t share = 0; share < threads; share++) {
    const int64_t first = chains * share / threads, end = chains * (share + 1) / threads;
    for (int64_t t = time - 1; t >= 0; t--) {
      for (int64_t i = first, width; i < end; i += width) {
        const int64_t b = i / hidden, j0 = i % hidden, row = (t * batch + b) * hidden + j0;
        width = hidden - j0 < end - i ? hidden - j0 : end - i;
        const REAL *act = acts + (t * batch + b) * 3 * hidden + j0, *d_h = d_out + row;
        const REAL *before = t ? states + row - chains : c0 + i, *c = states + row;
        REAL *d_gate = d_gates + (act - acts);
        WIDE *carried = d_c + i, *bias = d_bias + b * 3 * hidden + j0;
        SIMD
        for (int64_t j = 0; j < width; j++) {
          const WIDE z = WIDEN(act[j]), f = WIDEN(act[j + hidden]), o = WIDEN(act[j + 2 * hidden]);
          const WIDE dh = WIDEN(d_h[j]), dc = carried[j] + dh * o;
          const WIDE d_o = dh * WIDEN(c[j]) * o * (1 - o);
          const WIDE d_f = dc * (WIDEN(before[j]) - z) * (f - u) * stretch * (1 - f);
          const WIDE d_z = dc * (1 - f) * (1 - z * z);
          carried[j] = dc * f;
          d_gate[j] = NARROW(d_z);
          d_gate[j + hidden] = NARROW(d_f);
          d_gate[j + 2 * hidden] = NARROW(d_o);
          bias[j] += d_z;
          bias[j + hidden] += d_f;
          bias[j + 2 * hidden] += d_o;
        }
      }
    }
  }
}
