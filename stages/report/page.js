"use strict";
// The page: sorting, finding, and the colours of the map. All figures are in the HTML already.

const DATA = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const percent = (share) => (100 * share).toFixed(1) + " %";

// Dark blue to yellow: lightness rises steadily, so that it also reads in grey and with any colour vision.
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

function rampColour(part) {
  const place = Math.min(Math.max(part, 0), 1) * (RAMP.length - 1);
  const step = Math.min(Math.floor(place), RAMP.length - 2);
  const mixed = RAMP[step].map((from, i) => Math.round(from + (place - step) * (RAMP[step + 1][i] - from)));
  return "rgb(" + mixed.join(",") + ")";
}

// A figure by its name, or the share of a class by its number; null where nothing is known.
function valueOf(panorama, key) {
  return key in panorama ? panorama[key] : panorama.shares[Number(key)];
}

function sortGallery() {
  const key = element("sort").value;
  const order = DATA.panoramas.map((panorama, number) => ({
    number, name: panorama.name, value: key === "name" ? null : valueOf(panorama, key),
  }));
  const byName = (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true });
  // Without a value last, in the order of the names, as infinity less infinity is no number.
  order.sort((a, b) => (b.value ?? -Infinity) - (a.value ?? -Infinity) || byName(a, b));
  element("gallery").append(...order.map((own) => element("panorama-" + own.number)));
}

function findByName() {
  const wanted = element("find").value.toLowerCase();
  let found = 0;
  DATA.panoramas.forEach((panorama, number) => {
    const matches = panorama.name.toLowerCase().includes(wanted);
    element("panorama-" + number).hidden = !matches;
    found += matches;
  });
  element("found").textContent = wanted ? found + " of " + DATA.panoramas.length : "";
}

function colourMap() {
  const key = element("map-value").value;
  const points = [...document.querySelectorAll(".point")];
  const values = points.map((point) => valueOf(DATA.panoramas[point.dataset.panorama], key));
  const known = values.filter((value) => value !== null), named = element("map-value").selectedOptions[0].text;
  const low = Math.min(...known), high = Math.max(...known);
  points.forEach((point, i) => {
    const value = values[i];
    point.style.fill = value === null ? "#888" : rampColour(high > low ? (value - low) / (high - low) : 0.5);
    const said = value === null ? "not known" : percent(value);
    point.querySelector("title").textContent = DATA.panoramas[point.dataset.panorama].name + ": " + named + " " + said;
  });
  const bar = document.createElement("span");
  bar.style.background = "linear-gradient(to right," + [0, 0.25, 0.5, 0.75, 1].map(rampColour).join(",") + ")";
  const ends = known.length ? [percent(low), percent(high)] : ["not known"];
  element("map-legend").replaceChildren(ends[0], ...(known.length ? [bar, ends[1]] : []));
  element("map-legend").setAttribute("aria-label", ends.join(" to "));
}

function goToCard(number) {
  document.querySelectorAll(".found").forEach((card) => card.classList.remove("found"));
  const card = element("panorama-" + number);
  card.hidden = false;
  card.classList.add("found");
  card.scrollIntoView({ block: "center" });
  card.querySelector("a")?.focus({ preventScroll: true }); // whoever came with the keyboard goes on from there
}

function startPage() {
  element("sort").addEventListener("change", sortGallery);
  element("find").addEventListener("input", findByName);
  element("map-value").addEventListener("change", colourMap);
  for (const point of document.querySelectorAll(".point")) {
    point.addEventListener("click", () => goToCard(point.dataset.panorama));
    point.addEventListener("keydown", (event) => event.key === "Enter" && goToCard(point.dataset.panorama));
  }
  if (document.querySelector(".point")) colourMap();
}

startPage();
