// The page of a result: keys, the map, drawing. Without this file the page still answers; nothing here records anything by itself.
"use strict";

const byId = (id) => document.getElementById(id);

/* ---- a form is sent once ---- */

for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    // after the browser has read which button it was
    setTimeout(() => document.querySelectorAll("form[data-once] button").forEach((button) => { button.disabled = true; }), 0);
  });
}
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload(); // "back" must not show a form that was sent
});

/* ---- reject and amend ---- */

function open(name) {
  const part = byId(`${name}-part`);
  if (!part) return;
  for (const other of ["reject", "amend"]) {
    const details = byId(`${other}-part`);
    if (details) details.open = other === name;
    byId(other)?.setAttribute("aria-expanded", String(other === name));
  }
  part.querySelector("input[type=radio]")?.focus();
  part.scrollIntoView({ block: "nearest" });
}

for (const name of ["reject", "amend"]) {
  byId(name)?.addEventListener("click", () => open(name));
  byId(`${name}-part`)?.addEventListener("toggle", (event) => byId(name)?.setAttribute("aria-expanded", String(event.target.open)));
}

/* ---- the map ---- */

const maps = [...document.querySelectorAll(".stage .map")];
let current = 0; // which picture is shown; of a radiograph there is one

function showMap() {
  const on = byId("overlay")?.checked;
  const chosen = byId("which")?.value ?? maps[0]?.dataset.which;
  for (const map of maps) {
    map.hidden = !on || map.dataset.which !== chosen || Number(map.dataset.place) !== current;
    map.style.opacity = Number(byId("opacity")?.value ?? 100) / 100;
  }
}
for (const id of ["overlay", "which", "opacity"]) byId(id)?.addEventListener("input", showMap);
if (maps.length) showMap();

/* ---- drawing: regions in pixels of the source image ---- */

const stage = byId("stage");
const drawing = byId("drawing");
const width = Number(stage?.dataset.columns ?? 0);
const height = Number(stage?.dataset.rows ?? 0);
const findings = [...document.querySelectorAll("#amend-form fieldset")]
  .map((set) => [set.querySelector("input[name^='label.']")?.name.slice(6), set.querySelector("legend").textContent])
  .filter(([key]) => key);
const regions = []; // {points, kind, finding, sign, place, group, line}
let mode = ""; // box | polygon | "": not drawing
let begun = null;

const clamp = (value, most) => Math.min(Math.max(value, 0), most);
const say = (text) => { if (byId("said")) byId("said").textContent = text; };

function svg(name) {
  return document.createElementNS("http://www.w3.org/2000/svg", name);
}

function place(event) {
  const box = drawing.getBoundingClientRect();
  return [clamp(((event.clientX - box.left) / box.width) * width, width), clamp(((event.clientY - box.top) / box.height) * height, height)];
}

function outline(region) {
  const points = region.kind === "box" ? corners(region.points) : region.points;
  const open = region === begun && region.kind === "polygon";
  return "M" + points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L") + (open ? "" : "Z");
}

function corners([[x1, y1], [x2, y2]]) {
  return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]];
}

function paint(region) {
  region.group.firstChild.setAttribute("d", outline(region));
  region.group.classList.toggle("not", region.sign < 0);
  keep();
}

function keep() {
  const whole = regions.filter((region) => region !== begun);
  const text = whole.length ? JSON.stringify(whole.map(({ points, finding, sign, place }) => ({ points, finding, sign, place }))) : "";
  for (const field of document.querySelectorAll("input[name=regions]")) field.value = text;
}

function begin(kind, points) {
  const region = { kind, points, finding: findings.length === 1 ? findings[0][0] : "", sign: 1, place: current, group: svg("g"), line: null };
  region.group.append(svg("path"));
  region.group.classList.add("region");
  region.group.setAttribute("tabindex", "0");
  region.group.setAttribute("role", "img");
  region.group.addEventListener("keydown", (event) => move(region, event));
  drawing.append(region.group);
  regions.push(region);
  return region;
}

function end(region) {
  begun = null;
  setMode("");
  const xs = region.points.map(([x]) => x), ys = region.points.map(([, y]) => y);
  const small = Math.max(...xs) - Math.min(...xs) < width / 200 || Math.max(...ys) - Math.min(...ys) < height / 200;
  if (small || (region.kind === "polygon" && region.points.length < 3)) {
    remove(region);
    say("Too small: nothing was drawn.");
    return;
  }
  list(region);
  paint(region);
  say("Region drawn. It is kept with your reject or amend answer.");
}

