// Matrices are arrays of rows, and rows are arrays of numbers.

export const range = (n) => Array.from({ length: n }, (_, i) => i);

/** The matrix whose entry (i, j) is `entry(i, j)`. */
export const matrix = (rows, columns, entry) => range(rows).map((i) => range(columns).map((j) => entry(i, j)));

export const identity = (n) => matrix(n, n, (i, j) => (i === j ? 1 : 0));

/** The transpose. `columns` is needed for a matrix without rows. */
export const transpose = (a, columns = a[0].length) => matrix(columns, a.length, (i, j) => a[j][i]);

export const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);

/** a x, for a vector x. */
export const apply = (a, x) => a.map((row) => dot(row, x));

/** a b. `columns` is needed for a matrix b without rows. */
export const multiply = (a, b, columns = b[0].length) => {
  const columnsOfB = transpose(b, columns);
  return a.map((row) => apply(columnsOfB, row));
};

/** a = left diag(sizes) right, with orthogonal `left` and `right`, by the rotations of Jacobi. The sizes fall. */
export function svd(a, columns = a[0].length) {
  const vectors = transpose(a, columns); // the columns of a, rotated until they are orthogonal
  const rotation = identity(columns);
  const rotate = (rows, p, q, c, s) => {
    [rows[p], rows[q]] = [rows[p].map((x, i) => c * x - s * rows[q][i]), rows[p].map((x, i) => s * x + c * rows[q][i])];
  };
  for (let turned = true, sweep = 0; turned && sweep < 60; sweep++) {
    turned = false;
    for (let p = 0; p < columns; p++) {
      for (let q = p + 1; q < columns; q++) {
        const [pp, qq, pq] = [dot(vectors[p], vectors[p]), dot(vectors[q], vectors[q]), dot(vectors[p], vectors[q])];
        if (Math.abs(pq) <= 1e-15 * Math.sqrt(pp * qq)) continue;
        const slope = (qq - pp) / (2 * pq);
        const t = (slope < 0 ? -1 : 1) / (Math.abs(slope) + Math.hypot(1, slope));
        const c = 1 / Math.hypot(1, t);
        rotate(vectors, p, q, c, c * t);
        rotate(rotation, p, q, c, c * t);
        turned = true;
      }
    }
  }
  const lengths = vectors.map((v) => Math.hypot(...v));
  const order = range(columns).sort((i, j) => lengths[j] - lengths[i]);
  const pairs = Math.min(a.length, columns);
  const sizes = order.slice(0, pairs).map((i) => lengths[i]);
  const left = sizes.flatMap((size, i) => (size > 1e-12 * sizes[0] ? [vectors[order[i]].map((x) => x / size)] : []));
  return { left: transpose(completed(left, a.length), a.length), sizes, right: order.map((i) => rotation[i]) };
}

/** Orthonormal vectors, with more of them until they are a basis. */
function completed(vectors, size) {
  const basis = [...vectors];
  for (const unit of identity(size)) {
    if (basis.length === size) break;
    let rest = unit;
    for (const _ of [0, 1]) { // twice, because one pass leaves rounding
      for (const v of basis) {
        const along = dot(rest, v);
        rest = rest.map((x, i) => x - along * v[i]);
      }
    }
    const length = Math.hypot(...rest);
    if (length > 0.5 / Math.sqrt(size)) basis.push(rest.map((x) => x / length));
  }
  return basis;
}
