// Linear self-attention with one head as one gated RNN, exactly: the formulas of twofold/convert/terms.py and gated_rnn.py.

import { apply, dot, matrix, multiply, range, svd, transpose } from "./matrices.js";

const EPS = 2 ** -23; // of float32: weights are rounded to it, as twofold's are

const rounded = (a) => a.map((row) => row.map(Math.fround));
const unit = (d, i) => range(d).map((k) => (k === i ? 1 : 0));
const plus = (x, y) => x.map((value, i) => value + y[i]);

/** Random weights {v, k, q}, each d x d, where W_V has rank `rankV` and W_K^T W_Q has rank `rankB`. */
export function randomAttention(d, rankV, rankB, seed) {
  const normal = normalNumbers(seed);
  const drawn = (rows, columns) => matrix(rows, columns, () => normal() / Math.sqrt(columns));
  const ofRank = (rank) => (rank === d ? drawn(d, d) : multiply(drawn(d, rank), drawn(rank, d)));
  return { v: rounded(ofRank(rankV)), k: rounded(ofRank(rankB)), q: rounded(drawn(d, d)) };
}

/** A source of normal numbers: the generator mulberry32, and the transform of Box and Muller. */
export function normalNumbers(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), bits | 61)) ^ bits;
    return (((bits ^ (bits >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** The outputs of attention: y_t = [sum_{s<=t} (W_V x_s)(W_K x_s)^T] W_Q x_t. */
export function attentionOutputs({ v, k, q }, xs) {
  let memory = matrix(v.length, k.length, () => 0);
  return xs.map((x) => {
    const [value, key] = [apply(v, x), apply(k, x)];
    memory = memory.map((row, i) => row.map((sum, j) => sum + value[i] * key[j]));
    return apply(memory, apply(q, x));
  });
}

/** The hidden states and the outputs of a gated RNN: h_t = lambda h_{t-1} + g_in(x_t), y_t = D g_out(h_t). */
export function gatedRnnOutputs({ lam, wInM, wInX, wOutM, wOutX, readout }, xs) {
  const gate = (m, x, z) => m.map((row, i) => dot(row, z) * dot(x[i], z));
  let h = lam.map(() => 0);
  return xs.map((x) => {
    const gated = gate(wInM, wInX, [...x, 1]);
    h = h.map((sum, n) => lam[n] * sum + gated[n]);
    return { h, y: apply(readout, gate(wOutM, wOutX, h)) };
  });
}

/** The gated RNN {lam, wInM, wInX, wOutM, wOutX, readout} that computes what the attention computes. Memories come first. */
export function toGatedRnn(attention, form) {
  const { left, right, queries, mix, readout } = { paper, compact, minimal }[form](attention);
  const [d, memories] = [attention.v[0].length, left.length];
  const neurons = memories + queries.length;
  return {
    lam: range(neurons).map((n) => (n < memories ? 1 : 0)),
    wInM: rounded([...left, ...queries].map((row) => [...row, 0])),
    wInX: rounded([...right.map((row) => [...row, 0]), ...queries.map(() => unit(d + 1, d))]),
    wOutM: matrix(memories, neurons, (i, j) => (i === j ? 1 : 0)),
    wOutX: rounded(mix.map((row) => [...range(memories).fill(0), ...row])),
    readout: rounded(readout),
  };
}

/** One memory for every entry (i, j) of v k^T. Row (i, j) multiplies it with query j. */
function paper({ v, k, q }) {
  const entries = v.flatMap((_, i) => k.map((_, j) => [i, j]));
  return {
    left: entries.map(([i]) => v[i]),
    right: entries.map(([, j]) => k[j]),
    queries: q,
    mix: entries.map(([, j]) => unit(k.length, j)),
    readout: v.map((_, o) => entries.map(([i]) => (i === o ? 1 : 0))),
  };
}

/** y = W_V S (B x), with S = sum x x^T and B = W_K^T W_Q. S q takes d(d+1)/2 terms. */
function compact({ v, k, q }) {
  const { left, right, inRow } = symmetricProduct(v[0].length);
  return { left, right, queries: multiply(transpose(k), q), mix: inRow, readout: multiply(v, transpose(inRow)) };
}

/** y = P (L S U) (R x), with W_V = P L and B = U R in bases that share as many directions as they can. */
function minimal({ v, k, q }) {
  const b = multiply(transpose(k), q);
  const d = v[0].length;
  const { basisV, basisB, shared } = sharedBases(v, b);
  const [rankV, rankB] = [basisV.length, basisB.length];
  const { left, right, inRow } = symmetricProduct(shared);
  const corner = basisV.slice(0, shared);
  const entries = range(rankV).flatMap((i) => range(rankB).map((j) => [i, j]));
  const others = entries.filter(([i, j]) => i >= shared || j >= shared);
  const padded = (row, size) => [...row, ...range(size - row.length).fill(0)];
  const toBasis = [...inRow.map((row) => padded(row, rankV)), ...others.map(([i]) => unit(rankV, i))]; // a row for each term
  return {
    left: [...multiply(left, corner, d), ...others.map(([i]) => basisV[i])],
    right: [...multiply(right, corner, d), ...others.map(([, j]) => basisB[j])],
    queries: multiply(basisB, b),
    mix: [...inRow.map((row) => padded(row, rankB)), ...others.map(([, j]) => unit(rankB, j))],
    readout: multiply(v, transpose(multiply(toBasis, basisV, d), d)),
  };
}

/** S q for a symmetric S of d rows, in d(d+1)/2 terms: their factors, and the rows of S q that each belongs to. */
function symmetricProduct(d) {
  const pairs = range(d).flatMap((i) => range(d - i).map((n) => [i, i + n]));
  return {
    left: pairs.map(([i]) => unit(d, i)),
    right: pairs.map(([i, j]) => (i === j ? unit(d, i).map((x) => 2 * x - 1) : unit(d, j))),
    inRow: pairs.map(([i, j]) => plus(unit(d, i), unit(d, j)).map((x) => Math.min(x, 1))),
  };
}

/** Orthonormal bases of the row space of v and of the column space of b, as rows. Their first `shared` vectors coincide. */
function sharedBases(v, b) {
  const [ofV, ofB] = [rowBasis(v), rowBasis(transpose(b))];
  const { left, right } = svd(multiply(ofV, transpose(ofB)));
  const [basisV, basisB] = [multiply(transpose(left), ofV), multiply(right, ofB)];
  const gap = (i) => Math.hypot(...basisV[i].map((x, j) => x - basisB[i][j]));
  const shared = range(Math.min(ofV.length, ofB.length)).filter((i) => gap(i) <= rounding(v)).length;
  return { basisV, basisB: [...basisV.slice(0, shared), ...basisB.slice(shared)], shared };
}

function rowBasis(w) {
  const { sizes, right } = svd(w);
  return right.slice(0, sizes.filter((size) => size > rounding(w) * sizes[0]).length);
}

/** The relative size below which a direction is nothing but rounding. */
const rounding = (w) => 8 * Math.max(w.length, w[0].length) * EPS;

