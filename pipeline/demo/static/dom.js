// Elements; text is always set as text, never as HTML.

export const find = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function table(caption, headings, rows) {
  const head = element("tr", {}, ...headings.map((text) => element("th", { scope: "col", textContent: text })));
  const body = element("tbody", {}, ...rows);
  const hidden = element("caption", { className: "soft", textContent: caption });
  return element("table", {}, hidden, element("thead", {}, head), body);
}

export function row(...cells) {
  return element("tr", {}, ...cells.map((cell) => (cell instanceof HTMLTableCellElement ? cell : element("td", {}, cell ?? "–"))));
}

/** Grey pictures beside each other: `pixels` holds one after the other, each height × width. */
export function sheet(pixels, height, width, count, label) {
  const columns = Math.min(count, 8);
  const rows = Math.ceil(count / columns);
  const gap = 1;
  const canvas = element("canvas", {
    width: columns * (width + gap) - gap,
    height: rows * (height + gap) - gap,
  });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  const context = canvas.getContext("2d");
  for (let index = 0; index < count; index += 1) {
    const image = context.createImageData(width, height);
    for (let pixel = 0; pixel < width * height; pixel += 1) {
      const value = pixels[index * width * height + pixel];
      image.data.set([value, value, value, 255], 4 * pixel);
    }
    const x = (index % columns) * (width + gap);
    context.putImageData(image, x, Math.floor(index / columns) * (height + gap));
  }
  return canvas;
}
