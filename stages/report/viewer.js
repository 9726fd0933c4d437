"use strict";
// The viewer: loads a panorama's layers, and turns pointer, wheel, keys and the address into what is shown.
// The address has it all, as in #view=3&top=labels&opacity=0.5&yaw=90&pitch=0&fov=90&swipe=0.5&flat=1.

const RADIAN = Math.PI / 180;
const NOTHING = 255; // of a map: no class, no mask
const LIMITS = { fov: [20, 130], pitch: [-90, 90] };
const START = { base: "", top: "", opacity: 0.6, yaw: 0, pitch: 0, fov: 90, swipe: -1, flat: false };
const view = { number: -1, layers: [], verticalFov: 180, sphere: null, opener: null, title: document.title, said: [],
  ...START };
const limited = (value, [low, high]) => Math.min(Math.max(value, low), high);

// Palettes -----------------------------------------------------------------------------------------------------------

// 256 RGBA colours; ids without a class, 255 among them, are transparent.
function paletteOf(kind) {
  const palette = new Uint8Array(1024);
  const put = (id, colour) => palette.set([...colour, 255], 4 * id);
  if (kind === "classes") {
    DATA.colours.forEach((hex, id) => put(id, [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16))));
  } else {
    const part = (id, step) => 55 + Math.floor(200 * ((id * step) % 1));
    for (let id = 0; id < DATA.numberColours; id += 1) put(id, [0.618034, 0.754878, 0.569840].map((s) => part(id, s)));
  }
  return palette;
}

// Loading ------------------------------------------------------------------------------------------------------------

const waiting = new Map();

// Called by the script of a panorama.
function goodsamPanorama(number, record) {
  waiting.get(number)?.(record);
}

// A page of file:// may run scripts of its folder but not read its pictures: layers come in scripts, as data URIs.
function recordOf(number) {
  const place = DATA.panoramas[number].script;
  const embedded = document.getElementById(place);
  if (embedded) return Promise.resolve(JSON.parse(embedded.textContent));
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    waiting.set(number, resolve);
    script.onload = () => script.remove();
    script.onerror = () => reject(new Error(place + " is missing: pass the whole folder on"));
    script.src = place;
    document.head.append(script);
  });
}

// Not image.decode(): a picture that loads holds back the page's load event, by which programs know that all is there.
function loaded(image) {
  return new Promise((resolve, reject) => {
    image.onload = resolve;
    image.onerror = () => reject(new Error("A picture of this panorama is damaged: write the report again"));
  });
}

async function layerOf(record) {
  const image = new Image();
  image.src = record.url;
  await loaded(image);
  return { key: record.key, kind: record.kind, image, palette: paletteOf(record.kind) };
}

async function load(number) {
  const record = await recordOf(number);
  const layers = await Promise.all(record.layers.map(layerOf));
  if (number !== view.number) return;
  view.sphere?.forget();
  view.layers = layers;
  view.verticalFov = record.verticalFov;
  chooseLayers();
  fillLayers();
  fillControls();
  draw();
  say();
}

function chooseLayers() {
  const has = (key) => view.layers.some((layer) => layer.key === key);
  if (!has(view.base)) view.base = view.layers[0].key;
  const others = ["labels", ...view.layers.map((layer) => layer.key)].filter((key) => has(key) && key !== view.base);
  if (!has(view.top)) view.top = others[0] ?? view.base;
}

// Pixels -------------------------------------------------------------------------------------------------------------

const layerNamed = (key) => view.layers.find((layer) => layer.key === key);

