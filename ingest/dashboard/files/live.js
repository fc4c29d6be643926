"use strict";
// Put the sections that the server sends in place of the old ones. What a person has opened stays open.
const live = document.getElementById("live");
const source = new EventSource(document.body.dataset.events);

function isBusy(section) {
  // a form that is open or a text that is being marked is not taken away under somebody's hand
  const marked = document.getSelection();
  return section.querySelector("details.sure[open]") !== null
    || (marked !== null && !marked.isCollapsed && section.contains(marked.anchorNode));
}

source.onopen = () => {
  live.textContent = "live";
  live.className = "live on";
};

source.onerror = () => {
  live.textContent = "not connected";
  live.className = "live off";
};

const late = new Map();

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
