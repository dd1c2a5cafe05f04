// The answer to the drawing: digit, probabilities, layers, shifts.

import { bytes } from "./api.js";
import { element, find, row, sheet, table } from "./dom.js";

const DIGITS = [...Array(10).keys()];

export function prepareBars() {
  for (const digit of DIGITS) {
    const meter = element("meter", { min: 0, max: 1, value: 0 });
    meter.setAttribute("aria-label", `Digit ${digit}`);
    find("bars").append(element("li", {}, element("span", { textContent: digit }), meter, element("span")));
  }
}

export function showAnswer(answer) {
  find("digit").textContent = answer.prediction;
  const percent = (100 * answer.probability).toFixed(1);
  find("result").textContent = `${answer.prediction}, probability ${percent} %`;
  find("remark").textContent = answer.remark;
  find("facts").textContent = `Version ${answer.version} answered in ${answer.latency_ms.toFixed(1)} ms.`;
  DIGITS.forEach((digit) => {
    const [, meter, number] = find("bars").children[digit].children;
    const probability = answer.probabilities[digit];
    meter.value = probability;
    number.textContent = probability.toFixed(4);
    meter.parentElement.className = digit === answer.prediction ? "top" : "";
  });
  find("sent").getContext("2d").drawImage(sheet(bytes(answer.image), 28, 28, 1, ""), 0, 0);
}

export function showNothing() {
  find("digit").textContent = "–";
  find("result").textContent = "The answer appears here.";
  find("remark").textContent = find("facts").textContent = "";
  for (const line of find("bars").children) {
    line.className = line.lastElementChild.textContent = "";
    line.children[1].value = 0;
  }
  find("sent").getContext("2d").clearRect(0, 0, 28, 28);
  for (const id of ["maps", "grid"]) showNote(id, "Draw a digit first.");
}

/** A sentence instead of the feature maps or of the moved drawings. */
export function showNote(id, text) {
  find(id).replaceChildren(element("p", { className: "soft", textContent: text }));
}

function maps(layer, title) {
  const size = `${layer.channels} of its channels, ${layer.height}×${layer.width} pixels each`;
  const canvas = sheet(bytes(layer.pixels), layer.height, layer.width, layer.channels, `${title}: ${size}`);
  return element("figure", { className: "map" }, canvas, element("figcaption", { textContent: title }));
}

export function showLayers(layers) {
  const shown = layers.map((layer) => {
    const name = layer.name.replace("_", " ");
    if (!layer.used) return maps(layer, `${name}, ${layer.height}×${layer.width}`);
    const used = (kind) => (layer.used === kind ? " (this network's)" : " (for comparison)");
    return element(
      "div",
      { className: "pair" },
      maps(layer.max, `${name}: maximum${used("max")}, ${layer.max.height}×${layer.max.width}`),
      maps(layer.average, `${name}: mean${used("average")}, ${layer.average.height}×${layer.average.width}`),
    );
  });
  find("maps").replaceChildren(...shown);
}

export function showShifts(rows) {
  const reach = (rows.length - 1) / 2;
  const middle = rows[reach][reach].digit;
  const distances = rows.map((_, index) => index - reach);
  const signed = (distance) => (distance > 0 ? `+${distance}` : `${distance}`);
  const lines = rows.map((cells, y) => {
    const head = element("th", { scope: "row", textContent: signed(distances[y]) });
    const made = cells.map((cell, x) => {
      const classes = [cell.digit === middle ? "" : "other", x === reach && y === reach ? "middle" : ""];
      const share = element("small", { textContent: cell.probability.toFixed(2) });
      return element("td", { className: classes.join(" ").trim() }, `${cell.digit}`, share);
    });
    return row(head, ...made);
  });
  const caption = "Digit and probability; rows: pixels down, columns: pixels to the right";
  const changed = rows.flat().filter((cell) => cell.digit !== middle).length;
  const text = `${changed} of ${rows.flat().length} positions have another answer.`;
  find("grid").replaceChildren(
    table(caption, ["", ...distances.map(signed)], lines),
    element("p", { className: "soft", textContent: text }),
  );
}
