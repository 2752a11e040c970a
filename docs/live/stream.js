// The page of the stream: Aaren and a Transformer read the same tokens, with the memory and the time that each of them takes.

import { Chart, shortened } from "./chart.js";
import { normalNumbers } from "./construction.js";
import { GrowingStream } from "./growing_stream.js";
import { range } from "./matrices.js";
import { OnnxStream } from "./onnx_stream.js";
import * as ort from "./vendor/ort.wasm.min.mjs";

const BATCH = 16; // tokens whose time is measured at once
const END = 5120;
const SEED = 1;
const CAPACITIES = [64, 256, 1024, 4096];

const part = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)");
ort.env.wasm.wasmPaths = new URL("vendor/", import.meta.url).href;
ort.env.wasm.numThreads = 1;

part("controls").innerHTML = `<form class="live-controls"><button type="button" disabled>Run</button>
  <button type="button" disabled>Start again</button></form>
  <p class="live-now" role="status" aria-live="polite">The models are being loaded.</p>
  <div class="live-scroll" tabindex="0" role="region" aria-label="The two models in numbers"><table class="live-table"><thead><tr><th scope="col"></th>
  <th scope="col">Aaren</th><th scope="col">Transformer</th></tr></thead><tbody></tbody></table></div>`;
const [runButton, resetButton] = part("controls").querySelectorAll("button");
const [told, table] = ["p", "tbody"].map((name) => part("controls").querySelector(name));

part("curves").className += " live-charts";
const memory = new Chart(part("curves"), {
  title: "Memory of the state, in bytes",
  x: "tokens",
  logarithmic: true,
  series: [
    { name: "Aaren", colour: 1 },
    { name: "Transformer, reserved", colour: 2, dashes: true },
    { name: "Transformer, used", colour: 2 },
  ],
});
const time = new Chart(part("curves"), {
  title: "Time for a token, in milliseconds",
  x: "tokens",
  series: [{ name: "Aaren", colour: 1 }, { name: "Transformer", colour: 2, dashes: true }],
});

let aaren, transformer, normal, samples, outputs;
let running = false;

async function load() {
  const file = async (name) => (await fetch(new URL(`models/${name}.onnx`, import.meta.url))).arrayBuffer();
  aaren = await OnnxStream.open(ort, await file("aaren"));
  transformer = await GrowingStream.open(ort, await Promise.all(CAPACITIES.map((n) => file(`transformer-${n}`))));
  runButton.disabled = resetButton.disabled = false;
  reset();
}

function reset() {
  aaren.reset();
  transformer.reset();
  normal = normalNumbers(SEED);
  samples = { tokens: [], aarenBytes: [], reserved: [], used: [], aarenTime: [], transformerTime: [] };
  outputs = [NaN, NaN];
  told.textContent = "Both models are ready and have read no token.";
  draw();
}

/** Both models read the next tokens, and the time of each is measured. */
async function readBatch() {
  const xs = range(BATCH).map(() => range(aaren.about.in_size).map(() => normal()));
  const capacity = transformer.capacity;
  const milliseconds = [];
  for (const [which, stream] of [aaren, transformer].entries()) {
    const begin = performance.now();
    for (const x of xs) [outputs[which]] = await stream.push(x);
    milliseconds.push((performance.now() - begin) / BATCH);
  }
  if (transformer.capacity !== capacity)
    told.textContent = `The cache for ${capacity} tokens was full, and was copied into one for ${transformer.capacity}.`;
  const sample = {
    tokens: aaren.tokens,
    aarenBytes: aaren.stateBytes,
    reserved: transformer.stateBytes,
    used: transformer.usedBytes,
    aarenTime: milliseconds[0],
    transformerTime: milliseconds[1],
  };
  for (const [name, value] of Object.entries(sample)) samples[name].push(value);
}

async function run() {
  running = true;
  runButton.textContent = "Pause";
  resetButton.disabled = true;
  let drawnAt = performance.now();
  while (running && aaren.tokens < END) {
    await readBatch();
    if (performance.now() - drawnAt > (still.matches ? 1000 : 60)) {
      draw();
      await new Promise(requestAnimationFrame);
      drawnAt = performance.now();
    }
  }
  running = false;
  runButton.textContent = "Run";
  runButton.disabled = aaren.tokens >= END;
  resetButton.disabled = false;
  draw();
  told.textContent = `After ${aaren.tokens} tokens, Aaren's state has ${aaren.stateBytes} bytes and the Transformer's
    ${transformer.stateBytes}. A token takes ${shortened(recent("aarenTime"))} and ${shortened(recent("transformerTime"))} milliseconds.`;
}

/** The median of the last eight measurements. */
function recent(name) {
  const sorted = samples[name].slice(-8).sort((a, b) => a - b);
  return sorted.length ? sorted[Math.floor(sorted.length / 2)] : NaN;
}

function draw() {
  const number = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : "–");
  const bytes = (value) => Math.round(value).toLocaleString("en");
  const rows = [
    ["tokens read", aaren.tokens, transformer.tokens],
    ["state, bytes", bytes(aaren.stateBytes), bytes(transformer.stateBytes)],
    ["used of it, bytes", bytes(aaren.stateBytes), bytes(transformer.usedBytes)],
    ["ms for a token", number(recent("aarenTime"), 3), number(recent("transformerTime"), 3)],
    ["last output", ...outputs.map((y) => number(y, 6))],
  ];
  table.innerHTML = rows.map(([name, ...cells]) => `<tr><th scope="row">${name}</th>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`).join("");
  const { tokens, aarenBytes, reserved, used, aarenTime, transformerTime } = samples;
  memory.show([tokens, aarenBytes, reserved, used], `Aaren ${rows[1][1]}, Transformer ${rows[1][2]}`);
  time.show([tokens, aarenTime, transformerTime], `Aaren ${rows[3][1]}, Transformer ${rows[3][2]}`);
}

runButton.addEventListener("click", () => (running ? (running = false) : run()));
resetButton.addEventListener("click", () => {
  reset();
  runButton.disabled = false;
});
load().catch((error) => (told.textContent = `Error: ${error.message}`));
