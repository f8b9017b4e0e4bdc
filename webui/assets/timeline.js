// The history: what comes as it happens, what is asked for of the past, and what led to what.

import * as view from "./view.js";

/** As many entries as the page keeps of what comes by itself. */
const ENTRIES = 500;
/** As many older ones are asked for at once. */
const PAGE = 200;
/** As many as are shown of what was asked for: whoever wants more exports it. */
const FOUND = 5_000;
/** For an answer out of the whole history. */
const PATIENCE = 15_000;
/** From the last letter to the question. */
const PAUSE = 300;

const RANK = ["info", "warning", "alarm"];

/** What came by itself, without a gap; and what was found before that, of those that fit. The oldest first. */
let entries = [];
let found = [];
/** There is nothing before what is shown; what is being asked; what went wrong. */
let isAll = false;
let asking = null;
let trouble = null;
/** What led to which, by number: a list, a word about what went wrong, or null while it is asked. */
const chains = new Map();
/** What is seen is of all this. */
let isDrawn = false;
let names = "";
let pause = null;
let changed = () => {};

const text = document.getElementById("filter-text");
const severity = document.getElementById("filter-severity");
const group = document.getElementById("filter-group");

/** Calls back whenever there is something to draw. */
export function onChange(redraw) {
  changed = redraw;
}

function renew() {
  isDrawn = false;
  changed();
}

/** The last of the past, after which everything is told. */
export function begin(past) {
  entries = past;
  search();
}

/** Something has happened. */
export function add(entry) {
  entries.push(entry);
  // Between what came and what was found, or is being asked for, there must be no gap.
  if (asking !== null || entries.length <= ENTRIES + found.length) return renew();
  entries = entries.slice(-ENTRIES);
  if (found.length > 0) return search();
  renew();
}

function forget() {
  [found, isAll, asking, trouble] = [[], false, null, null];
}

const about = (entry) => entry.event.fact.group ?? entry.event.fact.resource?.group;

function fits(entry) {
  return RANK.indexOf(entry.severity) >= RANK.indexOf(severity.value)
    && (group.value === "" || String(about(entry)) === group.selectedOptions[0]?.dataset.id)
    && entry.text.toLowerCase().includes(text.value.toLowerCase());
}

/** Asks for those that fit before what is shown. */
async function older() {
  const first = found[0] ?? entries[0];
  const wish = new URLSearchParams({ last: PAGE, severity: severity.value, group: group.value, text: text.value });
  if (first?.number > 0) wish.set("before", first.number);
  const mine = {};
  [asking, trouble] = [mine, null];
  renew();
  try {
    const page = (await get(`/api/v1/history?${wish}`)).entries;
    // Something else is wanted by now.
    if (asking !== mine) return;
    found = [...page, ...found];
    isAll = page.length < PAGE || found.length >= FOUND;
  } catch (error) {
    if (asking !== mine) return;
    trouble = error.message;
  }
  asking = null;
  renew();
}

async function get(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(PATIENCE) });
  const document = await response.json();
  if (!response.ok) throw new Error(document.detail);
  return document;
}

/** Shows what led to an event, or hides it. */
async function toggle(number) {
  if (chains.delete(number)) return renew();
  chains.set(number, null);
  renew();
  let told;
  try {
    told = (await get(`/api/v1/history/${number}/why`)).chain;
  } catch (error) {
    told = error.message;
  }
  if (chains.has(number)) chains.set(number, told);
  renew();
}

/** What was found before is of no use: there is another filter, or a gap. */
function search() {
  forget();
  clearTimeout(pause);
  pause = null;
  const wantsSome = text.value !== "" || severity.value !== "info" || group.value !== "";
  if (wantsSome) pause = setTimeout(() => { pause = null; older(); }, PAUSE);
  renew();
}

/** What stands where nothing is shown. */
function empty() {
  if (entries.length === 0) return "Nothing is known.";
  if (pause !== null || asking !== null) return "Looking…";
  return trouble === null && isAll ? "Nothing fits." : "Nothing of what is here fits.";
}

/** Draws it if something has changed. `groups`: their names, in their order. */
export function draw(groups) {
  if (names !== groups.join()) {
    names = groups.join();
    view.show("filter-group", view.choices(groups));
    isDrawn = false;
  }
  if (isDrawn) return;
  isDrawn = true;
  view.show("history", view.history([...found, ...entries].filter(fits), chains, empty()));
  view.show("older-trouble", trouble === null ? [] : [trouble]);
  more.disabled = asking !== null;
  more.hidden = isAll || entries.length === 0;
}

const more = document.getElementById("older");
more.addEventListener("click", older);
text.addEventListener("input", search);
for (const choice of [severity, group]) choice.addEventListener("change", search);
document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
document.getElementById("history").addEventListener("click", (event) => {
  const button = event.target.closest("button[data-number]");
  if (button !== null) toggle(Number(button.dataset.number));
});
