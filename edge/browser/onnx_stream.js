/** Runs a model that `twofold export` wrote, token by token, as twofold_edge.OnnxStream does in Python. */
export class OnnxStream {
  /** A stream that has read no tokens. `ort` is onnxruntime-web, and `buffer` has the bytes of the file. */
  static async open(ort, buffer) {
    const bytes = new Uint8Array(buffer), about = metadataOf(bytes).twofold;
    if (about === undefined) throw new Error("this ONNX file was not written by twofold");
    const stream = new OnnxStream();
    stream.ort = ort;
    stream.about = JSON.parse(about);
    stream.session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    stream.reset();
    return stream;
  }

  /** Forget all tokens. */
  reset() {
    this.tokens = 0;
    this.state = {};
    for (const [name, leaf] of Object.entries(this.about.state)) {
      const kind = { float32: Float32Array, int32: Int32Array, bool: Uint8Array }[leaf.dtype];
      const size = leaf.shape.reduce((a, b) => a * b, 1);
      const numbers = kind.from(Array.isArray(leaf.initial) ? leaf.initial.flat(Infinity) : Array(size).fill(leaf.initial));
      this.state[name] = new this.ort.Tensor(leaf.dtype, numbers, [1, ...leaf.shape]);
    }
  }

  /** The memory that the state takes, in bytes. */
  get stateBytes() {
    return Object.values(this.state).reduce((sum, leaf) => sum + leaf.data.byteLength, 0);
  }

  /** Read one more token, an array of numbers or a mark, and return the output after it. */
  async push(x) {
    const { form, reads, in_size } = this.about, marks = reads === "marks";
    if (marks ? !(Number.isInteger(x) && x >= 0 && x < in_size) : !(x.length === in_size && Array.from(x).every(Number.isFinite)))
      throw new Error(`the token is ${x}; this model takes ${marks ? "integers below" : "tokens of"} ${in_size}`);
    const many = form === "prefill"; // a graph of whole sequences reads a sequence of this one token
    const shape = [...(many ? [1] : []), 1, ...(marks ? [] : [in_size])];
    const token = marks ? new this.ort.Tensor("int32", Int32Array.of(x), shape)
                        : new this.ort.Tensor("float32", Float32Array.from(x), shape);
    const results = await this.session.run({ ...this.state, [many ? "xs" : "x"]: token });
    for (const name of Object.keys(this.state)) this.state[name] = results["next_" + name];
    this.tokens += 1;
    return results[many ? "ys" : "y"].data;
  }
}

/** The metadata of an ONNX file, as an object of strings: the entries (1: key, 2: value) of field 14 of its protocol buffer. */
function metadataOf(bytes) {
  const text = new TextDecoder();
  function* fields(start, end) {
    let at = start;
    const varint = () => {
      let value = 0, scale = 1, byte;
      do { byte = bytes[at++]; value += (byte & 127) * scale; scale *= 128; } while (byte & 128);
      return value;
    };
    while (at < end) {
      const tag = varint(), kind = tag % 8;
      if (kind === 0) varint();
      else if (kind === 1) at += 8;
      else if (kind === 5) at += 4;
      else if (kind === 2) {
        const length = varint();
        yield [Math.floor(tag / 8), at, at + length];
        at += length;
      } else throw new Error("this is not an ONNX file");
    }
  }
  const entries = {};
  for (const [number, start, end] of fields(0, bytes.length)) {
    if (number !== 14) continue;
    const entry = {};
    for (const [part, from, to] of fields(start, end)) entry[part] = text.decode(bytes.subarray(from, to));
    entries[entry[1]] = entry[2];
  }
  return entries;
}
