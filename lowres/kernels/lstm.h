/* One time step of an LSTM behind its products, gates in torch's order:
 *
 *   i, f, o = sigmoid(gates + recurrent)   g = tanh(gates + recurrent)
 *   c' = f * c + i * g                     h = o * tanh(c')
 *
 * gates: (batch, 4 hidden), the input's product with both biases, overwritten with i, f, g, o; recurrent: the product
 * of the last h; before, state: (batch, hidden), c and c'. */
void NAME(lstm_forward)(REAL *gates, const REAL *recurrent, const WIDE *before, WIDE *state, REAL *out, int64_t batch,
                        int64_t hidden, int64_t threads) {
  PARALLEL(threads)
  for (int64_t b = 0; b < batch; b++) {
    REAL *gate = gates + b * 4 * hidden, *h = out + b * hidden;
    const REAL *product = recurrent + b * 4 * hidden;
    const WIDE *c = before + b * hidden;
    WIDE *next = state + b * hidden;
    SIMD
    for (int64_t j = 0; j < hidden; j++) {
      const WIDE i = SIGMOID(WIDEN(gate[j]) + WIDEN(product[j]));
      const WIDE f = SIGMOID(WIDEN(gate[j + hidden]) + WIDEN(product[j + hidden]));
      const WIDE g = TANH(WIDEN(gate[j + 2 * hidden]) + WIDEN(product[j + 2 * hidden]));
      const WIDE o = SIGMOID(WIDEN(gate[j + 3 * hidden]) + WIDEN(product[j + 3 * hidden]));
      const WIDE new_c = f * c[j] + i * g;
      gate[j] = NARROW(i);
      gate[j + hidden] = NARROW(f);
      gate[j + 2 * hidden] = NARROW(g);
      gate[j + 3 * hidden] = NARROW(o);
      next[j] = new_c;
      h[j] = NARROW(o * TANH(new_c));
    }
  }
}

/* acts: the i, f, g, o of the step; d_out + d_recurrent: the gradient of its h, from above and from the next step;
 * d_c: that of its c, overwritten with that of the c before; d_bias: (batch, 4 hidden), added to. */
void NAME(lstm_backward)(const REAL *acts, const WIDE *before, const WIDE *state, const REAL *d_out,
                         const REAL *d_recurrent, WIDE *d_c, REAL *d_gates, WIDE *d_bias, int64_t batch,
                         int64_t hidden, int64_t threads) {
  PARALLEL(threads)
  for (int64_t b = 0; b < batch; b++) {
    const REAL *act = acts + b * 4 * hidden, *above = d_out + b * hidden, *later = d_recurrent + b * hidden;
    const WIDE *c = before + b * hidden, *next = state + b * hidden;
    WIDE *carried = d_c + b * hidden, *bias = d_bias + b * 4 * hidden;
    REAL *d_gate = d_gates + b * 4 * hidden;
    SIMD
    for (int64_t j = 0; j < hidden; j++) {
      const WIDE i = WIDEN(act[j]), f = WIDEN(act[j + hidden]);
      const WIDE g = WIDEN(act[j + 2 * hidden]), o = WIDEN(act[j + 3 * hidden]);
      const WIDE dh = WIDEN(above[j]) + WIDEN(later[j]), squashed = TANH(next[j]);
      const WIDE dc = carried[j] + dh * o * (1 - squashed * squashed);
      const WIDE d_i = dc * g * i * (1 - i), d_f = dc * c[j] * f * (1 - f);
      const WIDE d_g = dc * i * (1 - g * g), d_o = dh * squashed * o * (1 - o);
      carried[j] = dc * f;
      d_gate[j] = NARROW(d_i);
      d_gate[j + hidden] = NARROW(d_f);
      d_gate[j + 2 * hidden] = NARROW(d_g);
      d_gate[j + 3 * hidden] = NARROW(d_o);
      bias[j] += d_i;
      bias[j + hidden] += d_f;
      bias[j + 2 * hidden] += d_g;
      bias[j + 3 * hidden] += d_o;
    }
  }
}