function remove(region) {
  const at = regions.indexOf(region);
  if (at >= 0) regions.splice(at, 1);
  if (begun === region) begun = null;
  region.group.remove();
  region.line?.remove();
  number();
  keep();
}

function number() {
  regions.forEach((region, index) => {
    region.group.setAttribute("aria-label", `Region ${index + 1}. Arrow keys move it, with Shift they size it, Delete removes it.`);
    const where = pictures > 1 ? `, slice ${region.place + 1}` : "";
    if (region.line) region.line.querySelector("strong").textContent = `Region ${index + 1}${where}`;
  });
}

function list(region) {
  const line = document.createElement("li");
  line.append(document.createElement("strong"));
  const choose = (label, options, set) => {
    const select = document.createElement("select");
    select.setAttribute("aria-label", label);
    for (const [value, words] of options) select.append(new Option(words, value));
    select.addEventListener("change", () => { set(select.value); paint(region); });
    line.append(select);
    return select;
  };
  choose("What is there", [["", "not said what"], ...findings], (value) => { region.finding = value; }).value = region.finding;
  choose("Is it there", [["1", "is here"], ["-1", "is not here"]], (value) => { region.sign = Number(value); }).value = region.sign;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Remove";
  button.addEventListener("click", () => remove(region));
  line.append(button);
  line.addEventListener("mouseenter", () => region.group.classList.add("chosen"));
  line.addEventListener("mouseleave", () => region.group.classList.remove("chosen"));
  region.line = line;
  byId("regions").append(line);
  number();
}

function move(region, event) {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (event.key === "Delete" || event.key === "Backspace") {
    remove(region);
    event.preventDefault();
  } else if (step) {
    const [dx, dy] = [(step[0] * width) / 100, (step[1] * height) / 100];
    if (event.shiftKey && region.kind === "box") {
      const [[x1, y1], [x2, y2]] = region.points;
      region.points = [[x1, y1], [clamp(Math.max(x2 + dx, x1 + width / 100), width), clamp(Math.max(y2 + dy, y1 + height / 100), height)]];
    } else {
      const fits = region.points.every(([x, y]) => x + dx >= 0 && x + dx <= width && y + dy >= 0 && y + dy <= height);
      if (fits) region.points = region.points.map(([x, y]) => [x + dx, y + dy]);
    }
    paint(region);
    event.preventDefault();
  }
}

function setMode(kind) {
  mode = kind;
  stage?.classList.toggle("drawing", kind !== "");
  for (const name of ["box", "polygon"]) byId(name)?.setAttribute("aria-pressed", String(kind === name));
  if (kind === "box") say("Drag a box over the image.");
  if (kind === "polygon") say("Click the corners; Enter or a double click ends it.");
}

function boxByKeys() {
  const region = begin("box", [[width * 0.4, height * 0.4], [width * 0.6, height * 0.6]]);
  end(region);
  region.group.focus();
  say("A box is in the middle. Arrow keys move it, with Shift they size it.");
}

byId("box")?.addEventListener("click", (event) => {
  if (event.detail === 0) boxByKeys(); // pressed by keyboard
  else setMode(mode === "box" ? "" : "box");
});
byId("polygon")?.addEventListener("click", () => setMode(mode === "polygon" ? "" : "polygon"));

drawing?.addEventListener("pointerdown", (event) => {
  if (!mode || event.button !== 0) return;
  event.preventDefault();
  const at = place(event);
  if (mode === "box") {
    begun = begin("box", [at, at]);
    drawing.setPointerCapture(event.pointerId);
  } else if (!begun) {
    begun = begin("polygon", [at]);
    paint(begun);
  } else {
    begun.points.push(at);
    paint(begun);
  }
});
drawing?.addEventListener("pointermove", (event) => {
  if (mode === "box" && begun) {
    begun.points = [begun.points[0], place(event)];
    paint(begun);
  }
});
drawing?.addEventListener("pointerup", () => {
  if (mode !== "box" || !begun) return;
  const [[x1, y1], [x2, y2]] = begun.points;
  begun.points = [[Math.min(x1, x2), Math.min(y1, y2)], [Math.max(x1, x2), Math.max(y1, y2)]];
  end(begun);
});
drawing?.addEventListener("pointercancel", () => { if (mode === "box" && begun) remove(begun); });
drawing?.addEventListener("dblclick", () => { if (mode === "polygon" && begun) end(begun); });

