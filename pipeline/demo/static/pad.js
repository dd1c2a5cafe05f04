// The drawing area: strokes of mouse, pen, finger or keyboard, white on black.

const INK_WIDTH = 20; // of 280 pixels; MNIST's strokes are about 2 of 28 pixels wide
const KEY_STEP = 10;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Pad {
  /** Calls `onChange` after each change of the drawing. */
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.onChange = onChange;
    this.strokes = []; // lists of points [x, y]
    this.picture = null; // an image below the strokes
    this.history = []; // earlier [strokes, picture]
    this.pointers = new Map(); // the stroke of each finger
    this.pen = { x: canvas.width / 2, y: canvas.height / 2, isDown: false, isShown: false };
    canvas.addEventListener("pointerdown", (event) => this.start(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.hidePen());
    this.draw();
  }

  get isEmpty() {
    return this.strokes.length === 0 && this.picture === null;
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  start(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.hidePen();
    const stroke = [this.point(event)];
    this.pointers.set(event.pointerId, stroke);
    this.keep();
    this.strokes.push(stroke);
    this.changed();
  }

  move(event) {
    const stroke = this.pointers.get(event.pointerId);
    if (!stroke) return;
    // The browser joins fast movements into one event.
    for (const one of event.getCoalescedEvents?.() ?? []) stroke.push(this.point(one));
    stroke.push(this.point(event));
    this.changed();
  }

  key(event) {
    const arrow = ARROWS[event.key];
    const pen = this.pen;
    if (arrow) {
      pen.x = Math.min(this.canvas.width, Math.max(0, pen.x + arrow[0] * KEY_STEP));
      pen.y = Math.min(this.canvas.height, Math.max(0, pen.y + arrow[1] * KEY_STEP));
      if (pen.isDown) this.strokes.at(-1).push([pen.x, pen.y]);
    } else if (event.key === " ") {
      pen.isDown = !pen.isDown;
      if (pen.isDown) {
        this.keep();
        this.strokes.push([[pen.x, pen.y]]);
      }
    } else if (event.key === "Delete") {
      this.clear();
    } else if (event.key === "Backspace" || (event.key === "z" && event.ctrlKey)) {
      this.undo();
    } else {
      return;
    }
    event.preventDefault();
    pen.isShown = true;
    this.changed();
  }

  hidePen() {
    this.pen.isDown = this.pen.isShown = false;
    this.draw();
  }

  /** Makes the next change one that can be undone. */
  keep() {
    this.history.push([[...this.strokes], this.picture]);
  }

  clear() {
    this.replace([], null);
  }

  /** Replaces the drawing by an image, which fills the area. */
  show(picture) {
    this.replace([], picture);
  }

  replace(strokes, picture) {
    if (!this.isEmpty) this.keep();
    [this.strokes, this.picture] = [strokes, picture];
    this.pen.isDown = false;
    this.changed();
  }

  undo() {
    if (!this.history.length) return;
    [this.strokes, this.picture] = this.history.pop();
    this.pen.isDown = false;
    this.changed();
  }

  changed() {
    this.draw();
    this.onChange();
  }

  draw() {
    this.paint(this.context);
    const pen = this.pen;
    if (!pen.isShown) return;
    this.context.strokeStyle = pen.isDown ? "#f09a63" : "#6cb2ee";
    this.context.lineWidth = 3;
    this.context.beginPath();
    this.context.arc(pen.x, pen.y, INK_WIDTH / 2, 0, 7);
    this.context.stroke();
  }

  paint(context) {
    const { width, height } = this.canvas;
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    context.imageSmoothingEnabled = false;
    if (this.picture) context.drawImage(this.picture, 0, 0, width, height);
    context.strokeStyle = "#fff";
    context.lineWidth = INK_WIDTH;
    context.lineCap = context.lineJoin = "round";
    for (const stroke of this.strokes) {
      context.beginPath();
      context.moveTo(...stroke[0]);
      for (const point of stroke) context.lineTo(...point);
      if (stroke.length === 1) context.lineTo(stroke[0][0] + 0.1, stroke[0][1]); // a dot
      context.stroke();
    }
  }

  /** The drawing without the pen's mark, as PNG. */
  async png() {
    const copy = new OffscreenCanvas(this.canvas.width, this.canvas.height);
    this.paint(copy.getContext("2d"));
    return copy.convertToBlob();
  }
}
