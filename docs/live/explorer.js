// The page of the construction: an attention layer, the RNN that it becomes, and both on the same tokens.

import { Chart } from "./chart.js";
import { attentionOutputs, gatedRnnOutputs, normalNumbers, randomAttention, toGatedRnn } from "./construction.js";
import { HeatMap, signed } from "./heat_map.js";
import { multiply, range, transpose } from "./matrices.js";
import { draggable } from "./tokens.js";

const TOKENS = 8;
const part = (id) => document.getElementById(id);
const sub = (name, index) => `${name}<sub>${index}</sub>`;

let seed = 1;
let neuron = 0;
let attention, rnn, tokens, maps, stateChart, outputChart;

const options = (values, chosen) =>
  values.map((value) => `<option${value === chosen ? " selected" : ""}>${value}</option>`).join("");

function drawControls() {
  part("controls").innerHTML = `<form class="live-controls">
    <label><span>Features d</span> <select name="d">${options([1, 2, 3, 4], 2)}</select></label>
    <label><span>Rank of ${sub("W", "V")}</span> <select name="rankV"></select></label>
    <label><span>Rank of ${sub("W", "K")}ᵀ ${sub("W", "Q")}</span> <select name="rankB"></select></label>
    <label><span>Form</span> <select name="form">${options(["paper", "compact", "minimal"], "compact")}</select></label>
    <button type="button">New weights</button></form>`;
  const form = part("controls").firstChild;
  form.addEventListener("change", (event) => {
    if (event.target.name === "d") fillRanks(form);
    convert(form);
  });
  form.querySelector("button").addEventListener("click", () => {
    seed += 1;
    convert(form);
  });
  fillRanks(form);
  convert(form);
}

function fillRanks(form) {
  const d = Number(form.d.value);
  for (const select of [form.rankV, form.rankB]) select.innerHTML = options(range(d).map((i) => i + 1), d);
}

function convert(form) {
  const [d, rankV, rankB] = [form.d, form.rankV, form.rankB].map((select) => Number(select.value));
  attention = randomAttention(d, rankV, rankB, seed);
  rnn = toGatedRnn(attention, form.form.value);
  neuron = 0;
  drawAttention();
  drawRnn();
  drawNeurons();
  if (tokens?.[0].length !== d) {
    const normal = normalNumbers(100 + d);
    tokens = range(TOKENS).map(() => range(d).map(() => Math.round(70 * Math.max(-2, Math.min(2, normal()))) / 100));
    draggable(part("tokens"), tokens, run);
  }
  drawOutputs();
  run();
}

function drawMaps(parent, matrices) {
  parent.innerHTML = `<div class="live-maps"></div>`;
  return matrices.map(([title, rows]) => {
    const map = new HeatMap(parent.firstChild, title, rows.length, rows[0].length);
    map.show(rows);
    return map;
  });
}

const drawAttention = () =>
  drawMaps(part("attention"), [
    [sub("W", "V"), attention.v],
    [sub("W", "K"), attention.k],
    [sub("W", "Q"), attention.q],
    [`${sub("W", "K")}ᵀ ${sub("W", "Q")}`, multiply(transpose(attention.k), attention.q)],
  ]);

function drawRnn() {
  const memories = rnn.lam.filter((lam) => lam === 1).length;
  const weights = Object.values(rnn).flat(2).length;
  maps = drawMaps(part("rnn"), matricesOfRnn());
  part("rnn").insertAdjacentHTML(
    "afterbegin",
    `<p role="status">The RNN has ${memories} memories, ${rnn.lam.length - memories} queries,
     ${rnn.wOutM.length} rows in the output gate, and ${weights} weights. The attention layer has ${Object.values(attention).flat(2).length}.</p>`,
  );
}

const matricesOfRnn = () => [
  ["λ", rnn.lam.map((lam) => [lam])],
  [`${sub("W", "m")} of the input gate`, rnn.wInM],
  [`${sub("W", "x")} of the input gate`, rnn.wInX],
  [`${sub("W", "m")} of the output gate`, rnn.wOutM],
  [`${sub("W", "x")} of the output gate`, rnn.wOutX],
  ["D", rnn.readout],
];