// Red of every pixel, which is the id or the value.
function pixelsOf(layer) {
  if (!layer.pixels) {
    const canvas = Object.assign(document.createElement("canvas"), { width: layer.image.width, height: layer.image.height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(layer.image, 0, 0);
    layer.pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  }
  return layer.pixels;
}

function valueAt(key, [x, y]) {
  const layer = layerNamed(key);
  if (!layer || y < 0 || y >= 1) return null;
  const { width, height } = layer.image;
  return pixelsOf(layer)[4 * (Math.floor(y * height) * width + Math.floor(x * width))];
}

// What lies at a place of the canvas, in words.
function wordsAt(place) {
  const sure = valueAt("confidence", place), reliable = valueAt("reliability", place);
  const isSeen = view.layers.some((layer) => layer.kind === "classes" && valueAt(layer.key, place) !== NOTHING);
  const more = !isSeen ? [] : [
    sure === null ? "" : "probability " + percent(sure / 255),
    reliable === null ? "" : reliable ? "reliable" : "not reliable",
    [null, NOTHING].includes(valueAt("unknown", place)) ? "" : "unknown object",
    valueAt("masks", place) === NOTHING ? "in no mask" : "",
  ];
  return [classesAt(place), ...more].filter(Boolean).join(", ");
}

// "road" where one layer tells of classes, "road: assistant, student; sidewalk: truth" of several. Pixels without a label
// tell nothing of the truth; the reliable labels are a part of another layer, of which "reliable" is told.
function classesAt(place) {
  const all = view.layers.filter((layer) => layer.kind === "classes"), tellers = new Map();
  const layers = all.length > 1 ? all.filter((layer) => layer.key !== "reliable") : all;
  for (const { key } of layers) {
    const id = valueAt(key, place);
    if (id === null || (key === "truth" && id === NOTHING)) continue;
    const name = DATA.classes[id] ?? "not seen";
    tellers.set(name, [...(tellers.get(name) ?? []), DATA.layerNames[key]]);
  }
  if (layers.length === 1) return [...tellers.keys()].join();
  return [...tellers].map(([name, keys]) => name + ": " + keys.join(", ")).join("; ");
}

function wordsUnder(x, y) {
  const stage = element("stage");
  const place = view.flat ? flatPlace(x, y) : placeUnder(x, y, stage.clientWidth / stage.clientHeight, shaderState());
  return place ? wordsAt(place) : "";
}

// Where one looks and at what, to be read aloud: "30 degrees right, 0 degrees up: road".
function directionInWords() {
  if (!view.layers.length) return "loading";
  const turned = (angle, [less, more]) => Math.round(Math.abs(angle)) + " degrees " + (angle < 0 ? less : more);
  const where = view.flat ? "the picture's middle"
    : turned(view.yaw, ["left", "right"]) + ", " + turned(view.pitch, ["down", "up"]);
  return where + ": " + wordsUnder(0.5, 0.5);
}

// What the view is to somebody who comes to it by keys. Turning it is told in a live region instead: not all screen
// readers follow a value here, and those that do would tell it twice.
function tellDirection() {
  element("stage").setAttribute("aria-valuenow", Math.round(view.yaw));
  element("stage").setAttribute("aria-valuetext", directionInWords());
}

// Drawing ------------------------------------------------------------------------------------------------------------

function shaderState() {
  return {
    yaw: view.yaw * RADIAN, pitch: view.pitch * RADIAN, fov: view.fov * RADIAN, span: view.verticalFov * RADIAN,
    opacity: view.base === view.top ? 0 : view.opacity, swipe: view.swipe,
    base: layerNamed(view.base), top: layerNamed(view.top),
  };
}

function draw() {
  if (view.number < 0 || !view.layers.length) return;
  element("sphere").hidden = view.flat;
  element("plane").hidden = !view.flat;
  view.flat ? drawFlat() : view.sphere.draw(shaderState());
  document.body.dataset.viewer = view.flat ? "flat" : "sphere"; // for whoever watches: something is drawn
}

// A layer as a canvas in its colours.
function painted(layer) {
  if (layer.kind === "colours") return layer.image;
  if (layer.painted) return layer.painted;
  const { width, height } = layer.image, values = pixelsOf(layer), colours = new ImageData(width, height);
  for (let at = 0; at < values.length; at += 4) {
    const value = values[at];
    if (isPalette(layer)) colours.data.set(layer.palette.subarray(4 * value, 4 * value + 4), at);
    else colours.data.set([...rampColour(value / 255).match(/\d+/g).map(Number), 255], at);
  }
  layer.painted = Object.assign(document.createElement("canvas"), { width, height });
  layer.painted.getContext("2d").putImageData(colours, 0, 0);
  return layer.painted;
}

function drawFlat() {
  const base = layerNamed(view.base), top = layerNamed(view.top), plane = element("plane");
  const { width, height } = base.image, context = plane.getContext("2d");
  Object.assign(plane, { width, height });
  context.drawImage(painted(base), 0, 0, width, height);
  if (base === top) return;
  const start = Math.round(Math.max(view.swipe, 0) * width);
  context.beginPath();
  context.rect(start, 0, width - start, height);
  context.clip();
  context.globalAlpha = view.swipe < 0 ? view.opacity : 1;
  context.drawImage(painted(top), 0, 0, width, height);
}

// Where a spot of the stage lies on the flat picture, which keeps its shape inside the stage.
function flatPlace(x, y) {
  const stage = element("stage"), plane = element("plane");
  const scale = Math.min(stage.clientWidth / plane.width, stage.clientHeight / plane.height);
  const across = 0.5 + (x - 0.5) * stage.clientWidth / (plane.width * scale);
  const down = 0.5 + (y - 0.5) * stage.clientHeight / (plane.height * scale);
  return across >= 0 && across < 1 ? [across, down] : null;
}

// State and address --------------------------------------------------------------------------------------------------

function change(values) {
  Object.assign(view, values);
  view.yaw = ((view.yaw + 180) % 360 + 360) % 360 - 180;
  for (const key in LIMITS) view[key] = limited(view[key], LIMITS[key]);
  if (!view.sphere) view.flat = true;
  fillControls();
  draw();
  writeAddress();
}

function writeAddress() {
  const kept = new URLSearchParams({ view: view.number });
  for (const key in START) if (view[key] !== START[key]) kept.set(key, key === "flat" ? 1 : shortened(view[key]));
  history.replaceState(null, "", "#" + kept);
}

const shortened = (value) => (typeof value === "number" ? String(Math.round(100 * value) / 100) : value);

function readAddress() {
  const found = new URLSearchParams(location.hash.slice(1));
  const number = found.has("view") ? Number(found.get("view")) : -1;
  if (!DATA.panoramas[number]?.script) return close();
  const values = {};
  for (const key in START) {
    if (!found.has(key)) continue;
    const text = found.get(key), value = typeof START[key] === "number" ? Number(text) : text;
    values[key] = key === "flat" ? text === "1" : Number.isNaN(value) ? START[key] : value;
  }
  show(number, values);
}

function show(number, values) {
  const isNew = number !== view.number, isOpened = view.number < 0;
  if (isOpened) view.opener = document.activeElement;
  Object.assign(view, isNew ? { layers: [], base: "", top: "" } : {}, { ...values, number });
  element("viewer").hidden = false;
  element("report").inert = true;
  document.title = DATA.panoramas[number].name;
  element("view-name").textContent = DATA.panoramas[number].name;
  element("under").textContent = "";
  fillShares();
  if (isOpened) element("stage").focus();
  change({});
  if (!isNew) return;
  const failed = (error) => { element("under").textContent = element("said").textContent = error.message; };
  load(number).catch(failed);
}

function close() {
  if (view.number < 0) return;
  document.title = view.title;
  element("viewer").hidden = true;
  element("report").inert = false;
  Object.assign(view, { number: -1, layers: [], said: [] });
  view.sphere?.forget();
  history.replaceState(null, "", "#");
  view.opener?.focus?.();
}

// The next panorama that has a view, in the order of the gallery.
function step(by) {
  const order = [...document.querySelectorAll(".card")].map((card) => Number(card.dataset.panorama))
    .filter((number) => DATA.panoramas[number].script);
  const at = order.indexOf(view.number);
  const { opacity, yaw, pitch, fov, swipe, flat, base, top } = view;
  show(order[(at + by + order.length) % order.length], { opacity, yaw, pitch, fov, swipe, flat, base, top });
}

// Controls -----------------------------------------------------------------------------------------------------------

// Only if they are others: new options take a screen reader away from the control that one is at.
function fillLayers() {
  const keys = (layers) => layers.map((layer) => layer.key ?? layer.value).join();
  for (const id of ["base", "top"]) {
    if (keys([...element(id).options]) === keys(view.layers)) continue;
    element(id).replaceChildren(...view.layers.map((layer) => new Option(DATA.layerNames[layer.key], layer.key)));
  }
}

function fillControls() {
  element("base").value = view.base;
  element("top").value = view.top;
  element("opacity").value = view.opacity;
  element("opacity").setAttribute("aria-valuetext", Math.round(100 * view.opacity) + " %");
  element("swipe").checked = view.swipe >= 0;
  element("swipe-place").hidden = view.swipe < 0;
  element("swipe-place").value = view.swipe;
  element("swipe-place").setAttribute("aria-valuetext", Math.round(100 * view.swipe) + " % from the left");
  element("flat").checked = view.flat;
  element("flat").disabled = !view.sphere;
}

function fillShares() {
  const { shares } = DATA.panoramas[view.number], names = [...DATA.classes, "not seen"];
  const order = [...shares.keys()].filter((id) => shares[id] > 0).sort((a, b) => shares[b] - shares[a]);
  element("view-shares").replaceChildren();
  for (const id of order) {
    const row = element("view-shares").insertRow(), swatch = document.createElement("span");
    const name = Object.assign(document.createElement("th"), { scope: "row" });
    swatch.className = "swatch";
    swatch.style.background = DATA.colours[id] ?? "#000";
    name.append(swatch, names[id]);
    row.append(name);
    row.insertCell().textContent = percent(shares[id]);
  }
}

// What is shown, in words; of what was said before, only what has changed.
function say() {
  const above = view.swipe < 0 ? "opacity " + Math.round(100 * view.opacity) + " %" : "side by side";
  const parts = [DATA.panoramas[view.number].name, "below " + DATA.layerNames[view.base],
    "above " + DATA.layerNames[view.top], above, view.flat ? "flat" : Math.round(view.fov) + " degrees wide"];
  const fresh = parts.filter((part) => !view.said.includes(part));
  if (fresh.length) element("said").textContent = fresh.join(", ");
  view.said = parts;
}

const KEYS = {
  ArrowLeft: () => change({ yaw: view.yaw - view.fov / 12 }),
  ArrowRight: () => change({ yaw: view.yaw + view.fov / 12 }),
  ArrowUp: () => change({ pitch: view.pitch + view.fov / 12 }),
  ArrowDown: () => change({ pitch: view.pitch - view.fov / 12 }),
  "+": () => change({ fov: view.fov / 1.15 }),
  "=": () => change({ fov: view.fov / 1.15 }),
  "-": () => change({ fov: view.fov * 1.15 }),
  "[": () => change({ opacity: Math.max(view.opacity - 0.1, 0), swipe: -1 }),
  "]": () => change({ opacity: Math.min(view.opacity + 0.1, 1), swipe: -1 }),
  s: () => change({ swipe: view.swipe < 0 ? 0.5 : -1 }),
  f: () => change({ flat: !view.flat }),
  n: () => step(1),
  p: () => step(-1),
  Escape: close,
};

function onKey(event) {
  if (view.number < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
  const isStage = event.target === element("stage") || event.target === document.body;
  if (!isStage && event.key !== "Escape") return; // a control has its own keys
  const layer = view.layers[Number(event.key) - 1];
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!layer && !KEYS[key]) return;
  event.preventDefault();
  layer ? change({ top: layer.key }) : KEYS[key]();
  if (view.number < 0 || !view.layers.length) return; // closed, or said when it has loaded
  if (!key.startsWith("Arrow")) return say();
  element("under").textContent = wordsUnder(0.5, 0.5);
  element("said").textContent = directionInWords();
}

// Where each mouse button or finger that is down was last, by the pointer's id: one turns the view, two zoom it.
const held = new Map();

function onPointerDown(event) {
  held.set(event.pointerId, { x: event.clientX, y: event.clientY });
  element("stage").setPointerCapture(event.pointerId);
}

function onDrag(event) {
  const before = held.get(event.pointerId), now = { x: event.clientX, y: event.clientY };
  if (!before) return;
  held.set(event.pointerId, now);
  if (view.flat) return;
  const other = [...held].find(([id]) => id !== event.pointerId)?.[1];
  const apart = (point) => Math.hypot(point.x - other.x, point.y - other.y);
  const degrees = view.fov / element("stage").clientWidth / held.size;
  change({
    yaw: view.yaw - degrees * (now.x - before.x),
    pitch: view.pitch + degrees * (now.y - before.y),
    fov: other ? view.fov * apart(before) / Math.max(apart(now), 1) : view.fov,
  });
}

function onPointer(event) {
  onDrag(event);
  const box = element("stage").getBoundingClientRect();
  const across = (event.clientX - box.left) / box.width, down = (event.clientY - box.top) / box.height;
  element("under").textContent = wordsUnder(across, down);
}

function startViewer() {
  try {
    view.sphere = new Sphere(element("sphere"));
  } catch (error) {
    console.info("The flat picture is shown: " + error.message);
  }
  const stage = element("stage");
  stage.addEventListener("pointerdown", onPointerDown);
  stage.addEventListener("lostpointercapture", (event) => held.delete(event.pointerId));
  stage.addEventListener("pointermove", onPointer);
  stage.addEventListener("focus", tellDirection);
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    change({ fov: view.fov * Math.exp(event.deltaY / 1000) });
  }, { passive: false });
  document.addEventListener("keydown", onKey);
  element("base").addEventListener("change", (event) => change({ base: event.target.value }));
  element("top").addEventListener("change", (event) => change({ top: event.target.value }));
  element("opacity").addEventListener("input", (event) => change({ opacity: Number(event.target.value), swipe: -1 }));
  element("swipe").addEventListener("change", (event) => change({ swipe: event.target.checked ? 0.5 : -1 }));
  element("swipe-place").addEventListener("input", (event) => change({ swipe: Number(event.target.value) }));
  element("flat").addEventListener("change", (event) => change({ flat: event.target.checked }));
  element("previous").addEventListener("click", () => step(-1));
  element("next").addEventListener("click", () => step(1));
  element("close").addEventListener("click", close);
  window.addEventListener("resize", draw);
  window.addEventListener("hashchange", readAddress);
  readAddress();
}

startViewer();
