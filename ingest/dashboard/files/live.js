"use strict";
// Replace sections of the page with those that the server sends. Details that a person has opened stay open.
const live = document.getElementById("live");
const source = new EventSource(document.body.dataset.events);

function isBusy(section) {
  // Do not replace a section while a person has a form open or text selected in it.
  const selection = document.getSelection();
  return section.querySelector("details.sure[open]") !== null
    || (selection !== null && !selection.isCollapsed && section.contains(selection.anchorNode));
}

source.onopen = () => {
  live.textContent = "live";
  live.className = "live on";
};

source.onerror = () => {
  live.textContent = "disconnected";
  live.className = "live off";
};

const late = new Map();  // sections that could not be replaced yet

function put(name, html) {
  const section = document.getElementById("section-" + name);
  if (section === null) return;
  if (isBusy(section)) {
    late.set(name, html);
    return;
  }
  late.delete(name);
  const open = new Set([...section.querySelectorAll("details[open]")].map((each) => each.dataset.key));
  const held = [...section.querySelectorAll(".wide")].map((each) => each.scrollLeft);
  const focused = section.contains(document.activeElement) ? document.activeElement.closest("[data-key]") : null;
  const key = focused === null ? null : focused.dataset.key;
  section.innerHTML = html;
  for (const each of section.querySelectorAll("details")) {
    each.open = open.has(each.dataset.key);
    if (key !== null && each.dataset.key === key) each.querySelector("summary").focus();
  }
  section.querySelectorAll(".wide").forEach((each, number) => { each.scrollLeft = held[number] || 0; });
}

source.onmessage = (event) => {
  for (const [name, html] of late) put(name, html);
  for (const [name, html] of Object.entries(JSON.parse(event.data))) put(name, html);
};