/* ---- key slices of a CT ---- */

const pictures = document.querySelectorAll(".stage .image").length;

function turn(step) {
  const next = clamp(current + step, pictures - 1);
  if (begun || next === current) return; // a shape is finished on the slice where it was begun
  current = next;
  for (const one of document.querySelectorAll(".stage .image, .slices [data-place]")) {
    const at = Number(one.dataset.place);
    one.hidden = at !== current && !(at === 0 && one.matches(".image")); // the first stays: it gives the size, and is covered
  }
  for (const region of regions) region.group.style.display = region.place === current ? "" : "none";
  byId("earlier")?.setAttribute("aria-disabled", String(current === 0));
  byId("later")?.setAttribute("aria-disabled", String(current === pictures - 1));
  showMap();
}
byId("earlier")?.addEventListener("click", () => turn(-1));
byId("later")?.addEventListener("click", () => turn(1));

/* ---- what was drawn on a form that could not be taken ---- */

function drawAgain(text) {
  try {
    for (const one of JSON.parse(text)) {
      const region = begin(one.points.length === 2 ? "box" : "polygon", one.points);
      Object.assign(region, { finding: one.finding ?? "", sign: one.sign ?? 1, place: one.place ?? 0 });
      region.group.style.display = region.place === current ? "" : "none";
      end(region);
    }
  } catch { // not a drawing of ours: it is what could not be taken
    for (const region of [...regions]) remove(region);
    keep();
  }
}
const drawnBefore = [...document.querySelectorAll("input[name=regions]")].map((field) => field.value).find(Boolean);
if (drawnBefore && drawing) drawAgain(drawnBefore);

/* ---- keys ---- */

// Who speaks to the machine, or types blindly, can switch off the keys of one letter (WCAG 2.1.4); the browser remembers it.
const LETTERS = "dicom-node.letters";
let letters = true;
try {
  letters = localStorage.getItem(LETTERS) !== "off";
} catch { /* within another site's window there may be no memory */ }

function useLetters(on) {
  letters = on;
  document.body.classList.toggle("no-letters", !on);
  try {
    localStorage.setItem(LETTERS, on ? "on" : "off");
  } catch { /* as above */ }
}
if (byId("keys")) {
  byId("keys-on").hidden = false;
  byId("keys").checked = letters;
  byId("keys").addEventListener("change", (event) => useLetters(event.target.checked));
  if (!letters) useLetters(false);
}

const typing = (target) => target.closest("textarea, select, input:not([type=radio]):not([type=checkbox]):not([type=range])") !== null;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.isComposing) return;
  if (event.key === "Escape") {
    if (begun) remove(begun);
    setMode("");
    for (const name of ["reject", "amend"]) if (byId(`${name}-part`)) byId(`${name}-part`).open = false;
    return;
  }
  if (typing(event.target)) return;
  if (event.key === "Enter" && mode === "polygon" && begun) {
    end(begun);
    event.preventDefault();
    return;
  }
  const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (way && pictures > 1 && !event.defaultPrevented && !event.target.closest("input")) { // a region, or a choice, moves by arrows too
    turn(way);
    event.preventDefault();
    return;
  }
  if (!letters) return;
  const key = event.key.toLowerCase();
  const reason = byId("reject-part")?.open && /^[1-9]$/.test(key) ? byId("reject-form").querySelectorAll("input[name=reason]")[key - 1] : null;
  if (reason) {
    reason.checked = true;
    reason.focus();
  } else if (key === "a" && !byId("reject-part")?.open && !byId("amend-part")?.open) byId("accept")?.click();
  else if (key === "r") open("reject");
  else if (key === "m") open("amend");
  else if (key === "o" && byId("overlay")) { byId("overlay").checked = !byId("overlay").checked; showMap(); }
  else if (key === "b" && byId("box")) boxByKeys();
  else if (key === "p" && byId("polygon")) setMode(mode === "polygon" ? "" : "polygon");
  else if (key === "n") byId("next")?.click();
  else return;
  event.preventDefault();
});