function drawNeurons() {
  const entry = (n) => `<label><input type="radio" name="neuron" value="${n}"${n === neuron ? " checked" : ""}>
    <span>${n + 1}. ${role(n)}</span></label>`;
  part("neurons").replaceChildren();
  stateChart = new Chart(part("neurons"), {
    title: "State of the chosen neuron",
    x: "token",
    series: [{ name: "h", colour: 1 }],
    height: 160,
  });
  part("neurons").insertAdjacentHTML(
    "beforeend",
    `<fieldset class="live-neurons"><legend>Neurons</legend>${range(rnn.lam.length).map(entry).join("")}</fieldset>`,
  );
  part("neurons").onchange = (event) => {
    neuron = Number(event.target.value);
    run();
  };
}

/** What a neuron does, in words and one formula. */
function role(n) {
  const [first, second] = [linear(rnn.wInM[n]), linear(rnn.wInX[n])];
  const rows = range(rnn.wOutM.length).filter((row) => rnn.wOutM[row][n] !== 0 || rnn.wOutX[row][n] !== 0);
  const read = `read by ${rows.length === 1 ? "row" : "rows"} ${rows.map((row) => row + 1).join(", ")}`;
  return rnn.lam[n] === 1 ? `Memory of (${first}) (${second}), ${read}` : `Query ${first}, ${read}`;
}

/** A linear function of (x, 1) as text. */
function linear(weights) {
  const terms = weights.flatMap((weight, i) => {
    if (Math.abs(weight) < 0.005) return [];
    const constant = i === weights.length - 1;
    const size = Math.abs(Math.abs(weight) - 1) < 1e-6 && !constant ? "" : `${signed(Math.abs(weight))} `;
    return [`${weight < 0 ? "−" : "+"} ${size}${constant ? "" : sub("x", i + 1)}`.trim()];
  });
  return terms.join(" ").replace(/^\+ /, "").replace(/^− /, "−") || "0";
}

function drawOutputs() {
  part("outputs").innerHTML = `<p class="live-now" role="status" aria-live="polite"></p><div></div>
    <details><summary>The outputs as numbers</summary><div class="live-scroll" tabindex="0" role="region"
      aria-label="The outputs as numbers"></div></details>`;
  const features = range(attention.v.length);
  outputChart = new Chart(part("outputs").querySelector("div"), {
    title: "Outputs",
    x: "token",
    series: [
      ...features.map((o) => ({ name: `attention y${"₁₂₃₄"[o]}`, colour: o + 1 })),
      ...features.map((o) => ({ name: `RNN y${"₁₂₃₄"[o]}`, colour: o + 1, dots: true })),
    ],
  });
}

/** Run both layers over the tokens, and show what they compute. */
function run() {
  maps.forEach((map, which) => {
    const inNeuron = which < 3 ? (row) => row === neuron : (_, column) => which < 5 && column === neuron;
    map.show(matricesOfRnn()[which][1], inNeuron);
  });
  const ofAttention = attentionOutputs(attention, tokens);
  const ofRnn = gatedRnnOutputs(rnn, tokens);
  const xs = range(TOKENS).map((t) => t + 1);
  const difference = Math.max(...ofAttention.flatMap((y, t) => y.map((value, o) => Math.abs(value - ofRnn[t].y[o]))));
  const told = `The largest difference between the two outputs is ${difference.toExponential(1)}.`;
  part("outputs").querySelector("p").textContent =
    `${told} The last outputs are ${ofAttention.at(-1).map(signed).join(", ")}.`;
  outputChart.show([xs, ...transpose(ofAttention), ...transpose(ofRnn.map(({ y }) => y))], told);
  const states = ofRnn.map(({ h }) => h[neuron]);
  stateChart.show([xs, states], `neuron ${neuron + 1}, from ${signed(states[0])} to ${signed(states.at(-1))}`);
  part("outputs").querySelector(".live-scroll").innerHTML = table(ofAttention, ofRnn.map(({ y }) => y));
}

function table(ofAttention, ofRnn) {
  const heads = ["attention", "RNN"].flatMap((name) => range(ofRnn[0].length).map((o) => `<th scope="col">${name} y${"₁₂₃₄"[o]}</th>`));
  const cells = (t) => [...ofAttention[t], ...ofRnn[t]].map((value) => `<td>${value.toFixed(6)}</td>`).join("");
  return `<table class="live-table"><thead><tr><th scope="col">token</th>${heads.join("")}</tr></thead>
    <tbody>${range(TOKENS).map((t) => `<tr><th scope="row">${t + 1}</th>${cells(t)}</tr>`).join("")}</tbody></table>`;
}

drawControls();
