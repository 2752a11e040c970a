// Tokens that are dragged: a row for each feature, with a slider for each token.

import { range } from "./matrices.js";

const MOST = 2;
const HEIGHT = 84; // per cent of the row, so that the outermost tokens stay inside

const KEYS = { ArrowUp: 0.1, ArrowDown: -0.1, PageUp: 0.5, PageDown: -0.5, Home: -2 * MOST, End: 2 * MOST };

/** Draw `tokens`, a list of lists of numbers, inside `parent`, and call `changed` whenever the visitor has changed a number. */
export function draggable(parent, tokens, changed) {
  parent.replaceChildren();
  for (const feature of range(tokens[0].length)) row(parent, tokens, feature, changed);
}

function row(parent, tokens, feature, changed) {
  const caption = document.createElement("small");
  caption.textContent = `x${"₁₂₃₄"[feature]}, from −${MOST} to ${MOST}`;
  const box = document.createElement("div");
  box.className = "live-tokens";
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", `feature ${feature + 1} of all tokens`);
  parent.append(caption, box);

  const sliders = tokens.map((token, t) => {
    const slider = document.createElement("div");
    const named = { role: "slider", "aria-orientation": "vertical", "aria-valuemin": -MOST, "aria-valuemax": MOST };
    for (const [name, value] of Object.entries(named)) slider.setAttribute(name, value);
    slider.setAttribute("aria-label", `token ${t + 1}, feature ${feature + 1}`);
    slider.tabIndex = t === 0 ? 0 : -1;
    slider.style.left = `${(100 * (t + 0.5)) / tokens.length}%`;
    box.append(slider);
    return slider;
  });
  const place = (t) => {
    sliders[t].style.top = `${50 - (HEIGHT * tokens[t][feature]) / (2 * MOST)}%`;
    sliders[t].setAttribute("aria-valuenow", tokens[t][feature].toFixed(2));
  };
  const set = (t, value) => {
    tokens[t][feature] = Math.round(100 * Math.min(Math.max(value, -MOST), MOST)) / 100;
    place(t);
    changed();
  };
  const choose = (t) => {
    sliders.forEach((slider, other) => (slider.tabIndex = other === t ? 0 : -1));
    sliders[t].focus();
  };
  sliders.forEach((_, t) => place(t));

  box.addEventListener("keydown", (event) => {
    const t = sliders.indexOf(event.target);
    if (event.key in KEYS) set(t, tokens[t][feature] + KEYS[event.key]);
    else if (event.key === "ArrowLeft") choose(Math.max(t - 1, 0));
    else if (event.key === "ArrowRight") choose(Math.min(t + 1, tokens.length - 1));
    else return;
    event.preventDefault();
  });
  let dragged = null;
  const drag = (event) => {
    const { top, height } = box.getBoundingClientRect();
    set(dragged, ((0.5 - (event.clientY - top) / height) * 100 * 2 * MOST) / HEIGHT);
  };
  box.addEventListener("pointerdown", (event) => {
    const { left, width } = box.getBoundingClientRect();
    dragged = Math.min(Math.max(Math.floor(((event.clientX - left) / width) * tokens.length), 0), tokens.length - 1);
    box.setPointerCapture(event.pointerId);
    choose(dragged);
    drag(event);
    event.preventDefault();
  });
  box.addEventListener("pointermove", (event) => dragged !== null && drag(event));
  for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, () => (dragged = null));
}
