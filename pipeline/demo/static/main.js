import { bytes, picture, post } from "./api.js";
import {
  prepareBars,
  showAnswer,
  showLayers,
  showNote,
  showNothing,
  showShifts,
} from "./answer.js";
import { find, sheet } from "./dom.js";
import { Pad } from "./pad.js";
import { showProgress, showWorkspace } from "./workspace.js";

const DETAILS_DELAY_MS = 300; // after the last change of the drawing
const PROGRESS_INTERVAL_MS = 1000;
const IDLE_INTERVAL_MS = 5000;

function showError(error) {
  find("message").textContent = error.message;
  find("message").hidden = false;
}

// One request at a time: the next one takes the newest drawing.
let isAsking = false;
let isChanged = false;
let timer;
let drawings = 0; // the details of an earlier drawing are not shown
let hasDetails = true; // those of the newest drawing are shown

function showBusy() {
  find("answer").setAttribute("aria-busy", isAsking || !hasDetails);
}

async function ask() {
  isChanged = true;
  drawings += 1;
  hasDetails = false;
  showBusy();
  clearTimeout(timer);
  timer = setTimeout(askDetails, DETAILS_DELAY_MS);
  if (isAsking) return;
  isAsking = true;
  try {
    while (isChanged) {
      isChanged = false;
      if (pad.isEmpty) showNothing();
      else {
        const answer = await post("/api/answer", await pad.png());
        if (!pad.isEmpty) showAnswer(answer);
      }
      find("message").hidden = true;
    }
  } catch (error) {
    showError(error);
  } finally {
    isAsking = false;
    showBusy();
  }
}

async function askDetails() {
  const own = drawings;
  const isNewest = () => own === drawings;
  if (!pad.isEmpty) await showDetails(await pad.png(), isNewest);
  if (!isNewest()) return;
  hasDetails = true;
  showBusy();
}

async function showDetails(drawing, isNewest) {
  for (const [path, id, show] of [
    ["/api/shifts", "grid", showShifts],
    ["/api/layers", "maps", showLayers],
  ]) {
    try {
      const found = await post(path, drawing);
      if (isNewest()) show(found);
    } catch (error) {
      if (isNewest()) showNote(id, error.message);
    }
  }
}

async function showSample() {
  try {
    pad.show(await picture("/api/digit"));
  } catch (error) {
    showError(error);
  }
}

async function showFile(event) {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  try {
    // The server crops, inverts and centres a picture, as `mnist-tfx predict` does.
    const { image } = await post("/api/answer?polarity=auto", file);
    pad.show(sheet(bytes(image), 28, 28, 1, ""));
  } catch (error) {
    showError(error);
  }
}

async function follow() {
  let wasRunning = false;
  let isLost = false;
  for (;;) {
    try {
      const isRunning = await showProgress();
      if (wasRunning && !isRunning) await showWorkspace(showError);
      wasRunning = isRunning;
      if (isLost) find("message").hidden = true;
      isLost = false;
    } catch (error) {
      isLost = true;
      showError(error);
    }
    await new Promise((resolve) => {
      setTimeout(resolve, wasRunning ? PROGRESS_INTERVAL_MS : IDLE_INTERVAL_MS);
    });
  }
}

prepareBars();
const pad = new Pad(find("pad"), ask);
find("clear").addEventListener("click", () => pad.clear());
find("undo").addEventListener("click", () => pad.undo());
find("sample").addEventListener("click", showSample);
find("file").addEventListener("change", showFile);
showWorkspace(showError).catch(showError);
follow();
