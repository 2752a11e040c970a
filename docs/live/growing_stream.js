// A Transformer on a stream, whose cache is copied into a larger one when it is full.

import { OnnxStream } from "./onnx_stream.js";

/** `OnnxStream`s of one model with caches of rising capacities. The first one that is large enough reads the tokens. */
export class GrowingStream {
  static async open(ort, buffers) {
    const stream = new GrowingStream();
    stream.sizes = await Promise.all(buffers.map((buffer) => OnnxStream.open(ort, buffer)));
    stream.reset();
    return stream;
  }

  reset() {
    this.now = this.sizes[0];
    this.now.reset();
  }

  get tokens() {
    return this.now.tokens;
  }

  get stateBytes() {
    return this.now.stateBytes;
  }

  /** How many tokens the present cache holds. */
  get capacity() {
    return capacityOf(this.now);
  }

  /** The part of the state that tokens have written to, in bytes. */
  get usedBytes() {
    const unused = 1 - Math.min(this.tokens / this.capacity, 1);
    return this.stateBytes - unused * arrays(this.now).reduce((sum, name) => sum + this.now.state[name].data.byteLength, 0);
  }

  async push(x) {
    const larger = this.sizes[this.sizes.indexOf(this.now) + 1];
    if (larger && this.tokens === this.capacity) this.moveTo(larger);
    return this.now.push(x);
  }

  /** Go on in a larger cache. The tokens are in its first slots, and the next token takes the slot after them. */
  moveTo(larger) {
    larger.reset();
    for (const [name, leaf] of Object.entries(this.now.state)) {
      larger.state[name].data.set(name.endsWith(".position") ? [this.tokens] : leaf.data);
    }
    larger.tokens = this.tokens;
    this.now = larger;
  }
}

/** The names of the arrays that hold a token in each row. */
const arrays = (stream) => Object.keys(stream.about.state).filter((name) => stream.about.state[name].shape.length === 3);

const capacityOf = (stream) => stream.about.state[arrays(stream)[0]].shape[0];
