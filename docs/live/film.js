// The page of the film: the weights, the loss and the residual of a student after every step of its training.

import { Chart } from "./chart.js";
import { HeatMap } from "./heat_map.js";
import { range, transpose } from "./matrices.js";

const part = (id) => document.getElementById(id);
const film = await (await fetch(new URL("data/training.json", import.meta.url))).json();
const last = film.networks.length - 1;
const still = matchMedia("(prefers-reduced-motion: reduce)");

const TITLES = {
  lam: "λ",
  w_in_m: "W<sub>m</sub> of the input gate",
  w_in_x: "W<sub>x</sub> of the input gate",
  w_out_m: "W<sub>m</sub> of the output gate",
  w_out_x: "W<sub>x</sub> of the output gate",
  readout: "D",
};
const matrices = (network) => Object.keys(TITLES).map((name) => (name === "lam" ? network.lam.map((lam) => [lam]) : network[name]));

function drawMaps(parent, network) {
  parent.className += " live-maps";
  return matrices(network).map((rows, i) => {
    const map = new HeatMap(parent, Object.values(TITLES)[i], rows.length, rows[0].length);
    map.show(rows);
    return map;
  });
}

part("controls").innerHTML = `<form class="live-controls">
  <button type="button">Play</button>
  <label class="wide"><span>Step</span> <input type="range" min="0" max="${last}" value="0"></label></form>
  <p class="live-now" role="status" aria-live="polite"></p>`;
const [button, slider, now] = ["button", "input", "p"].map((name) => part("controls").querySelector(name));

part("curves").className += " live-charts";
const steps = range(last + 1);
const loss = new Chart(part("curves"), {
  title: "Towards attention",
  x: "step",
  logarithmic: true,
  series: [{ name: "loss", colour: 1 }, { name: "residual", colour: 2, dashes: true }],
});
const ends = film.networks[last].lam.map((lam) => (lam > 0.5 ? "memories" : "queries"));
const lambdas = new Chart(part("curves"), {
  title: "λ of each neuron",
  x: "step",
  series: ends.map((end, n) => ({
    name: ends.indexOf(end) === n ? `ends as one of the ${end}` : null,
    colour: end === "memories" ? 1 : 2,
    dashes: end === "queries",
  })),
});
const maps = drawMaps(part("weights"), film.networks[0]);

const near = (network, value) => network.lam.filter((lam) => Math.abs(lam - value) < 1e-3).length;

function show(step) {
  const network = film.networks[step];
  matrices(network).forEach((rows, i) => maps[i].show(rows));
  const [lossNow, residual] = [film.losses[step], film.residuals[step]].map((value) => value.toExponential(1));
  now.textContent = `Step ${step} of ${last}: the loss is ${lossNow} and the residual is ${residual}.
    Of ${network.lam.length} neurons, ${near(network, 1)} are memories and ${near(network, 0)} are queries.`;
  slider.value = step;
  slider.setAttribute("aria-valuetext", `step ${step}, loss ${lossNow}, residual ${residual}`);
  loss.moveMark(step, `loss ${lossNow} and residual ${residual} at step ${step}`);
  lambdas.moveMark(step, `${near(network, 1)} at 1 and ${near(network, 0)} at 0, at step ${step}`);
}

let timer = null;
function pause() {
  clearInterval(timer);
  timer = null;
  button.textContent = "Play";
  now.setAttribute("aria-live", "polite");
}
function play() {
  if (Number(slider.value) === last) show(0);
  now.setAttribute("aria-live", "off"); // a reader of screens hears where the film stops, not every step
  button.textContent = "Pause";
  timer = setInterval(() => {
    if (Number(slider.value) < last) show(Number(slider.value) + 1);
    if (Number(slider.value) === last) pause();
  }, still.matches ? 1000 : 250);
}
button.addEventListener("click", () => (timer === null ? play() : pause()));
slider.addEventListener("input", () => {
  if (timer !== null) pause();
  show(Number(slider.value));
});

loss.show([steps, film.losses, film.residuals], "", 0);
lambdas.show([steps, ...transpose(film.networks.map(({ lam }) => lam))], "", 0);
show(0);

const { pruned, provenance } = film;
drawMaps(part("pruned"), pruned);
part("pruned").insertAdjacentHTML(
  "afterend",
  `<p>${near(pruned, 1)} memories, ${near(pruned, 0)} queries and ${pruned.w_out_m.length} rows of the output gate are left. Their
   residual is ${pruned.residual.toExponential(1)}: they are attention. The exact construction has as many neurons.</p>
   <p><small>Recorded by <code>${provenance.command}</code> at commit <code>${provenance.commit.slice(0, 10)}</code>, with the seeds
   ${Object.entries(film.seeds).map(([what, seed]) => `${seed} (${what})`).join(", ")}, on ${provenance.date.slice(0, 10)},
   with jax ${provenance.versions.jax}. The training took ${film.seconds.at(-1).toFixed(1)} seconds.</small></p>`,
);
